/** Counts the checks of an instance, health checks and rounds of its warm-up, and decides what follows. Pure. */

export interface CheckRule {
  /** The instance is killed after this many consecutive failures; 0: never. */
  healthFailures: number;
  /** The instance goes out of turn after this many consecutive failures; absent or 0: never. */
  healthFall?: number;
  /** The instance returns after this many consecutive good checks. Default: 1. */
  healthRise?: number;
}

export interface CheckCount {
  readonly failures: number;
  readonly passes: number;
  readonly isOut: boolean;
}

export const NO_CHECKS: CheckCount = { failures: 0, passes: 0, isOut: false };

/** Counts a health check. `change` is whether the instance goes out of turn, returns, or is killed. */
export function countCheck(
  before: CheckCount,
  isGood: boolean,
  { healthFailures, healthFall = 0, healthRise = 1 }: CheckRule,
): CheckCount & { readonly change: "out" | "back" | "end" | null } {
  const failures = isGood ? 0 : before.failures + 1;
  const passes = isGood ? before.passes + 1 : 0;
  const count = { failures, passes, isOut: before.isOut };
  if (healthFailures > 0 && failures >= healthFailures) return { ...count, change: "end" };
  if (!before.isOut && healthFall > 0 && failures >= healthFall) return { ...count, isOut: true, change: "out" };
  if (before.isOut && passes >= Math.max(1, healthRise)) return { ...count, isOut: false, change: "back" };
  return { ...count, change: null };
}

/** A round that is this much faster than the best previous one, by share and by time, shows that the instance is still warming up. */
const LEAST_GAIN_SHARE = 0.1;
const LEAST_GAIN_MS = 0.5;
/** The warm-up ends after this many consecutive rounds without such a gain. */
const STEADY_ROUNDS = 3;
/** The maximum number of rounds, even if each is faster than the last. */
const MAX_ROUNDS = 50;

/**
 * Whether the warm-up of a new instance is over.
 * @param rounds the time of each round so far, in milliseconds, first one first
 */
export function hasSettled(rounds: readonly number[]): boolean {
  if (rounds.length >= MAX_ROUNDS) return true;
  if (rounds.length <= STEADY_ROUNDS) return false;
  const best = Math.min(...rounds.slice(0, -STEADY_ROUNDS));
  const enough = Math.min((1 - LEAST_GAIN_SHARE) * best, best - LEAST_GAIN_MS);
  return rounds.slice(-STEADY_ROUNDS).every((ms) => ms > enough);
}
