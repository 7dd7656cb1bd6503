/** All latencies of a process since its start, in few buckets, as metrics report them. */
import { Histogram, type SparseHistogram } from "@paceline/wire";

/** The upper bounds of the buckets in seconds; a last one has no bound. */
export const LATENCY_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

/** The bucket of each bucket of a report, which are much narrower: the first whose bound its middle does not exceed. */
const BUCKET_OF = new Uint8Array(Histogram.bucketCount);
/** The middle of each bucket of a report, in seconds. */
const MIDDLE = new Float64Array(Histogram.bucketCount);
for (let index = 0; index < Histogram.bucketCount; index++) {
  const middle = (Histogram.lowerBoundUs(index) + Histogram.lowerBoundUs(index + 1) - 1) / 2_000_000;
  const bucket = LATENCY_BOUNDS.findIndex((bound) => middle <= bound);
  MIDDLE[index] = middle;
  BUCKET_OF[index] = bucket < 0 ? LATENCY_BOUNDS.length : bucket;
}

export class LatencyTotals {
  /** The responses in each bucket. */
  readonly counts: readonly number[];
  private readonly own: number[] = new Array(LATENCY_BOUNDS.length + 1).fill(0);
  /** The sum of all latencies in seconds, to about 2 %: reports have buckets. */
  sumSeconds = 0;

  constructor() {
    this.counts = this.own;
  }

  /** Adds a report. Its indexes come from another process; those out of range are ignored. */
  add(report: SparseHistogram): void {
    for (let at = 0; at + 1 < report.length; at += 2) {
      const index = report[at] as number;
      const count = report[at + 1] as number;
      const bucket = BUCKET_OF[index];
      if (bucket === undefined || !(count > 0)) continue;
      this.own[bucket] = (this.own[bucket] as number) + count;
      this.sumSeconds += (MIDDLE[index] as number) * count;
    }
  }
}
