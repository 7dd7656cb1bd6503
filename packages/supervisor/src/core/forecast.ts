/**
 * Predicts when a process reaches its memory limit, by the robust slope of its memory over time (Theil–Sen), and chooses a quiet moment
 * before that.
 */

interface Sample {
  readonly ageMs: number;
  readonly bytes: number;
}

/** The memory of one process over its whole life, in a limited number of samples. */
export interface MemoryTrend {
  readonly samples: readonly Sample[];
  /** The minimum time between two samples, in milliseconds; grows with the age of the process. */
  readonly everyMs: number;
}

export interface Forecast {
  readonly bytesPerMs: number;
  /** The time until the limit is reached, in milliseconds; 0 if it has been reached. */
  readonly leftMs: number;
}

export const NO_TREND: MemoryTrend = { samples: [], everyMs: 0 };

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const MAX_SAMPLES = 48;
/** With fewer samples there is no prediction. */
const LEAST_SAMPLES = 8;
/** The first part of a life is warm-up: this share of it, but at most an hour. */
const WARM_UP_SHARE = 0.25;
const WARM_UP_MS = HOUR_MS;
/** If the slope of the second half is below this share of the slope of the first half, the growth is a warm-up or a step, not a leak. */
const LEAST_PERSISTENCE = 0.7;
/** The growth must exceed the median noise by this factor. */
const LEAST_GROWTH = 4;
/** How far into the future a slope is valid, as a multiple of the time in which it was observed. */
const REACH = 10;

/** Adds a reading. Most readings are skipped when the process is old; then `trend` itself is returned. */
export function addReading(trend: MemoryTrend, ageMs: number, bytes: number): MemoryTrend {
  const { samples, everyMs } = trend;
  const last = samples.at(-1);
  if (last !== undefined && ageMs < last.ageMs + Math.max(1, everyMs)) return trend;
  const all = [...samples, { ageMs, bytes }];
  if (all.length <= MAX_SAMPLES) return { samples: all, everyMs };
  const spanMs = ageMs - (all[0] as Sample).ageMs;
  return { samples: all.filter((_, at) => at % 2 === 0), everyMs: (2 * spanMs) / (all.length - 1) };
}

/** Returns when the memory reaches `limitBytes`; undefined if its growth is not certain, or the time is too far away to predict. */
export function forecast({ samples }: MemoryTrend, limitBytes: number): Forecast | undefined {
  const last = samples.at(-1);
  if (last === undefined) return undefined;
  const warmAtMs = Math.min(last.ageMs * WARM_UP_SHARE, WARM_UP_MS);
  const warm = samples.filter(({ ageMs }) => ageMs >= warmAtMs);
  // Most processes do not grow and need no further work.
  if (warm.length < LEAST_SAMPLES || last.bytes <= (warm[0] as Sample).bytes) return undefined;
  const bytesPerMs = slopeOf(warm);
  const half = Math.floor(warm.length / 2);
  const latest = slopeOf(warm.slice(-half));
  if (bytesPerMs <= 0 || latest <= 0 || latest < LEAST_PERSISTENCE * slopeOf(warm.slice(0, half))) return undefined;
  const rests = warm.map(({ ageMs, bytes }) => bytes - bytesPerMs * ageMs).sort(ascending);
  const middle = median(rests);
  const noise = median(rests.map((rest) => Math.abs(rest - middle)).sort(ascending));
  const spanMs = last.ageMs - (warm[0] as Sample).ageMs;
  if (bytesPerMs * spanMs < LEAST_GROWTH * noise) return undefined;
  // Most samples lie within a band, whose upper edge reaches the limit first.
  const upper = rests[Math.floor(rests.length * 0.9)] as number;
  const level = upper + bytesPerMs * last.ageMs;
  const fastest = Math.max(bytesPerMs, latest);
  const leftMs = Math.max(0, (limitBytes - level) / fastest);
  return leftMs > REACH * spanMs ? undefined : { bytesPerMs: fastest, leftMs };
}

/** Returns the median of the slopes between any two samples. */
function slopeOf(samples: readonly Sample[]): number {
  const slopes: number[] = [];
  for (const [at, to] of samples.entries()) {
    for (let before = 0; before < at; before++) {
      const from = samples[before] as Sample;
      slopes.push((to.bytes - from.bytes) / (to.ageMs - from.ageMs));
    }
  }
  return median(slopes.sort(ascending));
}

function ascending(a: number, b: number): number {
  return a - b;
}

function median(sorted: readonly number[]): number {
  const half = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(half)] as number) + (sorted[Math.ceil(half)] as number)) / 2;
}

/** How long a replacement may need to become ready, in milliseconds. */
const LEAD_MS = 60_000;
/** A quiet moment is searched for in this last part of a process's life. */
const WINDOW_SHARE = 0.25;
/** At the beginning of that part, the pool must be as quiet as in this share of all minutes. */
const QUIETEST = 0.05;

/**
 * Whether a process that reaches its limit in `leftMs` should be replaced now. The closer the limit, the busier the moment may be.
 * @param busyShare the share of all minutes in which the pool had fewer requests than in the last one, 0 to 1
 */
export function isMoment(leftMs: number, ageMs: number, busyShare: number): boolean {
  const windowMs = Math.min(DAY_MS, (ageMs + leftMs) * WINDOW_SHARE);
  if (leftMs > windowMs) return false;
  if (leftMs <= LEAD_MS) return true;
  const passed = 1 - leftMs / windowMs;
  return busyShare <= QUIETEST + (1 - QUIETEST) * passed ** 2;
}

/** The requests of a pool in each minute of the last day. */
export interface Minutes {
  readonly counts: readonly number[];
  /** The minute that is being counted: its number, and the total at its beginning. */
  readonly current: { readonly minute: number; readonly total: number } | null;
}

export const NO_MINUTES: Minutes = { counts: [], current: null };

const MAX_MINUTES = 1440;

/** Records the total of requests at a time. Minutes without a call share the requests that arrived in them. */
export function countMinutes(minutes: Minutes, nowMs: number, total: number): Minutes {
  const minute = Math.floor(nowMs / 60_000);
  const { counts, current } = minutes;
  if (current === null || minute < current.minute) return { counts, current: { minute, total } };
  if (minute === current.minute) return minutes;
  const passed = Math.min(minute - current.minute, MAX_MINUTES);
  const share = Math.max(0, total - current.total) / passed;
  const next = [...counts, ...Array.from({ length: passed }, () => share)].slice(-MAX_MINUTES);
  return { counts: next, current: { minute, total } };
}

/** Returns the share of the minutes that were quieter than the last one; 0 if there are none. */
export function busyShareOf({ counts }: Minutes): number {
  const last = counts.at(-1) ?? 0;
  return counts.length === 0 ? 0 : counts.filter((count) => count < last).length / counts.length;
}
