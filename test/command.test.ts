/** Commands, correct and broken: each serves, or fails with one clear line, and leaves nothing behind. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Project, ROOT, RUNTIMES, type RuntimeName, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { freePort } from "./support/ports.js";
import { signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

const FIXTURES = join(ROOT, "test/fixtures/commands");
const fixture = (name: string) => join(FIXTURES, name);

/** Returns a number unique to this run, for the arguments of the fixtures' processes. */
const newMark = () => `${process.pid}${Math.trunc(Math.random() * 1e9)}`;

interface CommandOptions {
  runtime: RuntimeName;
  command: string[];
  instances?: number;
  /** Keys of the pool. */
  pool?: Record<string, unknown>;
  /** Keys of the top level. */
  config?: Record<string, unknown>;
  mark?: string;
}

function projectOf({ runtime, command, instances = 1, pool = {}, config = {}, mark = newMark() }: CommandOptions) {
  onTestFinished(() => {
    for (const pid of markedProcesses(mark)) signal(pid, "SIGKILL");
  });
  const env = { NODE: process.execPath, MARK: mark, ...(pool.env as object | undefined) };
  return {
    runtime,
    app: "",
    config: {
      termTimeoutMs: 1_000,
      readyTimeoutMs: 30_000,
      ...config,
      pools: { api: { command, instances, ...pool, env } },
    },
  };
}

const start = (options: CommandOptions) => startFleet(projectOf(options));

/** `paceline start --detach` of something that cannot become ready: returns its exit status and its message. */
async function failsToStart(options: CommandOptions): Promise<{ project: Project; told: string }> {
  const config = { restartBudget: { maxFailures: 1 }, ...options.config };
  const project = await Project.make(projectOf({ ...options, config }));
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
      return []; // It ended meanwhile.
    }
  });
}

async function responseOf(port: number, path = "/"): Promise<Record<string, string>> {
  return JSON.parse((await get(port, path)).body);
}

