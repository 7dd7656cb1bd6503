/** However many requests fail, only a share of them is sent again. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { RetryBudget } from "./retry-budget.js";

function budgetOf(percent: number, minPerSecond: number): RetryBudget {
  const budget = new RetryBudget();
  budget.follow({ percent, minPerSecond });
  return budget;
}

function takeAll(budget: RetryBudget, wanted: number): number {
  let taken = 0;
  for (let at = 0; at < wanted; at++) if (budget.take()) taken++;
  return taken;
}

it("allows a share of the requests in a storm, and the minimum if there are few", () => {
  const busy = budgetOf(20, 10);
  let taken = 0;
  for (let second = 0; second < 100; second++) {
    busy.earn(1000, 1);
    taken += takeAll(busy, 1000);
  }
  // 20 %, plus ten per second, plus the budget at the start.
  expect(taken).toBe(99 * 210 + 300);
  expect(busy.takeRefused()).toBe(100_000 - taken);
  expect(busy.takeRefused()).toBe(0);
  const quiet = budgetOf(20, 10);
  expect(takeAll(quiet, 1000)).toBe(100);
  quiet.earn(0, 1);
  expect(takeAll(quiet, 1000)).toBe(10);
});

it("allows everything without a rule, and nothing with a rule of 0", () => {
  expect(takeAll(new RetryBudget(), 1000)).toBe(1000);
  const none = budgetOf(0, 0);
  none.earn(1e6, 10);
  expect(none.isLeft).toBe(false);
  expect(takeAll(none, 1000)).toBe(0);
});

it("leaves no more than a new rule allows", () => {
  const budget = budgetOf(20, 10);
  budget.follow({ percent: 20, minPerSecond: 1 });
  expect(takeAll(budget, 1000)).toBe(10);
});

it("never allows more than the share, the minimum, and what is saved over ten seconds", () => {
  const seconds = fc.array(fc.record({ requests: fc.nat({ max: 5000 }), failures: fc.nat({ max: 5000 }) }), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(seconds, fc.integer({ min: 0, max: 100 }), fc.nat({ max: 100 }), (load, percent, minPerSecond) => {
      const budget = budgetOf(percent, minPerSecond);
      let taken = 0;
      let requests = 0;
      for (const second of load) {
        budget.earn(second.requests, 1);
        requests += second.requests;
        taken += takeAll(budget, second.failures);
        expect(taken).toBeLessThanOrEqual((requests * percent) / 100 + minPerSecond * (load.length + 10));
      }
    }),
  );
});
