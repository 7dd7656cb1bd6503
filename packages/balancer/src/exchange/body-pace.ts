/** How long a client that owes a body may take for the next piece of it, and for all that has come. */

export class BodyPace {
  private bytes = 0;
  /** Since when the client is not read. */
  private pausedAt = 0;

  constructor(
    /** For which nothing may come. */
    private readonly timeoutMs: number,
    /** The least rate of all, beyond that time; 0: none. */
    private readonly minBytesPerSecond: number,
    private begunAt: number,
  ) {}

  add(bytes: number): void {
    this.bytes += bytes;
  }

  /** The client is not read: that is no fault of its own. */
  pause(now: number): void {
    this.pausedAt = now;
  }

  resume(now: number): void {
    this.begunAt += now - this.pausedAt;
  }

  /** When it is too slow, if nothing comes until then. */
  deadlineAt(now: number): number {
    const nextBy = now + this.timeoutMs;
    if (this.minBytesPerSecond === 0) return nextBy;
    return Math.min(nextBy, this.begunAt + this.timeoutMs + (this.bytes * 1000) / this.minBytesPerSecond);
  }
}
