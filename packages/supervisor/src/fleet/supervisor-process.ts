/** A supervisor in its own session: how another process starts it, reads its notices and stops it. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { BUN_ONE_READER } from "@paceline/wire";
import { EXIT } from "../errors.js";
import { builtFile } from "../package.js";
import { makePrivate } from "../run-dir/trust.js";
import { forRuntime, inheritable, processTitle, runtimeCommand } from "../runtime/runtimes.js";
import type { FleetEnd, FleetStart } from "./api.js";
import { type PreparedStart, writeHandover } from "./prepare-start.js";

/** The command line, which is also the supervisor's program. */
const PROGRAM = builtFile("programs/cli/main.js");

/** Sent on the notice pipe when the control socket is served. */
export const UP = "up";

/** A supervisor writes little output; a larger file is truncated at the next start. */
const MAX_OUTPUT_BYTES = 1 << 20;
/** How long a supervisor may take to stop its fleet. */
const STOP_TIMEOUT_MS = 90_000;

export interface SupervisorProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<FleetEnd>;
  /** Resolves when the control socket is served, the start failed, the supervisor ended, or `timeoutMs` passed. */
  notice(timeoutMs: number | undefined): Promise<"up" | "ended" | "late" | Failure>;
  /** Returns the supervisor's own output, for example why it failed to start. */
  output(): string;
  /** Stops the fleet gracefully and resolves when the supervisor has ended. */
  stop(): Promise<void>;
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
 * Starts the supervisor of a prepared fleet.
 * @param stopWithClient the fleet stops when this process ends without sending `detach` on the supervisor's standard input
 * @throws PacelineError `rundir` when the run directory cannot be created
 */
export function spawnSupervisor(
  start: FleetStart,
  { fleet, request, runtimes, runDirPath }: PreparedStart,
  stopWithClient: boolean,
): SupervisorProcess {
  makePrivate(runDirPath);
  const handover = writeHandover(runDirPath, fleet);
  const output = openOutput(join(runDirPath, "supervisor.out"));
  const program = runtimeCommand(runtimes, runtimes.preferred, { entry: PROGRAM, hasUserCode: false });
  const { cwd, environment } = request;
  const child = spawn(program.command, [...program.args, ...argumentsOf(start, stopWithClient)], {
    // With PWD the supervisor sees the folder as it was written, too.
    cwd,
    argv0: processTitle("supervisor", fleet.config.name),
    env: forRuntime({ ...inheritable(environment), PWD: cwd, [BUN_ONE_READER]: "1" }, { hasUserCode: false }),
    detached: true,
    stdio: [stopWithClient ? "pipe" : "ignore", output.fd, output.fd, "pipe", handover],
  });
  closeSync(output.fd);
  closeSync(handover);
  // The supervisor may end before it reads its standard input.
  child.stdin?.on("error", () => {});
  const exited = new Promise<FleetEnd>((resolve) => {
    child.on("exit", (code, signal) => resolve({ code, signal }));
    // It could not be spawned.
    child.on("error", () => resolve({ code: EXIT.failed, signal: null }));
  });
  return {
    child,
    exited,
    notice: (timeoutMs) => waitForNotice(child.stdio[3] as Readable, timeoutMs),
    output: output.read,
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    },
  };
}

/** Returns the command line of the supervisor, which it also loads its fleet with again. */
function argumentsOf(start: FleetStart, stopWithClient: boolean): string[] {
  const { runDir, replace, watch } = start;
  const args = ["start", "--log-format", "none", "--notify-fd", "3", "--fleet-fd", "4"];
  if (stopWithClient) args.push("--stop-with-client");
  if (runDir !== undefined) args.push("--run-dir", runDir);
  if (replace) args.push("--replace");
  if (watch) args.push("--watch");
  return [...args, ...originArguments(start)];
}

/** Returns the arguments of `paceline start` that say what the fleet runs. */
export function originArguments(start: FleetStart): string[] {
  const { file, instances, listen = [], runtime, worker } = start;
  const args: string[] = [];
  for (const name of ["name", "static", "proxy", "cron", "fapws", "wsgi", "asgi", "python"] as const) {
    const value = start[name];
    if (value !== undefined) args.push(`--${name}`, value);
  }
  if (instances !== undefined) args.push("--instances", String(instances));
  for (const address of listen) args.push("--listen", address);
  if (start.defaultPort !== undefined) args.push("--default-port", String(start.defaultPort));
  if (runtime !== undefined) args.push("--runtime", runtime);
  if (worker) args.push("--worker");
  // Beside words that are a command, or a script's, a target would make them arguments of an app.
  if (start.command === undefined && start.fapws === undefined)
    args.push(file === undefined ? "." : file.startsWith("-") ? `./${file}` : file);
  const words = start.command ?? start.args ?? [];
  return words.length === 0 ? args : [...args, "--", ...words];
}

/** Waits for the supervisor's notice: it is up, why it failed, or (a closed pipe) that it ended. */
function waitForNotice(pipe: Readable, timeoutMs: number | undefined): Promise<"up" | "ended" | "late" | Failure> {
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
