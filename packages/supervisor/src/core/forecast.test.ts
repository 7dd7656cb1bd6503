/** The forecast on artificial memory curves, and the moments that it chooses. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  addReading,
  busyShareOf,
  countMinutes,
  forecast,
  isMoment,
  type MemoryTrend,
  NO_MINUTES,
  NO_TREND,
} from "./forecast.js";

const MB = 1e6;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const LIMIT_MB = 1000;

/** A repeatable noise from -1 to 1. */
const noise = (at: number) => ((Math.imul(at, 2_654_435_761) >>> 8) % 2001) / 1000 - 1;

/** Reads the memory every 10 s up to that age. */
function watched(untilMs: number, mbAt: (ageMs: number, at: number) => number, everyMs = 10_000): MemoryTrend {
  let trend = NO_TREND;
  for (let ageMs = everyMs, at = 0; ageMs <= untilMs; ageMs += everyMs, at++)
    trend = addReading(trend, ageMs, mbAt(ageMs, at) * MB);
  return trend;
}

const CURVES: [string, (ageMs: number, at: number) => number][] = [
  ["flat", () => 300],
  ["noisy", (_, at) => 300 + 80 * noise(at)],
  ["a sawtooth of collections each 5 minutes", (ageMs) => 300 + 200 * ((ageMs % (5 * MINUTE)) / (5 * MINUTE))],
  ["a sawtooth with noise", (ageMs, at) => 300 + 200 * ((ageMs % (7 * MINUTE)) / (7 * MINUTE)) + 40 * noise(at)],
  ["a warm-up that levels off", (ageMs) => 100 + 500 * (1 - Math.exp(-ageMs / (10 * MINUTE)))],
  ["a cache that fills ever more slowly", (ageMs) => 200 + 60 * Math.log1p(ageMs / MINUTE)],
  ["a step", (ageMs) => (ageMs < 90 * MINUTE ? 200 : 700)],
  ["two steps", (ageMs) => 200 + (ageMs > HOUR ? 150 : 0) + (ageMs > 2 * HOUR ? 150 : 0)],
  ["memory that is given back", (ageMs) => 900 - ageMs / MINUTE],
];

describe.each([15 * MINUTE, 3 * HOUR, 30 * HOUR])("after %d ms", (untilMs) => {
  test.each(CURVES)("%s does not predict that the limit is reached", (name, curve) => {
    // A curve that is still steep looks like a leak at first, but not later.
    if (untilMs < HOUR && /warm-up|ever more/.test(name)) return;
    expect(forecast(watched(untilMs, curve), LIMIT_MB * MB)).toBeUndefined();
  });
});

test.each([
  ["a steady leak", 10 * HOUR, 30, () => 0],
  ["a leak under a sawtooth", 10 * HOUR, 30, (ageMs: number) => 60 * ((ageMs % (4 * MINUTE)) / (4 * MINUTE))],
  ["a leak with noise", 10 * HOUR, 30, (_: number, at: number) => 20 * noise(at)],
  ["a leak after a warm-up", 10 * HOUR, 30, (ageMs: number) => 150 * (1 - Math.exp(-ageMs / (10 * MINUTE)))],
  ["a slow leak over days", 100 * HOUR, 2, (_: number, at: number) => 5 * noise(at)],
  ["a fast leak of 1 MB a second", 3 * MINUTE, 3600, () => 0],
])("%s reaches its limit when predicted", (_, untilMs, mbPerHour, more) => {
  const curve = (ageMs: number, at: number) => 100 + (mbPerHour * ageMs) / HOUR + more(ageMs, at);
  const seen = forecast(watched(untilMs, curve), LIMIT_MB * MB);
  const meanMore =
    Array.from({ length: 100 }, (_, at) => more(untilMs - at * 10_000, at)).reduce((a, b) => a + b) / 100;
  const leftMs = ((LIMIT_MB - 100 - meanMore) / mbPerHour) * HOUR - untilMs;
  expect(seen).toBeDefined();
  expect((seen?.bytesPerMs ?? 0) * HOUR).toBeGreaterThan(mbPerHour * MB * 0.8);
  expect((seen?.bytesPerMs ?? 0) * HOUR).toBeLessThan(mbPerHour * MB * 1.3);
  expect(seen?.leftMs).toBeGreaterThan(leftMs * 0.6);
  expect(seen?.leftMs).toBeLessThan(leftMs * 1.15);
});

test("a leak that begins late is detected, and nothing is predicted beyond ten times the past", () => {
  const late = (ageMs: number) => 200 + Math.max(0, ageMs - 10 * HOUR) / MINUTE / 2;
  expect(forecast(watched(30 * HOUR, late), 2000 * MB)?.leftMs).toBeGreaterThan(0);
  expect(
    forecast(
      watched(10 * HOUR, (ageMs) => 100 + ageMs / HOUR),
      1000 * MB,
    ),
  ).toBeUndefined();
});

test("a slow leak is detected although the warm-up was steep", () => {
  const steep = (ageMs: number) => 100 + Math.min(ageMs / HOUR, 1) * 400 + (ageMs / HOUR) * 20;
  expect(forecast(watched(5 * HOUR, steep), LIMIT_MB * MB)?.leftMs).toBeGreaterThan(10 * HOUR);
});

test("a limit that is reached has no time left", () => {
  expect(
    forecast(
      watched(HOUR, (ageMs) => 100 + ageMs / MINUTE),
      90 * MB,
    )?.leftMs,
  ).toBe(0);
});

