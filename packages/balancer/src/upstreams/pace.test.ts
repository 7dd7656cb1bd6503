import fc from "fast-check";
import { expect, it } from "vitest";
import { Pace, Paces } from "./pace.js";

/** A pool whose upstreams take this many microseconds for each of their requests. */
function poolOf(...micros: number[]) {
  const pool = new Paces();
  const paces = micros.map(() => new Pace());
  let nowMs = 0;
  const serve = (requests: number, judgements = 10, durations = micros) => {
    for (let at = 0; at < judgements; at++) {
      for (const [each, pace] of paces.entries())
        for (let n = 0; n < requests; n++) pace.add(durations[each] as number);
      nowMs += 100;
      pool.findOutliers(paces, requests * paces.length, nowMs);
    }
    return paces.flatMap(({ isOutlier }, at) => (isOutlier ? [at] : []));
  };
  return { pool, paces, serve };
}

it.each([
  ["one that takes twenty times as long as the others", [2000, 40_000, 2000, 2000], [1]],
  ["both of four", [2000, 40_000, 2000, 40_000], [1, 3]],
  ["none that takes five times as long", [2000, 10_000, 2000, 2000], []],
  ["none that takes no noticeable time", [20, 400, 20, 20], []],
  ["none where most are slow", [2000, 40_000, 40_000, 40_000], []],
  ["the slower one of two", [40_000, 2000], [0]],
  ["none alone", [40_000], []],
])("finds %s", (_, micros, outliers) => {
  expect(poolOf(...micros).serve(20)).toEqual(outliers);
});

it("finds none before enough requests, and none after a pause", () => {
  expect(poolOf(2000, 40_000).serve(5)).toEqual([]);
  const { serve } = poolOf(2000, 2000);
  expect(serve(40)).toEqual([]);
  expect(serve(40, 9, [2000, 40_000])).toEqual([]);
  expect(serve(40)).toEqual([]);
});

it("is not changed by a few long requests", () => {
  const { pool, paces } = poolOf(0, 0);
  for (const [at, pace] of paces.entries())
    for (let n = 0; n < 32; n++) pace.add(at === 0 && n % 16 === 0 ? 10_000_000 : 1000);
  for (let n = 0; n < 10; n++) pool.findOutliers(paces, 64, 100 * n);
  expect(paces.map(({ isOutlier }) => isOutlier)).toEqual([false, false]);
});

it("gives an outlier one of many requests, with which it can show that it is quick again", () => {
  const { pool, paces, serve } = poolOf(2000, 40_000);
  serve(40);
  const slow = paces[1] as Pace;
  expect([slow.isOutlier, pool.outliers]).toEqual([true, 1]);
  let requests = 0;
  let trials = 0;
  for (; slow.isOutlier && requests < 100_000; requests += 10) {
    slow.trials = 0;
    pool.findOutliers(paces, 10, 1000);
    if (slow.trials === 0) continue;
    trials++;
    slow.add(2000);
  }
  expect([trials > 3, trials < 12, requests / trials > 200]).toEqual([true, true, true]);
  expect(pool.outliers).toBe(0);
});

it("gives it one after some seconds if there are few requests", () => {
  const { pool, paces, serve } = poolOf(2000, 40_000);
  serve(40);
  const slow = paces[1] as Pace;
  const given = Array.from({ length: 12 }, (_, second) => {
    slow.trials = 0;
    pool.findOutliers(paces, 1, 10_000 + 1000 * second);
    return slow.trials;
  });
  expect(given.filter((trials) => trials > 0).length).toBe(3);
});

it("knows how long a request usually takes, within a factor of two", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000_000 }), (micros) => {
      const { pool, serve } = poolOf(micros, micros);
      serve(20);
      const ratio = (pool.typicalMicros as number) / micros;
      expect(ratio).toBeGreaterThan(0.5);
      expect(ratio).toBeLessThan(2);
    }),
  );
});

it("never finds more than half of a pool, however long the requests take", () => {
  const duration = fc.integer({ min: 0, max: 60_000_000 });
  fc.assert(
    fc.property(fc.array(fc.array(duration, { maxLength: 80 }), { minLength: 1, maxLength: 9 }), (durations) => {
      const pool = new Paces();
      const paces = durations.map(() => new Pace());
      for (let n = 0; n < 5; n++) {
        for (const [at, pace] of paces.entries()) for (const micros of durations[at] ?? []) pace.add(micros);
        pool.findOutliers(paces, 1, n);
      }
      expect(pool.outliers).toBe(paces.filter(({ isOutlier }) => isOutlier).length);
      expect(pool.outliers).toBeLessThanOrEqual(paces.length / 2);
    }),
  );
});
