import { Histogram } from "@paceline/wire";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LATENCY_BOUNDS, LatencyTotals } from "./totals.js";

const reportOf = (microseconds: readonly number[]) => {
  const histogram = new Histogram();
  for (const each of microseconds) histogram.record(each);
  return histogram.takeSparse();
};

describe("the latencies of a process", () => {
  it.each([
    [500, 0],
    [2_000, 1],
    [9_000, 3],
    [700_000, 9],
    [100_000_000, 15],
  ])("counts %d µs in bucket %d", (microseconds, bucket) => {
    const totals = new LatencyTotals();
    totals.add(reportOf([microseconds]));
    expect(totals.counts.indexOf(1)).toBe(bucket);
  });

  it("counts every response once, and sums to within 4 %", () => {
    fc.assert(
      fc.property(fc.array(fc.array(fc.integer({ min: 1, max: 60_000_000 }))), (reports) => {
        const totals = new LatencyTotals();
        for (const report of reports) totals.add(reportOf(report));
        const all = reports.flat();
        const sum = all.reduce((total, each) => total + each, 0) / 1e6;
        expect(totals.counts.reduce((total, count) => total + count, 0)).toBe(all.length);
        expect(Math.abs(totals.sumSeconds - sum)).toBeLessThanOrEqual(0.04 * sum);
      }),
    );
  });

  it("ignores invalid indexes", () => {
    const totals = new LatencyTotals();
    totals.add([-1, 5, 1e9, 5, 3, -2, Number.NaN, 1, 7]);
    expect([totals.counts, totals.sumSeconds]).toEqual([new Array(LATENCY_BOUNDS.length + 1).fill(0), 0]);
  });
});
