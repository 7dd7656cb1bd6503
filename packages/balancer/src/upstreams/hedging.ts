/** Which requests of a pool are also sent to a second upstream, because the first one is late: from when on, and how many. */
import { UsualTime } from "./pace.js";
import { RetryBudget } from "./retry-budget.js";

/** This percentage of a pool's requests may be sent twice. */
const BUDGET = { percent: 2, minPerSecond: 0 };
/** Before that a second upstream is hardly quicker. In milliseconds. */
const MIN_AFTER_MS = 5;
/** How long response times are remembered, on average, in seconds. */
const MEMORY_S = 30;

/** A request without a byte of a response. */
export interface WaitingRequest {
  /** When it was sent to its first upstream; set by `Hedging`. */
  sentAtMs: number;
  /** Sends it to a second upstream. Returns false if none has room. */
  sendAgain(): boolean;
}

export class Hedging {
  private readonly times = new UsualTime();
  private readonly budget = new RetryBudget();
  /** In the order in which they were sent, which is the order in which they become late. */
  private readonly waiting = new Set<WaitingRequest>();
  /** For how long a request waits at its first upstream; undefined: it is not known. */
  private afterMs: number | undefined;
  private isTimed = false;
  /** Requests that were sent twice since the budget has earned. */
  private hedged = 0;

  /** @param clock in milliseconds; @param wakeIn calls back after so many milliseconds */
  constructor(
    private readonly clock: () => number = () => performance.now(),
    private readonly wakeIn: (ms: number, wake: () => void) => void = (ms, wake) => void setTimeout(wake, ms),
  ) {
    this.budget.follow(BUDGET);
  }

  /** A request was sent to its first upstream. */
  sent(request: WaitingRequest): void {
    request.sentAtMs = this.clock();
    this.waiting.add(request);
    if (this.afterMs !== undefined) this.wakeAfter(this.afterMs);
  }

  /** The response to a request begins, from whichever upstream: the time since its first sending counts. */
  responded(request: WaitingRequest): void {
    this.waiting.delete(request);
    this.times.add(this.clock() - request.sentAtMs);
  }

  /** A request has ended without a response. */
  forget(request: WaitingRequest): void {
    this.waiting.delete(request);
  }

  /** Called about once a second. @param sent requests that were sent to the pool's upstreams in these `seconds` */
  earn(sent: number, seconds: number): void {
    this.budget.earn(Math.max(0, sent - this.hedged), seconds);
    this.hedged = 0;
    this.times.decay(Math.exp(-seconds / MEMORY_S));
    const { p95Ms } = this.times;
    this.afterMs = p95Ms === undefined ? undefined : Math.max(MIN_AFTER_MS, p95Ms);
    this.look();
  }

  private wakeAfter(ms: number): void {
    if (this.isTimed) return;
    this.isTimed = true;
    this.wakeIn(ms, this.wake);
  }

  private readonly wake = (): void => {
    this.isTimed = false;
    this.look();
  };

  /** Sends those again that are late, the oldest first. What finds no budget or no upstream waits for the next look. */
  private look(): void {
    const { afterMs, budget, waiting } = this;
    if (afterMs === undefined) return;
    const now = this.clock();
    for (const request of waiting) {
      const dueInMs = request.sentAtMs + afterMs - now;
      if (dueInMs > 0) return this.wakeAfter(dueInMs);
      if (!budget.isLeft || !request.sendAgain()) return;
      budget.take();
      this.hedged++;
      waiting.delete(request);
    }
  }
}
