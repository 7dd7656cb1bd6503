/** Tells whether a process that was once seen still runs, and is not another one with its number. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { hasNotEnded, readStat } from "@paceline/wire/proc";

/** A process for as long as the machine remembers: numbers come again, starts of one number do not. */
export interface ProcessIdentity {
  pid: number;
  /** When it started, in whatever the system counts; compared, never read. */
  startedAt: string;
  /** The boot that `startedAt` is counted from. */
  boot: string;
}

/** The identity of the process `pid` now; undefined when there is none, or only its unwaited remains. */
export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = process.platform === "linux" ? startFromProc(pid) : startFromPs(pid);
  return startedAt === undefined ? undefined : { pid, startedAt, boot: bootId() };
}

/** Whether the very process of `identity` still runs. */
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
    return undefined; // ps exits 1 when there is no such process.
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return ""; // Only Linux has it; elsewhere starts are told as dates.
  }
}
