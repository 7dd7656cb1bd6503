/** The 95th percentile of a pool's response times, and when a waiting request moves. */
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { moveAfterMs, UsualTime } from "./pace.js";

it("knows the 95th percentile with an error below a quarter, after 100 responses", () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.02, max: 100_000, noNaN: true }), { minLength: 100 }), (times) => {
      const usual = new UsualTime();
      for (const ms of times.slice(0, 99)) usual.add(ms);
      expect(usual.p95Ms).toBeUndefined();
      for (const ms of times.slice(99)) usual.add(ms);
      const exact = times.sort((a, b) => a - b)[Math.ceil(0.95 * times.length) - 1] as number;
      expect((usual.p95Ms as number) / exact).toBeGreaterThanOrEqual(0.99);
      expect((usual.p95Ms as number) / exact).toBeLessThan(1.3);
    }),
  );
});

it("forgets with time, and accepts every number", () => {
  const usual = new UsualTime();
  for (const ms of [0, -1, 1e12]) usual.add(ms);
  for (let at = 0; at < 1000; at++) usual.add(8);
  expect(usual.p95Ms).toBeCloseTo(8, -1);
  usual.decay(0.05);
  expect(usual.p95Ms).toBeUndefined();
});

test.each([
  [undefined, 50, Number.POSITIVE_INFINITY],
  [2, 50, 25],
  [40, 50, 40],
  [60, 50, Number.POSITIVE_INFINITY],
  [2, 60_000, 30_000],
])("with a p95 of %s ms and stallAfterMs %s it moves after %s", (p95Ms, stallAfterMs, afterMs) => {
  expect(moveAfterMs(p95Ms, stallAfterMs)).toBe(afterMs);
});
