/** Measures the CPU time of a pool's requests, and computes how many may wait at one instance. Pure. */

/**
 * How much work may wait at an instance, in microseconds. It is enough to keep the instance busy until the next request arrives, but no
 * more, because requests that wait there cannot go to the first free instance.
 */
const WAITING_WORK_US = 1000;
/** The maximum window. With a larger one, a request would wait longer than it takes to be sent. */
const MAX_WINDOW = 16;
/**
 * Requests that take at least this long are not sent to an instance whose event loop is running. In microseconds. For shorter requests the
 * check is not worth its cost of some microseconds, because the loop may be busy with something just as short.
 */
const LONG_WORK_US = 2000;
/**
 * Requests whose usual duration is less than this multiple of their CPU time may wait until an event loop is free. If they mostly wait for
 * something else, an instance needs many of them at once to be busy, and their waiting would be wasted.
 */
const MOSTLY_WORK = 4;
/**
 * Requests that usually take less than this multiple of their CPU time wait for an instance without another request, for at most
 * `IDLE_WAIT_REQUESTS` times their mean CPU time. Two requests at one instance delay each other, and the p99 grows if a short request waits
 * for a long one.
 */
const NEARLY_ALL_WORK = 2;
const IDLE_WAIT_REQUESTS = 8;
const MAX_IDLE_WAIT_MS = 50;
/**
 * Up to this much work, in microseconds, is worth no other instance: to wake one takes half of this time, and about as much CPU time of
 * the balancer and the instance.
 */
const WAKE_US = 100;
/** The mean covers about this many of the last requests. Before so many have been counted, the window is unlimited. */
const MEAN_OVER_REQUESTS = 64;

export class WorkMeter {
  /** How many requests may wait at one instance until their handlers have returned. */
  window = Number.POSITIVE_INFINITY;
  /** Whether requests occupy an instance long enough for the instance with the fewest requests to be a better choice than the next in turn. */
  isSlow = false;
  /** How long a request waits at an instance behind a running handler before it moves, in milliseconds; see pace.ts. */
  moveAfterMs = Number.POSITIVE_INFINITY;
  /** How many consecutive requests are not worth waking another instance. */
  perWake = 1;
  /** Whether enough requests were counted. */
  isKnown = false;
  /** Whether requests occupy an instance long enough for a check of its event loop to be worth its cost. */
  isLong = false;
  /** How many balancers share the instances. */
  balancers = 1;
  private meanUs = 0;
  private counted = 0;

  /** Counts requests of an instance and their CPU time in microseconds. */
  add(requests: number, micros: number): void {
    if (requests === 0) return;
    this.counted = Math.min(MEAN_OVER_REQUESTS, this.counted + requests);
    this.meanUs += (micros / requests - this.meanUs) * Math.min(1, requests / this.counted);
    this.isKnown = this.counted >= MEAN_OVER_REQUESTS;
    if (!this.isKnown) return;
    const window = Math.floor(WAITING_WORK_US / this.meanUs);
    this.window = window > MAX_WINDOW ? Number.POSITIVE_INFINITY : Math.max(1, Math.floor(window / this.balancers));
    this.perWake = Math.max(1, Math.floor(WAKE_US / this.meanUs));
    this.isSlow = this.meanUs >= WAITING_WORK_US;
    this.isLong = this.meanUs >= LONG_WORK_US;
  }

  /** Whether requests that usually take this many microseconds mostly compute. */
  isMostOf(usualUs: number): boolean {
    return usualUs < MOSTLY_WORK * this.meanUs;
  }

  /**
   * Returns how long a request waits for an instance that has none, in milliseconds.
   * @param usualUs how long requests usually take, in microseconds
   */
  idleWaitMs(usualUs: number | undefined): number {
    if (!this.isLong || usualUs === undefined || usualUs >= NEARLY_ALL_WORK * this.meanUs) return 0;
    return Math.min(MAX_IDLE_WAIT_MS, (IDLE_WAIT_REQUESTS * this.meanUs) / 1000);
  }
}
