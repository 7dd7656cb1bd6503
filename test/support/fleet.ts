/** Starts Paceline as a user does, in a separate folder, and removes everything after the test. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { lstatSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, onTestFinished } from "vitest";
import type {
  DeployRequest,
  FleetEvent,
  LogLine,
  Status,
  TurnChange,
} from "../../packages/supervisor/dist/control/api.js";
import { PacelineError } from "../../packages/supervisor/dist/errors.js";
import type { OperationDone, OperationOptions } from "../../packages/supervisor/dist/fleet/api.js";
import { createFleet } from "../../packages/supervisor/dist/fleet/create-fleet.js";
import { connectFleet, type FleetClient } from "../../packages/supervisor/dist/fleet/fleet.js";
import { canBeKept, runKept } from "./commands.js";
import { Load, type LoadOptions } from "./load.js";
import { freePort, isListening } from "./ports.js";
import {
  afterLastOutput,
  commandLine,
  type Finished,
  FLEET_TAG,
  type RunOptions,
  run,
  signal,
  taggedProcesses,
} from "./processes.js";
import { waitFor } from "./wait.js";

/** The root folder of the repository. */
export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** The command that users type. */
export const PACELINE = join(ROOT, "packages/supervisor/bin/paceline");

/** The deadline of an operation, like that of a command, in milliseconds. */
const OPERATION_MS = 150_000;
/** The options with which the command starts a detached fleet. */
const START = { detached: true, endsSoon: true, timeoutMs: OPERATION_MS };

export type RuntimeName = "bun" | "node";
/** Every scenario runs with all processes, including the supervisor, on each of these runtimes. */
export const RUNTIMES: RuntimeName[] = ["bun", "node"];

export interface ProjectOptions {
  runtime: RuntimeName;
  /** Default: 2. */
  instances?: number;
  /** The source of app.js. */
  app: string;
  /** Overrides the configuration from the other options. */
  config?: Record<string, unknown>;
  /** More files, by path within the folder. */
  files?: Record<string, string>;
  /** The environment of `paceline start`. */
  env?: Record<string, string | undefined>;
}

/** The message of an operation, and the exit status of its command. */
export interface Operated {
  code: number;
  output: string;
}

