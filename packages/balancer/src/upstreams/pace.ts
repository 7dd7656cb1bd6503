/** How long requests take: at an upstream, compared with the others of its pool, and in the whole pool. Pure. */

/** The pace covers about this many of the last requests. */
const PACE_OVER_REQUESTS = 32;
/** The pace is unknown before this many requests. */
const MIN_REQUESTS = 16;
/** The same for an outlier, which gets few requests. */
const OUTLIER_OVER_REQUESTS = 4;

/**
 * An outlier takes more than 8 times as long as the typical upstream, and stays one until it takes less than 3 times as long. As powers of
 * two.
 */
const OUTLIER_FROM = 3;
const OUTLIER_UNTIL = 1.5;
/** Below about 4 ms, nobody notices that an upstream is slow. As a power of two, in microseconds. */
const OUTLIER_MIN = 13;
/** How many comparisons in a row must find an outlier: about a second, so that a process that gets no CPU for a moment is not one. */
const COMPARISONS = 10;

/** An outlier gets one of this many requests of its pool, so that it can show that it is fast again; but at least one in `TRIAL_MS`. */
const TRIAL_SHARE = 250;
const TRIAL_MS = 5000;

/** How long an upstream takes, and whether it takes many times as long as the others of its pool. */
export class Pace {
  /** Whether it takes many times as long as the others of its pool. */
  isOutlier = false;
  /** How many more requests the upstream may get as an outlier. */
  trials = 0;
  /** The mean duration of requests, as a power of two in microseconds, so that a few long ones hardly change it. */
  private mean = 0;
  private counted = 0;
  /** How many consecutive comparisons found it to be an outlier. */
  private found = 0;

  /** Counts the duration of a request. */
  add(micros: number): void {
    if (this.counted < PACE_OVER_REQUESTS) this.counted++;
    const over = this.isOutlier ? OUTLIER_OVER_REQUESTS : this.counted;
    this.mean += (32 - Math.clz32(micros) - this.mean) / over;
  }

  /** As a power of two in microseconds; undefined if unknown. */
  get known(): number | undefined {
    return this.counted < MIN_REQUESTS ? undefined : this.mean;
  }

  /** @param typical the pace of the typical upstream of the pool */
  compare(typical: number): void {
    const { mean } = this;
    const isFar = mean >= OUTLIER_MIN && mean > typical + (this.isOutlier ? OUTLIER_UNTIL : OUTLIER_FROM);
    this.found = isFar ? this.found + 1 : 0;
    this.isOutlier = isFar && (this.isOutlier || this.found >= COMPARISONS);
  }

  /** Called if there is nothing to compare: the pace of this upstream, or of all others, is unknown. */
  acquit(): void {
    this.isOutlier = false;
    this.found = 0;
  }
}

/** The paces of one pool. */
export class Paces {
  /** How long a request usually takes, in microseconds; undefined if unknown. */
  typicalMicros: number | undefined;
  /** The number of outliers. */
  outliers = 0;
  private finished = 0;
  private triedAtMs = 0;

  /**
   * Called at intervals.
   * @param finished the number of responses since the last call
   */
  findOutliers(paces: readonly Pace[], finished: number, nowMs: number): void {
    if (finished === 0) return;
    const known = paces.filter((pace) => pace.known !== undefined);
    const means = known.map((pace) => pace.known as number).sort((a, b) => a - b);
    // The faster half decides, so that at most half of the upstreams are outliers.
    const typical = means[(means.length - 1) >> 1];
    this.typicalMicros = typical === undefined ? undefined : 2 ** (typical - 1 / 2);
    this.outliers = 0;
    const isTrialDue = this.takeTrial(finished, nowMs);
    for (const pace of paces) {
      if (known.length < 2 || pace.known === undefined) pace.acquit();
      else pace.compare(typical as number);
      if (!pace.isOutlier) pace.trials = 0;
      else {
        this.outliers++;
        if (isTrialDue) pace.trials = 1;
      }
    }
  }

  private takeTrial(finished: number, nowMs: number): boolean {
    this.finished += finished;
    if (this.finished < TRIAL_SHARE && nowMs - this.triedAtMs < TRIAL_MS) return false;
    this.finished = 0;
    this.triedAtMs = nowMs;
    return true;
  }
}

/** After this time, in milliseconds, a latency has about a third of its weight. */
const DECAY_MS = 10_000;

/** How fast an upstream responds: a mean that rises at once and falls slowly, even while nothing is measured. */
export class PeakLatency {
  private value = 0;
  private at = 0;

  /** @param clock in milliseconds */
  constructor(private readonly clock: { readonly now: number }) {}

  /** Counts the time until the head of a response. A failed response never makes an upstream look faster. */
  observe(milliseconds: number, isGood = true): void {
    const { now } = this.clock;
    const mean = this.ms;
    if (!isGood && milliseconds < mean) {
      this.value = mean;
      this.at = now;
      return;
    }
    const kept = Math.exp((this.at - now) / DECAY_MS);
    this.value = milliseconds >= mean ? milliseconds : mean * kept + milliseconds * (1 - kept);
    this.at = now;
  }

  /** In milliseconds; 0 if nothing was measured for a long time. */
  get ms(): number {
    return this.value * Math.exp((this.at - this.clock.now) / DECAY_MS);
  }
}

/** Each power of two in microseconds has four buckets, up to 2^31 µs. */
const BUCKETS = 128;
const MAX_MICROS = 2 ** 31 - 1;
/** The number of responses that are needed for a result. */
const MIN_COUNTED = 100;
const PERCENTILE = 0.95;

/** How long the requests of a pool take, and when a request that waits at an instance moves to another one. */
export class UsualTime {
  private readonly counts = new Float64Array(BUCKETS);

  /** Counts the time of a response. */
  add(milliseconds: number): void {
    const micros = milliseconds >= MAX_MICROS / 1000 ? MAX_MICROS : (milliseconds * 1000) | 0;
    const bucket = micros < 4 ? Math.max(0, micros) : bucketOf(micros);
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
  }

  /**
   * Forgets a part of the counts.
   * @param kept the part that stays, from 0 to 1
   */
  decay(kept: number): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) this.counts[bucket] = (this.counts[bucket] as number) * kept;
  }

  /** The p95 of the requests, accurate to about 20 %; undefined if unknown. */
  get p95Ms(): number | undefined {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total < MIN_COUNTED) return undefined;
    let below = 0;
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      below += this.counts[bucket] as number;
      if (below >= PERCENTILE * total) return upperMicrosOf(bucket) / 1000;
    }
    return undefined;
  }
}

/** @param micros a whole number of at least 4 */
function bucketOf(micros: number): number {
  const power = 31 - Math.clz32(micros);
  return 4 * (power - 1) + ((micros >>> (power - 2)) & 3);
}

function upperMicrosOf(bucket: number): number {
  if (bucket < 4) return bucket + 1;
  return (5 + (bucket & 3)) * 2 ** ((bucket >> 2) - 1);
}

/**
 * Returns how long a request waits at an instance before it moves; Infinity: until the instance counts as stalled.
 * @param p95Ms of the pool; undefined if unknown
 */
export function moveAfterMs(p95Ms: number | undefined, stallAfterMs: number): number {
  if (p95Ms === undefined) return Number.POSITIVE_INFINITY;
  const afterMs = Math.max(p95Ms, stallAfterMs / 2);
  return afterMs < stallAfterMs ? afterMs : Number.POSITIVE_INFINITY;
}
