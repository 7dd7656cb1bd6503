/** Decides which late requests of a pool are also sent to a second upstream: after what time, and how many. */
import { UsualTime } from "./pace.js";
import { RetryBudget } from "./retry-budget.js";

/** The percentage of a pool's requests that may be sent twice. */
const BUDGET = { percent: 2, minPerSecond: 0 };
/** If the first upstream responds within this time, a second upstream is hardly faster. In milliseconds. */
const MIN_AFTER_MS = 5;
/** How long response times are remembered, on average, in seconds. */
const MEMORY_S = 30;

/** A request whose response has not begun. */
export interface WaitingRequest {
  /** When it was sent to its first upstream; set by `Hedging`. */
  sentAtMs: number;
  /** Sends the request to a second upstream. Returns false if none has room. */
  sendAgain(): boolean;
}

export class Hedging {
  private readonly times = new UsualTime();
  private readonly budget = new RetryBudget();
  /** In the order in which they were sent, which is also the order in which they become late. */
  private readonly waiting = new Set<WaitingRequest>();
  /** How long a request waits at its first upstream, in milliseconds; undefined if that is not known. */
  private afterMs: number | undefined;
  private isTimed = false;
  /** The number of requests that were sent twice since the budget was last increased. */
  private hedged = 0;

  /**
   * @param clock in milliseconds
   * @param wakeIn calls back after this many milliseconds
   */
  constructor(
    private readonly clock: () => number = () => performance.now(),
    private readonly wakeIn: (ms: number, wake: () => void) => void = (ms, wake) => void setTimeout(wake, ms),
  ) {
    this.budget.follow(BUDGET);
  }

  /** Called when a request was sent to its first upstream. */
  sent(request: WaitingRequest): void {
    request.sentAtMs = this.clock();
    this.waiting.add(request);
    if (this.afterMs !== undefined) this.wakeAfter(this.afterMs);
  }

  /** Called when the response to a request starts, from either upstream. Counts the time since the request was first sent. */
  responded(request: WaitingRequest): void {
    this.waiting.delete(request);
    this.times.add(this.clock() - request.sentAtMs);
  }

  /** Called when a request has ended without a response. */
  forget(request: WaitingRequest): void {
    this.waiting.delete(request);
  }

  /**
   * Called about once a second.
   * @param sent the number of requests that were sent to the pool's upstreams in these `seconds`
   */
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

  /** Sends late requests again, the oldest first. If the budget is used up or no upstream has room, they wait for the next check. */
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
