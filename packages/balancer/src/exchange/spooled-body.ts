/** A body in an unnamed file: written as it arrives and read in order, without blocking on the disk. */
import { fs } from "@paceline/wire";
import { freeWritten, WaitingBytes } from "../transport/buffers.js";
import type { Spool, SpoolUse } from "./spool.js";

/** A smaller number of bytes stays in memory as long as more may arrive. */
const LEAST_WRITE_BYTES = 32_768;
/** With this many unwritten bytes, no further bytes are accepted. */
const MAX_WAITING_BYTES = 131_072;
/** The size of a read, in bytes. Bytes that the client does not take stay in memory. */
const READ_BYTES = 32_768;

/** The owner of a spooled body. Its methods are never called from within a call to the body, except as noted. */
export interface SpooledBodyOwner {
  /**
   * Called when there is room again after "wait", or when everything is in the file after `finish`. Not called after writing has failed.
   */
  onSpoolWritten(): void;
  /** Receives bytes of the body in order. Returns false to stop until `pump`. */
  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean;
  /** Called when everything so far was passed on; perhaps more than once, and from within `pump`. */
  onSpoolRead(): void;
  /** Called when a file could not be opened, written or read. The kept part of a response can still be read, unless `isLost`. */
  onSpoolFailed(isLost: boolean): void;
}

/** "wait": accepted, but the owner must pause until `onSpoolWritten`. "full": not accepted; only for requests. */
type Appended = "taken" | "wait" | "full";

export class SpooledBody {
  private fd = -1;
  /** At most one open, one write and one read are in progress. */
  private isOpening = false;
  private isWriting = false;
  private isReading = false;
  /** Set when writing has failed. */
  private isBroken = false;
  private isClosed = false;
  /** Set when nothing more will arrive. */
  private isFinished = false;
  /** Whether the owner currently takes bytes. */
  private isPumping = false;
  /** The size of the file, and the position at which the next read begins. */
  private written = 0;
  private readAt = 0;
  /** Bytes that are not in the file yet. */
  private readonly waiting = new WaitingBytes();
  /** Bytes taken from the spool's limit and the memory budget. */
  private taken = 0;

  constructor(
    private readonly spool: Spool,
    private readonly use: SpoolUse,
    private readonly owner: SpooledBodyOwner,
  ) {}

  /** The number of bytes appended. */
  get length(): number {
    return this.written + this.waiting.length;
  }

  /** Whether everything so far has been read. */
  get isRead(): boolean {
    return this.readAt === this.written && this.waiting.length === 0 && !this.isReading;
  }

  /** Whether everything is in the file. */
  get isWritten(): boolean {
    return this.waiting.length === 0 && !this.isWriting;
  }

  append(bytes: Uint8Array, start: number, end: number): Appended {
    const size = end - start;
    if (!this.isBroken && this.spool.take(size, this.use)) this.taken += size;
    else if (this.use === "request") return "full";
    // A response must not be lost: it stays in memory, and its instance waits until the client has read everything.
    else this.isBroken = true;
    const hasMemory = this.spool.budget.take(size);
    if (!hasMemory) this.spool.budget.take(size, true);
    this.waiting.add(bytes.subarray(start, end));
    this.write(!hasMemory);
    return hasMemory && !this.isBroken && this.waiting.length < MAX_WAITING_BYTES ? "taken" : "wait";
  }

  /** Called when nothing more will arrive: writes the rest. */
  finish(): void {
    this.isFinished = true;
    this.write(true);
  }

  private write(isUrgent: boolean): void {
    if (this.isWriting || this.isOpening || this.isBroken || this.isClosed) return;
    const { length } = this.waiting;
    if (length === 0 || (length < LEAST_WRITE_BYTES && !isUrgent && !this.isFinished)) return;
    if (this.fd < 0) return this.open();
    this.isWriting = true;
    const bytes = this.waiting.first();
    fs().write(this.fd, bytes, 0, bytes.length, this.written, (error, count) => {
      this.isWriting = false;
      if (this.isClosed) return this.close();
      if (error !== null) return this.broke(error);
      this.forget(count);
      this.written += count;
      this.write(false);
      if (!this.isWriting || this.waiting.length < MAX_WAITING_BYTES) this.owner.onSpoolWritten();
      this.pump(this.isPumping);
    });
  }

  private open(): void {
    this.isOpening = true;
    this.spool.open((error, fd) => {
      this.isOpening = false;
      if (error === null) this.fd = fd;
      if (this.isClosed) return this.close();
      if (error !== null) return this.broke(error);
      this.write(true);
    });
  }

  private broke(error: Error): void {
    this.isBroken = true;
    this.spool.failed(error);
    this.owner.onSpoolFailed(false);
    this.pump(this.isPumping);
  }

  /** Releases the memory of this many bytes. */
  private forget(count: number): void {
    this.waiting.sent(count);
    this.spool.budget.give(count);
  }

  /** Starts to read from the beginning again. Only when everything is in the file. */
  rewind(): void {
    this.readAt = 0;
    this.pump();
  }

  /** Passes on available bytes until the owner takes no more. */
  pump(isWanted = true): void {
    this.isPumping = isWanted;
    while (this.isPumping && !this.isReading && !this.isClosed) {
      if (this.readAt < this.written) return this.read();
      if (this.isWriting || this.isOpening) return;
      if (this.waiting.length === 0) {
        this.isPumping = false;
        return this.owner.onSpoolRead();
      }
      // The last bytes need not go through the file. They are copied, because their buffer is reused.
      const bytes = Buffer.from(this.waiting.first());
      this.forget(bytes.length);
      this.giveBack(Math.min(bytes.length, this.taken - this.written));
      this.give(bytes, bytes.length);
    }
  }

  private giveBack(bytes: number): void {
    this.spool.give(bytes, this.use);
    this.taken -= bytes;
  }

  /** Stops passing on bytes for now. */
  stop(): void {
    this.isPumping = false;
  }

  private read(): void {
    this.isReading = true;
    const at = this.readAt;
    const bytes = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, this.written - at));
    fs().read(this.fd, bytes, 0, bytes.length, at, (error, count) => {
      this.isReading = false;
      if (this.isClosed) return this.close();
      if (error !== null || count === 0) {
        this.spool.failed(error ?? new Error("the file is shorter than what was written"));
        return this.owner.onSpoolFailed(true);
      }
      // If a rewind or stop happened meanwhile, the bytes are read again when they are needed.
      if (this.readAt === at && this.isPumping) {
        this.readAt += count;
        this.give(bytes, count);
      }
      freeWritten(bytes);
      this.pump(this.isPumping);
    });
  }

  private give(bytes: Uint8Array, count: number): void {
    if (!this.owner.onSpooledBytes(bytes, 0, count)) this.isPumping = false;
  }

  /** Releases everything, after disk operations in progress, because they use the buffers. */
  close(): void {
    this.isClosed = true;
    this.isPumping = false;
    this.giveBack(this.taken);
    if (this.isOpening || this.isWriting || this.isReading) return;
    if (this.waiting.length > 0) this.spool.budget.give(this.waiting.length);
    this.waiting.clear();
    if (this.fd >= 0) fs().close(this.fd, () => {});
    this.fd = -1;
  }
}
