/** How long a slot waits before its next spawn: exponential, bounded, with jitter. */
import type { BackoffPolicy } from "./model.js";

/**
 * The delay in milliseconds after the given number of failures in a row (1 is the first).
 * `random` is 0 ≤ random < 1 and decides the share of the delay that `jitter` leaves open.
 */
export function backoffDelayMs(policy: BackoffPolicy, failures: number, random: number): number {
  // The exponent is bounded so that it never overflows to Infinity and then to NaN with a factor of 0.
  const exponent = Math.min(Math.max(failures, 1) - 1, 60);
  const whole = Math.min(policy.maxMs, policy.initialMs * policy.factor ** exponent);
  return Math.round(whole * (1 - policy.jitter) + whole * policy.jitter * random);
}
