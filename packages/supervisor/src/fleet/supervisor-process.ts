/** A supervisor in its own session: starts it from another process, reads its notices and stops it. */
import { spawn } from "node:child_process";
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { BUN_ONE_READER, LISTEN_FDS, type RestartCommand } from "@paceline/wire";
import { entryKindOf } from "../config/find.js";
import type { LoadedFleet } from "../config/load.js";
import type { FleetConfig, FleetUser } from "../core/model.js";
import { EXIT, PacelineError } from "../errors.js";
import { builtFile } from "../package.js";
import { readFleetFile } from "../run-dir/fleet-file.js";
import { actAs, claimRunDir, environmentOfUser, userToBecome } from "../run-dir/fleet-user.js";
import { identify, lockHolder, runningIn } from "../run-dir/lock.js";
import { findOrphans } from "../run-dir/orphans.js";
import { isDiskFull } from "../run-dir/run-dir-files.js";
import { makePrivate } from "../run-dir/trust.js";
import { forRuntime, inheritable, processTitle, runtimeCommand } from "../runtime/runtimes.js";
import type { FleetEnd, FleetStart } from "./api.js";
import { DETACH, type OwnStart, type PreparedStart, writeHandover } from "./prepare-start.js";
import { findSocketHolder, type SocketHolder } from "./socket-holder.js";
import { StarterEnd } from "./starter-link.js";

/** The command line, which is also the supervisor's program. */
const PROGRAM = builtFile("programs/cli/main.js");

/** Sent on the notice pipe when the control socket is served. */
export const UP = "up";

/** A supervisor writes little output. A larger file is truncated at the next start. In bytes. */
const MAX_OUTPUT_BYTES = 1 << 20;
/** How many balancers are asked to start the supervisor, one after another. */
const MOST_HOLDERS = 3;
/** How long a supervisor may take to stop its fleet, in milliseconds. */
const STOP_TIMEOUT_MS = 90_000;

export interface SupervisorProcess {
  readonly pid: number | undefined;
  readonly exited: Promise<FleetEnd>;
  kill(signal: NodeJS.Signals): void;
  /** Resolves when the control socket is served, the start failed, the supervisor exited, or `timeoutMs` passed. */
  notice(timeoutMs: number | undefined): Promise<"up" | "ended" | "late" | Failure>;
  /** Returns the supervisor's own output, for example why it failed to start. */
  output(): string;
  /** Stops the fleet gracefully, and resolves when the supervisor has exited. */
  stop(): Promise<void>;
  /** Lets the fleet continue when this process exits. */
  detach(): Promise<void>;
  /** Lets this process exit while the supervisor runs. */
  unref(): void;
}

/** Why a supervisor could not start, as JSON on the notice pipe. */
export interface Failure {
  ok: false;
  code: string;
  message: string;
  problems?: unknown;
  lastLines?: string[];
}

/**
 * Starts the supervisor of a prepared fleet. If a killed supervisor has left balancers behind, one of them starts it, so that the listening
 * sockets and the connections waiting there are kept.
 * @param stopWithClient whether the fleet stops when this process exits without `detach`
 * @throws PacelineError `rundir` if the run directory cannot be created; `failed` if a balancer does not start it
 */
export async function launchSupervisor(
  start: OwnStart,
  prepared: PreparedStart,
  stopWithClient: boolean,
): Promise<SupervisorProcess> {
  const launched = await launchByBalancer(start, prepared, stopWithClient);
  if (launched !== undefined) return launched;
  if (start.onlyAdopts) refuseWithoutFleet(prepared.runDirPath);
  return spawnSupervisor(start, prepared, stopWithClient);
}

/**
 * A start by a balancer may come after a start by an operator, or after a stop. It must then leave no process behind.
 * @throws PacelineError `running` or `not-running`
 */
function refuseWithoutFleet(runDir: string): void {
  const holder = lockHolder(runDir);
  const record = readFleetFile(runDir);
  if (holder !== undefined && holder.pid === record?.pid) throw runningIn(runDir, holder.pid);
  const isOver = record === undefined || record.endedAt !== null || findOrphans(record.channelSocket).length === 0;
  if (isOver) throw new PacelineError("not-running", "there is no fleet to take over");
}

