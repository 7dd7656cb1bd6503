/** What is known of one peer whose unread bytes are counted, and how long it may be silent. */
import { SLOWEST_READ, type Waiting } from "./giving-way.js";

/**
 * After this time without reading, a peer may be reset before the limit is reached, in milliseconds. The kernel of a distant reader of
 * 1,000 bytes a second reports its reading every 4 to 8 s. On Node there are several looks in this time.
 */
const SILENT_MS = 10_000;
/**
 * A kernel reports its program's reading in steps (see SlowReader), so a peer may be silent for as long as such a step takes at SLOWEST_READ, in
 * addition. The buffers of slow readers do not grow, so their steps are at most so large.
 */
const MAX_STEP_BYTES = 131_072;
/** Over TLS a program reads a whole record at once, so also a peer whose kernel hides nothing may be silent for as long as one takes. */
const RECORD_BYTES = 16_384;
/** A peer was seen to read once it has read so much since it was blocked first; a handshake of TLS is less. */
const SEEN_BYTES = 8192;
/** So many readings of what kernels hold show what they had taken when a peer was blocked first. */
export const FIRST_READINGS = 2;

export interface UnreadOwner {
  /** The memory of its unread bytes now. */
  readonly unreadBytes: number;
  /** Grows while the peer reads. */
  readonly progressBytes: number;
  /** What it has surely read, where `progressBytes` may count much that only the kernel has taken. */
  readonly surelyReadBytes?: number | undefined;
  /** Closes the connection, so that others have room. */
  giveUnreadWay(): void;
}

/** A connection's place; it lasts as long as the connection. */
export class UnreadPlace implements Waiting {
  /** Set by UnreadBytes, like all fields below. */
  bytes = 0;
  progressBytes = 0;
  /** When it was blocked first, in milliseconds of the clock, not counting times with nothing unread; and its progress at that time. */
  firstBlockedAt = Number.POSITIVE_INFINITY;
  firstProgressBytes = 0;
  firstReadBytes = 0;
  /** The last reading that `firstReadBytes` follows, and how many that were. */
  firstReadingAt = 0;
  firstReadings = 0;
  /** When it had last read everything. */
  drainedAt = 0;
  paidUntil = 0;
  /** How much its kernel may hide of its reading: what it has taken in all, but at most MAX_STEP_BYTES. */
  step = 0;
  /** Whether it reads, however slowly. */
  isReader = false;
  /** What it had unread at the last look, while it does not count. */
  exemptBytes = 0;

  constructor(readonly owner: UnreadOwner) {}

  get hasRead(): boolean {
    return this.readBytes >= SEEN_BYTES;
  }

  get patienceMs(): number {
    return SILENT_MS + this.stepMs;
  }

  /** How long its program may be reading at SLOWEST_READ without a sign of it. */
  get stepMs(): number {
    return (RECORD_BYTES + this.step) / SLOWEST_READ;
  }

  /** What it has read since it was blocked first. */
  get readBytes(): number {
    const { surelyReadBytes, progressBytes } = this.owner;
    return surelyReadBytes === undefined
      ? progressBytes - this.firstProgressBytes
      : surelyReadBytes - this.firstReadBytes;
  }

  /** Notes how much its kernel may hide. */
  noteStep(): void {
    const { surelyReadBytes, progressBytes } = this.owner;
    this.step = Math.max(0, Math.min(MAX_STEP_BYTES, surelyReadBytes ?? progressBytes));
  }

  /** It has to prove again that it reads. */
  stopReading(now: number): void {
    this.isReader = false;
    this.beginProof(now);
  }

  beginProof(now: number): void {
    this.firstBlockedAt = this.firstReadingAt = now;
    this.firstReadings = 0;
    this.firstProgressBytes = this.progressBytes;
    this.firstReadBytes = this.owner.surelyReadBytes ?? 0;
  }
}
