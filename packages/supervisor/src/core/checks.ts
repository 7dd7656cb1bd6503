/** Judges the checks of an instance: health checks in a row, and the rounds of its warm-up. Pure. */

export interface CheckRule {
  /** It is ended after this many failures in a row; 0: never. */
  healthFailures: number;
  /** It goes out of turn after this many failures in a row; absent or 0: never. */
  healthFall?: number;
  /** It comes back after this many good checks in a row. Default: 1. */
  healthRise?: number;
}

export interface CheckCount {
  readonly failures: number;
  readonly passes: number;
  readonly isOut: boolean;
}

export const NO_CHECKS: CheckCount = { failures: 0, passes: 0, isOut: false };

/** Counts a health check. `change` says whether the instance goes out of turn, comes back, or is ended. */
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

/** A round that is this much faster than the best one before, by share and by time, shows that it still warms up. */
const LEAST_GAIN_SHARE = 0.1;
const LEAST_GAIN_MS = 0.5;
/** So many rounds in a row without such a gain end it. */
const STEADY_ROUNDS = 3;
/** A round that is always faster than the last ends it at some time, too. */
const MAX_ROUNDS = 50;

/** Whether the warm-up of a new instance is over. @param rounds the time of each round so far, in milliseconds, the first one first */
export function hasSettled(rounds: readonly number[]): boolean {
  if (rounds.length >= MAX_ROUNDS) return true;
  if (rounds.length <= STEADY_ROUNDS) return false;
  const best = Math.min(...rounds.slice(0, -STEADY_ROUNDS));
  const enough = Math.min((1 - LEAST_GAIN_SHARE) * best, best - LEAST_GAIN_MS);
  return rounds.slice(-STEADY_ROUNDS).every((ms) => ms > enough);
}
