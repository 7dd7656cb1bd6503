/** The number of instances follows the load, in a real fleet: over the lane, and for a program that handles one request at a time. */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { waitFor } from "./support/wait.js";

/** What the instances wait for: it handles `places` requests at once, for 60 ms each. */
async function database() {
  const waiting: ServerResponse[] = [];
  const service = { places: Number.POSITIVE_INFINITY, url: "" };
  let taken = 0;
  const next = () => {
    while (taken < service.places) {
      const response = waiting.shift();
      if (response === undefined) return;
      taken++;
      setTimeout(() => {
        taken--;
        response.end("x");
        next();
      }, 60);
    }
  };
  const server = createServer((_, response) => {
    waiting.push(response);
    next();
  });
  onTestFinished(() => {
    server.close();
    server.closeAllConnections();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  service.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  return service;
}

const APP = `export default {
  fetch: async () => new Response(await (await fetch(process.env.DATABASE)).text()),
};
`;
const PROGRAM = `import http from "node:http";
const ask = (done) => http.get(process.env.DATABASE, (response) => response.resume().on("end", done));
http.createServer((req, res) => ask(() => res.end("x"))).listen(process.env.PORT, process.env.HOST);
`;

test("the size follows the load within its bounds, useless instances are taken back, and no request fails", async () => {
  const service = await database();
  const pools = {
    web: {
      ...{ app: "./app.js", routes: ["/"] },
      instances: { max: 6, target: { inFlight: 4 }, coolDownMs: 1500, retryAfterMs: 600_000 },
    },
    one: {
      ...{ command: ["node", "./program.mjs"], maxInFlight: 1, routes: ["/one/"] },
      instances: { max: 3, target: { queueMs: 10 }, coolDownMs: 1500 },
    },
    // An entry that is in force from the start.
    early: {
      ...{ static: ".", routes: ["/early/"] },
      instances: { max: 2, target: { inFlight: 4 }, schedule: [{ cron: "0 0 * * *", min: 2 }] },
    },
  };
  const files = { "program.mjs": PROGRAM };
  const config = { pools, env: { DATABASE: service.url } };
  const project = await startFleet({ runtime: "bun", app: APP, files, config });
  const size = ({ pools: all }: Status, name: string) => all.find((pool) => pool.name === name)?.ready ?? 0;
  const reaches = (what: string, holds: (status: Status) => boolean) => project.statusWhere(what, holds, 90_000);

  const few = project.load({ mode: "keep-alive", clients: 2, delayMs: 30 });
  await few.until("requests without a queue", ({ ok }) => ok > 50);
  const many = project.load({ mode: "keep-alive", clients: 20, delayMs: 0 });
  const ones = project.load({ mode: "connect-anew", clients: 8, delayMs: 0, path: "/one/" });
  // At different times: on a busy machine more instances may not help, and are removed.
  const [grown] = await Promise.all([
    reaches("web to grow", (status) => size(status, "web") >= 3),
    reaches("one to grow", (status) => size(status, "one") >= 2),
  ]);
  const [web] = grown.pools;
  expect(web?.scaling).toMatchObject({ min: 1, max: 6, floor: null, target: { metric: "inFlight", value: 4 } });
  expect(web?.scaling?.last?.reason).toMatch(/requests in flight per instance, the target is 4$/);
  expect((await project.cli(["status", "--wide"])).stdout).toMatch(
    /^web {2}app {2}\d\/\d ready \(1–6\) .*\n.*inFlight: target 4/m,
  );
  expect(await project.events()).toMatch(/one +is being scaled from 1 to [23]: requests wait \d+ ms, the target is 10/);

  expect(failures(await many.stop())).toEqual(NO_FAILURES);
  expect(failures(await ones.stop())).toEqual(NO_FAILURES);
  await reaches("both to shrink", (status) => size(status, "web") === 1 && size(status, "one") === 1);

  // More instances wait for the same place.
  service.places = 1;
  const more = project.load({ mode: "keep-alive", clients: 16, delayMs: 0 });
  const useless =
    /web +is being scaled from \d to \d: .*requests\/s with \d.*(something else|CPUs).* no growth for 600 s/;
  await waitFor("instances to be taken back", async () => useless.test(await project.events()), { deadlineMs: 90_000 });

  // The pool was started with this number.
  expect((await project.status()).pools[2]).toMatchObject({ name: "early", wanted: 2, scaling: { last: null } });
  const under = await project.cli(["scale", "early", "-5"]);
  expect([under.code, under.output]).toEqual([
    2,
    expect.stringContaining("can have 0 to 1024 instances, not -3; it has 2 now"),
  ]);
  const beyond = await project.cli(["scale", "web", "7"]);
  expect([beyond.code, beyond.output]).toEqual([2, expect.stringContaining("web is autoscaled from 1 to 6 instances")]);
  const byHand = await project.cli(["scale", "web", "4"]);
  expect(byHand.output).toContain("has 4 at least until the next reload");
  expect((await project.status()).pools[0]?.scaling).toMatchObject({ min: 4, max: 6, floor: 4 });
  expect(failures(await more.stop())).toEqual(NO_FAILURES);
  const reload = await project.cli(["reload", "web"]);
  expect([reload.code, reload.output]).toEqual([0, expect.stringContaining("reload done, 4 of 4")]);
  await reaches(
    "the floor to be gone",
    (status) => status.pools[0]?.scaling?.floor === null && size(status, "web") === 1,
  );
  expect(failures(await few.stop())).toEqual(NO_FAILURES);
});
