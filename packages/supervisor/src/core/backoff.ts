/** How long a slot waits before its next spawn, and how many failures it may have within a period before it is given up. */
import type { BackoffPolicy, RestartBudget } from "./model.js";

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

/**
 * Books one failure at `now` and says whether the budget is spent by it, which it is with `maxFailures` within `periodMs`. Failures older than the period are forgotten, so the list stays short.
 */
export function bookFailure(
  failuresAt: readonly number[],
  now: number,
  budget: RestartBudget,
): { failuresAt: readonly number[]; spent: boolean } {
  const recent = failuresAt.filter((at) => now - at < budget.periodMs);
  recent.push(now);
  const spent = recent.length >= budget.maxFailures;
  return { failuresAt: recent.slice(-budget.maxFailures), spent };
}
