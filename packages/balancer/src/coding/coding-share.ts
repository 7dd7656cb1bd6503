/** Limits compression to a share of each turn of the event loop, so that large bodies leave time for all other requests. */

/**
 * How many bytes of all bodies are compressed in one turn, about 1.5 ms of work. The read that exceeds the limit is still compressed to its
 * end.
 */
const TURN_BYTES = 1 << 17;
/** A body that receives fewer bytes per read, such as an event stream, never waits. */
const FREE_BYTES = 4096;

/** The minimum that a body is expected to receive in its turn: a window of a lane, or one read. */
const READ_BYTES = 65_536;

export interface CodedReader {
  /** The number of bytes in the body's last read. */
  readonly batchBytes: number;
  /** Called when the body has its turn: its upstream may send again. */
  onCodingTurn(): void;
}

export class CodingShare {
  private left = TURN_BYTES;
  private isArmed = false;
  /** Bodies whose upstream is paused; the one that has waited longest comes first. */
  private readonly waiting = new Set<CodedReader>();

  /** Counts the bytes compressed from one read. Returns false if the reader has to wait for its turn. */
  take(reader: CodedReader): boolean {
    const { batchBytes } = reader;
    if (batchBytes === 0) return true;
    this.count(batchBytes);
    if (batchBytes < FREE_BYTES || (this.left > 0 && this.waiting.size === 0)) return true;
    this.waiting.add(reader);
    return false;
  }

  /** Counts compressed bytes of a body that has ended and therefore cannot wait. */
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
    // Resumes as many bodies as fit, if each receives as much as last time.
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

/** The share of this process. */
export const codingShare = new CodingShare();
