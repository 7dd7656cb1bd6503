/** Starts supervisors as separate processes on either runtime, with fixture children, and queries them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BALANCER_LIMITS, INSTANCE_LIMITS } from "@paceline/wire/limits";
import type { OperationResult, Status } from "../src/control/api.js";
import type { FleetConfig, PoolConfig, ProcessPolicy } from "../src/core/model.js";

export type RuntimeName = "bun" | "node";
export const RUNTIMES: RuntimeName[] = ["node", "bun"];

const here = dirname(fileURLToPath(import.meta.url));
/** The programs of `bundlePrograms`, below `dist`, where they find the package. */
const programs = join(here, "../dist", `test-programs-${process.pid}`);
const program = (name: string) => join(programs, `${name}.js`);
const BUNDLING = new URL("../../../scripts/bundling.mjs", import.meta.url).href;
export const fixture = (name: string) => join(here, "fixtures", `${name}.mjs`);
const bunPackage = `@oven/bun-${process.platform}-${process.arch === "arm64" ? "aarch64" : "x64"}/package.json`;
const bun = join(dirname(createRequire(import.meta.url).resolve(bunPackage)), "bin", "bun");
const binaries = { node: process.execPath, bun };

const policy: ProcessPolicy = {
  readyTimeoutMs: 30_000,
  stableAfterMs: 60_000,
  drainTimeoutMs: 3000,
  termTimeoutMs: 2000,
  killTimeoutMs: 1000,
  hangAfterMs: 0,
  minReadyMs: 0,
  maxSurge: 1,
  backoff: { initialMs: 100, maxMs: 1000, factor: 2, jitter: 0.2 },
  restartBudget: { maxFailures: 4, periodMs: 60_000 },
};

export function pool(name: string, app: string, instances: number, more: Partial<PoolConfig> = {}): PoolConfig {
  return {
    name,
    kind: "app",
    source: fixture(app),
    workload: { app: fixture(app) },
    launch: { entry: "server" },
    recycle: { maxMemoryMb: 0, memoryMetric: "rss", maxRequests: 0, maxAgeMs: 0, schedule: null, jitter: 0 },
    relayed: {},
    preload: false,
    maxInFlight: null,
    requestTimeoutMs: 0,
    instances,
    serves: true,
    scaling: null,
    warmup: null,
    maxInstances: 1024,
    overlap: true,
    cron: null,
    routes: ["/"],
    stripPrefix: false,
    runtime: "bun",
    protocol: "http1",
    release: here,
    cwd: here,
    env: {},
    envFiles: [],
    secrets: {},
    policy,
    health: { healthIntervalMs: 1000, healthTimeoutMs: 1000, healthFailures: 3, checkHost: "localhost" },
    limits: INSTANCE_LIMITS,
    maxOutputBytes: 1 << 20,
    ...more,
  };
}

export function fleet(pools: PoolConfig[], more: Partial<FleetConfig> = {}): FleetConfig {
  const limits = Object.fromEntries(Object.keys(BALANCER_LIMITS).map((name) => [name, 1000]));
  return {
    name: "test",
    listen: [{ kind: "tcp", host: "127.0.0.1", port: 0 }],
    agentCheck: null,
    user: null,
    restartSupervisor: false,
    orphanGraceMs: 20_000,
    log: { maxFileBytes: 1 << 20, maxFiles: 2, maxTotalBytes: 2 << 20 },
    balancer: {
      processes: 1,
      runtime: "bun",
      trustedProxies: [],
      rateLimits: [],
      spoolDir: null,
      accessLog: false,
      probes: null,
      preDrainMs: 0,
      policy,
      limits,
      maxOutputBytes: 1 << 20,
    },
    pools,
    ...more,
  };
}

export { policy };

/** Bundles the programs of all processes, for the tests of one file: reading 300 files takes most of the CPU time of a start. */
export async function bundlePrograms(): Promise<void> {
  const { bundle } = (await import(BUNDLING)) as { bundle(input: string[], folder: string): Promise<string[]> };
  await bundle([join(here, "supervisor-process.mjs"), fixture("instance"), fixture("balancer")], programs);
}

export function removePrograms(): void {
  rmSync(programs, { recursive: true, force: true });
}

export class RunningSupervisor {
  private next = 1;

  constructor(
    readonly child: ChildProcess,
    readonly directory: string,
    readonly configFile: string,
  ) {}

  /** Sets the config for `reload`. */
  configure(config: FleetConfig | { problems: string[] }): void {
    writeFileSync(this.configFile, JSON.stringify(config));
  }

  async call<T = OperationResult>(method: string, ...args: unknown[]): Promise<T> {
    const id = this.next++;
    const outcome = new Promise<T>((resolve, reject) => {
      const hear = (message: { id: number; result: T; error?: { message: string; code: string } }) => {
        if (message.id !== id) return;
        this.child.off("message", hear).off("exit", end);
        if (message.error === undefined) resolve(message.result);
        else reject(Object.assign(new Error(message.error.message), { code: message.error.code }));
      };
      this.child.on("message", hear);
      const end = () => reject(new Error(`the supervisor ended before it answered ${method}`));
      this.child.once("exit", end);
    });
    const failed = new Promise<never>((_resolve, reject) => {
      this.child.send({ id, method, args }, (error) => error && reject(error));
    });
    return Promise.race([outcome, failed]);
  }

