/** Every unexpected death has a report that says why, and that outlives the fleet. */
import { readdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { DeathReport } from "../packages/supervisor/dist/core/deaths.js";
import { listenersOf } from "../packages/wire/dist/proc/index.js";
import { type Project, startFleet } from "./support/fleet.js";
import { needs, signal } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const APP = `
export default { fetch: (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/exit") { console.log("it exits now"); process.exit(3); }
  if (pathname === "/segv") process.kill(process.pid, "SIGSEGV");
  return new Response("ok");
} };
`;

/** Returns the reports, oldest first. */
function reportsOf(project: Project): DeathReport[] {
  const folder = join(project.runDir, "deaths");
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  const reports = names.map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")) as DeathReport);
  return reports.sort((a, b) => a.id - b.id);
}

async function untilReported(project: Project, count: number): Promise<DeathReport[]> {
  return await waitFor(`report ${count}`, () => {
    try {
      const reports = reportsOf(project);
      return reports.length >= count && reports;
    } catch {
      return false; // The folder is created with the first report.
    }
  });
}

/** A POST, which crashes only one process. */
async function post(port: number, path: string): Promise<string> {
  const connection = await RawConnection.open(port);
  connection.write(`POST ${path} HTTP/1.0\r\nHost: x\r\nX-Request-Id: r-1\r\nContent-Length: 0\r\n\r\n`);
  await connection.end();
  return connection.received;
}

test("deaths are reported with what is known of them, also when the fleet is stopped", async () => {
  const project = await startFleet({
    runtime: "bun",
    instances: 1,
    app: APP,
    config: { backoff: { initialMs: 50, maxMs: 50 } },
  });
  const idOf = async () => (await project.status()).pools[0]?.instances[0]?.pid ?? 0;
  const ready = (attempt: number) =>
    project.statusWhere(`attempt ${attempt}`, ({ pools: [web] }) => {
      return web?.instances[0]?.state === "ready" && web.instances[0].attempt === attempt;
    });
  const [before] = (await project.status()).pools[0]?.instances ?? [];

  await post(project.port, "/exit?secret=1");
  const exited = (await untilReported(project, 1)).at(-1);
  expect(exited).toMatchObject({
    ...{ id: 1, process: "web.1#1", name: "web.1", pool: "web", attempt: 1, generation: 1, pid: before?.pid },
    ...{ kind: "exit", code: 3, signal: null, state: "ready", runtime: "bun", lastLines: ["it exits now"] },
    reason: expect.stringMatching(/^exited with code 3 after .*: it exits now$/),
  });
  // The balancer's report about the lost request may come after the death.
  await waitFor("the lost request", () => reportsOf(project)[0]?.requests.length === 1);
  expect(reportsOf(project)[0]).toMatchObject({
    requests: [{ id: "r-1", request: "POST /exit", state: "running", outcome: "failed" }],
    requestsOmitted: 0,
  });
  expect((await project.status()).lastDeath).toMatchObject({ id: 1, name: "web.1", how: "exit 3" });
  expect(exited?.history?.rssBytes?.length).toBeGreaterThan(0);
  expect(await project.events()).toMatch(/web\.1 +exited with code 3; restarts in .* \(paceline deaths show 1\)\n/);

  await ready(2);
  await post(project.port, "/segv");
  expect((await untilReported(project, 2)).at(-1)).toMatchObject({ kind: "signal", signal: "SIGSEGV", state: "ready" });

  await ready(3);
  signal(await idOf(), "SIGKILL");
  const killed = (await untilReported(project, 3)).at(-1);
  expect(killed).toMatchObject({ signal: "SIGKILL", lastLines: [] });
  // Where no counter can be read, the OOM killer may have done it.
  expect(["signal", "perhapsOutOfMemory"]).toContain(killed?.kind);

  await ready(4);
  signal((await project.status()).balancers[0]?.pid ?? 0, "SIGKILL");
  expect((await untilReported(project, 4)).at(-1)).toMatchObject({
    name: "balancer.1",
    pool: "balancer",
    signal: "SIGKILL",
  });

  project.write("app.js", `throw new Error("no database");`);
  const reload = await project.cli(["reload"]);
  expect(reload.code).toBe(1);
  expect((await untilReported(project, 5)).at(-1)).toMatchObject({
    ...{ process: "web.1#5", kind: "exit", code: 1, state: "starting", generation: 2 },
    lastLines: expect.arrayContaining([expect.stringContaining("no database")]),
  });

  project.write("app.js", APP);
  // If the folder cannot be written, or is not ours, only the report is lost.
  const folder = join(project.runDir, "deaths");
  renameSync(folder, `${folder}.away`);
  symlinkSync(`${folder}.away`, folder);
  signal(await idOf(), "SIGKILL");
  await waitFor("the event", async () => (await project.events()).includes("no report of a death: "));
  rmSync(folder);
  renameSync(`${folder}.away`, folder);
  await ready(6);
  expect((await project.stop()).code).toBe(0);

  // An exit during a stop is not a death.
  expect(reportsOf(project)).toHaveLength(5);
  expect(readdirSync(folder)).toHaveLength(5);
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);

  const list = await project.cli(["deaths"]);
  expect(list.code, list.output).toBe(0);
  const lines = list.stdout.trimEnd().split("\n");
  expect(
    lines.map((line) =>
      line
        .split(/ {2,}/)
        .slice(1, 2)[0]
        ?.replace(/\d+s ago/, "ago"),
    ),
  ).toHaveLength(6);
  expect(lines[0]).toMatch(/^ID {2}WHEN +NAME +HOW +LIVED {2}LOST {2}LAST LINE$/);
  expect(lines[1]).toMatch(/^ 5 .*web\.1 +exit 1 .*no database/);
  expect(lines[5]).toMatch(/^ 1 .*web\.1 +exit 3 .*it exits now$/);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);

  const shown = await project.cli(["deaths", "show", "1"]);
  expect(shown.stdout).toMatch(/^death 1: web\.1#1, exit 3, \d{4}-.*Z\n/);
  expect(shown.stdout).toMatch(/\nlast lines\n {2}it exits now\n$/);
  const json = await project.cli(["deaths", "show", "1", "--json"]);
  expect(JSON.parse(json.stdout)).toEqual(reportsOf(project)[0]);
  const listed = JSON.parse((await project.cli(["deaths", "--json"])).stdout) as {
    deaths: { id: number; how: string }[];
  };
  expect(listed.deaths.map(({ id, how }) => `${id} ${how}`)).toContain("2 SIGSEGV");

  // Numbers continue with the next start.
  expect((await project.startDetached()).code).toBe(0);
  signal(await idOf(), "SIGKILL");
  expect((await untilReported(project, 6)).at(-1)?.id).toBe(6);
});

