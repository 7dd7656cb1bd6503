/** How long the requests of a pool take, and from when on one that waits at an instance moves to another. Pure. */

/** Each power of two of microseconds has four buckets, up to 2^31 µs. */
const BUCKETS = 128;
const MAX_MICROS = 2 ** 31 - 1;
/** Before so many responses nothing is known. */
const MIN_REQUESTS = 100;
const PERCENTILE = 0.95;

export class UsualTime {
  private readonly counts = new Float64Array(BUCKETS);

  /** Counts the time of a response. */
  add(milliseconds: number): void {
    const micros = milliseconds >= MAX_MICROS / 1000 ? MAX_MICROS : (milliseconds * 1000) | 0;
    const bucket = micros < 4 ? Math.max(0, micros) : bucketOf(micros);
    this.counts[bucket] = (this.counts[bucket] as number) + 1;
  }

  /** Forgets a part of what it knows. @param kept the part that stays, from 0 to 1 */
  decay(kept: number): void {
    for (let bucket = 0; bucket < BUCKETS; bucket++) this.counts[bucket] = (this.counts[bucket] as number) * kept;
  }

  /** The time that 95 % of the requests do not exceed, to about 20 %; undefined if it is not known. */
  get p95Ms(): number | undefined {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total < MIN_REQUESTS) return undefined;
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
 * Returns for how long a request waits at an instance before it moves; Infinity: until the instance counts as stalled.
 * @param p95Ms of the pool; undefined if it is not known
 */
export function moveAfterMs(p95Ms: number | undefined, stallAfterMs: number): number {
  if (p95Ms === undefined) return Number.POSITIVE_INFINITY;
  const afterMs = Math.max(p95Ms, stallAfterMs / 2);
  return afterMs < stallAfterMs ? afterMs : Number.POSITIVE_INFINITY;
}