  status(): Promise<Status> {
    return this.call<Status>("status");
  }

  /** Returns the first status that satisfies the condition, within a deadline. */
  async until(what: string, satisfies: (status: Status) => boolean, timeoutMs = 60_000): Promise<Status> {
    const deadline = Date.now() + timeoutMs;
    for (let pauseMs = 15; ; pauseMs = Math.min(100, pauseMs * 1.5)) {
      const status = await this.status();
      if (satisfies(status)) return status;
      if (Date.now() > deadline)
        throw new Error(`not within ${timeoutMs} ms: ${what}\n${JSON.stringify(status, null, 1)}`);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async url(): Promise<string> {
    return (await this.status()).listen[0] ?? "";
  }

  /** Resolves with the exit code when the supervisor's process has exited. */
  async exited(timeoutMs = 60_000): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const [code] = await once(this.child, "exit", { signal: AbortSignal.timeout(timeoutMs) });
    return code as number | null;
  }
}

const running: RunningSupervisor[] = [];
const shared: RunningSupervisor[] = [];

/** Starts a supervisor; `endAll` stops it. */
export async function start(runtime: RuntimeName, config: FleetConfig): Promise<RunningSupervisor> {
  const supervisor = await launch(runtime, config);
  await supervisor.call("start");
  return supervisor;
}

/** Creates a supervisor; the caller then calls `start`. */
export async function launch(runtime: RuntimeName, config: FleetConfig): Promise<RunningSupervisor> {
  const directory = mkdtempSync(join(tmpdir(), "paceline-supervisor-"));
  const configFile = join(directory, "config.json");
  const entries = { server: program("instance"), shim: program("instance"), balancer: program("balancer") };
  const description = JSON.stringify({ config, configFile, directory, entries, runtimes: binaries });
  const child = spawn(binaries[runtime], [program("supervisor-process"), description], {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
    // A separate session has no terminal, whoever runs the tests.
    detached: true,
    serialization: "json",
  });
  const supervisor = new RunningSupervisor(child, directory, configFile);
  supervisor.configure(config);
  running.push(supervisor);
  await once(child, "message", { signal: AbortSignal.timeout(60_000) });
  return supervisor;
}

/** Excludes a supervisor from `endAll`, for use by several tests; `endShared` stops it. */
export function share(supervisor: RunningSupervisor): RunningSupervisor {
  running.splice(running.indexOf(supervisor), 1);
  shared.push(supervisor);
  return supervisor;
}

/** Stops the supervisors of one test, and their processes. */
export function endAll(): Promise<void> {
  return endEach(running);
}

/** Stops the supervisors that several tests share. */
export function endShared(): Promise<void> {
  return endEach(shared);
}

async function endEach(list: RunningSupervisor[]): Promise<void> {
  for (const supervisor of list.splice(0)) {
    await end(supervisor);
    rmSync(supervisor.directory, { recursive: true, force: true });
  }
}

async function end(supervisor: RunningSupervisor): Promise<void> {
  const { child } = supervisor;
  if (child.exitCode !== null || child.signalCode !== null) return;
  const status = await supervisor.status().catch(() => undefined);
  child.kill("SIGINT");
  child.kill("SIGINT");
  await supervisor.exited().catch(() => {
    child.kill("SIGKILL");
    for (const pid of status === undefined ? [] : pidsOf(status)) tryKill(-pid);
  });
}

export function pidsOf(status: Status): number[] {
  const processes = [...status.balancers, ...status.pools.flatMap((p) => p.instances)];
  return processes.flatMap(({ pid, other }) => [pid, other?.pid]).filter((pid) => pid != null);
}

/** A zombie that nobody has waited for is not alive. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    // It has just exited, or there is no /proc here.
    return !existsSync("/proc/self");
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It is already gone.
  }
}

/** Returns the response body of a request on a new connection; rejects unless the status is 200. */
export function get(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request(url, { agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("error", reject);
      response.on("end", () =>
        response.statusCode === 200 ? resolve(body) : reject(new Error(`${response.statusCode}`)),
      );
    });
    call.on("error", reject);
    call.end();
  });
}

/** Clients that send requests until `end`, which resolves with the number of responses and every error. */
export function load(url: string, clients: number): { end(): Promise<{ answered: number; errors: string[] }> } {
  let going = true;
  let answered = 0;
  const errors: string[] = [];
  const client = async () => {
    while (going) {
      try {
        await get(url);
        answered++;
        await new Promise((resolve) => setTimeout(resolve, 20));
      } catch (error) {
        errors.push((error as Error).message);
      }
    }
  };
  const all = Promise.all(Array.from({ length: clients }, client));
  return {
    async end() {
      going = false;
      await all;
      return { answered, errors };
    },
  };
}
