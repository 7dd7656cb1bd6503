/** A latency histogram: log-linear buckets in a typed array, cheap enough for every request. */
import type { SparseHistogram } from "./protocol.js";

/** Each power of two has this many buckets, so a bucket is at most 1/32 (3 %) wide. */
const SUB_BUCKETS = 32;
const SUB_BUCKET_BITS = 5;
/** 2^27 µs is 134 s. Longer durations count in the last bucket. */
const MAX_US = 2 ** 27 - 1;
const BUCKETS = (26 - SUB_BUCKET_BITS) * SUB_BUCKETS + 2 * SUB_BUCKETS;

/** Either one count per bucket, or a sparse list of the non-empty buckets: index, count, index, count, … */
type HistogramCounts = Uint32Array | Float64Array | SparseHistogram;

/** Counts durations from 1 µs to 134 s with an error of about 3 %. */
export class Histogram {
  /** The number of buckets; every index in a sparse histogram is below it. */
  static readonly bucketCount = BUCKETS;

  private readonly counts = new Uint32Array(BUCKETS);
  private isEmpty = true;

  /** Counts a duration in microseconds. Fractions are cut off, and out-of-range values go to the nearest bucket. */
  record(microseconds: number): void {
    const value = microseconds >= MAX_US ? MAX_US : microseconds > 0 ? microseconds | 0 : 0;
    const index = Histogram.bucketOf(value);
    this.isEmpty = false;
    this.counts[index] = (this.counts[index] as number) + 1;
  }

  /** Returns the counts since the last call, sparse and in ascending order, and resets the histogram. */
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

  /** Returns the bucket of a whole number of microseconds from 0 to 2^27 - 1. */
  static bucketOf(microseconds: number): number {
    if (microseconds < 2 * SUB_BUCKETS) return microseconds;
    const shift = 31 - SUB_BUCKET_BITS - Math.clz32(microseconds);
    return shift * SUB_BUCKETS + (microseconds >>> shift);
  }

  /** Returns the smallest number of microseconds of a bucket. */
  static lowerBoundUs(index: number): number {
    if (index < 2 * SUB_BUCKETS) return index;
    const shift = (index >>> SUB_BUCKET_BITS) - 1;
    return (index - shift * SUB_BUCKETS) * 2 ** shift;
  }

  /** Returns the dense sum of histograms. Ignores out-of-range indexes in a sparse one, which may come from another process. */
  static merge(histograms: Iterable<HistogramCounts>): Float64Array {
    const sum = new Float64Array(BUCKETS);
    for (const counts of histograms) {
      eachBucket(counts, (index, count) => {
        sum[index] = (sum[index] as number) + count;
      });
    }
    return sum;
  }

  /** Returns the number of counted durations. */
  static total(counts: HistogramCounts): number {
    let total = 0;
    eachBucket(counts, (_index, count) => {
      total += count;
    });
    return total;
  }

  /**
   * Returns the duration in microseconds below which the share `q` (0 to 1) of all durations lies, as the middle of its bucket; null
   * without counts.
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
