/** How long an upstream takes for its requests, and which upstreams of a pool take many times as long as the others. Pure. */

/** The pace is about that of the last so many requests. */
const PACE_OVER_REQUESTS = 32;
/** Before so many it is unknown. */
const MIN_REQUESTS = 16;
/** The pace of an outlier, which gets few requests, is about that of the last so many. */
const OUTLIER_OVER_REQUESTS = 4;

/** An outlier takes more than 8 times as long as the typical upstream, until it takes less than 3 times. As powers of two. */
const OUTLIER_FROM = 3;
const OUTLIER_UNTIL = 1.5;
/** Nobody waits noticeably for an upstream that takes less than about 4 ms. As a power of two, in microseconds. */
const OUTLIER_MIN = 13;
/** So many judgements in a row must find it: about a second, so that a pause off the CPU does not make an outlier. */
const JUDGEMENTS = 10;

/** An outlier gets one request of so many of its pool's, so that it can show that it is quick again; but one in `TRIAL_MS`. */
const TRIAL_SHARE = 250;
const TRIAL_MS = 5000;

export class Pace {
  /** Whether it takes many times as long as the others of its pool. */
  isOutlier = false;
  /** How many requests it may get as an outlier. */
  trials = 0;
  /** The mean of the requests' durations, as powers of two in microseconds: a few long ones hardly change it. */
  private mean = 0;
  private counted = 0;
  /** Judgements in a row that found it to be an outlier. */
  private found = 0;

  /** Counts the duration of a request. */
  add(micros: number): void {
    if (this.counted < PACE_OVER_REQUESTS) this.counted++;
    const over = this.isOutlier ? OUTLIER_OVER_REQUESTS : this.counted;
    this.mean += (32 - Math.clz32(micros) - this.mean) / over;
  }

  /** As a power of two in microseconds; undefined if it is unknown. */
  get known(): number | undefined {
    return this.counted < MIN_REQUESTS ? undefined : this.mean;
  }

  /** @param typical the pace of the typical upstream of the pool */
  judge(typical: number): void {
    const { mean } = this;
    const isFar = mean >= OUTLIER_MIN && mean > typical + (this.isOutlier ? OUTLIER_UNTIL : OUTLIER_FROM);
    this.found = isFar ? this.found + 1 : 0;
    this.isOutlier = isFar && (this.isOutlier || this.found >= JUDGEMENTS);
  }

  /** It is alone in its pool, or its pool does not judge. */
  acquit(): void {
    this.isOutlier = false;
    this.found = 0;
  }
}

/** The paces of one pool. */
export class Paces {
  /** How long a request usually takes, in microseconds; undefined if it is unknown. */
  typicalMicros: number | undefined;
  /** The number of outliers. */
  outliers = 0;
  private finished = 0;
  private triedAtMs = 0;

  /**
   * Called at intervals.
   * @param finished the number of responses since the last call
   */
  judge(paces: readonly Pace[], finished: number, nowMs: number): void {
    if (finished === 0) return;
    const known = paces.filter((pace) => pace.known !== undefined);
    const means = known.map((pace) => pace.known as number).sort((a, b) => a - b);
    // The faster half decides, so that at most every second one is an outlier.
    const typical = means[(means.length - 1) >> 1];
    this.typicalMicros = typical === undefined ? undefined : 2 ** (typical - 1 / 2);
    this.outliers = 0;
    const isTrialDue = this.takeTrial(finished, nowMs);
    for (const pace of paces) {
      if (known.length < 2 || pace.known === undefined) pace.acquit();
      else pace.judge(typical as number);
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
