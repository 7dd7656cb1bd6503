/** A latency histogram: log-linear buckets in a typed array, cheap enough to record every request. */
import type { SparseHistogram } from "./protocol.js";

/** Each power of two is cut into this many buckets, so a bucket is at most 1/32 (3 %) wide. */
const SUB_BUCKETS = 32;
const SUB_BUCKET_BITS = 5;
/** 2^27 µs is 134 s; longer ones count in the last bucket. */
const MAX_US = 2 ** 27 - 1;
const BUCKETS = (26 - SUB_BUCKET_BITS) * SUB_BUCKETS + 2 * SUB_BUCKETS;

/** Counts by bucket index, or index, count, index, count … of the buckets that are not empty. */
export type HistogramCounts = Uint32Array | Float64Array | SparseHistogram;

/** Counts durations from 1 µs to 134 s within about 3 %. */
export class Histogram {
  /** How many buckets there are; every index in a sparse histogram is below it. */
  static readonly bucketCount = BUCKETS;

  private readonly counts = new Uint32Array(BUCKETS);
  private isEmpty = true;

  /** Counts one duration, in microseconds; fractions are cut off, what is out of range goes to the nearest bucket. */
  record(microseconds: number): void {
    const value = microseconds >= MAX_US ? MAX_US : microseconds > 0 ? microseconds | 0 : 0;
    const index = Histogram.bucketOf(value);
    this.isEmpty = false;
    this.counts[index] = (this.counts[index] as number) + 1;
  }

  /** The counts since the last call, sparse, in rising order of index; the histogram is empty afterwards. */
  takeSparse(): SparseHistogram {
    const sparse: SparseHistogram = [];
    if (this.isEmpty) return sparse;
    this.isEmpty = true;
    const counts = this.counts;
    for (let index = 0; index < BUCKETS; index++) {
      const count = counts[index] as number;
      if (count !== 0) sparse.push(index, count);
    }
    counts.fill(0);
    return sparse;
  }

  /** The bucket of a whole number of microseconds between 0 and 2^27 - 1. */
  static bucketOf(microseconds: number): number {
    if (microseconds < 2 * SUB_BUCKETS) return microseconds;
    const shift = 31 - SUB_BUCKET_BITS - Math.clz32(microseconds);
    return shift * SUB_BUCKETS + (microseconds >>> shift);
  }

  /** The smallest number of microseconds that falls into a bucket. */
  static lowerBoundUs(index: number): number {
    if (index < 2 * SUB_BUCKETS) return index;
    const shift = (index >>> SUB_BUCKET_BITS) - 1;
    return (index - shift * SUB_BUCKETS) * 2 ** shift;
  }

  /**
   * The sum of histograms, dense. Indexes out of range in a sparse one are left out, since it may have come from
   * another process.
   */
  static merge(histograms: Iterable<HistogramCounts>): Float64Array {
    const sum = new Float64Array(BUCKETS);
    for (const counts of histograms) {
      eachBucket(counts, (index, count) => {
        sum[index] = (sum[index] as number) + count;
      });
    }
    return sum;
  }

  /** How many durations are counted. */
  static total(counts: HistogramCounts): number {
    let total = 0;
    eachBucket(counts, (_index, count) => {
      total += count;
    });
    return total;
  }

  /**
   * The duration, in microseconds, that the share `q` (0 to 1) of all durations does not pass: the middle of the bucket
   * it lies in. Null when nothing was counted.
   */
  static quantile(counts: HistogramCounts, q: number): number | null {
    const dense = Array.isArray(counts) ? Histogram.merge([counts]) : counts;
    const total = Histogram.total(dense);
    if (total === 0) return null;
    const rank = Math.max(1, Math.ceil(q * total));
    let seen = 0;
    let last = 0;
    for (let index = 0; index < BUCKETS; index++) {
      const count = dense[index] as number;
      if (count === 0) continue;
      seen += count;
      last = index;
      if (seen >= rank) break;
    }
    return (Histogram.lowerBoundUs(last) + Histogram.lowerBoundUs(last + 1) - 1) / 2;
  }
}

function eachBucket(counts: HistogramCounts, visit: (index: number, count: number) => void): void {
  if (!Array.isArray(counts)) {
    for (let index = 0; index < BUCKETS; index++) {
      const count = counts[index] as number;
      if (count !== 0) visit(index, count);
    }
    return;
  }
  for (let at = 0; at + 1 < counts.length; at += 2) {
    const index = counts[at] as number;
    const count = counts[at + 1] as number;
    if (Number.isInteger(index) && index >= 0 && index < BUCKETS && count > 0) visit(index, count);
  }
}
