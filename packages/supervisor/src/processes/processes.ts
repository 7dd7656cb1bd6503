/** Starts and signals OS processes. Each has its own session and process group, and survives the supervisor. */
import { type ChildProcess, spawn } from "node:child_process";
import { statSync } from "node:fs";
import { attempt, hasNotEnded, processesOf, readProcessTable, readStat, spawnTagOf } from "@paceline/wire/proc";
import type { ExitStatus } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import { spawnProblem } from "../runtime/runtimes.js";

interface SpawnOptions {
  command: string;
  args: readonly string[];
  /** What the process list shows in place of the program's path. Default: `command`. */
  title?: string | undefined;
  cwd: string;
  environment: Record<string, string>;
  /** The file for its stdout and stderr. A pipe would break when the supervisor dies. */
  outputFd: number;
  /** The descriptors that it inherits as fd 3, 4, …. */
  inheritedFds: readonly number[];
  onExit(status: ExitStatus): void;
  onSpawnFailed(reason: string): void;
}

/**
 * Starts a process and returns its pid; null if it could not be started. Then `onSpawnFailed` is called in a later turn of the event loop.
 */
export function spawnDetached(options: SpawnOptions): number | null {
  let child: ChildProcess;
  try {
    child = spawn(options.command, options.args, {
      cwd: options.cwd,
      ...(options.title !== undefined && { argv0: options.title }),
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
    // EPERM: the rest of the group belongs to another user, for example because a program has changed its user.
    if (code === "ESRCH" || code === "EPERM") return false;
    throw error;
  }
}

/** Whether the process that was started at `startTime` is still running. A zombie does not count as running. */
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

/** Returns the start time of a process, which identifies the process together with its pid. Undefined if the process has exited. */
export function startTimeOf(pid: number): string | undefined {
  return readStat(pid)?.startTime;
}

interface Ended {
  name: string;
  pid: number;
  /** When the exited process was started, in clock ticks; 0 if unknown. The processes that it has started are younger. */
  startTime: number;
  found: Set<number>;
  /** The number of consecutive searches that found nothing. */
  cleanLooks: number;
  looks: number;
}

const LOOK_EVERY_MS = 30;
/** One search is not enough: it can miss a process that forks at the same time. */
const CLEAN_LOOKS = 2;
/** A SIGKILL takes effect late while the kernel does uninterruptible work for the process. */
const MAX_LOOKS = 60;

/** Kills processes that instances started in other sessions, after the instances have exited. A shim does this itself. */
export class Leftovers {
  /** By spawn tag. */
  private readonly ended = new Map<string, Ended>();
  private timer: NodeJS.Timeout | undefined;
  private settled: (() => void)[] = [];

  constructor(private readonly log: EventLog) {}

  /** Kills the processes that an exited process has left behind, in its session or with its spawn tag, shortly after this call. */
  endOf(name: string, pid: number, tag: string, startTime = "0"): void {
    this.ended.set(tag, { name, pid, startTime: Number(startTime), found: new Set(), cleanLooks: 0, looks: 0 });
    // Many processes exit at the same time; one search covers all of them.
    this.timer ??= setTimeout(() => this.look(), 0);
  }

  /** Resolves, within bounded time, when no search is left. */
  whenSettled(): Promise<void> {
    if (this.ended.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.settled.push(resolve));
  }

  private look(): void {
    const rows = readProcessTable();
    const tagged = new Map<string, number[]>();
    const since = Math.min(...[...this.ended.values()].map(({ startTime }) => startTime));
    for (const { pid, startTime } of rows) {
      // Reading the environment of a process costs more than all other checks.
      if (startTime < since) continue;
      const tag = spawnTagOf(pid);
      if (tag !== undefined && this.ended.has(tag)) tagged.set(tag, [...(tagged.get(tag) ?? []), pid]);
    }
    for (const [tag, ended] of this.ended) {
      const left = new Set([...processesOf(ended.pid, rows), ...(tagged.get(tag) ?? [])]);
      left.delete(process.pid);
      ended.cleanLooks = left.size === 0 ? ended.cleanLooks + 1 : 0;
      for (const pid of left) {
        ended.found.add(pid);
        attempt(() => process.kill(pid, "SIGKILL"));
      }
      if (ended.cleanLooks < CLEAN_LOOKS && ++ended.looks < MAX_LOOKS) continue;
      this.ended.delete(tag);
      const count = ended.found.size;
      if (count > 0)
        this.log.event(
          "warn",
          ended.name,
          `left ${count === 1 ? "a process behind, which was" : `${count} processes behind, which were`} killed`,
        );
    }
    this.timer = this.ended.size === 0 ? undefined : setTimeout(() => this.look(), LOOK_EVERY_MS);
    if (this.ended.size === 0) for (const settle of this.settled.splice(0)) settle();
  }
}

/**
 * Returns when a process wrote output, or looked for a supervisor in vain, for the last time.
 * @param spawnedAt the result for a file that cannot be read; times are Unix times
 */
export function lastSignIn(outputPath: string, spawnedAt: number): number {
  const found = attempt(() => statSync(outputPath));
  return Math.max(spawnedAt, Math.round(found?.atimeMs ?? 0), Math.round(found?.mtimeMs ?? 0));
}
