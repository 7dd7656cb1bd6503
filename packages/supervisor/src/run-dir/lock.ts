/**
 * The lock of a run directory: a sequence of files `lock.1`, `lock.2`, …, of which the one with the highest number counts. The lock is held
 * while the process named in that file runs, so a crash leaves nothing locked. To take the lock, a process links the next number, which
 * only one process can do. The highest file is never removed, so numbers are never used again.
 */

import { execFileSync } from "node:child_process";
import {
  linkSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
} from "node:fs";
import { join } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { attempt, hasNotEnded, readStat } from "@paceline/wire/proc";
import { PacelineError } from "../errors.js";
import { isDiskFull, writeDraft } from "./run-dir-files.js";

export interface RunDirLock {
  /** The number of the lock file: unique, and higher for each later holder. */
  number: number;
  release(): void;
}

/** The maximum number of rounds. A round is lost only if another process wins it, so few rounds are needed. */
const MAX_ROUNDS = 1000;
const MAX_BYTES = 64 << 10;
const NAME = /^lock\.(\d+)$/;

/**
 * Takes the lock of `folder` for this process.
 * @throws PacelineError `running` if a running process holds the lock, or too many processes compete for it
 */
export function takeLock(folder: string): RunDirLock {
  const self = identify(process.pid);
  if (self === undefined) throw new PacelineError("running", "cannot tell when this process started");
  const draft = join(folder, `draft.${process.pid}`);
  writeIdentity(draft, self);
  try {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const highest = Math.max(0, ...numbers(folder));
      const holder = highest === 0 ? undefined : readHolder(join(folder, `lock.${highest}`));
      if (holder !== undefined && isRunning(holder)) {
        throw runningIn(folder, holder.pid);
      }
      const mine = highest + 1;
      if (!tryLink(draft, join(folder, `lock.${mine}`))) continue;
      const others = numbers(folder).filter((number) => number !== mine);
      if (others.some((number) => number > mine)) {
        // A faster process took a later number, and had already removed ours.
        unlinkSync(join(folder, `lock.${mine}`));
        continue;
      }
      for (const number of others) unlinkIfThere(join(folder, `lock.${number}`));
      return { number: mine, release: () => release(folder, mine) };
    }
    throw new PacelineError("running", `too many others are starting in ${folder}`);
  } finally {
    unlinkIfThere(draft);
  }
}

/** Returns the error of a start in a run directory whose supervisor is running. */
export function runningIn(folder: string, pid: number): PacelineError {
  if (isStopped(pid)) return new PacelineError("unresponsive", `already running in ${folder}, but ${silentText(pid)}`);
  const remedy = "use start --or-reload to reload it; other options need a stop and a start";
  return new PacelineError("running", `already running (pid ${pid}) in ${folder}; ${remedy}`);
}

/** Returns the process that holds the lock of `folder`, or undefined. */
export function lockHolder(folder: string): ProcessIdentity | undefined {
  const highest = Math.max(0, ...numbers(folder));
  const holder = highest === 0 ? undefined : readHolder(join(folder, `lock.${highest}`));
  return holder !== undefined && isRunning(holder) ? holder : undefined;
}

/** Whether a supervisor has ever locked the run directory: a killed one leaves its lock behind. */
export function wasLocked(folder: string): boolean {
  return numbers(folder).length > 0;
}

/** If the disk is full, uses a symbolic link: such a short link needs no block, and it is complete as soon as it exists. */
function writeIdentity(draft: string, { pid, startedAt, boot }: ProcessIdentity): void {
  try {
    writeDraft(draft, JSON.stringify({ pid, startedAt, boot }));
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    symlinkSync([pid, startedAt, boot].join("|"), draft);
  }
}

