/** Measures how long the event loop was held up, with one timer. */

/**
 * The longest delay of the event loop since it was last asked. A timer that should fire every `intervalMs` tells by how
 * much it came late, so a block shorter than the interval may go unseen and a longer one is seen short by at most that.
 */
export class LoopLag {
  private readonly timer: NodeJS.Timeout;
  private dueAtMs: number;
  private worstMs = 0;

  /** @param intervalMs milliseconds between looks; 100 unless given. Each look wakes the process. */
  constructor(private readonly intervalMs = 100) {
    this.dueAtMs = performance.now() + intervalMs;
    this.timer = setInterval(() => this.look(), intervalMs);
    this.timer.unref();
  }

  /** The longest delay since the last call, in milliseconds, rounded to a tenth. */
  takeMs(): number {
    // A timer that is overdue now counts too: the block may have ended in this very turn of the loop.
    const worst = Math.max(this.worstMs, performance.now() - this.dueAtMs);
    this.worstMs = 0;
    return Math.round(worst * 10) / 10;
  }

  /** Ends the measuring. */
  stop(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    const now = performance.now();
    this.worstMs = Math.max(this.worstMs, now - this.dueAtMs);
    this.dueAtMs = now + this.intervalMs;
  }
}
