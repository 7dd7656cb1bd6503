/** Checks for the inner loops of property tests: an `expect` takes 20 µs even if it passes; these take less than one. */
import { isDeepStrictEqual } from "node:util";
import { expect } from "vitest";

/** Fails unless `condition` is true; `what` describes the condition. */
export function hold(condition: boolean, what: string): void {
  if (!condition) expect.fail(what);
}

/** Fails, and shows the difference, unless both are equal as `toEqual` understands it. */
export function holdEqual(actual: unknown, expected: unknown, what?: string): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual, what).toEqual(expected);
}
