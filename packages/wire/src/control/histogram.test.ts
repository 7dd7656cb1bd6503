/** The histogram compared with sorted lists of the same durations. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Histogram } from "./histogram.js";

const durations = fc.oneof(
  fc.integer({ min: 0, max: 200 }),
  fc.integer({ min: 0, max: 200_000 }),
  fc.integer({ min: 0, max: 134_000_000 }),
);

function filled(values: number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

describe("Histogram", () => {
  it("puts each duration into a bucket that contains it and is at most 1/32 of it wide", () => {
    fc.assert(
      fc.property(durations, (us) => {
        const index = Histogram.bucketOf(us);
        const low = Histogram.lowerBoundUs(index);
        const next = Histogram.lowerBoundUs(index + 1);
        expect(low).toBeLessThanOrEqual(us);
        expect(next).toBeGreaterThan(us);
        expect(next - low).toBeLessThanOrEqual(Math.max(1, low / 32));
      }),
    );
  });

  it("has buckets without gap or overlap, up to the last", () => {
    for (let index = 0; index < Histogram.bucketCount; index++) {
      expect(Histogram.bucketOf(Histogram.lowerBoundUs(index))).toBe(index);
    }
    expect(Histogram.lowerBoundUs(Histogram.bucketCount)).toBe(2 ** 27);
  });

  it("gives quantiles within 3 % of the true ones", () => {
    fc.assert(
      fc.property(fc.array(durations, { minLength: 1, maxLength: 300 }), fc.double({ min: 0, max: 1 }), (values, q) => {
        if (Number.isNaN(q)) return;
        const sorted = [...values].sort((a, b) => a - b);
        const exact = sorted[Math.max(1, Math.ceil(q * sorted.length)) - 1] as number;
        const estimate = Histogram.quantile(filled(values).takeSparse(), q) as number;
        expect(Math.abs(estimate - exact)).toBeLessThanOrEqual(exact * 0.03);
      }),
    );
  });

  it("merges to the same result as recording all in one, sparse or dense", () => {
    fc.assert(
      fc.property(fc.array(durations), fc.array(durations), (a, b) => {
        const merged = Histogram.merge([filled(a).takeSparse(), Histogram.merge([filled(b).takeSparse()])]);
        expect(merged).toEqual(Histogram.merge([filled([...a, ...b]).takeSparse()]));
        expect(Histogram.total(merged)).toBe(a.length + b.length);
      }),
    );
  });

  it("counts durations out of range in the nearest bucket", () => {
    const histogram = filled([-5, Number.NaN, 0.7, 1e12, Number.POSITIVE_INFINITY]);
    expect(histogram.takeSparse()).toEqual([0, 3, Histogram.bucketCount - 1, 2]);
  });

  it("is empty after `take`", () => {
    const histogram = filled([1, 2, 3]);
    expect(Histogram.total(histogram.takeSparse())).toBe(3);
    expect(histogram.takeSparse()).toEqual([]);
    expect(Histogram.quantile([], 0.5)).toBeNull();
  });

  it("ignores indexes that no histogram has", () => {
    expect(Histogram.total([Histogram.bucketCount, 1, -1, 1, 1.5, 1, 7, 4, 9])).toBe(4);
  });
});
