/** A body in a nameless file: written as it comes and read in order, without ever waiting for the disk. */
import { fs } from "@paceline/wire";
import { freeWritten, WaitingBytes } from "../transport/buffers.js";
import type { Spool, SpoolUse } from "./spool.js";

/** Less is not written, while more may come: it is kept in memory. */
const LEAST_WRITE_BYTES = 32_768;
/** With so much on its way to the file, no more is taken. */
const MAX_WAITING_BYTES = 131_072;
/** What the client does not take of it at once stays in memory. */
const READ_BYTES = 32_768;

/** What hears of it; none of these is called from within a call of its own. */
export interface SpooledBodyOwner {
  /** There is room again after an `append` that answered "wait", or after `finish` all is in the file. Not while nothing is written any more. */
  onSpoolWritten(): void;
  /** Bytes of the body, in order. False: no more until `pump`. */
  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean;
  /** All that came so far has been given; may come again. May be called from within `pump`. */
  onSpoolRead(): void;
  /** A file could not be opened or written, or not be read. What is kept of a response can be read all the same, unless `isLost`. */
  onSpoolFailed(isLost: boolean): void;
}

/** "wait": it was taken; more after `onSpoolWritten`. "full": it was not taken, which happens to requests alone. */
type Appended = "taken" | "wait" | "full";

export class SpooledBody {
  private fd = -1;
  /** Of opening, writing and reading at most one of each is under way. */
  private isOpening = false;
  private isWriting = false;
  private isReading = false;
  /** Nothing is written any more. */
  private isBroken = false;
  private isClosed = false;
  /** Nothing more comes. */
  private isFinished = false;
  /** Somebody takes what is read. */
  private isPumping = false;
  /** What the file has, and up to where it was read. */
  private written = 0;
  private readAt = 0;
  /** Behind what the file has. */
  private readonly waiting = new WaitingBytes();
  /** Of the spool, and of the memory for all slow clients. */
  private taken = 0;

  constructor(
    private readonly spool: Spool,
    private readonly use: SpoolUse,
    private readonly owner: SpooledBodyOwner,
  ) {}

  /** All that was appended. */
  get length(): number {
    return this.written + this.waiting.length;
  }

  /** Nothing is left to be read of what came. */
  get isRead(): boolean {
    return this.readAt === this.written && this.waiting.length === 0 && !this.isReading;
  }

  /** All is in the file. */
  get isWritten(): boolean {
    return this.waiting.length === 0 && !this.isWriting;
  }

  append(bytes: Uint8Array, start: number, end: number): Appended {
    const size = end - start;
    if (!this.isBroken && this.spool.take(size, this.use)) this.taken += size;
    else if (this.use === "request") return "full";
    // What comes of a response must not be lost: it stays in memory, and its instance waits until the client has read all.
    else this.isBroken = true;
    const hasMemory = this.spool.budget.take(size);
    if (!hasMemory) this.spool.budget.take(size, true);
    this.waiting.add(bytes.subarray(start, end));
    this.write(!hasMemory);
    return hasMemory && !this.isBroken && this.waiting.length < MAX_WAITING_BYTES ? "taken" : "wait";
  }

  /** Nothing more comes: the rest is written too. */
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

  /** That many bytes have left the memory. */
  private forget(count: number): void {
    this.waiting.sent(count);
    this.spool.budget.give(count);
  }

  /** Reads from the beginning, as often as that is asked for; only when all is in the file. */
  rewind(): void {
    this.readAt = 0;
    this.pump();
  }

  /** Gives what is there, until the owner takes no more. */
  pump(isWanted = true): void {
    this.isPumping = isWanted;
    while (this.isPumping && !this.isReading && !this.isClosed) {
      if (this.readAt < this.written) return this.read();
      if (this.isWriting || this.isOpening) return;
      if (this.waiting.length === 0) {
        this.isPumping = false;
        return this.owner.onSpoolRead();
      }
      // What is not in the file need not go there. It lies in memory that is used again.
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

  /** No more is wanted for now. */
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
      // Rewound or stopped meanwhile: whoever wants it then reads it anew.
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

  /** Lets go of all; what is under way at the disk is waited for, as it uses what it was given. */
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
