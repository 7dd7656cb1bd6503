/** Processes that reach a limit are replaced, in every kind of pool, without a failed request or a missing instance. */
import { describe, expect, test } from "vitest";
import { findPython } from "../packages/server/test/python.js";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { startFleet } from "./support/fleet.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const FETCH = 'export default { fetch: () => new Response("fetch") };\n';
const NODE = 'export default (req, res) => res.end("node");\n';
const WSGI = `
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
`;
const ASGI = `
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
`;
const COMMAND = `
import http from "node:http";
http.createServer((req, res) => res.end("command")).listen(process.env.PORT, process.env.HOST);
`;

/** Between two requests of a client, so that the load is light. */
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const attempts = ({ pools }: Status) =>
  Object.fromEntries(pools.map(({ name, instances }) => [name, instances.map(({ attempt }) => attempt)]));

describe("recycling", () => {
  // Only once: the supervisor decides from the counts, which each runtime reports in the same way.
  const runtime = "bun";

  test("replaces what has had maxRequests, in pools of every kind", async () => {
    const python = findPython();
    const asgiPython = findPython("uvicorn");
    const pools = {
      fetch: { app: "./app.js", instances: 2, routes: ["/fetch/"] },
      node: { app: "./node.js", instances: 1, routes: ["/node/"] },
      endless: { app: "./app.js", instances: 1, routes: ["/endless/"], maxRequests: 0 },
      files: { static: "./public", routes: ["/files/"] },
      far: { proxy: "http://127.0.0.1:9", routes: ["/far/"] },
      command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
      ...(asgiPython !== undefined && {
        asgi: { asgi: "async_app", python: asgiPython, instances: 1, routes: ["/asgi/"] },
      }),
      ...(python !== undefined && { wsgi: { wsgi: "site_app", python, instances: 1, routes: ["/wsgi/"] } }),
    };
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: {
        ...{ "node.js": NODE, "public/a.txt": "a", "command.mjs": COMMAND },
        ...{ "site_app.py": WSGI, "async_app.py": ASGI },
      },
      config: { pools, maxRequests: 10, recycleJitter: 0.5, minReadyMs: 10 },
    });
    const names = Object.keys(pools);
    const before = attempts(await project.status());
    const least = Object.fromEntries(names.map((name) => [name, Number.POSITIVE_INFINITY]));
    const failed: string[] = [];
    // A recycled process is not loaded any more, so that it is not due again.
    const done = new Set<string>();
    let isOver = false;
    const ask = async (name: string) => {
      while (!isOver && !done.has(name)) {
        const { status } = await get(project.port, `/${name}/${name === "files" ? "a.txt" : ""}`);
        if (status !== (name === "far" ? 502 : 200)) failed.push(`${name}: ${status}`);
        await pause(25);
      }
    };
    const clients = names.map(ask);
    const status = await project.statusWhere("each slot to be recycled", (now) => {
      for (const { name, ready, instances } of now.pools) {
        least[name] = Math.min(least[name] ?? 0, ready);
        if (instances.every(({ recycles }) => recycles >= 1)) done.add(name);
      }
      return done.size === now.pools.length - 1;
    });
    isOver = true;
    await Promise.all(clients);
    expect(failed).toEqual([]);
    for (const { name, instances, wanted } of status.pools) {
      expect(least[name], `${name} has had that many ready at the least`).toBe(wanted);
      for (const { restarts, lastExit } of instances)
        expect({ restarts, lastExit }).toEqual({ restarts: 0, lastExit: null });
    }
    expect(status.pools.find(({ name }) => name === "endless")?.instances[0]).toMatchObject({
      attempt: 1,
      recycles: 0,
    });
    expect(before.endless).toEqual([1]);
    const events = await project.events();
    for (const name of names) {
      const event = new RegExp(`${name}\\.1 +is being recycled: it has handled \\d+ requests \\(maxRequests 10`);
      if (name === "endless") expect(events).not.toMatch(event);
      else expect(events).toMatch(event);
    }
    // An operator's command has priority.
    const commands = [() => project.restart("fetch"), () => project.scale("node", 2), () => project.reload("fetch")];
    for (const operate of commands) {
      const { code, output } = await operate();
      expect(`${code} ${output}`).toMatch(/^0 /);
    }
  });
});

/** Only the first process of a slot leaks. */
const IS_FIRST = `
import { writeFileSync } from "node:fs";
let isFirst = true;
try {
  writeFileSync("./leaks-" + process.env.PACELINE_INSTANCE, "", { flag: "wx" });
} catch {
  isFirst = false;
}
`;
/** Leaks 4 MB with each GET of a path that ends in `grow`, at most 120 MB; never responds to `hold`. */
const LEAK = `${IS_FIRST}
const kept = [];
if (process.env.PACELINE_POOL === "hog") process.on("SIGTERM", () => {});
export default {
  fetch(request) {
    if (isFirst && request.url.endsWith("/grow") && kept.length < 30) kept.push(Buffer.alloc(4 << 20, 1));
    return request.url.endsWith("/hold") ? new Promise(() => {}) : new Response("fetch");
  },
};
`;
/** Its own memory does not grow, but that of a process that it starts does. */
const GROUP = `${IS_FIRST}
import http from "node:http";
import { spawn } from "node:child_process";
let child;
http.createServer((req, res) => {
  if (isFirst && req.url.endsWith("/grow")) child ??= spawn(process.execPath, ["-e", "const kept = Buffer.alloc(100 << 20, 1); setInterval(() => kept, 1e6)"]);
  res.end("command");
}).listen(process.env.PORT, process.env.HOST);
`;
const FRAGILE = `
import { existsSync } from "node:fs";
if (existsSync("./broken")) throw new Error("the new version is broken");
export default { fetch: () => new Response("fetch") };
`;

