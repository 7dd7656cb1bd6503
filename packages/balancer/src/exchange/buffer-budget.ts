/** The memory limit for all slow clients of the balancer together. */

/** A client that waits until the budget has room for a read. */
export interface Reader {
  /** Called when there is room. Returns false if the client continues to wait. */
  onRoom(): boolean;
}

/** The maximum size of a read: up to half a megabyte on Bun. */
const READ_BYTES = 1 << 19;

/** Once this fraction of the budget is used, reads of bodies are small. */
const SCARCE_PART = 8;

export class BufferBudget {
  private used = 0;
  /** The bytes in use that clients have sent ahead of their responses. */
  private ahead = 0;
  /** Bytes reserved for expected reads. */
  private expected = 0;
  /** In the order of arrival. */
  private readonly waiting = new Set<Reader>();
  private isArmed = false;

  constructor(private readonly maxBytes: number) {}

  /** Whether reads of bodies should be small, because little of the budget is left and instances may not read the bodies. */
  get isScarce(): boolean {
    return this.used > this.maxBytes / SCARCE_PART;
  }

  /** Whether at least half of the budget is left. */
  get hasRoom(): boolean {
    return this.used <= this.maxBytes / 2;
  }

  /** Takes bytes from the budget. If it is exhausted, takes none and returns false, unless `isForced`. */
  take(bytes: number, isForced = false): boolean {
    if (!isForced && this.used + bytes > this.maxBytes) return false;
    this.used += bytes;
    return true;
  }

  /** Like `take`, but for bytes that a client has sent ahead. They may take at most half of the budget. */
  takeAhead(bytes: number): boolean {
    if (this.ahead + bytes > this.maxBytes / 2 || !this.take(bytes)) return false;
    this.ahead += bytes;
    return true;
  }

  giveAhead(bytes: number): void {
    this.ahead -= bytes;
    this.give(bytes);
  }

  give(bytes: number): void {
    this.used -= bytes;
    if (this.waiting.size > 0) this.arm();
  }

  /** Whether there is room for a read, with half the budget left for others. If not, `onRoom` is called when there may be room. */
  mayRead(reader: Reader): boolean {
    const half = this.maxBytes / 2;
    const bytes = Math.min(READ_BYTES, half);
    if (this.used + this.expected + bytes > half) {
      // Woken by `give`, or after the expected reads. Polling in each turn of the event loop would keep the CPU busy.
      this.waiting.add(reader);
      return false;
    }
    this.expected += bytes;
    this.arm();
    this.waiting.delete(reader);
    return true;
  }

  stopWaiting(reader: Reader): void {
    this.waiting.delete(reader);
  }

  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    setImmediate(this.onTurn);
  }

  /** Expected reads arrive between this turn of the event loop and the next, and are counted then. */
  private readonly onTurn = (): void => void setImmediate(this.wake);

  private readonly wake = (): void => {
    this.isArmed = false;
    this.expected = 0;
    for (const reader of this.waiting) if (!reader.onRoom()) return;
  };
}
