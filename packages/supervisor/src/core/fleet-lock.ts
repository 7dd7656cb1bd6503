/** A lock that an operator puts on a fleet: while it exists, nobody can deploy, reload, restart or scale. Pure. */
import { type Caller, callerText } from "./history.js";
import { visibleLine } from "./words.js";

export interface FleetLock {
  version: 1;
  reason: string;
  by: Caller;
  /** Unix time in milliseconds. */
  since: number;
}

export const MAX_REASON = 200;

/** Returns why a reason is invalid; undefined if it is valid. */
export function reasonProblem(reason: string): string | undefined {
  if (reason.trim() === "") return "a lock needs a reason";
  return reason.length > MAX_REASON ? `a reason has at most ${MAX_REASON} characters` : undefined;
}

/** Returns `locked by alice since 2026-11-27 08:10:05 UTC: migration`. */
export function lockText({ reason, by, since }: FleetLock): string {
  const time = new Date(since).toISOString().replace("T", " ").slice(0, 19);
  return visibleLine(`locked by ${callerText(by)} since ${time} UTC: ${reason}`);
}

/**
 * Returns the lock in a file. A file that cannot be read still locks.
 * @param changedAt when the file was last changed, in Unix time in milliseconds
 */
export function readLock(text: string, readBy: Caller, changedAt: number): FleetLock {
  try {
    const value = JSON.parse(text) as Partial<FleetLock> | null;
    const { version, reason, by, since } = value ?? {};
    const isDate = typeof since === "number" && Math.abs(since) <= 8.64e15;
    if (version === 1 && typeof reason === "string" && typeof by === "object" && by !== null && isDate)
      return { version, reason: reason.slice(0, MAX_REASON), by: { ...readBy, ...by }, since };
  } catch {
    // Handled below.
  }
  return { version: 1, reason: "its file is damaged", by: readBy, since: changedAt };
}
