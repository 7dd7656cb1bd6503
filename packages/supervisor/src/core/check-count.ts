/** Health checks in a row: when an instance goes out of turn, when it comes back, and when it is ended. Pure. */

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

/** Counts a check. `change` says what follows from it. */
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