/** Uses a tenth of a core until it is killed. */
const BLOCKS = `
const cell = new Int32Array(new SharedArrayBuffer(4));
function neverReturns() {
  for (;;) for (const end = performance.now() + 2, rest = Atomics.wait(cell, 0, 0, 20); performance.now() < end; );
}
export default { fetch: (request) => {
  if (request.url.includes("/block")) neverReturns();
  return new Response("ok");
} };
`;
const WSGI = `
import time
KEPT = ["x" * 100 + str(n) for n in range(100_000)]
def application(environ, start_response):
    if environ["PATH_INFO"].endswith("/block"):
        never_returns()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
def never_returns():
    time.sleep(600)
`;

test("a blocked app is reported with the function that blocks, or on Bun with the request", async (context) => {
  needs(context, "python3");
  const pools = {
    bun: { app: "./app.js", instances: 1, routes: ["/bun/"] },
    node: { app: "./app.js", instances: 1, runtime: "node", routes: ["/node/"] },
    wsgi: { wsgi: "site_app", instances: 1, requestTimeoutMs: 4000, routes: ["/wsgi/"] },
  };
  const project = await startFleet({
    runtime: "bun",
    app: BLOCKS,
    files: { "site_app.py": WSGI },
    config: { pools, hangAfterMs: 8000 },
  });
  const names = Object.keys(pools);
  const blocked = await Promise.all(
    names.map(async (name) => {
      const connection = await RawConnection.open(project.port);
      connection.write(`POST /${name}/block?secret=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
      return connection;
    }),
  );
  // Requests of disconnected clients would not be in flight.
  await untilReported(project, names.length);
  for (const connection of blocked) await connection.until(/^HTTP\/1.1 50[24] /);
  const reports = await waitFor("the requests", () => {
    const all = reportsOf(project);
    return all.every(({ requests }) => requests.length === 1) && all;
  });
  const of = (name: string) => reports.find(({ pool }) => pool === name);
  for (const name of ["bun", "node"]) {
    const requests = [{ request: `POST /${name}/block`, outcome: "failed" }];
    expect(of(name), name).toMatchObject({ kind: "hung", state: "killing", name: `${name}.1`, requests });
  }
  const overdue = { request: "POST /wsgi/block", state: "running", outcome: "failed" };
  expect(of("wsgi")).toMatchObject({ state: "killing", name: "wsgi.1", kind: "requestTimeout", requests: [overdue] });
  expect(of("bun")).toMatchObject({ running: "POST /bun/block", requests: [{ state: "running" }], stack: [] });
  expect(of("node")?.stack[0]).toMatch(/^neverReturns \(.*\/app\.js:4:\d+\)$/);
  expect(of("node")?.reason).toMatch(/: it was in neverReturns \(app\.js:4\)$/);
  expect(of("wsgi")?.stack[0]).toMatch(/^never_returns \(.*\/site_app\.py:10\)$/);
  expect(of("wsgi")?.reason).toMatch(/: it was in never_returns \(site_app\.py:10\)$/);
  // The address of the inspector is a secret.
  expect(await project.logs()).not.toMatch(/Debugger|ws:/);
  expect((await project.cli(["deaths"])).stdout).toMatch(/ node\.1 +hung .* neverReturns \(app\.js:4:/);
});

/** Runs JavaScript until it is asked to exit, and responds to other requests in the meantime. */
const BUSY = `
import { existsSync } from "node:fs";
function busyFunction() { while (!existsSync("./go-on")) for (let n = 0; n < 1e5; n++) Math.sqrt(n); }
export default { fetch: (request) => {
  if (request.url.includes("/block")) busyFunction();
  return new Response("ok");
} };
`;

test("a dump shows the stack, the heap or the CPU time of a process, which goes on", async (context) => {
  needs(context, "python3");
  const pools = {
    bun: { app: "./app.js", instances: 1, routes: ["/bun/"] },
    node: { app: "./app.js", instances: 1, runtime: "node", routes: ["/node/"] },
    wsgi: { wsgi: "site_app", instances: 1, routes: ["/wsgi/"], requestTimeoutMs: 0, env: { PYTHONTRACEMALLOC: "1" } },
  };
  const project = await startFleet({
    runtime: "bun",
    app: BUSY,
    files: { "site_app.py": WSGI },
    config: { pools, hangAfterMs: 0 },
  });
  const dump = (...args: string[]) => project.cli(["dump", ...args]);
  const pidsOf = async () => {
    const { pools } = await project.status();
    return pools.flatMap(({ instances }) => instances.map(({ pid }) => pid));
  };
  const pids = await pidsOf();

  // While it is blocked.
  const blocked = await RawConnection.open(project.port);
  blocked.write("GET /node/block HTTP/1.0\r\nHost: x\r\n\r\n");
  const held = await RawConnection.open(project.port);
  held.write("GET /wsgi/block HTTP/1.0\r\nHost: x\r\n\r\n");
  await project.statusWhere("the requests", ({ pools }) => {
    const busy = (name: string) => pools.find((pool) => pool.name === name)?.instances[0];
    return (busy("node")?.stalledMs ?? 0) > 0 && busy("wsgi")?.inFlight === 1;
  });
  const stack = await dump("node.1", "--stack");
  expect(stack.code, stack.output).toBe(0);
  expect(stack.stdout).toMatch(/^(.*\n)?busyFunction \(.*\/app\.js:3:\d+\)\n/);
  expect((await dump("wsgi.1", "--stack")).stdout).toMatch(/ File ".*site_app\.py", line 10 in never_returns\n/);
  const late = await dump("node.1", "--heap");
  expect(late.code).toBe(1);
  expect(late.stderr).toBe("paceline: node.1 does not respond: its event loop is blocked\n");
  project.write("go-on", "");
  expect(await blocked.until(/ok$/)).toMatch(/ 200 OK\r\n/);
  // The inspector is closed again.
  await waitFor("the port", () => listenersOf([pids[1] ?? 0]).length === 0);

  const written = async (target: string, option: string[], file: string) => {
    const { code, output } = await dump(target, ...option, "-o", file);
    expect(code, output).toBe(0);
    const path = join(project.folder, file);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    return readFileSync(path, "utf8");
  };
  for (const target of ["node.1", "bun.1", "balancer.1", "paceline"]) {
    const { snapshot } = JSON.parse(await written(target, ["--heap"], `${target}.heapsnapshot`));
    expect(snapshot.node_count, target).toBeGreaterThan(100);
    const { nodes } = JSON.parse(await written(target, ["--cpu", "0.1s"], `${target}.cpuprofile`));
    expect(nodes.length, target).toBeGreaterThan(0);
  }
  expect(await written("wsgi.1", ["--heap"], "wsgi.txt")).toMatch(/site_app\.py:\d+: size=/);

  for (const [args, message] of [
    [["bun.1", "--stack"], "bun.1 runs on Bun, which cannot show the stack of a running process"],
    [["wsgi.1", "--cpu", "1"], /^no dump of wsgi\.1: Python cannot start a profiler/],
    [["bun.1", "--heap", "-o", "wsgi.txt"], /wsgi\.txt cannot be written: it exists already$/],
    [["bun.1", "--heap", "-o", "/dev/full/x"], /^\/dev\/full\/x cannot be written: /],
  ] as const) {
    const { code, stderr } = await dump(...args);
    expect([code, stderr.trimEnd().split("\n").length], args.join(" ")).toEqual([1, 1]);
    expect(stderr.trimEnd().replace(/^paceline: /, "")).toMatch(message);
  }
  expect(readdirSync(project.folder, { recursive: true }).filter((name) => `${name}`.endsWith(".dump"))).toEqual([]);
  expect(await pidsOf()).toEqual(pids);
  held.close();
});
