/**
 * Decides whether the memory of one arm of a deploy, or of one process of a pool, grows faster than that of the other. Computes the median
 * slope of the difference over time, and an interval for it by Kendall's rank correlation (Sen 1968, "Estimates of the regression
 * coefficient based on Kendall's tau"). It needs no model of the noise, and single peaks, as of a garbage collector, hardly change it. It
 * looks at a few sizes of the series only, and the error rates are divided among these looks.
 */

/** The mean memory of a process in each arm, at the same time. */
export interface MemoryReading {
  readonly atMs: number;
  readonly canaryBytes: number;
  readonly controlBytes: number;
}

/** The numbers of readings at which the test is made. Each number is half as large again as the one before. */
export const LOOKS = [8, 12, 18, 27, 40, 60, 90] as const;

/**
 * The quantiles of the normal distribution for a false alarm in 1,000 (lower end) and for a miss in 20 (upper end). Both probabilities are
 * divided by the seven looks.
 */
const LOWER_Z = 3.63;
const UPPER_Z = 2.45;

const MINUTE_MS = 60_000;
const MEGABYTE = 1e6;

interface Slope {
  /** In megabytes per minute. */
  readonly estimate: number;
  /** Null while there are too few readings for this end. */
  readonly low: number | null;
  readonly high: number | null;
}

/** Returns by how much faster the canary grows, in megabytes per minute; null before the first test. */
export function memorySlope(readings: readonly MemoryReading[]): Slope | null {
  const size = LOOKS.findLast((look) => look <= readings.length);
  if (size === undefined) return null;
  const slopes = slopesOf(readings.slice(0, size));
  const count = slopes.length;
  // The standard deviation of Kendall's S if there is no trend.
  const deviation = Math.sqrt((size * (size - 1) * (2 * size + 5)) / 18);
  const at = (rank: number) => slopes[rank] ?? null;
  return {
    estimate: middle(slopes),
    low: at(Math.floor((count - LOWER_Z * deviation) / 2) - 1),
    high: at(Math.ceil((count + UPPER_Z * deviation) / 2)),
  };
}

/** Returns the slopes between any two readings, in ascending order. */
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

/** The memory of a process in the last seconds, newest last; null where it is unknown. */
interface MemoryRecord {
  readonly uptimeSeconds: number;
  readonly generation: number;
  readonly bytes: readonly (number | null)[];
}

/** How many of the newest readings are examined first, before all of them. */
const NEWEST = 18;
const OF_ALL = 40;
/** A reading without a change is ignored for this many seconds, because memory is not measured each second. */
const SAME_SECONDS = 10;
/** A process loads its code in its first seconds. Without others to compare it with, its first minute also counts as warm-up. */
const LOADING_SECONDS = 15;
const WARM_UP_SECONDS = 60;
/** Processes of this age are past their warm-up. */
const OLD_SECONDS = 600;
/** The minimum time that is examined, with and without other processes to compare with. */
const LEAST_SPAN_MS = { beside: 30_000, alone: 150_000 };
/** Slower growth than this is not reported, in megabytes per minute. */
const LEAST_MB_A_MINUTE = 2;
/** If the slope of the second half is below this share of the slope of the first half, the growth is a warm-up. */
const LEAST_PERSISTENCE = 0.85;
/** The factors by which a process must exceed the maximum of the others, and its own earlier maximum. */
const LARGER_TIMES = 1.25;
const PEAK_TIMES = 1.1;

/**
 * Returns by how many bytes per minute the memory of each process of a pool grows, if that is certain; otherwise null. It is certain if the
 * process is larger than all others of its age and grows faster. If there are none of its age, it is compared with all older processes of
 * its generation. It is also certain if the process has grown for minutes without slowing down. Memory that returns to its level from
 * before the last garbage collection does not grow.
 */
