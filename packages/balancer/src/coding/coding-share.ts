/** Limits compression to a share of each turn of the event loop, so that large bodies leave time for all other requests. */

/** How many bytes of all bodies are compressed in one turn, about 1.5 ms of work; the read that exceeds it is compressed to its end. */
const TURN_BYTES = 1 << 17;
/** A body that gets less than this per read, such as one with events, never waits. */
const FREE_BYTES = 4096;

/** What a body may send at least once it has its turn: a window of a lane, or one read. */
const READ_BYTES = 65_536;

export interface CodedReader {
  /** Bytes that its last read had. */
  readonly batchBytes: number;
  /** It has its turn: its upstream may send again. */
  onCodingTurn(): void;
}

export class CodingShare {
  private left = TURN_BYTES;
  private isArmed = false;
  /** Those whose upstream is paused, the longest waiting first. */
  private readonly waiting = new Set<CodedReader>();

  /** Counts what was compressed of one read. Returns false if the reader has to wait for its turn. */
  take(reader: CodedReader): boolean {
    const { batchBytes } = reader;
    if (batchBytes === 0) return true;
    this.count(batchBytes);
    if (batchBytes < FREE_BYTES || (this.left > 0 && this.waiting.size === 0)) return true;
    this.waiting.add(reader);
    return false;
  }

  /** Counts what was compressed of a body that has nothing left to wait with. */
  count(bytes: number): void {
    if (bytes === 0) return;
    this.left -= bytes;
    this.arm();
  }

  leave(reader: CodedReader): void {
    this.waiting.delete(reader);
  }

  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    setImmediate(this.next);
  }

  private readonly next = (): void => {
    this.isArmed = false;
    this.left = TURN_BYTES;
    // As many as fit by what they had last.
    let expected = 0;
    for (const reader of this.waiting) {
      const bytes = Math.max(reader.batchBytes, READ_BYTES);
      if (expected > 0 && expected + bytes > TURN_BYTES) break;
      expected += bytes;
      this.waiting.delete(reader);
      reader.onCodingTurn();
    }
    if (this.waiting.size > 0) this.arm();
  };
}

/** That of this process. */
export const codingShare = new CodingShare();
