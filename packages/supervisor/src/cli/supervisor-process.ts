/** A supervisor in its own session: how a command starts it, reads its notices and stops it. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { BUN_ONE_READER } from "@paceline/wire";
import type { LoadedFleet } from "../config/load.js";
import type { OperationResult } from "../control/api.js";
import { ControlClient } from "../control/client.js";
import { PacelineError } from "../errors.js";
import { controlSocketIn } from "../run-dir/run-dir.js";
import { makePrivate } from "../run-dir/trust.js";
import { inheritable, ownRuntimeCommand } from "../runtime/runtimes.js";
import { milliseconds, type StartOptions } from "./options.js";
import {
  EXIT,
  type ExitStatus,
  exitStatusOf,
  type Failure,
  print,
  printError,
  printForeign,
  printJson,
  printResult,
  reportFailure,
} from "./output.js";
import { describeFleet, prepareStart, writeHandover } from "./prepare-start.js";

/** Sent on the notice pipe when the control socket is served. */
export const UP = "up";

/** A supervisor writes little output; a larger file is truncated at the next start. */
const MAX_OUTPUT_BYTES = 1 << 20;
/** How long a supervisor may take to stop its fleet. */
const STOP_TIMEOUT_MS = 90_000;

export interface SupervisorProcess {
  readonly child: ChildProcess;
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  /** Resolves when the control socket is served, the start failed, the supervisor ended, or `timeoutMs` passed. */
  notice(timeoutMs: number | undefined): Promise<"up" | "ended" | "late" | Failure>;
  /** Returns the supervisor's own output, for example why it failed to start. */
  output(): string;
  /** Stops the fleet gracefully and resolves when the supervisor has ended. */
  stop(): Promise<void>;
}

interface SpawnOptions {
  runDirPath: string;
  /** The fleet loaded from `target`, handed to the supervisor. */
  fleet: LoadedFleet;
  /** Stops the fleet when this process ends without sending `detach` on the supervisor's standard input. */
  stopWithClient: boolean;
}

/** @throws PacelineError `rundir` when the run directory cannot be created */
export function spawnSupervisor(target: string, options: StartOptions, spawning: SpawnOptions): SupervisorProcess {
  makePrivate(spawning.runDirPath);
  const handover = writeHandover(spawning.runDirPath, spawning.fleet);
  const output = openOutput(join(spawning.runDirPath, "supervisor.out"));
  const { instances, listen = [], runtime, runDir, replace, watch, static: folder } = options;
  const args = ["start", "--log-format", "none", "--notify-fd", "3", "--fleet-fd", "4"];
  if (spawning.stopWithClient) args.push("--stop-with-client");
  if (folder !== undefined) args.push("--static", folder);
  for (const name of ["proxy", "fapws", "wsgi", "asgi", "python"] as const) {
    const value = options[name];
    if (value !== undefined) args.push(`--${name}`, value);
  }
  if (instances !== undefined) args.push("--instances", String(instances));
  for (const address of listen) args.push("--listen", address);
  if (runtime !== undefined) args.push("--runtime", runtime);
  if (runDir !== undefined) args.push("--run-dir", runDir);
  if (options.worker) args.push("--worker");
  if (replace) args.push("--replace");
  if (watch) args.push("--watch");
  // Beside words that are a command, or a script's, a target would make them arguments of an app.
  if (options.command === undefined && options.fapws === undefined)
    args.push(target.startsWith("-") ? `./${target}` : target);
  args.push("--", ...(options.command ?? options.scriptArgs ?? []));
  const supervisor = ownRuntimeCommand({ entry: process.argv[1] as string, hasUserCode: false });
  const child = spawn(supervisor.command, [...supervisor.args, ...args], {
    env: { ...inheritable(process.env as Record<string, string>), [BUN_ONE_READER]: "1" },
    detached: true,
    stdio: [spawning.stopWithClient ? "pipe" : "ignore", output.fd, output.fd, "pipe", handover],
  });
  closeSync(output.fd);
  closeSync(handover);
  // The supervisor may end before it reads its standard input.
  child.stdin?.on("error", () => {});
  const exited = new Promise<Awaited<SupervisorProcess["exited"]>>((resolve) =>
    child.on("exit", (code, signal) => resolve({ code, signal })),
  );
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
  });
}

/** Waits until all instances are ready, or until `timeoutMs` has passed. */
export async function waitReady(
  socketPath: string,
  timeoutMs: number | undefined,
  options: StartOptions,
): Promise<OperationResult> {
  const client = new ControlClient({ socketPath, timeoutMs });
  try {
    return await client.operate("GET", "/v1/ready");
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    return code === "timeout" ? lateResult(options) : { ok: false, code: "failed", message };
  }
}

export function lateResult({ timeout }: StartOptions): OperationResult {
  return { ok: false, code: "timeout", message: `not all instances became ready within ${timeout} s` };
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

/** The exit status that shells use for SIGINT. */
const INTERRUPTED = 130;

/** Starts a fleet in its own session and waits until it is ready. If the start fails, stops everything it started. */
export async function startDetached(target: string, options: StartOptions): Promise<ExitStatus> {
  const { fleet, runDirPath } = await prepareStart(target, options);
  const supervisor = spawnSupervisor(target, options, { runDirPath, fleet, stopWithClient: false });
  const { child } = supervisor;
  const timeoutMs = milliseconds(options.timeout);
  const deadline = timeoutMs === undefined ? undefined : performance.now() + timeoutMs;
  const left = () => (deadline === undefined ? undefined : Math.max(1, deadline - performance.now()));

  const json = options.json === true;
  const interrupted = async () => {
    await supervisor.stop();
    if (json) printJson({ ok: false, code: "interrupted", message: "interrupted; nothing was left running" });
    process.exit(INTERRUPTED);
  };
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);

  const up = await supervisor.notice(left());
  if (typeof up === "object") {
    await supervisor.exited;
    if (options.orReload && up.code === "running") {
      process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
      throw new PacelineError(up.code, up.message);
    }
    return reportFailure(up, json);
  }
  if (up === "ended") {
    const { code, signal } = await supervisor.exited;
    if (!json) printForeign(supervisor.output());
    const how = signal === null ? `ended with exit status ${code}` : `was killed by ${signal}`;
    const lastLines = supervisor.output().trimEnd().split("\n").slice(-20);
    if (json) printJson({ ok: false, code: "failed", message: `the supervisor ${how}`, lastLines });
    return (code ?? EXIT.failed) as ExitStatus;
  }
  const result: OperationResult =
    up === "late" ? lateResult(options) : await waitReady(controlSocketIn(runDirPath), left(), options);
  if (!result.ok) {
    await supervisor.stop();
    if (!json) printForeign(supervisor.output());
    const status = printResult(result, json);
    if (!json) printError("nothing was left running");
    return status;
  }
  child.unref();
  if (json) printJson({ ...result, pid: child.pid, runDir: runDirPath });
  else print(`paceline: ${describeFleet(fleet.config, process.cwd())}: all ready (pid ${child.pid})`);
  return exitStatusOf(result);
}
