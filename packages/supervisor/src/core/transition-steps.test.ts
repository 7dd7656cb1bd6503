import { expect, test } from "vitest";
import { backoffDelayMs, bookFailure } from "./transition-steps.js";

const policy = { initialMs: 200, maxMs: 30_000, factor: 2, jitter: 0.2 };

test("the delay doubles from the initial one up to the maximum", () => {
  const steady = { ...policy, jitter: 0 };
  expect([1, 2, 3, 4, 9, 500].map((n) => backoffDelayMs(steady, n, 0.5))).toEqual([
    200, 400, 800, 1600, 30_000, 30_000,
  ]);
});

test("jitter shortens the delay by at most its share", () => {
  expect(backoffDelayMs(policy, 1, 0)).toBe(160);
  expect(backoffDelayMs(policy, 1, 0.999_999)).toBe(200);
});

test("the budget is used up when that many failures happen within the period", () => {
  const budget = { maxFailures: 3, periodMs: 1000 };
  const first = bookFailure([], 0, budget);
  const second = bookFailure(first.failuresAt, 400, budget);
  expect([first.spent, second.spent]).toEqual([false, false]);
  expect(bookFailure(second.failuresAt, 999, budget).spent).toBe(true);
  expect(bookFailure(second.failuresAt, 1000, budget).spent).toBe(false);
});