describe.each(RUNTIMES)("a command on %s", (runtime) => {
  const once = testOnce(runtime);

  test("serves on a socket of its own, or on a port of its own", async () => {
    const own = { OWN: "{name} $" + "{port} {{port}}" };
    const base = projectOf({ runtime, command: [fixture("serve.mjs"), "{socket}"], pool: { env: own } });
    const { api } = base.config.pools;
    const ports = { ...api, command: [fixture("serve.mjs")], instances: 3, routes: ["/ports/"] };
    const { port } = await startFleet({ ...base, config: { ...base.config, pools: { api, ports } } });
    const response = await responseOf(port);
    expect(response).toMatchObject({ name: "api.1", own: "api.1 $" + "{port} {port}" });
    expect(response).not.toHaveProperty("port");

    const responses = await Promise.all([1, 2, 3].map(() => responseOf(port, "/ports/")));
    expect(responses.map(({ name }) => name).sort()).toEqual(["ports.1", "ports.2", "ports.3"]);
    expect(new Set(responses.map((each) => each.port)).size).toBe(3);
    for (const { host } of responses) expect(host).toBe("127.0.0.1");
  });

  once("has its requests and its memory shown, that of its shim apart", async () => {
    const project = await start({ runtime, command: [fixture("serve.mjs"), "{socket}"] });
    const load = project.load({ mode: "keep-alive", clients: 4, path: "/" });
    const { pools } = await project.statusWhere("requests to be counted", ({ pools }) => {
      const [instance] = pools[0]?.instances ?? [];
      return (instance?.requestsPerSecond ?? 0) > 10 && (instance?.latencyMs.p50 ?? 0) > 0;
    });
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    const [instance] = pools[0]?.instances ?? [];
    const rssOf = (pid: string | number) =>
      Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
    const { pid = "" } = await responseOf(project.port);
    const isNear = (bytes: number | null | undefined, of: string | number) =>
      bytes != null && Math.abs(bytes - rssOf(of)) < rssOf(of) / 4;
    const { pools: later } = await project.statusWhere("the memory of each to be read", ({ pools }) => {
      const { rssBytes, shim } = pools[0]?.instances[0] ?? {};
      return isNear(rssBytes, pid) && isNear(shim?.rssBytes, instance?.pid ?? 0);
    });
    expect(later[0]?.instances[0]?.requestsTotal).toBeGreaterThan(0);
  });

  once("is ready only when its readyPath says so", async () => {
    const env = { READY_AFTER_MS: "700" };
    const pool = { readyPath: "/ready", env };
    const project = await start({ runtime, command: [fixture("serve.mjs"), "{socket}"], pool });
    expect((await get(project.port, "/ready")).status).toBe(200);
  });

  once("that a reload does not bring up leaves the old ones serving", async () => {
    const options = { runtime, command: [fixture("serve.mjs"), "{socket}"], instances: 2 };
    const project = await start(options);
    const load = project.load({ mode: "connect-anew", clients: 4, path: "/" });
    await load.moreConnections(50);
    expect((await project.reload()).code).toBe(0);
    await load.moreConnections(50);

    project.writeConfig(projectOf({ ...options, command: [fixture("dies-at-once.sh"), "{socket}"] }).config);
    const failed = await project.reload();
    expect(failed.code).toBe(1);
    expect(failed.output).toContain("dies-at-once.sh ended before it served");
    await load.moreConnections(50);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect((await project.status()).pools).toMatchObject([{ ready: 2, wanted: 2 }]);
  });

  test("that dies at once is told of with its status and its last line", async () => {
    const { project, told } = await failsToStart({ runtime, command: [fixture("dies-at-once.sh")] });
    expect(told).toMatch(
      /^paceline: api\.1 failed to start: exited with code 3 after [\d.]+ s: dies-at-once\.sh ended before it served, [\d.]+ s after its start: no database is configured$/m,
    );
    await project.nothingLeft();
  });

  once("that a signal ends is told of with that signal", async () => {
    const { project, told } = await failsToStart({ runtime, command: [fixture("dies-of-a-signal.sh")] });
    expect(told).toMatch(/^paceline: api\.1 failed to start: killed by SIGSEGV after /m);
    await project.nothingLeft();
  });

  once("that goes into the background is told of, and ended there", async () => {
    const { project, told } = await failsToStart({ runtime, command: [fixture("daemonises.sh"), "{socket}"] });
    expect(told).toMatch(/daemonises\.sh went into the background as pid \d+ .*: make it stay in the foreground$/m);
    await project.nothingLeft();
  });

  once("that never listens is told of, and ended", async () => {
    const mark = newMark();
    const command = [fixture("never-listens.sh"), "{socket}"];
    const config = { readyTimeoutMs: 5_000 };
    const { project, told } = await failsToStart({ runtime, command, config, mark });
    expect(told).toMatch(
      /was not ready within 5 s \(readyTimeoutMs\); killed by SIGKILL after .*: never-listens\.sh runs, but nothing listens on unix:.*\.sock; let it listen on \$PORT, or on \{port\} or \{socket\}.*--worker if it serves nothing$/m,
    );
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
  });

  once("that listens elsewhere is told of with the port that it holds", async () => {
    const port = await freePort();
    const program = `require("http").createServer().listen(${port}, "127.0.0.1")`;
    const command = [process.execPath, "-e", program, "{socket}"];
    const { project, told } = await failsToStart({ runtime, command, config: { readyTimeoutMs: 5_000 } });
    expect(told).toContain(`was not ready within 5 s (readyTimeoutMs); it listens on 127.0.0.1:${port}; killed`);
    await project.nothingLeft();
  });

  once("that falls sick is told of, and started again", async () => {
    const pool = { healthPath: "/health", healthIntervalMs: 50, healthFailures: 2 };
    const project = await start({ runtime, command: [fixture("serve.mjs"), "{socket}"], pool });
    await get(project.port, "/sicken");
    const { pools } = await project.statusWhere("a new one", ({ pools }) => {
      const [instance] = pools[0]?.instances ?? [];
      return instance?.restarts === 1 && instance.state === "ready";
    });
    expect(pools[0]?.instances[0]?.lastExit?.reason).toContain(
      "serve.mjs is unhealthy: GET /health returned 500, 2 times in a row",
    );
    expect((await get(project.port, "/health")).status).toBe(200);
  });

  test("that ignores SIGTERM is killed", async () => {
    const project = await start({ runtime, command: [fixture("ignores-sigterm.mjs"), "{socket}"] });
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
    expect(readFileSync(join(project.folder, ".paceline/log/paceline.log"), "utf8")).toContain(
      "ignores-sigterm.mjs did not exit within 1000 ms of SIGTERM: SIGKILL",
    );
  });

  once("leaves nothing of what it started after its end, the end of its shim, and a stop", async () => {
    const mark = newMark();
    const project = await start({ runtime, command: [fixture("forks-grandchildren.sh"), "{socket}"], mark });
    const ends: (() => Promise<unknown>)[] = [
      async () => signal(Number((await responseOf(project.port)).pid), "SIGKILL"),
      async () => signal((await project.status()).pools[0]?.instances[0]?.pid as number, "SIGKILL"),
      () => project.stop(),
    ];
    for (const [restarts, end] of ends.entries()) {
      if (restarts > 0) {
        await project.statusWhere("a new one", ({ pools: [pool] }) => {
          const [instance] = pool?.instances ?? [];
          return instance?.restarts === restarts && instance.state === "ready";
        });
      }
      await waitFor("all to be there", () => markedProcesses(mark).length === 5);
      const first = markedProcesses(mark);
      await end();
      await waitFor("those to be gone", () => !first.some((pid) => markedProcesses(mark).includes(pid)));
    }
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
  });

  test("outlives the supervisor, serves on, and is gone after the grace", async () => {
    const mark = newMark();
    const config = { orphanGraceMs: 6_000 };
    const command = [fixture("forks-grandchildren.sh"), "{socket}"];
    const project = await start({ runtime, command, config, mark, instances: 2 });
    const load = project.load({ mode: "connect-anew", clients: 4, path: "/" });
    await load.moreConnections(50);
    signal((await project.status()).pid, "SIGKILL");
    await load.moreConnections(30);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    await project.nothingLeft();
    expect(markedProcesses(mark)).toEqual([]);
  });
});