/** Returns undefined if there is no balancer to ask. */
export async function launchByBalancer(
  start: OwnStart,
  prepared: PreparedStart,
  stopWithClient: boolean,
): Promise<SupervisorProcess | undefined> {
  // The balancers run as the user, so the lock and the files between them and this process belong to that user.
  const user = userToBecome(prepared.fleet);
  const endActing = user === undefined ? () => {} : actAs(user);
  try {
    for (let tries = 1; ; tries++) {
      const holder = await findSocketHolder(prepared.runDirPath);
      if (holder === undefined) return undefined;
      try {
        return await spawnByBalancer(holder, start, prepared, stopWithClient);
      } catch (error) {
        if (holder.isStarting) return undefined;
        // The balancer may have exited meanwhile, and another balancer may start the supervisor. Without any balancer, this process does.
        if (tries === MOST_HOLDERS) throw error;
      }
    }
  } finally {
    endActing();
  }
}

function spawnSupervisor(start: OwnStart, prepared: PreparedStart, stopWithClient: boolean): SupervisorProcess {
  const { fleet, runDirPath } = prepared;
  const user = userToBecome(fleet);
  if (user !== undefined) claimRunDir(runDirPath, user);
  const { handover, output } = asUser(user, () => {
    makePrivate(runDirPath);
    const handover = ifThereIsRoom(fleet, () => writeHandover(runDirPath, fleet));
    return { handover, output: openOutput(outputOf(prepared)) };
  });
  const { command, args, title, cwd, env } = programOf(prepared);
  const own = ["--notify-fd", "3", ...placeArguments(prepared), ...(handover === undefined ? [] : ["--fleet-fd", "4"])];
  const child = spawn(command, [...args, ...argumentsOf(start, stopWithClient, own)], {
    ...{ cwd, argv0: title, env, detached: true },
    stdio: [stopWithClient ? "pipe" : "ignore", output.fd, output.fd, "pipe", handover ?? "ignore"],
  });
  closeSync(output.fd);
  if (handover !== undefined) closeSync(handover);
  // The supervisor may exit before it reads its standard input.
  child.stdin?.on("error", () => {});
  const exited = new Promise<FleetEnd>((resolve) => {
    child.on("exit", (code, signal) => resolve({ code, signal }));
    // The process could not be spawned.
    child.on("error", () => resolve({ code: EXIT.failed, signal: null }));
  });
  const kill = (signal: NodeJS.Signals) => void child.kill(signal);
  return {
    pid: child.pid,
    exited,
    kill,
    notice: (timeoutMs) => waitForNotice(child.stdio[3] as Readable, timeoutMs),
    output: output.read,
    stop: () => stop(kill, exited),
    detach: () => new Promise((resolve) => child.stdin?.end(`${DETACH}\n`, () => resolve())),
    unref: () => child.unref(),
  };
}

async function spawnByBalancer(
  holder: SocketHolder,
  start: OwnStart,
  prepared: PreparedStart,
  stopWithClient: boolean,
): Promise<SupervisorProcess> {
  const file = (name: string) => join(holder.folder, `${name}${process.pid}`);
  const [link, environmentFile, fleetFile] = [file("s"), file("e"), file("f")];
  const output = openOutput(outputOf(prepared));
  closeSync(output.fd);
  const { command, args, title, cwd, env } = programOf(prepared);
  const starter = await StarterEnd.listen(link);
  const own = ["--listen-fds", LISTEN_FDS, "--starter", link, ...placeArguments(prepared)];
  let pid: number;
  try {
    const { fleet } = prepared;
    const writes = (path: string, value: object) =>
      ifThereIsRoom(fleet, () => {
        writeFileSync(path, JSON.stringify(value), { mode: 0o600, flag: "wx" });
        return true;
      });
    // If the file could not be written, the supervisor gets the balancer's environment.
    const hasEnvironment = writes(environmentFile, env);
    if (!hasEnvironment) rmSync(environmentFile, { force: true });
    if (writes(fleetFile, fleet)) own.push("--fleet-file", fleetFile);
    else rmSync(fleetFile, { force: true });
    // The fleet's user may have another default folder.
    const named = { ...start, runDir: prepared.runDirPath };
    pid = await holder.spawn({
      ...{ command, args: [...args, ...argumentsOf(named, stopWithClient, own)], title, cwd },
      ...{ output: outputOf(prepared), ...(hasEnvironment && { environmentFile }) },
    });
  } catch (error) {
    starter.close();
    for (const path of [link, environmentFile, fleetFile]) rmSync(path, { force: true });
    throw error;
  }
  starter.supervisor = identify(pid);
  const { exited } = starter;
  const kill = (signal: NodeJS.Signals) => starter.kill(signal);
  return {
    ...{ pid, exited, kill, output: output.read },
    notice: (timeoutMs) => noticeOf(starter.notice, timeoutMs),
    stop: () => stop(kill, exited),
    detach: () => starter.detach(),
    unref: () => starter.unref(),
  };
}

