/** Commands, correct and broken: each serves or fails with one clear line, and leaves nothing behind. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, onTestFinished, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { Project, ROOT, RUNTIMES, type RuntimeName, sharedFleet, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

const FIXTURES = join(ROOT, "test/fixtures/commands");
const fixture = (name: string) => join(FIXTURES, name);

/** Returns a number unique to this run, for the arguments of the fixtures' processes. */
const newMark = () => `${process.pid}${Math.trunc(Math.random() * 1e9)}`;

/** Does not listen on the given address. */
const ELSEWHERE = `const server = require("http").createServer();
server.listen(0, "127.0.0.1", () => console.log("has port " + server.address().port));`;

/** The environment of every fixture. */
const envOf = (mark: string) => ({ NODE: process.execPath, MARK: mark });

/** Runs `paceline start --detach` with a command that cannot become ready: returns its exit status and its message. */
async function failsToStart(
  runtime: RuntimeName,
  api: { command: string[] } & Record<string, unknown>,
  mark = newMark(),
): Promise<{ project: Project; told: string }> {
  const pools = { api: { instances: 1, restartBudget: { maxFailures: 1 }, env: envOf(mark), ...api } };
  onTestFinished(() => killMarked(mark));
  const project = await Project.make({ runtime, app: "", config: { pools } });
  const { code, output } = await project.startDetached();
  expect(`${code} ${output}`).toMatch(/^1 /);
  return { project, told: output };
}

/** Returns processes with the mark in their arguments, whatever their environment. */
function markedProcesses(mark: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(`.${mark}`) ? [Number(name)] : [];
    } catch {
      return []; // It has exited in the meantime.
    }
  });
}

function killMarked(mark: string): void {
  for (const pid of markedProcesses(mark)) signal(pid, "SIGKILL");
}

async function responseOf(port: number, path = "/"): Promise<Record<string, string>> {
  return JSON.parse((await get(port, path)).body);
}

