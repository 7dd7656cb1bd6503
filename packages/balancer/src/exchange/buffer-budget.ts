/** What the balancer may hold in memory for all slow clients together. */

/** A client that is to be read when there is room for what that brings. */
export interface Reader {
  /** False: it waits on. */
  onRoom(): boolean;
}

/** What one read may bring: all that has come, up to half a megabyte on Bun. */
const READ_BYTES = 1 << 19;

export class BufferBudget {
  private used = 0;
  /** What those may bring that are about to be read. */
  private expected = 0;
  /** Whoever waits longest is first. */
  private readonly waiting = new Set<Reader>();
  private isArmed = false;

  constructor(private readonly maxBytes: number) {}

  /** False: there is not so much left, and nothing is taken. `isForced`: it is taken all the same. */
  take(bytes: number, isForced = false): boolean {
    if (!isForced && this.used + bytes > this.maxBytes) return false;
    this.used += bytes;
    return true;
  }

  give(bytes: number): void {
    this.used -= bytes;
    if (this.waiting.size > 0) this.arm();
  }

  /** Whether there is room for a read, with half of all left to others. False: `onRoom` comes when it is worth asking again. */
  mayRead(reader: Reader): boolean {
    const half = this.maxBytes / 2;
    const bytes = Math.min(READ_BYTES, half);
    if (this.used + this.expected + bytes > half) {
      // `give` wakes it, or the end of the turn whose reads are expected: to ask every turn would keep the processor busy.
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

  /** What is read at once comes between this turn and the next, and is counted then. */
  private readonly onTurn = (): void => void setImmediate(this.wake);

  private readonly wake = (): void => {
    this.isArmed = false;
    this.expected = 0;
    for (const reader of this.waiting) if (!reader.onRoom()) return;
  };
}
