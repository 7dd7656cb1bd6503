/** The comparison of quantiles: histograms compared with sorted lists, and the result for equal and for slower arms. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Durations, P50, P99, QuantileComparison, slowest } from "./quantiles.js";

const SLACK = { factor: 1.5, ms: 10 };

/** Returns a histogram with buckets of 3 % from 1 ms to 20 s. */
function histogram(durations: readonly number[]): Durations {
  const edges = Array.from({ length: 336 }, (_, at) => 1.03 ** at);
  const counts = new Array<number>(edges.length - 1).fill(0);
  for (const ms of durations) {
    const at = Math.max(0, Math.min(counts.length - 1, Math.floor(Math.log(ms) / Math.log(1.03))));
    counts[at] = (counts[at] as number) + 1;
  }
  return { edges, counts };
}

const durations = fc.array(fc.double({ min: 1, max: 10_000, noNaN: true }), { minLength: 1, maxLength: 200 });

/** Durations from 10 to 246 ms, times the factor. */
function spread(many: number, factor = 1): number[] {
  return Array.from({ length: many }, (_, at) => factor * 10 * (1 + ((at * 37) % 100) / 25) ** 2);
}

/** The sums over buckets are steps, so the evidence may decrease a little as it grows; a verdict needs several units. */
const NO_EVIDENCE = 0.1;

describe("a comparison of quantiles", () => {
  test("knows the quantile of each arm to within its bucket", () => {
    fc.assert(
      fc.property(durations, durations, (canary, control) => {
        for (const rule of [P50, P99]) {
          const comparison = new QuantileComparison(histogram(canary), histogram(control), rule, SLACK);
          const exact = (list: number[]) => {
            const sorted = list.toSorted((a, b) => a - b);
            const rank = (1 - rule.above) * sorted.length;
            return [sorted[Math.max(0, Math.ceil(rank) - 1)], sorted[Math.min(sorted.length - 1, Math.floor(rank))]];
          };
          for (const [ms, list] of [
            [comparison.canaryMs, canary],
            [comparison.controlMs, control],
          ] as const) {
            const [low, high] = exact(list) as [number, number];
            expect(ms).toBeGreaterThanOrEqual(low / 1.031);
            expect(ms).toBeLessThanOrEqual(high * 1.031);
          }
        }
      }),
    );
  });

  test("has evidence that grows with the distance from its estimate", () => {
    fc.assert(
      fc.property(durations, durations, (canary, control) => {
        for (const rule of [P50, P99]) {
          const comparison = new QuantileComparison(histogram(canary), histogram(control), rule, SLACK);
          const { estimate } = comparison;
          // Wider than the places of a bucket that are examined.
          const wide = 0.5 + (0.1 * (comparison.canaryMs ?? 0)) / comparison.allowedMs(comparison.controlMs ?? 0);
          for (const step of [-wide, wide]) {
            const places = [0, 1, 2, 4, 8].map((steps) =>
              comparison.against(estimate + step * steps, 0, step < 0 ? "beyond" : "within"),
            );
            // A value that is no evidence at all need not grow.
            for (const [at, evidence] of places.entries())
              expect(Math.max(0, evidence)).toBeGreaterThanOrEqual(Math.max(0, places[at - 1] ?? 0) - NO_EVIDENCE);
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  test.each([
    ["equal arms of 3,000 requests", P50, 1, 3000, 3000, "within"],
    ["equal arms of 3,000 requests", P99, 1, 3000, 27_000, "within"],
    ["equal arms of 30 requests", P50, 1, 30, 30, "unknown"],
    ["equal arms, a control of 30 requests", P50, 1, 3000, 30, "unknown"],
    ["equal arms of 300 requests", P99, 1, 300, 2700, "unknown"],
    ["a canary three times as slow, 300 requests", P50, 3, 300, 300, "beyond"],
    ["a canary three times as slow, 300 requests", P99, 3, 300, 2700, "beyond"],
    ["a canary at the limit", P99, 1.5, 3000, 27_000, "unknown"],
    ["a faster canary", P50, 0.5, 300, 300, "within"],
  ] as const)("%s: %o", (_, rule, factor, canary, control, expected) => {
    const comparison = new QuantileComparison(
      histogram(spread(canary, factor)),
      histogram(spread(control)),
      rule,
      SLACK,
    );
    const isCertain = comparison.against(1, 6, comparison.estimate > 1 ? "beyond" : "within") > 6;
    expect(!isCertain ? "unknown" : comparison.estimate > 1 ? "beyond" : "within").toBe(expected);
  });

  test("is unknown without requests, and uncertain if all took equally long", () => {
    const none = { edges: [0], counts: [] };
    expect(new QuantileComparison(none, none, P50, SLACK)).toMatchObject({ canaryMs: null, controlMs: null });
    expect(
      new QuantileComparison(none, histogram(spread(1000)), P50, SLACK).against(1, 3, "within"),
    ).toBeLessThanOrEqual(0);
    expect(
      new QuantileComparison(histogram(spread(1000)), none, P50, SLACK).against(1, 3, "within"),
    ).toBeLessThanOrEqual(0);
    const same = new QuantileComparison(histogram([5, 5, 5]), histogram([5, 5, 5]), P50, SLACK);
    expect(same.estimate).toBeCloseTo(0);
    expect(same.against(1, 3, "within")).toBeLessThan(3);
  });

  test("an abandoned request takes longer than it was open, and says nothing about longer durations", () => {
    const left = (ms: readonly number[]) => ({ ...histogram(spread(200)), abandoned: histogram(ms).counts });
    const compare = (canary: Durations) => new QuantileComparison(canary, histogram(spread(9000)), P99, SLACK);
    const [slow, quick] = [new Array(20).fill(1000), new Array(20).fill(2)];
    expect(compare(left(slow)).against(1, 6, "beyond")).toBeGreaterThan(6);
    expect(compare(left(slow)).canaryMs).toBeGreaterThan(900);
    expect(compare(left(quick))).toMatchObject({ canaryMs: compare(histogram(spread(200))).canaryMs });
    for (const side of ["beyond", "within"] as const)
      expect(compare(left(quick)).against(1, 0, side)).toBe(compare(histogram(spread(200))).against(1, 0, side));
    // None of them had a response.
    const only = { edges: histogram([1]).edges, counts: histogram([]).counts, abandoned: histogram(slow).counts };
    expect(compare(only).estimate).toBeGreaterThan(1);
    expect(compare(only).against(1, 6, "beyond")).toBeGreaterThan(6);
    // If clients of the version in service give up as late, there is no difference.
    const control = { ...histogram(spread(9000)), abandoned: histogram(new Array(900).fill(1000)).counts };
    expect(new QuantileComparison(left(slow), control, P99, SLACK).estimate).toBeLessThanOrEqual(1);
  });

  test("a limit allows the factor or the milliseconds, whichever is more", () => {
    expect([2, 20, 200].map((ms) => slowest(ms, SLACK))).toEqual([12, 30, 300]);
  });
});
