/** The slope of the memory difference: known lines, noise, peaks, and how often it is wrong. */
import { describe, expect, test } from "vitest";
import { LOOKS, memorySlope } from "./memory-slope.js";

const MB = 1e6;

/** Numbers from 0 to 1 that look random, the same in each run. */
function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Readings every two seconds: both arms grow in the beginning, and the canary by so many megabytes a minute more. */
function readings(count: number, leak: number, random: () => number) {
  const noise = () => 8 * MB * (random() + random() + random() - 1.5);
  return Array.from({ length: count }, (_, at) => {
    const warm = 80 * MB + 20 * MB * (1 - Math.exp(-at / 8));
    const seconds = 2 * at;
    return {
      atMs: 1000 * seconds,
      canaryBytes: warm + noise() + (leak / 60) * seconds * MB,
      controlBytes: warm + noise(),
    };
  });
}

describe("the slope of memory", () => {
  test("is unknown before the first look, and then that of a line", () => {
    const line = readings(60, 60, () => 0.5);
    expect(memorySlope(line.slice(0, LOOKS[0] - 1))).toBeNull();
    for (const look of LOOKS.slice(1, 5)) {
      const slope = memorySlope(line.slice(0, look));
      expect(slope?.estimate).toBeCloseTo(60);
      expect(slope?.low).toBeCloseTo(60);
      expect(slope?.high).toBeCloseTo(60);
    }
  });

  test("changes at its looks only", () => {
    const series = readings(60, 60, randoms(1));
    expect(memorySlope(series.slice(0, 39))).toEqual(memorySlope(series.slice(0, 27)));
  });

  test("hardly sees single peaks", () => {
    const peaks = readings(40, 0, randoms(2)).map((each, at) =>
      at % 9 === 8 ? { ...each, canaryBytes: 900 * MB } : each,
    );
    expect(Math.abs(memorySlope(peaks)?.estimate as number)).toBeLessThan(20);
  });

  test("in 2,000 series its ends are on the wrong side no more often than stated", () => {
    const random = randoms(3);
    let [alarms, misses, decided] = [0, 0, 0];
    for (let run = 0; run < 2000; run++) {
      const slopes = LOOKS.filter((look) => look <= 40).map((look) =>
        memorySlope(readings(40, 30, random).slice(0, look)),
      );
      if (slopes.some((slope) => slope?.low != null && slope.low > 30)) alarms++;
      if (slopes.some((slope) => slope?.high != null && slope.high < 30)) misses++;
      if ((memorySlope(readings(40, 0, random))?.high ?? 99) < 30) decided++;
    }
    expect(alarms).toBeLessThanOrEqual(2000 * 0.001 + 3);
    expect(misses).toBeLessThanOrEqual(2000 * 0.05);
    expect(decided).toBeGreaterThan(1900);
  });
});
