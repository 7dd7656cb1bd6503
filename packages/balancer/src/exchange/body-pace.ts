/** How fast a client must send its body: the deadlines for the next piece, and for its average rate. Pure. */

export class BodyPace {
  private bytes = 0;
  /** Since when the client is paused. */
  private pausedAt = 0;

  constructor(
    /** How long the client may send nothing. */
    private readonly timeoutMs: number,
    /** The minimum average rate, in addition to that time; 0: none. */
    private readonly minBytesPerSecond: number,
    private startedAt: number,
  ) {}

  /** Starts again: what was sent before says nothing about the client. */
  restart(now: number): void {
    this.bytes = 0;
    this.startedAt = now;
  }

  add(bytes: number): void {
    this.bytes += bytes;
  }

  /** Excludes time in which the client is paused. */
  pause(now: number): void {
    this.pausedAt = now;
  }

  resume(now: number): void {
    this.startedAt += now - this.pausedAt;
  }

  /** Returns the deadline if nothing arrives until then. */
  deadlineAt(now: number): number {
    const nextBy = now + this.timeoutMs;
    if (this.minBytesPerSecond === 0) return nextBy;
    return Math.min(nextBy, this.startedAt + this.timeoutMs + (this.bytes * 1000) / this.minBytesPerSecond);
  }
}