export function growthsPerMinute(processes: readonly MemoryRecord[]): (number | null)[] {
  const highest = new Map(
    processes.map((each) => [each, each.bytes.reduce<number>((most, value) => Math.max(most, value ?? 0), 0)]),
  );
  return processes.map((own) => {
    const alike = othersBeside(own, processes);
    const most = alike.reduce((bytes, each) => Math.max(bytes, highest.get(each) as number), 0);
    // Only few of all processes are examined more closely.
    const isLarger = alike.length > 0 && (own.bytes.at(-1) ?? 0) >= LARGER_TIMES * most;
    const beside = isLarger ? readingsOf(own, alike, LOADING_SECONDS) : [];
    const all = readingsOf(own, [], LOADING_SECONDS);
    return (
      grown(beside.slice(-NEWEST), all, LEAST_SPAN_MS.beside) ??
      grown(beside, all, LEAST_SPAN_MS.beside) ??
      grown(readingsOf(own, [], WARM_UP_SECONDS), all, LEAST_SPAN_MS.alone)
    );
  });
}

/**
 * Returns the other processes of the same age, or if there are none, the older ones with the same code. A process that was restarted alone
 * does not become larger than those by warming up.
 */
function othersBeside(own: MemoryRecord, processes: readonly MemoryRecord[]): MemoryRecord[] {
  const { uptimeSeconds, generation } = own;
  const alike = processes.filter((each) => each !== own && isOfOneAge(uptimeSeconds, each.uptimeSeconds));
  if (alike.length > 0) return alike;
  return processes.filter((each) => each.uptimeSeconds > uptimeSeconds && each.generation === generation);
}

function isOfOneAge(a: number, b: number): boolean {
  const younger = Math.min(a, b);
  return younger >= OLD_SECONDS || 3 * younger >= 2 * Math.max(a, b);
}

/** Returns the readings of a process, and the median of the others at the same time, after its first seconds. */
function readingsOf({ uptimeSeconds, bytes }: MemoryRecord, others: readonly MemoryRecord[], skipped: number) {
  const readings: MemoryReading[] = [];
  const known = Math.max(0, Math.floor(uptimeSeconds) - skipped);
  let kept: { at: number; value: number } | undefined;
  for (let at = Math.max(0, bytes.length - known); at < bytes.length; at++) {
    const value = bytes[at] ?? null;
    if (value === null || (kept?.value === value && at - kept.at < SAME_SECONDS)) continue;
    const beside = others.flatMap((each) => each.bytes[at - bytes.length + each.bytes.length] ?? []);
    if (beside.length === 0 && others.length > 0) continue;
    kept = { at, value };
    beside.sort((a, b) => a - b);
    readings.push({ atMs: 1000 * at, canaryBytes: value, controlBytes: beside[(beside.length - 1) >> 1] ?? 0 });
  }
  return readings;
}

/**
 * Returns the growth of a process over these readings; null unless it is certain, both compared with the control and alone.
 * @param all includes the readings before them
 */
function grown(readings: readonly MemoryReading[], all: readonly MemoryReading[], leastSpanMs: number): number | null {
  const [first, last] = [readings[0], readings.at(-1)];
  const size = LOOKS.findLast((look) => look <= Math.min(readings.length, OF_ALL));
  if (size === undefined || first === undefined || last === undefined) return null;
  const spanMs = last.atMs - first.atMs;
  // Most processes do not grow and need no further work.
  const isHigher = last.canaryBytes - first.canaryBytes >= (LEAST_MB_A_MINUTE * MEGABYTE * spanMs) / MINUTE_MS;
  if (spanMs < leastSpanMs || !isHigher) return null;
  if (all.some(({ atMs, canaryBytes }) => atMs < first.atMs && PEAK_TIMES * canaryBytes >= last.canaryBytes))
    return null;
  const step = (readings.length - 1) / (size - 1);
  const seen = Array.from({ length: size }, (_, at) => readings[Math.round(at * step)] as MemoryReading);
  const own = seen.map((reading) => ({ ...reading, controlBytes: 0 }));
  for (const each of [seen, own]) {
    const low = memorySlope(each)?.low ?? null;
    if (low === null || low < LEAST_MB_A_MINUTE) return null;
    const half = size >> 1;
    if (middle(slopesOf(each.slice(-half))) < LEAST_PERSISTENCE * middle(slopesOf(each.slice(0, half)))) return null;
  }
  return middle(slopesOf(own)) * MEGABYTE;
}

function middle(sorted: Float64Array): number {
  const half = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(half)] ?? 0) + (sorted[Math.ceil(half)] ?? 0)) / 2;
}
