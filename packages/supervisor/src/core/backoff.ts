/** How long a slot waits before its next spawn, and how many failures it may have within a period before it is given up. */
import type { BackoffPolicy, RestartBudget } from "./model.js";

/**
 * Returns the delay in milliseconds after `failures` failures in a row (1 is the first). `random` (0 ≤ random < 1) determines the
 * jitter.
 */
export function backoffDelayMs(policy: BackoffPolicy, failures: number, random: number): number {
  // Bounded, so that the power never overflows to Infinity, which a factor of 0 would turn into NaN.
  const exponent = Math.min(Math.max(failures, 1) - 1, 60);
  const whole = Math.min(policy.maxMs, policy.initialMs * policy.factor ** exponent);
  return Math.round(whole * (1 - policy.jitter) + whole * policy.jitter * random);
}

/** Records a failure at `now`. The budget is spent by `maxFailures` failures within `periodMs`; older ones are dropped. */
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
