/** Measures the processor time of this process per request, which balancers use to decide how many requests may wait here. */

/** How often it is measured while requests are served, in milliseconds. */
const MEASURE_EVERY_MS = 100;

export class CostMeter {
  /** The requests of the last measurement, and the processor time in microseconds. */
  requests = 0;
  micros = 0;
  private measuredAtMs = 0;
  private startedBefore = 0;
  private microsBefore = 0;

  /** @param started returns the number of requests so far */
  constructor(private readonly started: () => number) {}

  /** Measures, if it is time. Returns false if there is nothing to report. */
  measure(nowMs: number): boolean {
    if (nowMs - this.measuredAtMs < MEASURE_EVERY_MS) return false;
    const isFirst = this.measuredAtMs === 0;
    this.measuredAtMs = nowMs;
    const { user, system } = process.cpuUsage();
    const started = this.started();
    this.requests = started - this.startedBefore;
    this.micros = user + system - this.microsBefore;
    this.startedBefore = started;
    this.microsBefore = user + system;
    // The first measurement is of the start.
    return !isFirst && this.requests > 0;
  }
}
