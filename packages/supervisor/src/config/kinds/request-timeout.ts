/** The key of kinds whose instances limit their concurrency: how long a request may go on that nobody waits for. */
import { milliseconds } from "../fields.js";

const DEFAULT_MS = 60_000;

export const requestTimeoutMs = milliseconds(
  DEFAULT_MS,
  "In pools of `wsgi` and `fapws`, and of a `command` with `maxInFlight`: a request that goes on for this long after its client's 504 (or after the client would have had one, if it left sooner) costs its process, which is killed and replaced. `0` turns that off.",
  { min: 0 },
);

/** The value in force. */
export function requestTimeoutOf(given: number | undefined): number {
  return given ?? DEFAULT_MS;
}
