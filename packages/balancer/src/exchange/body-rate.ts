/** How fast a client must send its body: the deadline for the next piece, and the minimum average rate. Pure. */

export class BodyRate {
  private bytes = 0;
  /** Since when the client is paused. */
  private pausedAt = 0;

  constructor(
    /** How long the client may send nothing. */
    private readonly timeoutMs: number,
    /** The minimum average rate, which is checked after `timeoutMs`; 0: none. */
    private readonly minBytesPerSecond: number,
    private startedAt: number,
  ) {}

  /** Starts again: earlier bytes no longer count. */
  restart(now: number): void {
    this.bytes = 0;
    this.startedAt = now;
  }

  add(bytes: number): void {
    this.bytes += bytes;
  }

  /** Excludes the time in which the client is paused. */
  pause(now: number): void {
    this.pausedAt = now;
  }

  resume(now: number): void {
    this.startedAt += now - this.pausedAt;
  }

  /** Returns the deadline that applies if nothing more arrives. */
  deadlineAt(now: number): number {
    const nextBy = now + this.timeoutMs;
    if (this.minBytesPerSecond === 0) return nextBy;
    return Math.min(nextBy, this.startedAt + this.timeoutMs + (this.bytes * 1000) / this.minBytesPerSecond);
  }
}