describe.each(RUNTIMES)("a command on %s", (runtime) => {
  const once = testOnce(runtime);
  const mark = newMark();
  const env = envOf(mark);
  const own = "{name} $" + "{port} {{port}}";
  const serve = { command: [fixture("serve.mjs"), "{socket}"], env };
  /** Without instances until a test needs one. */
  const failing = { instances: 0, restartBudget: { maxFailures: 1 }, env };
  const pools = {
    api: { ...serve, instances: 2, routes: ["/"], env: { ...env, OWN: own } },
    ports: { command: [fixture("serve.mjs")], instances: 3, routes: ["/ports/"] },
    deaf: { command: [fixture("ignores-sigterm.mjs"), "{socket}"], termTimeoutMs: 1000, routes: ["/deaf/"] },
    ...(runtime === "bun" && {
      late: {
        ...serve,
        readyPath: "/ready",
        env: { ...env, READY_AFTER_MS: "700" },
        routes: ["/late/"],
        stripPrefix: true,
      },
      sick: {
        ...{ ...serve, healthPath: "/health", healthIntervalMs: 50, healthFailures: 2 },
        ...{ routes: ["/sick/"], stripPrefix: true },
      },
      forks: { command: [fixture("forks-grandchildren.sh"), "{socket}"], env, routes: ["/forks/"] },
      signalled: { ...failing, command: [fixture("dies-of-a-signal.sh")], routes: ["/signalled/"] },
      daemon: { ...failing, command: [fixture("daemonises.sh"), "{socket}"], routes: ["/daemon/"] },
      elsewhere: {
        ...{ ...failing, readyTimeoutMs: 10_000, routes: ["/elsewhere/"] },
        command: [process.execPath, "-e", ELSEWHERE, "{socket}"],
      },
    }),
  };
  const fleet = sharedFleet({ runtime, app: "", config: { pools } });
  afterAll(() => killMarked(mark));
  const instanceOf = ({ pools }: Status, name: string) =>
    pools.flatMap(({ instances }) => instances).find((each) => each.name === name);
  const untilAgain = (name: string, restarts: number) =>
    fleet().statusWhere(`${name} to be started again`, (status) => {
      const found = instanceOf(status, name);
      return found?.restarts === restarts && found.state === "ready";
    });

  test("serves on a socket of its own, or on a port of its own", async () => {
    const { port } = fleet();
    const response = await responseOf(port);
    expect(response).toMatchObject({ name: expect.stringMatching(/^api\.[12]$/) });
    expect(response.own).toBe(own.replace("{name}", `${response.name}`).replace("{{port}}", "{port}"));
    expect(response).not.toHaveProperty("port");

    const responses = await Promise.all([1, 2, 3].map(() => responseOf(port, "/ports/")));
    expect(responses.map(({ name }) => name).sort()).toEqual(["ports.1", "ports.2", "ports.3"]);
    expect(new Set(responses.map((each) => each.port)).size).toBe(3);
    for (const { host } of responses) expect(host).toBe("127.0.0.1");
  });

  once("has its requests and its memory shown, that of its shim apart", async () => {
    const project = fleet();
    const { pid = "", name = "" } = await responseOf(project.port);
    const load = project.load({ mode: "keep-alive", clients: 4, path: "/" });
    const counted = await project.statusWhere("requests to be counted", (status) => {
      const instance = instanceOf(status, name);
      return (instance?.requestsPerSecond ?? 0) > 10 && (instance?.latencyMs.p50 ?? 0) > 0;
    });
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    const rssOf = (pid: string | number) =>
      Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
    const isNear = (bytes: number | null | undefined, of: string | number) =>
      bytes != null && Math.abs(bytes - rssOf(of)) < rssOf(of) / 4;
    const later = await project.statusWhere("the memory of each to be read", (status) => {
      const { rssBytes, shim } = instanceOf(status, name) ?? {};
      return isNear(rssBytes, pid) && isNear(shim?.rssBytes, instanceOf(counted, name)?.pid ?? 0);
    });
    expect(instanceOf(later, name)?.requestsTotal).toBeGreaterThan(0);
  });

  once("is ready only when its readyPath says so", async () => {
    expect((await get(fleet().port, "/late/ready")).status).toBe(200);
  });

  once("that a reload does not bring up leaves the old ones serving", async () => {
    const project = fleet();
    const load = project.load({ mode: "connect-anew", clients: 4, path: "/" });
    await load.moreConnections(20);
    expect((await project.reload("api")).code).toBe(0);
    await load.moreConnections(20);

    const broken = { ...pools.api, command: [fixture("dies-at-once.sh"), "{socket}"] };
    project.writeConfig({ pools: { ...pools, api: broken } });
    const failed = await project.reload("api");
    project.writeConfig({});
    expect(failed.code).toBe(1);
    expect(failed.output).toContain("dies-at-once.sh ended before it served");
    await load.moreConnections(20);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect((await project.status()).pools).toContainEqual(
      expect.objectContaining({ name: "api", ready: 2, wanted: 2 }),
    );
  });

  test("that dies at once is told of with its status and its last line", async () => {
    const { project, told } = await failsToStart(runtime, { command: [fixture("dies-at-once.sh")] });
    expect(told).toMatch(
      /^paceline: api\.1 failed to start: exited with code 3 after [\d.]+ s: dies-at-once\.sh ended before it served, [\d.]+ s after its start: no database is configured$/m,
    );
    await project.nothingLeft();
  });

  once("that never listens is told of, and ended", async () => {
    const mark = newMark();
    const api = { command: [fixture("never-listens.sh"), "{socket}"], readyTimeoutMs: 5_000 };
    const { project, told } = await failsToStart(runtime, api, mark);
    expect(told).toMatch(
      /was not ready within 5 s \(readyTimeoutMs\); killed by SIGKILL after .*: never-listens\.sh runs, but nothing listens on unix:.*\.sock; let it listen on \$PORT, or on \{port\} or \{socket\}.*--worker if it serves nothing$/m,
    );
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
  });

  once("that a signal ends, that goes into the background or listens elsewhere is told of", async () => {
    const told = async (pool: string) => {
      const { code, output } = await fleet().scale(pool, 1);
      expect(code, output).toBe(1);
      expect(await fleet().scale(pool, 0)).toMatchObject({ code: 0 });
      return output;
    };
    expect(await told("signalled")).toMatch(/^signalled\.1 failed to start: killed by SIGSEGV after /m);
    expect(await told("daemon")).toMatch(
      /daemonises\.sh went into the background as pid \d+ .*: make it stay in the foreground$/m,
    );
    const output = await told("elsewhere");
    const [, port] =
      /was not ready within 10 s \(readyTimeoutMs\); it listens on 127\.0\.0\.1:(\d+); killed/.exec(output) ?? [];
    expect(output).toContain(`has port ${port}\n`);
  });

  once("that falls sick is told of, and started again", async () => {
    await get(fleet().port, "/sick/sicken");
    expect(instanceOf(await untilAgain("sick.1", 1), "sick.1")?.lastExit?.reason).toContain(
      "serve.mjs is unhealthy: GET /health returned 500, 2 times in a row",
    );
    expect((await get(fleet().port, "/sick/health")).status).toBe(200);
  });

  once("leaves nothing of what it started after its end, and the end of its shim", async () => {
    const ends: (() => Promise<unknown>)[] = [
      async () => signal(Number((await responseOf(fleet().port, "/forks/")).pid), "SIGKILL"),
      async () => signal(instanceOf(await fleet().status(), "forks.1")?.pid as number, "SIGKILL"),
    ];
    for (const [restarts, end] of ends.entries()) {
      await waitFor("all to be there", () => markedProcesses(mark).length === 5);
      const first = markedProcesses(mark);
      await end();
      await waitFor("those to be gone", () => !first.some((pid) => markedProcesses(mark).includes(pid)));
      await untilAgain("forks.1", restarts + 1);
    }
    await waitFor("all to be there", () => markedProcesses(mark).length === 5);
  });

  // It ends the fleet of the others.
  test("that ignores SIGTERM is killed, and a stop leaves nothing", async () => {
    const project = fleet();
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
    expect(readFileSync(join(project.folder, ".paceline/log/paceline.log"), "utf8")).toContain(
      "ignores-sigterm.mjs did not exit within 1000 ms of SIGTERM: SIGKILL",
    );
  });

  test("outlives the supervisor, serves on, and is gone after the grace", async () => {
    const mark = newMark();
    onTestFinished(() => killMarked(mark));
    const api = { command: [fixture("forks-grandchildren.sh"), "{socket}"], instances: 2, env: envOf(mark) };
    const project = await startFleet({ runtime, app: "", config: { orphanGraceMs: 10_000, pools: { api } } });
    const load = project.load({ mode: "connect-anew", clients: 4, path: "/" });
    await load.moreConnections(20);
    await kill((await project.status()).pid);
    await load.moreConnections(20);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
  });
});