/** Hands a fleet over. On a full disk, returns undefined if the supervisor can load it itself. */
function ifThereIsRoom<T>({ source }: LoadedFleet, write: () => T): T | undefined {
  try {
    return write();
  } catch (error) {
    const { cause = error } = error as Error;
    if (source.kind !== "object" && isDiskFull(cause)) return undefined;
    throw error;
  }
}

/** In another user's directory, root follows no links, and overwrites nothing that this user could not. */
function asUser<T>(user: FleetUser | undefined, action: () => T): T {
  if (user === undefined) return action();
  const endActing = actAs(user);
  try {
    return action();
  } finally {
    endActing();
  }
}

function outputOf({ runDirPath }: PreparedStart): string {
  return join(runDirPath, "supervisor.out");
}

function placeArguments(prepared: PreparedStart): string[] {
  return isMissing(prepared) ? ["--cwd", prepared.request.cwd] : [];
}

/** Whether the working directory is gone, for example with a removed release: its fleet continues. */
function isMissing({ request }: PreparedStart): boolean {
  return entryKindOf(request.cwd) !== "folder";
}

/** Returns the beginning of a supervisor's command line, up to its arguments, and its surroundings. */
function programOf(prepared: PreparedStart) {
  const { fleet, request, runtimes, runDirPath } = prepared;
  const { cwd } = request;
  const { user } = fleet.config;
  // If a balancer starts the supervisor, it runs as the user from the beginning.
  const ofUser = user === null || process.getuid?.() !== 0 ? {} : environmentOfUser(user);
  const environment = { ...request.environment, ...ofUser };
  return {
    ...runtimeCommand(runtimes, runtimes.preferred, { entry: PROGRAM, hasUserCode: false }),
    title: processTitle("supervisor", fleet.config.name),
    // Through PWD, the supervisor also sees the folder as it was written.
    cwd: isMissing(prepared) ? runDirPath : cwd,
    env: forRuntime({ ...inheritable(environment), PWD: cwd, [BUN_ONE_READER]: "1" }, { hasUserCode: false }),
  };
}

/** Returns the command that an operator would type to start the fleet again; undefined if its config is a value of a program. */
export function restartCommandOf(start: FleetStart, prepared: PreparedStart): RestartCommand | undefined {
  if (prepared.fleet.source.kind === "object") return undefined;
  const { command, args } = programOf(prepared);
  const { cwd } = prepared.request;
  const options = ["--detach", "--only-adopts", "--run-dir", prepared.runDirPath, ...(start.watch ? ["--watch"] : [])];
  // With another preferred runtime, it would reload the fleet onto that runtime.
  const { PACELINE_RUNTIME } = prepared.request.environment;
  return {
    ...{
      command,
      args: [...args, "start", "--cwd", cwd, ...options, ...originArguments(start)],
      cwd,
      output: outputOf(prepared),
    },
    ...(PACELINE_RUNTIME !== undefined && { environment: { PACELINE_RUNTIME } }),
  };
}

async function stop(kill: (signal: NodeJS.Signals) => void, exited: Promise<FleetEnd>): Promise<void> {
  kill("SIGTERM");
  const timer = setTimeout(() => kill("SIGKILL"), STOP_TIMEOUT_MS);
  await exited;
  clearTimeout(timer);
}

/**
 * Returns the command line of the supervisor, with which it also loads its fleet again. `own` has the options by which it finds its
 * starter.
 */
