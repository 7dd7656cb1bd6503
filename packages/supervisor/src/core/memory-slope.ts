/**
 * Whether the memory of one arm grows faster than that of the other: the median slope of the difference against time, and an
 * interval for it by Kendall's rank correlation (Sen 1968, "Estimates of the regression coefficient based on Kendall's tau"). It
 * needs no model of the noise, and single peaks, as of a garbage collector, hardly change it. It looks at a few sizes of the
 * series only, and the error rates are divided among these looks.
 */

/** The mean memory of a process in each arm, at the same time. */
export interface MemoryReading {
  readonly atMs: number;
  readonly canaryBytes: number;
  readonly controlBytes: number;
}

/** The numbers of readings at which it looks; each is half as many more as the one before. */
export const LOOKS = [8, 12, 18, 27, 40, 60, 90] as const;

/** The quantiles of the normal distribution for a false alarm in 1,000 (lower end) and a miss in 20 (upper end), divided by seven. */
const LOWER_Z = 3.63;
const UPPER_Z = 2.45;

const MINUTE_MS = 60_000;
const MEGABYTE = 1e6;

interface Slope {
  /** In megabytes a minute. */
  readonly estimate: number;
  /** Null while there are too few readings for this end. */
  readonly low: number | null;
  readonly high: number | null;
}

/** Returns by how much faster the canary grows, in megabytes a minute; null before the first look. */
export function memorySlope(readings: readonly MemoryReading[]): Slope | null {
  const size = LOOKS.findLast((look) => look <= readings.length);
  if (size === undefined) return null;
  const slopes = slopesOf(readings.slice(0, size));
  const count = slopes.length;
  // The standard deviation of Kendall's S if there is no trend.
  const deviation = Math.sqrt((size * (size - 1) * (2 * size + 5)) / 18);
  const at = (rank: number) => slopes[rank] ?? null;
  return {
    estimate: ((at(Math.floor((count - 1) / 2)) ?? 0) + (at(Math.ceil((count - 1) / 2)) ?? 0)) / 2,
    low: at(Math.floor((count - LOWER_Z * deviation) / 2) - 1),
    high: at(Math.ceil((count + UPPER_Z * deviation) / 2)),
  };
}

/** The slopes between every two readings, in ascending order. */
function slopesOf(readings: readonly MemoryReading[]): Float64Array {
  const slopes: number[] = [];
  for (const [at, to] of readings.entries()) {
    for (let before = 0; before < at; before++) {
      const from = readings[before] as MemoryReading;
      const grown = to.canaryBytes - to.controlBytes - (from.canaryBytes - from.controlBytes);
      slopes.push((grown / MEGABYTE) * (MINUTE_MS / Math.max(1, to.atMs - from.atMs)));
    }
  }
  return Float64Array.from(slopes).sort();
}