test("the samples of a long life are few, in order, and the last is recent", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5 * MINUTE }), { minLength: 1, maxLength: 600 }), (gaps) => {
      let trend = NO_TREND;
      let ageMs = 0;
      for (const gap of gaps) {
        ageMs += gap;
        trend = addReading(trend, ageMs, ageMs);
      }
      const ages = trend.samples.map((sample) => sample.ageMs);
      expect(ages.length).toBeLessThanOrEqual(48);
      expect(ages).toEqual([...new Set(ages)].sort((a, b) => a - b));
      expect(ageMs - (ages.at(-1) ?? 0)).toBeLessThanOrEqual(Math.max(1, trend.everyMs) + Math.max(...gaps));
    }),
    { numRuns: 200 },
  );
});

const STEP = 5 * MINUTE;
/** Requests per minute: none at night, most at noon. */
const trafficAt = (ms: number) => 50 + 1000 * Math.max(0, Math.sin(((ms / HOUR - 6) / 24) * 2 * Math.PI));

/** A process of an app that leaks with each request, or continuously: how its life ends, with the same traffic every day. */
function live(lifeDays: number, startHour: number, isPerRequest: boolean): { reached: boolean; busyShare: number } {
  const startMs = (24 + startHour) * HOUR;
  const perMinute = (300 * MB) / (lifeDays * 1440);
  const meanTraffic = 50 + 1000 / Math.PI;
  let [bytes, total, minutes, trend] = [100 * MB, 0, NO_MINUTES, NO_TREND];
  let seen: { leftMs: number; at: number } | undefined;
  for (let now = startMs - 24 * HOUR; ; now += STEP) {
    total += 5 * trafficAt(now);
    minutes = countMinutes(minutes, now, total);
    if (now < startMs) continue;
    bytes += 5 * perMinute * (isPerRequest ? trafficAt(now) / meanTraffic : 1);
    const ageMs = now - startMs + STEP;
    const next = addReading(trend, ageMs, bytes + 3 * MB * noise(ageMs / STEP));
    if (next !== trend) {
      const found = forecast(next, 400 * MB);
      seen = found && { leftMs: found.leftMs, at: now };
    }
    trend = next;
    if (bytes >= 400 * MB) return { reached: true, busyShare: busyShareOf(minutes) };
    if (seen === undefined) continue;
    const busyShare = busyShareOf(minutes);
    if (isMoment(Math.max(0, seen.leftMs - (now - seen.at)), ageMs, busyShare)) return { reached: false, busyShare };
  }
}

test.each([6, 12])(
  "a leak of days is replaced before its limit, at a quiet minute, if the app started at %d o'clock",
  (hour) => {
    for (const [days, isPerRequest] of [
      [3, true],
      [5, true],
      [3, false],
      [5, false],
    ] as const)
      expect(live(days, hour, isPerRequest), `${days} days`).toEqual({
        reached: false,
        busyShare: expect.closeTo(0, 1),
      });
  },
);

describe("the moment of a replacement", () => {
  test.each([
    ["far from the limit, however quiet", 30 * HOUR, 70 * HOUR, 0, false],
    ["in the last quarter, at the quietest", 20 * HOUR, 80 * HOUR, 0, true],
    ["in the last quarter, while it is busy", 20 * HOUR, 80 * HOUR, 0.6, false],
    ["half-way through, in a quiet quarter of the day", 10 * HOUR, 90 * HOUR, 0.25, true],
    ["near the end, while it is fairly busy", 2 * HOUR, 98 * HOUR, 0.8, true],
    ["in the last minute, whatever there is", 50_000, 4 * HOUR, 1, true],
    ["in the first minutes of a life of minutes", 100_000, 20_000, 0, false],
  ])("%s", (_, leftMs, ageMs, busyShare, expected) => {
    expect(isMoment(leftMs, ageMs, busyShare)).toBe(expected);
  });

  test("comes before the limit in every case, and not before the last quarter of a life", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4 * MINUTE, max: 1000 * HOUR }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (lifeMs, busy) => {
          const moments = Array.from({ length: 200 }, (_, at) => (at / 200) * lifeMs).filter((ageMs) =>
            isMoment(lifeMs - ageMs, ageMs, busy),
          );
          expect(isMoment(Math.min(MINUTE, lifeMs / 4), lifeMs - Math.min(MINUTE, lifeMs / 4), busy)).toBe(true);
          expect(Math.min(...moments, lifeMs)).toBeGreaterThanOrEqual(lifeMs * 0.74);
        },
      ),
    );
  });

  test("all minutes of a day are known, even those that nobody counted", () => {
    let minutes = NO_MINUTES;
    for (let at = 0; at < 3000; at++) minutes = countMinutes(minutes, at * MINUTE, at * 100);
    expect(minutes.counts).toHaveLength(1440);
    expect(busyShareOf(minutes)).toBe(0);
    minutes = countMinutes(minutes, 3000 * MINUTE, 3000 * 100 + 50);
    expect(busyShareOf(minutes)).toBeCloseTo(1, 2);
    minutes = countMinutes(minutes, 3010 * MINUTE, 3000 * 100 + 150);
    expect(minutes.counts.slice(-3)).toEqual([10, 10, 10]);
    expect(busyShareOf(minutes)).toBe(0);
    // The counts of a pool may decrease if its process was replaced by another supervisor.
    expect(countMinutes(minutes, 3011 * MINUTE, 0).counts.at(-1)).toBe(0);
  });
});
