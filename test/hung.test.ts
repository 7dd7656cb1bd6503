/** An instance whose event loop does not turn, or that a signal has stopped, is shown as stalled, then killed and replaced as hung. */
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { needs, signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";

/** Blocks for good on a path that ends with /block. */
const FETCH = `
const sleepForGood = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
export default { fetch: (request) => {
  if (request.url.includes("/block")) sleepForGood();
  return new Response("fetch");
} };
`;
const NODE = `
const burn = () => { for (;;); };
export default (req, res) => {
  if (req.url.includes("/block")) burn();
  res.end("node");
};
`;
const WSGI = `
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        some_function_that_sleeps()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
def some_function_that_sleeps():
    time.sleep(600)
`;
/** Never heeds that a client has gone. */
const COMMAND = `
import http from "node:http";
const server = http.createServer((req, res) => {
  if (req.url.includes("/block")) return;
  res.end("command");
});
server.httpAllowHalfOpen = true;
server.listen(process.env.PORT, process.env.HOST);
`;

type Slot = Status["pools"][0]["instances"][0] | Status["balancers"][0];

function slotsOf({ pools, balancers }: Status): Map<string, Slot> {
  return new Map([...pools.flatMap(({ instances }) => instances), ...balancers].map((slot) => [slot.name, slot]));
}

describe.each(RUNTIMES)("hung processes on %s", { timeout: 90_000 }, (runtime) => {
  test("of every kind are told as stalled, killed, replaced, and named with the request that they ran", async (context) => {
    if (runtime === "bun") needs(context, "python3");
    const pools = {
      fetch: { app: "./app.js", instances: 2, routes: ["/fetch/"] },
      node: { app: "./node.js", instances: 1, routes: ["/node/"] },
      files: { static: "./public", routes: ["/files/"] },
      far: { proxy: "http://127.0.0.1:9", routes: ["/far/"] },
      command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
      ...(runtime === "bun" && { wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"] } }),
    };
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: { "node.js": NODE, "public/a.txt": "a", "command.mjs": COMMAND, "site_app.py": WSGI },
      config: { pools, hangAfterMs: 2500 },
    });
    const before = slotsOf(await project.status());
    const names = [...before.keys()];

    // Two by their own handler, the others by a signal; the second instance of `fetch` is well.
    const blocked = await Promise.all(
      ["/fetch/block", "/node/block"].map(async (path) => {
        const connection = await RawConnection.open(project.port);
        connection.write(`GET ${path}?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
        return connection;
      }),
    );
    // The balancer has to tell first what is being run.
    await project.statusWhere("the blocked ones to be shown", (status) => {
      const slots = slotsOf(status);
      const stalled = (name: string) => (slots.get(name)?.stalledMs ?? 0) > 0 && (slots.get(name)?.inFlight ?? 0) > 0;
      return (stalled("fetch.1") || stalled("fetch.2")) && stalled("node.1");
    });
    const shown = await project.cli(["status"]);
    expect(shown.output).toMatch(/node\.1 +stalled \d+ s/);
    expect(shown.output).toMatch(/^fetch .*2\/2 ready, 1 stalled/m);
    // Else the balancer sends them to another instance when the first is killed.
    for (const connection of blocked) connection.close();
    const stopped = names.filter((name) => !/^(fetch|node)\./.test(name));
    for (const name of stopped) signal(before.get(name)?.pid ?? 0, "SIGSTOP");

    const after = slotsOf(
      await project.statusWhere(
        "all of them to be replaced",
        (status) => {
          const slots = slotsOf(status);
          const renewed = names.filter((name) => slots.get(name)?.state === "ready" && slots.get(name)?.attempt === 2);
          return renewed.length === names.length - 1;
        },
        60_000,
      ),
    );
    const reasons = Object.fromEntries(names.map((name) => [name, after.get(name)?.lastExit?.reason]));
    const fetch = Object.values({ 1: reasons["fetch.1"], 2: reasons["fetch.2"] }).filter(Boolean);
    expect(fetch).toEqual([
      expect.stringMatching(
        /^hung: its event loop did not turn for \d+(\.\d)? s while it ran GET \/fetch\/block; killed by SIGKILL/,
      ),
    ]);
    expect(reasons["node.1"]).toMatch(/^hung: .* while it ran GET \/node\/block; killed by SIGKILL/);
    for (const name of stopped) expect(reasons[name], name).toMatch(/^hung: its event loop did not turn/);
    const { stdout } = await project.cli(["events"]);
    for (const name of stopped) expect(stdout).toMatch(new RegExp(`${name.replace(".", "\\.")} +hung: `));
    for (const [path, body] of [
      ["/fetch/", "fetch"],
      ["/node/", "node"],
      ["/files/a.txt", "a"],
      ["/command/", "command"],
    ] as const)
      expect((await get(project.port, path)).body).toBe(body);
  });
});

test("a request that nobody waits for any more costs the process that goes on with it, in pools that limit concurrency", {
  timeout: 60_000,
}, async (context) => {
  needs(context, "python3");
  const requestTimeoutMs = 500;
  const project = await startFleet({
    runtime: "bun",
    app: FETCH,
    files: { "command.mjs": COMMAND, "site_app.py": WSGI },
    config: {
      balancer: { limits: { upstreamResponseTimeoutMs: 500 } },
      pools: {
        wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"], stripPrefix: true, requestTimeoutMs },
        command: { command: ["node", "./command.mjs"], routes: ["/command/"], maxInFlight: 1, requestTimeoutMs },
        patient: { wsgi: "site_app", instances: 1, routes: ["/patient/"], stripPrefix: true, requestTimeoutMs: 0 },
      },
    },
  });
  const paths = ["/patient/block", "/wsgi/block", "/command/block"];
  const statuses = await Promise.all(paths.map(async (path) => (await get(project.port, path)).status));
  expect(statuses).toEqual([504, 504, 504]);
  const status = await project.statusWhere("both to be replaced", ({ pools }) =>
    pools.every(
      ({ name, instances }) => instances[0]?.attempt === (name === "patient" ? 1 : 2) && instances[0].state === "ready",
    ),
  );
  const ends = Object.fromEntries(status.pools.map(({ name, instances }) => [name, instances[0]?.lastExit]));
  expect(ends.command?.reason).toMatch(/^hung: GET \/command\/block went on for .* after nobody waited for it/);
  expect(ends.wsgi?.reason).toMatch(/^hung: GET \/wsgi\/block went on for /);
  expect(ends.wsgi?.lastLines.join("\n")).toContain("some_function_that_sleeps");
  expect(ends.patient).toBeNull();
});