/** Returns undefined if the file is not a link that names a process. */
function readLinkedIdentity(file: string): ProcessIdentity | undefined {
  const [pid, startedAt, boot] = attempt(() => readlinkSync(file))?.split("|") ?? [];
  return startedAt === undefined || boot === undefined ? undefined : { pid: Number(pid), startedAt, boot };
}

/** Releases the lock: truncates its file, which then names no process. Unlike a write, this works on a full disk. */
function release(folder: string, number: number): void {
  const file = join(folder, `lock.${number}`);
  try {
    truncateSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    if (readLinkedIdentity(file) === undefined) return;
    const draft = join(folder, `draft.${process.pid}`);
    symlinkSync("released", draft);
    renameSync(draft, file);
  }
}

/** Returns an empty list if the folder has just been removed. */
function numbers(folder: string): number[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap((name) => {
    const match = NAME.exec(name);
    return match === null ? [] : [Number(match[1])];
  });
}

/** Returns undefined if the file names no process, or another process has just removed it. */
function readHolder(file: string): ProcessIdentity | undefined {
  try {
    const holder = JSON.parse(readRegularFile(file, { maxBytes: MAX_BYTES }).toString()) as Partial<ProcessIdentity>;
    return typeof holder.pid === "number" ? (holder as ProcessIdentity) : undefined;
  } catch (error) {
    // A truncated file names no process. A power failure can truncate it, too.
    const { code } = error as NodeJS.ErrnoException;
    if (error instanceof SyntaxError) return undefined;
    if (code === "ENOENT") return readLinkedIdentity(file);
    if (code !== "EACCES") throw error;
    const message = `${file} belongs to another user, who may have begun a start; remove it if no supervisor runs here`;
    throw new PacelineError("rundir", message, { cause: error });
  }
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  }
}

function unlinkIfThere(file: string): void {
  try {
    unlinkSync(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** A process, identified in a way that reused pids and reboots do not break. */
export interface ProcessIdentity {
  pid: number;
  /** Its start time in the system's unit; only used for comparison. */
  startedAt: string;
  /** The boot id of the boot during which it was started. */
  boot: string;
}

/** Returns the identity of the process `pid`; undefined if there is none, or only a zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = process.platform === "linux" ? startFromProc(pid) : startFromPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt, boot: bootId() };
}

/** Whether the process with this identity still runs. */
export function isRunning(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid);
  return now !== undefined && now.startedAt === identity.startedAt && now.boot === identity.boot;
}

function startFromProc(pid: number): string | undefined {
  const stat = readStat(pid);
  return stat !== undefined && hasNotEnded(stat) ? stat.startTime : undefined;
}

function startFromPs(pid: number): string | undefined {
  try {
    const [state, ...start] = execFileSync("ps", ["-o", "stat=,lstart=", "-p", String(pid)], {
      encoding: "utf8",
      timeout: 5_000,
      stdio: ["ignore", "pipe", "ignore"],
    })
      .trim()
      .split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : start.join(" ");
  } catch {
    return undefined; // ps exits with 1 if there is no such process.
  }
}

/** Returns the boot id. During one boot, a pid and a start time together identify a process. Empty if the system has no boot id. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return ""; // Only Linux has a boot id; other systems report the start as a date.
  }
}

/** Returns what is known about a supervisor that does not respond, and what to do. */
export function silentText(pid: number | undefined): string {
  if (pid === undefined) return "the supervisor does not respond";
  const remedy = `kill -9 ${pid} ends it and the fleet keeps serving, then paceline start -d takes the fleet over`;
  if (!isStopped(pid)) return `the supervisor (pid ${pid}) does not respond; ${remedy}`;
  return `the supervisor (pid ${pid}) does not respond, because a signal has stopped it; kill -CONT ${pid} resumes it; ${remedy}`;
}

/** Whether the process is stopped by a signal such as SIGSTOP, or by a debugger. */
export function isStopped(pid: number | undefined): boolean {
  return pid !== undefined && /^[Tt]$/.test(readStat(pid)?.state ?? "");
}