function argumentsOf(start: OwnStart, stopWithClient: boolean, own: readonly string[]): string[] {
  const { runDir, replace, watch } = start;
  const args = ["start", "--log-format", "none", ...own];
  if (stopWithClient) args.push("--stop-with-client");
  if (runDir !== undefined) args.push("--run-dir", runDir);
  if (replace) args.push("--replace");
  if (watch) args.push("--watch");
  if (start.onlyAdopts) args.push("--only-adopts");
  if (start.reloadsAdopted) args.push("--reload-adopted");
  if (start.rehearses) args.push("--rehearses");
  return [...args, ...originArguments(start)];
}

/**
 * Returns the arguments for a start elsewhere, where the port in this environment is unknown.
 * @param listen where the fleet would listen if it were started here
 */
export function writtenArguments(start: FleetStart, listen: FleetConfig["listen"]): string[] {
  const { defaultPort, ...rest } = start;
  const [only] = listen;
  const isDefault =
    start.listen === undefined && listen.length === 1 && only?.kind === "tcp" && only.port === defaultPort;
  return originArguments(isDefault ? { ...rest, listen: [`${only.host}:${only.port}`] } : rest);
}

/** Returns the arguments of `paceline start` that describe what the fleet runs. */
export function originArguments(start: FleetStart): string[] {
  const { file, instances, listen = [], runtime, worker } = start;
  const args: string[] = [];
  for (const name of ["name", "static", "proxy", "cron", "fapws", "wsgi", "asgi", "python", "tls", "sticky"] as const) {
    const value = start[name];
    if (value !== undefined) args.push(`--${name}`, value);
  }
  if (instances !== undefined) args.push("--instances", String(instances));
  for (const address of listen) args.push("--listen", address);
  if (start.defaultPort !== undefined) args.push("--default-port", String(start.defaultPort));
  if (runtime !== undefined) args.push("--runtime", runtime);
  if (worker) args.push("--worker");
  // If the words are a command, or of a script, a target would turn them into arguments of an app.
  if (start.command === undefined && start.fapws === undefined)
    args.push(file === undefined ? "." : file.startsWith("-") ? `./${file}` : file);
  const words = start.command ?? start.args ?? [];
  return words.length === 0 ? args : [...args, "--", ...words];
}

/** Waits for the supervisor's notice: that it is up, why it failed, or (if the pipe closes) that it exited. */
export function waitForNotice(
  pipe: Readable,
  timeoutMs: number | undefined,
): Promise<"up" | "ended" | "late" | Failure> {
  return new Promise((resolve) => {
    let said = "";
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => end("late"), timeoutMs);
    const end = (state: "up" | "ended" | "late" | Failure) => {
      clearTimeout(timer);
      pipe.destroy();
      resolve(state);
    };
    pipe.on("data", (part) => {
      said += part;
      if (said.endsWith("\n")) end(said.trim() === UP ? "up" : (JSON.parse(said) as Failure));
    });
    pipe.once("error", () => end("ended"));
    pipe.once("end", () => end("ended"));
    pipe.once("close", () => end("ended"));
  });
}

/** Waits for the notice of a supervisor that is not a child. */
async function noticeOf(
  line: Promise<string | undefined>,
  timeoutMs: number | undefined,
): Promise<"up" | "ended" | "late" | Failure> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"late">((resolve) => {
    if (timeoutMs !== undefined) timer = setTimeout(() => resolve("late"), timeoutMs);
  });
  const said = await Promise.race([line, late]);
  clearTimeout(timer);
  if (said === undefined) return "ended";
  return said === "late" || said === UP ? said : (JSON.parse(said) as Failure);
}

/** Opens the file for appending. `read` returns the text written since then. */
function openOutput(path: string): { fd: number; read(): string } {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
  const fd = openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
  if (fstatSync(fd).size > MAX_OUTPUT_BYTES) ftruncateSync(fd, 0);
  const from = fstatSync(fd).size;
  return {
    fd,
    read: () => {
      const reader = openSync(path, "r");
      const size = Math.min(Math.max(0, fstatSync(reader).size - from), MAX_OUTPUT_BYTES);
      const buffer = Buffer.alloc(size);
      const length = readSync(reader, buffer, 0, size, from);
      closeSync(reader);
      return buffer.toString("utf8", 0, length);
    },
  };
}
