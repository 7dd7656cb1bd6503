/** The facts about one peer whose unread bytes are counted, and how long it may be silent. */
import { MAX_STEP_BYTES, SLOWEST_READ } from "@paceline/wire";
import type { Waiting } from "./giving-way.js";

/**
 * After this time without reading, a peer may be reset before the limit is reached, in milliseconds. If a distant peer reads 1,000 bytes
 * per second, its kernel reports progress every 4 to 8 s. On Node there are several checks in this time.
 */
const SILENT_MS = 10_000;
/**
 * Over TLS a program reads a whole record at once. Therefore even a peer whose kernel hides nothing may be silent for the time of one
 * record.
 */
const RECORD_BYTES = 16_384;
/** A peer was seen to read when it has read this much since it was first blocked; a TLS handshake is smaller. */
const SEEN_BYTES = 8192;
/**
 * A peer is a reader if it has read this many bytes since it was first blocked, or still reads after `PROOF_MS` milliseconds, at half of
 * SLOWEST_READ or faster. If nobody reads, the kernels' buffers accept fewer bytes, and earlier, even on a busy machine.
 */
const PROOF_BYTES = 262_144;
const PROOF_MS = 10_000;
/** This many readings of the kernels' buffers show how much they had accepted when a peer was first blocked. */
export const FIRST_READINGS = 2;

export interface UnreadOwner {
  /** The memory of its unread bytes at present. */
  readonly unreadBytes: number;
  /** Grows while the peer reads. */
  readonly progressBytes: number;
  /** The number of bytes certainly read, if `progressBytes` may include many that only the kernel has accepted. */
  readonly surelyReadBytes?: number | undefined;
  /** How many of all bytes a peer on this machine has certainly read; undefined for other peers, whose kernels do not report that. */
  readonly locallyReadBytes?: number | undefined;
  /** The smallest steps in which `progressBytes` grows; undefined if they depend on what the peer's kernel has accepted. */
  readonly stepBytes?: number | undefined;
  /** Resets the connection, because others need the memory. */
  resetForMemory(): void;
}

/** The entry of a connection; it lasts as long as the connection. */
export class UnreadEntry implements Waiting {
  /** Set by UnreadBytes, like all fields below. */
  bytes = 0;
  progressBytes = 0;
  /**
   * When the peer was first blocked, in milliseconds of the clock, shifted by the time in which nothing was unread. The next field is its
   * progress at that time.
   */
  firstBlockedAt = Number.POSITIVE_INFINITY;
  firstProgressBytes = 0;
  firstReadBytes = 0;
  /** How much a peer on this machine had read when it last stopped reading. */
  private firstLocalBytes = 0;
  /** How much it had read at the last check. */
  private lastReadBytes = 0;
  /** The last reading that `firstReadBytes` includes, and the number of readings. */
  firstReadingAt = 0;
  firstReadings = 0;
  /** When it had last read everything. */
  drainedAt = 0;
  paidUntil = 0;
  /** How many read bytes the peer's kernel may hide. These are all bytes that the kernel has accepted, up to the largest step. */
  step = 0;
  /** Whether it was seen to read since it was first blocked. */
  hasRead = false;
  /** Whether it reads, however slowly. */
  isProvenReader = false;
  /** While the peer does not count: how many unread bytes it had at the last check. */
  exemptBytes = 0;

  constructor(readonly owner: UnreadOwner) {}

  get patienceMs(): number {
    return SILENT_MS + this.stepMs;
  }

  /** How long its program may read at SLOWEST_READ without visible progress, in milliseconds. */
  get stepMs(): number {
    return (RECORD_BYTES + this.step) / SLOWEST_READ;
  }

  /** How much it has read since it was first blocked. */
  private get readBytes(): number {
    const { surelyReadBytes, progressBytes, locallyReadBytes } = this.owner;
    const bytes =
      surelyReadBytes === undefined ? progressBytes - this.firstProgressBytes : surelyReadBytes - this.firstReadBytes;
    return locallyReadBytes === undefined ? bytes : Math.max(bytes, locallyReadBytes - this.firstLocalBytes);
  }

  /** Records how many bytes the peer's kernel may hide. */
  noteStep(): void {
    const { surelyReadBytes, progressBytes, stepBytes = 0 } = this.owner;
    this.step = Math.max(stepBytes, Math.min(MAX_STEP_BYTES, surelyReadBytes ?? progressBytes));
  }

  /** Records whether it was seen to read, and whether that proves that it is a reader. */
  prove(now: number): void {
    const { readBytes } = this;
    const isMore = readBytes > this.lastReadBytes;
    this.lastReadBytes = readBytes;
    // Some of these bytes may only be in its kernel's buffer, whose size may become known later.
    this.hasRead = readBytes >= SEEN_BYTES;
    if (!this.hasRead) return;
    const waitedMs = now - this.firstBlockedAt;
    const isSteady = isMore && waitedMs >= PROOF_MS && readBytes >= (waitedMs * SLOWEST_READ) / 2;
    if (readBytes < PROOF_BYTES && !isSteady) return;
    this.isProvenReader = true;
    this.paidUntil = Math.max(this.paidUntil, now);
  }

  /** Makes it prove again that it reads. */
  stopReading(now: number): void {
    this.isProvenReader = this.hasRead = false;
    this.firstLocalBytes = this.owner.locallyReadBytes ?? 0;
    this.beginProof(now);
  }

  beginProof(now: number): void {
    this.firstBlockedAt = this.firstReadingAt = now;
    this.firstReadings = 0;
    this.firstProgressBytes = this.progressBytes;
    this.firstReadBytes = this.owner.surelyReadBytes ?? 0;
  }
}
