/** Identifies a process, so that a later one with the same pid is not mistaken for it. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { hasNotEnded, readStat } from "@paceline/wire/proc";

/** A process, identified across reused pids and reboots. */
export interface ProcessIdentity {
  pid: number;
  /** Its start time in the system's unit; only compared. */
  startedAt: string;
  /** The boot during which it was started. */
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

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return ""; // Only Linux has a boot id; other systems report the start as a date.
  }
}
