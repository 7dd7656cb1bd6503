/** Starts OS processes and signals them: each in a session and a process group of its own, tied to us by nothing. */
import { type ChildProcess, spawn } from "node:child_process";
import { hasNotEnded, readStat } from "@paceline/wire/proc";
import type { ExitStatus } from "../core/model.js";
import { spawnProblem } from "../runtime/runtime-command.js";

export interface SpawnOptions {
  command: string;
  args: readonly string[];
  cwd: string;
  environment: Record<string, string>;
  /** Where its stdout and stderr go; a file, since a pipe would break with us. */
  outputFd: number;
  /** Descriptors it inherits as 3, 4, …. */
  inheritedFds: readonly number[];
  onExit(status: ExitStatus): void;
  onSpawnFailed(reason: string): void;
}

/** Starts a process; returns its pid, or null when it could not be started, of which `onSpawnFailed` tells in a later turn. */
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
  let told = false;
  child.on("error", (error) => {
    if (told || child.pid !== undefined) return;
    told = true;
    options.onSpawnFailed(spawnProblem(error, options.command, options.cwd));
  });
  child.on("exit", (code, signal) => {
    if (told) return;
    told = true;
    options.onExit({ code, signal });
  });
  return child.pid ?? null;
}

/** Signals a process group; false when nobody is left in it. */
export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // EPERM: what is left in the group is not ours any more, such as a program that changed its user.
    if (code === "ESRCH" || code === "EPERM") return false;
    throw error;
  }
}

/** Whether a process that started then still runs; the unwaited remains of one do not. */
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

/** When a process started; with the pid it names one process for good. Undefined when it is gone, and without /proc. */
export function startTimeOf(pid: number): string | undefined {
  return readStat(pid)?.startTime;
}
