/**
 * Decides whether a queue is a burst that will pass, or stands because more requests arrive than can be run (the distinction of CoDel, RFC
 * 8289), and how long a request may wait in each case. Pure.
 * - A queue stands when it has not been empty for an interval. It stops standing when no request was refused for an interval.
 * - In a burst, a request may wait for the interval, and the oldest goes first, so that all get their turn.
 * - In a standing queue, the client of the oldest request has probably left, and running it would make the next one as late. So the newest
 * goes first, and a request may wait for a twentieth of the interval, as CoDel allows 5 ms of 100. The first few in line may still wait for
 * the whole interval, so that an instance that becomes free always finds a request.
 */

/** How long a request may wait in a standing queue, as a fraction of the interval. */
const TARGET_SHARE = 1 / 20;

export class StandingQueue {
  /** Since when the queue has not been empty; Infinity if it is empty. */
  private filledAt = Number.POSITIVE_INFINITY;
  private refusedAt = Number.NEGATIVE_INFINITY;

  /** @param intervalMs how long a request may wait; Infinity: there is no limit, and the queue never stands */
  constructor(public intervalMs = Number.POSITIVE_INFINITY) {}

  get targetMs(): number {
    return Math.max(1, this.intervalMs * TARGET_SHARE);
  }

  /** Called when a request has entered the queue. */
  filled(now: number): void {
    if (this.filledAt > now) this.filledAt = now;
  }

  /** Called when the queue is empty. */
  emptied(): void {
    this.filledAt = Number.POSITIVE_INFINITY;
  }

  /** Called when a request had to be refused. */
  refused(now: number): void {
    this.refusedAt = now;
  }

  stands(now: number): boolean {
    return now - this.filledAt >= this.intervalMs || now - this.refusedAt < this.intervalMs;
  }
}