/** Returns the body of a control socket's response; rejects unless its status is 200. */
export function askControl(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath, path, agent: false });
    request.setTimeout(30_000, () => request.destroy(new Error(`no response to ${path} within 30 s`)));
    request.on("error", reject);
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part) => {
        text += part;
      });
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${path}: ${response.statusCode}: ${text}`));
      });
    });
  });
}

/** A folder with an app and a paceline.config.json, and its processes. */
export class Project {
  readonly folder = mkdtempSync(join(tmpdir(), "pl-"));
  readonly port: number;
  readonly #tag = randomUUID();
  readonly #options: ProjectOptions;
  readonly #loads: Load[] = [];
  #foreground: ChildProcess | undefined;
  #ended: Promise<unknown> | undefined;
  /** The output so far of a supervisor in the foreground. */
  output = "";

  private constructor(port: number, options: ProjectOptions) {
    this.port = port;
    this.#options = options;
    this.write("package.json", '{ "type": "module", "private": true }\n');
    this.write("app.js", options.app);
    this.writeConfig({});
    for (const [name, text] of Object.entries(options.files ?? {})) this.write(name, text);
  }

  /** The run directory is in the project's folder, so that everything is in one place. */
  get runDir(): string {
    return join(this.folder, ".paceline");
  }

  /**
   * Creates the folder. After the current test, all its processes are stopped and it is removed.
   * @param atEnd is called with the clean-up function instead, if the caller wants another time for it
   */
  static async make(options: ProjectOptions, atEnd: (cleanUp: () => Promise<void>) => void = onTestFinished) {
    const project = new Project(await freePort(), options);
    atEnd(() => project.#cleanUp());
    return project;
  }

  write(name: string, text: string): void {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  /** Writes paceline.config.json again, or the one in a release folder; `changes` override the project's options. */
  writeConfig(changes: Record<string, unknown>, folder = "."): void {
    const { runtime, instances = 2, config = {} } = this.#options;
    const { balancer, pools, ...rest } = { ...config, ...changes };
    const all = {
      name: "test",
      listen: [`127.0.0.1:${this.port}`],
      runtime,
      // Reloads are quick in tests about other topics.
      minReadyMs: 50,
      // A killed supervisor is not started again until a test starts the next one.
      restartSupervisor: false,
      balancer: { runtime, ...(balancer as object | undefined) },
      ...(pools === undefined ? { app: "./app.js", instances } : { pools: sized(pools as Pools, instances) }),
      ...rest,
    };
    this.write(join(folder, "paceline.config.json"), JSON.stringify(all, null, 2));
  }

  /** The environment of `paceline start`: its processes inherit the tag that identifies them. */
  startEnvironment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      PACELINE_RUNTIME: this.#options.runtime,
      PACELINE_RUN_DIR: this.runDir,
      [FLEET_TAG]: this.#tag,
      ...this.#options.env,
    };
  }

  /** Runs a `paceline` command in the folder until it exits. A command that only reads runs in a kept process. */
  cli(args: string[], options: RunOptions = {}): Promise<Finished> {
    const env = { ...process.env, PACELINE_RUNTIME: this.#options.runtime, PACELINE_RUN_DIR: this.runDir };
    if (Object.keys(options).length === 0 && canBeKept(args)) return runKept(args, this.folder, env);
    return run(PACELINE, args, { cwd: this.folder, env, ...options });
  }

  /** Does what `paceline reload` does, in this process: a command would take another process. */
  reload(pool?: string): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.reload({ pool, ...options }));
  }

  /** Does what `paceline scale` does, in this process. */
  scale(pool: string, instances: number): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.scale(pool, instances, options));
  }

  /** Does what `paceline restart` does, in this process. */
  restart(target?: string): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.restart(target, options));
  }

  /** Does what `paceline drain` and similar commands do, in this process. */
  turn(what: TurnChange["do"], instance: string, body: object = {}): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.turn(what, instance, body, options));
  }

  /** Does what `paceline deploy` does with a folder or with the options of a request, in this process. */
  deploy(request: DeployRequest): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.deploy(request, options));
  }

  /** Does what `paceline deploy --steer` does, in this process. */
  steer(what: "promote" | "hold" | "resume"): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.steerDeploy(what, options));
  }

  /** Does what `paceline rollback` does, in this process. */
  rollback(): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.rollback(options));
  }

  /** Does what `paceline stop` does, in this process. */
  stop(pool?: string): Promise<Operated> {
    return this.#operate((fleet, options) => fleet.stop({ pool, ...options }));
  }

  async #operate(run: (fleet: FleetClient, options: OperationOptions) => Promise<OperationDone>): Promise<Operated> {
    const lines: string[] = [];
    const ended = (code: number) => ({ code, output: lines.map((line) => `${line}\n`).join("") });
    try {
      const fleet = await connectFleet({ runDir: this.runDir });
      const { message } = await run(fleet, { timeoutMs: OPERATION_MS, onProgress: (line) => lines.push(line) });
      lines.push(message);
      return ended(0);
    } catch (error) {
      if (!(error instanceof PacelineError)) throw error;
      lines.push(error.message, ...error.lastLines);
      return ended(error.exitStatus);
    }
  }

  /**
   * Does what `paceline start --detach` does, in this process.
   * @throws StartError
   */
  async start(): Promise<void> {
    // pnpm's wrapper script of vitest sets NODE_PATH; the command would remove it.
    const { NODE_PATH: _, ...environment } = this.startEnvironment();
    const entries = Object.entries({ ...environment, PWD: this.folder }).filter(([, value]) => value !== undefined);
    const env = Object.fromEntries(entries) as Record<string, string>;
    await createFleet({ cwd: this.folder, env, ...START });
  }

  /** Runs `paceline start --detach` until it exits, with success or not. */
  startDetached(args: string[] = []): Promise<Finished> {
    return this.cli(["start", "--detach", ...args], { env: this.startEnvironment() });
  }

  /** Runs `paceline start` without a terminal, in a separate session. Returns immediately; see `ready`. */
  startInForeground(command: string[] = [PACELINE, "start"], cwd = this.folder): ChildProcess {
    const [program = PACELINE, ...args] = command;
    const child = spawn(program, args, {
      cwd,
      env: this.startEnvironment(),
      stdio: ["pipe", "pipe", "pipe"],
      detached: true,
    });
    const keep = (text: string) => {
      this.output += text;
    };
    child.stdin.on("error", () => undefined); // It may exit before it has read everything.
    child.stdout.setEncoding("utf8").on("data", keep);
    child.stderr.setEncoding("utf8").on("data", keep);
    this.#foreground = child;
    // Processes that it has left running may keep its output open.
    this.#ended = new Promise((resolve) => {
      child.on("close", resolve).on("exit", () => afterLastOutput(() => resolve(undefined)));
    });
    return child;
  }

  /** The process of `startInForeground`, which leads its process group. */
  get foregroundPid(): number {
    const pid = this.#foreground?.pid;
    if (pid === undefined) throw new Error("nothing runs in the foreground");
    return pid;
  }

  /** Returns how the process of `startInForeground` exited; `output` is complete then. */
  async exit(deadlineMs?: number): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const child = this.#foreground;
    if (!child) throw new Error("nothing was started in the foreground");
    await waitFor("the foreground process to end", () => child.exitCode !== null || child.signalCode !== null, {
      deadlineMs,
      details: () => this.output,
    });
    await this.#ended;
    return { code: child.exitCode, signal: child.signalCode };
  }

  /** Returns the status document from the control socket. */
  async status(): Promise<Status> {
    return JSON.parse(await this.#ask("/v1/status"));
  }

  /** Returns the events in lines like those of `paceline events`, from the control socket, because a command would take a process. */
  async events(): Promise<string> {
    const lines = (await this.#ask("/v1/events?lines=500")).split("\n").filter(Boolean);
    const each = lines.map((line) => JSON.parse(line) as FleetEvent);
    return each.map(({ level, subject, message }) => ` ${level} ${subject.padEnd(10)} ${message}\n`).join("");
  }

  /**
   * Resolves with the events, in lines as `events` returns them, when one of them matches: an event may come after the change that it
   * describes.
   */
  eventWhere(pattern: RegExp): Promise<string> {
    let events = "";
    const look = async () => {
      events = await this.events().catch(String);
      return pattern.test(events) && events;
    };
    return waitFor(`an event ${pattern}`, look, { details: () => events });
  }

  /** Returns the output of an instance, a pool or all of them, in lines like those of `paceline logs`. */
  async logs(name?: string): Promise<string> {
    const of = name === undefined ? "" : `&name=${name}`;
    const lines = (await this.#ask(`/v1/logs?lines=1000${of}`)).split("\n").filter(Boolean);
    const each = lines.map((line) => JSON.parse(line) as LogLine);
    return each.map((line) => `${line.name} | ${line.text}\n`).join("");
  }

  #ask(path: string): Promise<string> {
    return askControl(join(this.runDir, "control.sock"), path);
  }

  /** Resolves with the first status for which `condition` holds. */
  async statusWhere(what: string, condition: (status: Status) => boolean, deadlineMs?: number): Promise<Status> {
    let last = "nothing";
    return await waitFor(
      what,
      async () => {
        const status = await this.status().catch((error) => {
          last = String(error);
          return undefined;
        });
        if (!status) return undefined;
        last = JSON.stringify(status);
        return condition(status) && status;
      },
      { deadlineMs, intervalMs: 20, details: () => `${last}\n${this.output}` },
    );
  }

  /** Resolves when every instance and balancer is ready. */
  ready(deadlineMs?: number): Promise<Status> {
    return this.statusWhere("everything to be ready", allReady, deadlineMs);
  }

  /** Starts a load on this fleet. */
  load(options: Omit<LoadOptions, "port">): Load {
    const load = new Load({ port: this.port, ...options });
    this.#loads.push(load);
    return load;
  }

  /** Returns the pids of all remaining processes of `start`. */
  processes(): number[] {
    return taggedProcesses(this.#tag, this.folder);
  }

  /** Returns socket files below the folder. */
  sockets(): string[] {
    let names: string[] = [];
    // A folder may disappear while it is listed.
    for (let tries = 0; ; tries++) {
      try {
        names = readdirSync(this.folder, { recursive: true, encoding: "utf8" });
        break;
      } catch (error) {
        if (tries === 10) throw error;
      }
    }
    return names.filter((name) => {
      try {
        return lstatSync(join(this.folder, name)).isSocket();
      } catch {
        return false; // It has disappeared in the meantime.
      }
    });
  }

  /** Resolves when no process and no socket of the fleet remains and its port is free, before orphans exit by themselves. */
  async nothingLeft(deadlineMs = 45_000): Promise<void> {
    let left: unknown;
    // The cheapest check comes first: a search of all processes reads two files of each.
    const look = async () => {
      if (await isListening(this.port)) return { listening: true };
      const sockets = this.sockets();
      if (sockets.length > 0) return { sockets };
      const processes = this.processes().map((pid) => `${pid} ${commandLine(pid)}`);
      return processes.length > 0 ? { processes } : undefined;
    };
    const isNothing = async () => {
      left = await look();
      return left === undefined;
    };
    await waitFor("nothing to be left", isNothing, { deadlineMs, details: () => JSON.stringify(left) });
  }

  async #cleanUp(): Promise<void> {
    for (const load of this.#loads) load.kill();
    // Checks more than once: a process that is just being spawned is found the next time.
    await waitFor("the fleet's processes to be gone", () => {
      const left = this.processes();
      for (const pid of left) signal(pid, "SIGKILL");
      return left.length === 0;
    });
    rmSync(this.folder, { recursive: true, force: true });
  }
}

type Pools = Record<string, Record<string, unknown>>;

/** Gives the project's number of instances to app pools that state none; the product's default is four. */
function sized(pools: Pools, instances: number): Pools {
  const isApp = (pool: object) => ["app", "wsgi", "asgi", "fapws"].some((kind) => kind in pool);
  const size = (pool: Pools[string]) => (isApp(pool) ? { instances, ...pool } : pool);
  return Object.fromEntries(Object.entries(pools).map(([name, pool]) => [name, size(pool)]));
}

/** Returns whether every instance and balancer is ready and no slot has a second process. */
export function allReady(status: Status): boolean {
  const slots = [...status.balancers, ...status.pools.flatMap((pool) => pool.instances)];
  return (
    status.state === "running" &&
    slots.every((slot) => slot.state === "ready" && slot.other === null) &&
    status.pools.every((pool) => pool.ready === pool.wanted && pool.rollout === null)
  );
}

/** Returns a project with a running fleet. */
export async function startFleet(options: ProjectOptions): Promise<Project> {
  const project = await Project.make(options);
  await project.start();
  return project;
}

/** Starts a fleet for all tests of the current `describe`, because each start takes 0.3 to 0.5 s of CPU time. Call the result in a test. */
export function sharedFleet(options: ProjectOptions): () => Project {
  let project: Project | undefined;
  let cleanUp: (() => Promise<void>) | undefined;
  beforeAll(async () => {
    project = await Project.make(options, (atEnd) => {
      cleanUp = atEnd;
    });
    await project.start();
  });
  afterAll(() => cleanUp?.());
  return () => {
    if (project === undefined) throw new Error("the shared fleet did not start");
    return project;
  };
}
