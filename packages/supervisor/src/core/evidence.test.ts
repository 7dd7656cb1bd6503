/** The evidence against shares: exact properties of the martingale, and the error rate over many checks. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { boundOf, CONTROL, evidenceAgainst, logGamma, RARE, ShareComparison, type Side } from "./evidence.js";

const shares = fc.double({ min: 0.001, max: 0.999, noNaN: true });
const counts = fc
  .tuple(fc.integer({ min: 1, max: 5000 }), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([total, part]) => ({ hits: Math.floor(total * part), total }));

test("the logarithm of the gamma function is that of factorials", () => {
  let factorial = 1;
  for (let n = 1; n < 100; n++) {
    expect(logGamma(n)).toBeCloseTo(Math.log(factorial), 9);
    factorial *= n;
  }
  expect(logGamma(0.5)).toBeCloseTo(Math.log(Math.sqrt(Math.PI)), 10);
});

/** Returns the probability of each number of hits after one more request. */
function next(before: number[], share: number): number[] {
  return [...before, 0].map((stays, hits) => stays * (1 - share) + (before[hits - 1] ?? 0) * share);
}

describe("the evidence against a share", () => {
  test("is e^0 on average if that is the share", () => {
    fc.assert(
      fc.property(shares, fc.integer({ min: 1, max: 60 }), (share, total) => {
        let chances = [1];
        for (let n = 0; n < total; n++) chances = next(chances, share);
        for (const prior of [RARE.beyond, RARE.within]) {
          const evidence = (hits: number) => Math.exp(evidenceAgainst({ hits, total }, share, prior));
          expect(chances.reduce((sum, chance, hits) => sum + chance * evidence(hits), 0)).toBeCloseTo(1, 6);
        }
      }),
      { numRuns: 50 },
    );
  });

  test.each([
    [0.001, "within"],
    [0.01, "within"],
    [0.01, "beyond"],
    [0.1, "beyond"],
    [0.5, "beyond"],
  ] as const)("exceeds 1/α after any of 1,000 requests with a probability of α at most: %d, %s", (share, side) => {
    const alpha = 0.05;
    let chances = [1];
    let exceeded = 0;
    for (let total = 1; total <= 1000; total++) {
      chances = next(chances, share).map((chance, hits) => {
        if (chance < 1e-12 || evidenceAgainst({ hits, total }, share, RARE[side]) < Math.log(1 / alpha)) return chance;
        exceeded += chance;
        return 0;
      });
    }
    expect(exceeded).toBeLessThanOrEqual(alpha);
    // A much smaller error rate would waste requests.
    expect(exceeded).toBeGreaterThan(alpha / 20);
  });
});

describe("a comparison of shares", () => {
  test("has the minimum of the evidence over all shares of the control", () => {
    fc.assert(
      fc.property(counts, counts, fc.double({ min: -0.5, max: 0.5, noNaN: true }), (canary, control, difference) => {
        const comparison = new ShareComparison(canary, control);
        const against = comparison.against(difference, 0, "beyond");
        const some = Array.from({ length: 99 }, (_, at) => (at + 1) / 100)
          .filter((share) => share + difference > 0 && share + difference < 1)
          .map(
            (share) =>
              evidenceAgainst(control, share, CONTROL) + evidenceAgainst(canary, share + difference, RARE.beyond),
          );
        expect(against).toBeLessThanOrEqual(Math.min(...some) + 1e-6);
      }),
    );
  });

  test("has evidence that grows with the distance from its estimate", () => {
    fc.assert(
      fc.property(counts, counts, (canary, control) => {
        const comparison = new ShareComparison(canary, control);
        const { estimate } = comparison;
        for (const [end, side] of [
          [-1, "beyond"],
          [1, "within"],
        ] as const) {
          const parts = [0, 0.1, 0.3, 0.6, 0.9];
          const places = parts.map((part) => comparison.against(estimate + part * (end - estimate), 0, side));
          for (const [at, evidence] of places.entries())
            expect(evidence).toBeGreaterThanOrEqual((places[at - 1] ?? evidence) - 1e-6);
        }
      }),
    );
  });

  test("has an interval that is narrower with more requests, around the estimate", () => {
    const widths = [10, 100, 1000, 10_000].map((many) => {
      const comparison = new ShareComparison({ hits: many / 10, total: many }, { hits: many / 10, total: 9 * many });
      const against = (side: Side) => (difference: number) => comparison.against(difference, 0, side);
      const low = boundOf(against("beyond"), comparison.estimate, -1, 5) as number;
      const high = boundOf(against("within"), comparison.estimate, 1, 5) as number;
      expect(low).toBeLessThan(comparison.estimate);
      expect(high).toBeGreaterThan(comparison.estimate);
      return high - low;
    });
    expect(widths).toEqual(widths.toSorted((a, b) => b - a));
  });
});
