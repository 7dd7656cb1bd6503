/** An instance that is blocked, or stopped by a signal, is shown as stalled, then killed and replaced as hung. */
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import type { DeathSummary, Status } from "../packages/supervisor/dist/control/api.js";
import { RUNTIMES, startFleet } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { needs, signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** Blocks forever on a path that ends with /block. */
const FETCH = `
const sleepForGood = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
export default { fetch: (request) => {
  if (request.url.includes("/block")) sleepForGood();
  return new Response("fetch");
} };
`;
/** Never returns to its event loop; it uses a tenth of a core and not all of it. */
const NODE = `
const cell = new Int32Array(new SharedArrayBuffer(4));
const block = () => { for (;;) for (const end = performance.now() + 2, rest = Atomics.wait(cell, 0, 0, 20); performance.now() < end; ); };
export default (req, res) => {
  if (req.url.includes("/block")) block();
  res.end("node");
};
`;
const WSGI = `
import ctypes, time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/block":
        some_function_that_sleeps()
    if environ["PATH_INFO"] == "/hold":
        some_function_that_holds()
    if environ["PATH_INFO"] == "/after":
        start_response("200 OK", [("Content-Length", "2")])
        return After()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"wsgi"]
class After:
    def __iter__(self):
        return iter([b"ok"])
    def close(self):
        some_function_that_sleeps()
def some_function_that_sleeps():
    time.sleep(600)
def some_function_that_holds():
    # No other thread gets the interpreter meanwhile.
    ctypes.PyDLL(None).sleep(600)
`;
/** Ignores that a client has disconnected. */
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

/** Long enough, even on a busy machine, for the checks before they are killed. The others are pinged only after 10 s. */
const LOOKED_AT = { hangAfterMs: 20_000 };

describe.each(RUNTIMES)("hung processes on %s", (runtime) => {
  test("of every kind are told as stalled, killed, replaced, and named with the request that they ran", async (context) => {
    if (runtime === "bun") needs(context, "python3");
    const pools = {
      fetch: { app: "./app.js", instances: 2, routes: ["/fetch/"], ...LOOKED_AT },
      node: { app: "./node.js", instances: 1, routes: ["/node/"], ...LOOKED_AT },
      files: { static: "./public", routes: ["/files/"] },
      // A proxy runs on Node in any case.
      ...(runtime === "bun" && { far: { proxy: "http://127.0.0.1:9", routes: ["/far/"] } }),
      command: { command: ["node", "./command.mjs"], routes: ["/command/"] },
      ...(runtime === "bun" && { wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"] } }),
    };
    const project = await startFleet({
      runtime,
      app: FETCH,
      files: { "node.js": NODE, "public/a.txt": "a", "command.mjs": COMMAND, "site_app.py": WSGI },
      config: { pools, hangAfterMs: 8000 },
    });
    const before = slotsOf(await project.status());
    const names = [...before.keys()];

    // Two are blocked by their own handler, the others by a signal; the second instance of `fetch` is healthy.
    const blocked = await Promise.all(
      ["/fetch/block", "/node/block"].map(async (path) => {
        const connection = await RawConnection.open(project.port);
        connection.write(`GET ${path}?secret=1 HTTP/1.1\r\nHost: x\r\n\r\n`);
        return connection;
      }),
    );
    // The balancer must first report the running request.
    await project.statusWhere("the blocked ones to be shown", (status) => {
      const slots = slotsOf(status);
      const stalled = (name: string) => (slots.get(name)?.stalledMs ?? 0) > 0 && (slots.get(name)?.inFlight ?? 0) > 0;
      return (stalled("fetch.1") || stalled("fetch.2")) && stalled("node.1");
    });
    // At the same time, because a process that is blocked for hangAfterMs is killed.
    const [shown, dashboard] = await Promise.all([
      project.cli(["status", "--wide"]),
      project.cli(["top", "--plain", "--once"]),
    ]);
    expect(shown.output).toMatch(/node\.1 +stalled \d+ s/);
    expect(shown.output).toMatch(/^fetch .*2\/2 ready, 1 stalled/m);
    expect(dashboard.output).toMatch(/^ node\.1 +stalled \d+ ?s/m);
    // Otherwise the balancer sends them to another instance when the first one is killed.
    for (const connection of blocked) connection.close();
    // This request waits behind the first one, whose client has disconnected.
    const waits = await RawConnection.open(project.port);
    waits.write("GET /node/waits HTTP/1.1\r\nHost: x\r\n\r\n");
    if (runtime === "node") expect((await project.cli(["dump", "node.1", "--stack"])).output).toContain("block");
    const stopped = names.filter((name) => !/^(fetch|node)\./.test(name));
    for (const name of stopped) signal(before.get(name)?.pid ?? 0, "SIGSTOP");

    const after = slotsOf(
      await project.statusWhere("all of them to be replaced", (status) => {
        const slots = slotsOf(status);
        const renewed = names.filter((name) => slots.get(name)?.state === "ready" && slots.get(name)?.attempt === 2);
        return renewed.length === names.length - 1;
      }),
    );
    const reasons = Object.fromEntries(names.map((name) => [name, after.get(name)?.lastExit?.reason]));
    const fetch = Object.values({ 1: reasons["fetch.1"], 2: reasons["fetch.2"] }).filter(Boolean);
    expect(fetch).toEqual([
      expect.stringMatching(
        /^hung: its event loop was blocked for \d+(\.\d)? s while running GET \/fetch\/block; killed by SIGKILL/,
      ),
    ]);
    expect(reasons["node.1"]).toMatch(/^hung: .* while running GET \/node\/block; killed by SIGKILL/);
    // A dump has shown it before, and Node shows it once.
    if (runtime === "node") expect(reasons["node.1"]).toMatch(/: it was in block \(node\.js:/);
    waits.close();
    for (const name of stopped) expect(reasons[name], name).toMatch(/^hung: its event loop was blocked/);
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

test("a response that is owed for too long costs its process, in pools that limit concurrency, and no operation waits for it", async (context) => {
  needs(context, "python3");
  const requestTimeoutMs = 4000;
  const shared = await freePort();
  const project = await startFleet({
    runtime: "bun",
    app: FETCH,
    files: { "command.mjs": COMMAND, "site_app.py": WSGI },
    config: {
      drainTimeoutMs: 60_000,
      // Later than requestTimeoutMs: otherwise the balancer's timeout applies.
      balancer: { limits: { upstreamResponseTimeoutMs: requestTimeoutMs + 500 } },
      backoff: { initialMs: 50_000, maxMs: 50_000 },
      pools: {
        wsgi: { wsgi: "site_app", instances: 2, routes: ["/wsgi/"], stripPrefix: true, requestTimeoutMs },
        threads: {
          wsgi: "site_app",
          threads: 2,
          instances: 1,
          routes: ["/threads/"],
          stripPrefix: true,
          requestTimeoutMs,
        },
        command: { command: ["node", "./command.mjs"], routes: ["/command/"], maxInFlight: 1, requestTimeoutMs },
        patient: {
          wsgi: "site_app",
          instances: 1,
          routes: ["/patient/"],
          stripPrefix: true,
          requestTimeoutMs: 0,
          drainTimeoutMs: 300,
        },
        // This pool is restarted before the request's deadline.
        restarted: {
          wsgi: "site_app",
          instances: 1,
          routes: ["/restarted/"],
          stripPrefix: true,
          requestTimeoutMs: 4 * requestTimeoutMs,
        },
        close: { wsgi: "site_app", instances: 1, routes: ["/close/"], stripPrefix: true, requestTimeoutMs },
        closes: {
          wsgi: "site_app",
          threads: 2,
          instances: 1,
          routes: ["/closes/"],
          stripPrefix: true,
          requestTimeoutMs,
        },
        holds: { wsgi: "site_app", instances: 1, routes: ["/holds/"], stripPrefix: true, requestTimeoutMs },
        held: { wsgi: "site_app", threads: 2, instances: 1, routes: ["/held/"], stripPrefix: true, requestTimeoutMs },
        direct: { wsgi: "site_app", instances: 1, mode: "direct", bind: `${shared}`, requestTimeoutMs },
      },
    },
  });
  // Their last reports say that they are idle.
  const idle = ["holds", "held"];
  for (const pool of idle) expect((await get(project.port, `/${pool}/`)).body).toBe("wsgi");
  await project.statusWhere("them to report that", ({ pools }) =>
    pools.every(
      ({ name, instances: [one] }) => !idle.includes(name) || (one?.requestsTotal === 1 && one?.inFlight === 0),
    ),
  );
  const left = await RawConnection.open(project.port);
  left.write("GET /restarted/block HTTP/1.1\r\nHost: x\r\n\r\n");
  const patient = await RawConnection.open(project.port);
  patient.write("GET /patient/block HTTP/1.1\r\nHost: x\r\n\r\n");
  await project.statusWhere("it to have the request", ({ pools }) => pools[4]?.instances[0]?.inFlight === 1);
  // Its client disconnects, and so does the balancer; the view continues.
  left.close();
  const restarted = project.restart("restarted");
  // After their response these get no request, except the one with a second thread.
  for (const pool of ["close", "closes"]) expect((await get(project.port, `/${pool}/after`)).body).toBe("ok");
  expect((await get(project.port, "/closes/")).body).toBe("wsgi");
  // No balancer sees this request; its client is reset.
  const direct = await RawConnection.open(shared);
  direct.write("GET /block HTTP/1.1\r\nHost: x\r\n\r\n");
  // Both instances are stuck, and both clients get a response.
  const paths = ["/wsgi/block", "/wsgi/block", "/threads/block", "/command/block", "/holds/hold", "/held/hold"];
  const statuses = await Promise.all(paths.map(async (path) => (await get(project.port, path)).status));
  expect(statuses).toEqual(paths.map(() => 504));
  expect((await restarted).code).toBe(0);

  const status = await project.statusWhere("them to be replaced", ({ pools }) =>
    pools.every(({ name, instances }) =>
      instances.every(({ attempt, state }) => attempt === (name === "patient" ? 1 : 2) && state === "ready"),
    ),
  );
  expect((await get(project.port, "/wsgi/")).body).toBe("wsgi");
  expect((await get(shared, "/")).body).toBe("wsgi");
  const ends = Object.fromEntries(
    status.pools.flatMap(({ instances }) => instances.map(({ name, lastExit }) => [name, lastExit])),
  );
  expect(ends["command.1"]?.reason).toMatch(/^hung: GET \/command\/block took over 4 s \(requestTimeoutMs\); /);
  for (const name of ["wsgi.1", "wsgi.2", "threads.1", "close.1", "closes.1", "direct.1"]) {
    expect(ends[name]?.reason).toMatch(
      /^hung: GET \/(block|wsgi\/block|threads\/block|closes?\/after)(, its oldest request,)? took over .*: it was in some_function_that_sleeps \(site_app\.py:\d+\)$/,
    );
    expect(ends[name]?.lastLines.join("\n")).toContain("in some_function_that_sleeps");
  }
  for (const name of ["holds", "held"]) {
    const reason = ends[`${name}.1`]?.reason;
    expect(reason).toMatch(
      new RegExp(`^hung: GET /${name}/hold(, its oldest request,)? took over 4 s \\(requestTimeoutMs\\)`),
    );
    expect(reason).toContain("in some_function_that_holds (site_app.py:");
  }
  // A client that has got its response, or has disconnected, has lost nothing.
  await waitFor("the lost requests in the reports", async () => {
    const { deaths } = JSON.parse((await project.cli(["deaths", "--json"])).stdout) as { deaths: DeathSummary[] };
    const lost = Object.fromEntries(deaths.map(({ name, lost }) => [name, lost]));
    const expected = { "wsgi.1": 1, "wsgi.2": 1, "threads.1": 1, "command.1": 1, "holds.1": 1, "held.1": 1 };
    return isDeepStrictEqual(lost, { ...lost, ...expected, "close.1": 0, "closes.1": 0 });
  });
  await patient.until(/^HTTP\/1\.1 504 /);
  const { uptimeSeconds } = await project.status();
  const later = await project.statusWhere("it to be looked at again", (now) => now.uptimeSeconds > uptimeSeconds + 2);
  expect(later.pools[3]?.instances).toMatchObject([{ name: "patient.1", attempt: 1, state: "ready", lastExit: null }]);
  // The restart requested the exit of this process.
  expect(ends["restarted.1"]).toBeNull();
  const { stdout } = await project.cli(["events"]);
  for (const name of ["wsgi\\.1", "wsgi\\.2", "restarted\\.1"])
    expect(stdout).toMatch(new RegExp(`${name} .*it was in some_function_that_sleeps \\(site_app\\.py:\\d+\\)`));
  patient.close();
  // A stop does not wait for its own deadline either.
  const held = await RawConnection.open(project.port);
  held.write("GET /holds/hold HTTP/1.1\r\nHost: x\r\n\r\n");
  expect((await get(project.port, "/wsgi/")).body).toBe("wsgi");
  expect((await project.stop()).code).toBe(0);
  expect(
    (await project.cli(["events"])).stdout.match(/holds\.1 .*hung: GET \/holds\/hold took over 4 s/g),
  ).toHaveLength(2);
  held.close();
});
