/** How many failures a slot may have within a period before it is given up. */
import type { RestartBudget } from "./model.js";

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
