/** The slope of the memory difference: known lines, noise, peaks, and how often it is wrong; and when growth of memory is certain. */
import { describe, expect, test } from "vitest";
import { growthsPerMinute, LOOKS, memorySlope } from "./memory-slope.js";

const MB = 1e6;

/** Numbers from 0 to 1 that look random and are the same in each run. */
function randoms(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Readings every two seconds: both arms grow at first, and the canary grows by this many more megabytes per minute. */
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

  test("hardly reacts to single peaks", () => {
    const peaks = readings(40, 0, randoms(2)).map((each, at) =>
      at % 9 === 8 ? { ...each, canaryBytes: 900 * MB } : each,
    );
    expect(Math.abs(memorySlope(peaks)?.estimate as number)).toBeLessThan(20);
  });

  test("in 2,000 series its bounds are on the wrong side no more often than stated", () => {
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

/**
 * The memory of three processes of one app at each second of their lives, and then of two older ones. They warm up by 10 to 50 MB, their
 * garbage collectors let them grow before they free memory, and they are measured every `everySeconds`. The first process leaks.
 */
function livesOf(
  random: () => number,
  { leakMbPerMinute = 0, mostTooth = 3, slowest = 40, everySeconds = 2 } = {},
): number[][] {
  const [warm, warmSeconds, tooth, period] = [
    ...[10 + 40 * random(), 5 + slowest * random(), mostTooth * random(), 20 + 60 * random()],
  ] as const;
  return [300, 300, 300, 600, 600].map((seconds, process) => {
    const [phase, part] = [random() * period, 0.8 + 0.4 * random()];
    let bytes = 0;
    return Array.from({ length: seconds }, (_, at) => {
      if (at % everySeconds === 0) {
        const noise = random() + random() + random() - 1.5;
        const own = part * (warm * (1 - Math.exp(-at / warmSeconds)) + (tooth * ((at + phase) % period)) / period);
        bytes = Math.round(MB * (60 + own + noise + (process === 0 ? (leakMbPerMinute / 60) * at : 0)));
      }
      return bytes;
    });
  });
}

/** Returns the second at which its growth is certain; null if that does not happen within its life. */
function certainAt(
  own: readonly number[],
  others: readonly (readonly number[])[],
  age = 0,
  generation = 1,
): number | null {
  const seen = (bytes: readonly number[], uptimeSeconds: number, of = 1) => ({
    ...{ uptimeSeconds, generation: of, bytes: bytes.slice(Math.max(0, uptimeSeconds - 300), uptimeSeconds) },
  });
  for (let at = 10; at <= own.length; at += 10) {
    const beside = others.map((bytes) => seen(bytes, at + age));
    if (growthsPerMinute([seen(own, at, generation), ...beside])[0] !== null) return at;
  }
  return null;
}

describe("growing memory", () => {
  test("of a megabyte per second is certain within 80 s with others to compare, and within four minutes without them", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const [own = [], ...others] = livesOf(randoms(seed), { leakMbPerMinute: 60 });
      expect(certainAt(own, others.slice(0, 2))).toBeLessThanOrEqual(80);
      expect(certainAt(own, [])).toBeLessThanOrEqual(240);
    }
    const [own = []] = livesOf(randoms(1), { leakMbPerMinute: 60, mostTooth: 0 });
    expect((growthsPerMinute([{ uptimeSeconds: 300, generation: 1, bytes: own }])[0] ?? 0) / MB).toBeCloseTo(60, -1);
  });

  test("of a megabyte a second in one that was restarted alone is certain within two minutes beside older ones of its generation", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const [own = [], , , ...older] = livesOf(randoms(seed), { leakMbPerMinute: 60 });
      expect(certainAt(own, older, 300)).toBeLessThanOrEqual(120);
      // Other code may need more memory.
      expect(certainAt(own, older, 300, 2)).toBe(certainAt(own, []));
    }
  });

  test.each([
    ["that warms up slowly", { slowest: 120 }],
    ["that warms up, measured less often", { everySeconds: 10 }],
    ["with a collector that runs each minute or so", { mostTooth: 60 }],
  ])("is not that of a process %s: in 25 pools, alone and after a restart", (_, more) => {
    for (let seed = 1; seed <= 25; seed++) {
      const [own = [], one = [], two = [], ...older] = livesOf(randoms(1000 + seed), more);
      const found = [certainAt(own, [one, two]), certainAt(own, []), certainAt(own, older, 300)];
      expect([seed, ...found]).toEqual([seed, null, null, null]);
    }
  });

  test("needs readings", () => {
    const generation = 1;
    const none = [0, 900].map((uptimeSeconds) => ({ uptimeSeconds, generation, bytes: new Array(300).fill(null) }));
    expect(growthsPerMinute([{ uptimeSeconds: 0, generation, bytes: [] }, ...none])).toEqual([null, null, null]);
  });
});
