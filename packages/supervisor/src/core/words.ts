/** How ends and durations are told to people. */
import type { ExitStatus } from "./model.js";

/** `exited with code 1`, `was killed by SIGKILL`, `ended`. */
export function exitReason(status: ExitStatus): string {
  if (status.signal !== null) return `was killed by ${status.signal}`;
  return status.code === null ? "ended" : `exited with code ${status.code}`;
}

/** How a verdict on a process that was not ready in time begins. */
export const NOT_READY = "was not ready within";

/** A duration for people: `0.2 s`, `30 s`. */
export function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}