test("memory, age and schedule: the floor holds, no request fails, deadlines end a hog, and the old process stays if the new one fails", async () => {
  const project = await startFleet({
    runtime: "bun",
    app: LEAK,
    files: { "command.mjs": GROUP, "fragile.js": FRAGILE, "public/a.txt": "a" },
    config: {
      ...{ recycleJitter: 0, minReadyMs: 10 },
      pools: {
        leak: { app: "./app.js", instances: 2, routes: ["/leak/"], maxMemoryMb: 130 },
        group: { command: ["node", "./command.mjs"], routes: ["/group/"], maxMemoryMb: 130 },
        hog: {
          ...{ app: "./app.js", instances: 1, routes: ["/hog/"], maxMemoryMb: 130 },
          ...{ drainTimeoutMs: 200, termTimeoutMs: 200 },
        },
        old: { static: "./public", routes: ["/old/"], maxAgeMs: 2000 },
        timed: { static: "./public", routes: ["/timed/"], recycleSchedule: "*/5 * * * * *" },
        fragile: { app: "./fragile.js", instances: 1, routes: ["/fragile/"], maxRequests: 5 },
      },
    },
  });
  project.write("broken", "");
  const hold = async () => {
    const client = await RawConnection.open(project.port);
    client.write("POST /hog/hold HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    await project.statusWhere("the request to be held", ({ pools }) =>
      pools.some(({ name, instances }) => name === "hog" && instances[0]?.inFlight === 1),
    );
    return client;
  };
  const held = await hold();
  const least: Record<string, number> = {};
  const failed: string[] = [];
  const done = new Set<string>();
  const paths = { leak: "grow", group: "grow", hog: "grow", old: "a.txt", timed: "a.txt", fragile: "" };
  const clients = Object.entries(paths).map(async ([name, path]) => {
    while (!done.has(name)) {
      const { status } = await get(project.port, `/${name}/${path}`);
      if (status !== 200) failed.push(`${name}: ${status}`);
      await pause(40);
    }
  });
  const status = await project.statusWhere("each to be recycled, and the fragile one to fail", ({ pools }) => {
    for (const { name, ready, instances, recyclePauseSeconds } of pools) {
      least[name] = Math.min(least[name] ?? ready, ready);
      if (recyclePauseSeconds !== null || instances.every(({ recycles }) => recycles >= 1)) done.add(name);
    }
    return done.size === pools.length;
  });
  await Promise.all(clients);
  expect(failed).toEqual([]);
  for (const { name, wanted, instances } of status.pools) {
    expect(least[name], `${name} has had that many ready at the least`).toBe(wanted);
    for (const { restarts, lastExit } of instances)
      expect({ restarts, lastExit }).toEqual({ restarts: 0, lastExit: null });
  }
  const fragile = status.pools.find(({ name }) => name === "fragile");
  expect(fragile?.instances[0]).toMatchObject({ attempt: 1, recycles: 0, state: "ready" });
  expect(fragile?.instances[0]?.recycle?.due).toMatch(/^has handled \d+ requests \(maxRequests 5\)$/);
  expect((await project.cli(["status", "--wide"])).stdout).toMatch(
    /fragile\.1: has handled .*; its replacement is due\n(.*\n)*fragile: the last recycling failed; the next attempt is in /,
  );
  let events = "";
  await waitFor("the end of the hog's drain", async () => {
    events = await project.events();
    return /warn hog.1 \(outgoing\) did not drain within 0.2 s: SIGTERM/.test(events);
  });
  for (const name of ["leak.1", "leak.2", "group.1", "hog.1"])
    expect(events).toMatch(
      new RegExp(`info ${name} +is being recycled: it uses \\d+ MB of memory \\(maxMemoryMb 130\\)`),
    );
  expect(events).toMatch(/info old.1 +is being recycled: it has run for \d+ s \(maxAgeMs 2000\)/);
  expect(events).toMatch(/info timed.1 +is being recycled: it is due by its schedule \(recycleSchedule "/);
  expect(events).toMatch(
    /error fragile +recycle failed: the new fragile.1 failed to start: .*; the old instances keep serving/,
  );
  expect(events).toMatch(/warn fragile +recycling is tried again in 1 min/);
  // The process never drains: the request is cut off at the deadline, even in a restart.
  await held.until(/^HTTP\/1.1 502 /);
  const heldAgain = await hold();
  const restarted = await project.restart("hog");
  expect(`${restarted.code} ${restarted.output}`).toMatch(/^0 /);
  await heldAgain.until(/^HTTP\/1.1 502 /);
});
