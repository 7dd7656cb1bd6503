/** Starts and signals OS processes. Each has its own session and process group and survives the supervisor. */
import { type ChildProcess, spawn } from "node:child_process";
import { hasNotEnded, readStat } from "@paceline/wire/proc";
import type { ExitStatus } from "../core/model.js";
import { spawnProblem } from "../runtime/runtimes.js";

interface SpawnOptions {
  command: string;
  args: readonly string[];
  cwd: string;
  environment: Record<string, string>;
  /** The file for its stdout and stderr; a pipe would break when the supervisor dies. */
  outputFd: number;
  /** The descriptors that it inherits as fd 3, 4, …. */
  inheritedFds: readonly number[];
  onExit(status: ExitStatus): void;
  onSpawnFailed(reason: string): void;
}

/** Starts a process and returns its pid; null if it could not be started, which `onSpawnFailed` reports in a later turn. */
export function spawnDetached(options: SpawnOptions): number | null {
  let child: ChildProcess;
  try {
    child = spawn(options.command, options.args, {
      cwd: options.cwd,
      env: options.environment,
      detached: true,
      stdio: ["ignore", options.outputFd, options.outputFd, ...options.inheritedFds],
    });
  } catch (error) {
    // Bun throws where Node emits an error.
    setImmediate(() => options.onSpawnFailed(spawnProblem(error as Error, options.command, options.cwd)));
    return null;
  }
  let reported = false;
  child.on("error", (error) => {
    if (reported || child.pid !== undefined) return;
    reported = true;
    options.onSpawnFailed(spawnProblem(error, options.command, options.cwd));
  });
  child.on("exit", (code, signal) => {
    if (reported) return;
    reported = true;
    options.onExit({ code, signal });
  });
  return child.pid ?? null;
}

/** Signals a process group. Returns false if the group is empty. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // EPERM: the rest of the group is not ours any more, for example because a program has changed its user.
    if (code === "ESRCH" || code === "EPERM") return false;
    throw error;
  }
}

/** Whether the process that started at that time still runs; a zombie does not count. */
export function isRunning(pid: number, startTime: string | undefined): boolean {
  if (startTime !== undefined) {
    const stat = readStat(pid);
    return stat?.startTime === startTime && hasNotEnded(stat);
  }
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Returns the start time of a process, which identifies it together with the pid. Undefined if it has ended. */
export function startTimeOf(pid: number): string | undefined {
  return readStat(pid)?.startTime;
}
