/** How much processor time a request of a pool takes, and how many may therefore wait at one instance. Pure. */

/**
 * So much work may wait at an instance, in microseconds: enough to keep it busy until its next request arrives. What waits there
 * cannot go to whoever is free first.
 */
const WAITING_WORK_US = 1000;
/** With a larger window a request waits for no longer than it takes to be sent. */
const MAX_WINDOW = 16;
/** The mean is about that of the last so many requests; before so many there is no window. */
const MEAN_OVER_REQUESTS = 64;

export class WorkMeter {
  /** How many requests may wait at one instance until their handler has returned. */
  window = Number.POSITIVE_INFINITY;
  /** Whether a request occupies an instance for so long that the one with the fewest requests is the better choice than the next in turn. */
  isSlow = false;
  /** How long a request waits at one of them behind a running handler before it moves; see usual-time.ts. */
  moveAfterMs = Number.POSITIVE_INFINITY;
  private meanUs = 0;
  private counted = 0;

  /** Counts requests of an instance and its processor time for them, in microseconds. */
  add(requests: number, micros: number): void {
    if (requests === 0) return;
    this.counted = Math.min(MEAN_OVER_REQUESTS, this.counted + requests);
    this.meanUs += (micros / requests - this.meanUs) * Math.min(1, requests / this.counted);
    if (this.counted < MEAN_OVER_REQUESTS) return;
    const window = Math.max(1, Math.floor(WAITING_WORK_US / this.meanUs));
    this.window = window > MAX_WINDOW ? Number.POSITIVE_INFINITY : window;
    this.isSlow = this.meanUs >= WAITING_WORK_US;
  }
}
