/** Request bodies in memory: copies for sending again, and collected bodies. Pieces are joined, because every piece has a fixed cost. */

import { free } from "@paceline/wire";
import { copyOf } from "../http1/bytes.js";
import { freeWritten } from "../transport/buffers.js";
import type { BufferBudget } from "./buffer-budget.js";

const NOTHING = new Uint8Array(0);
/** A single piece in a buffer up to this size does not count in the budget. */
const LEAST_BYTES = 4096;
/**
 * A larger piece that has to wait is copied. The copy can be freed explicitly, but the garbage collector would free the original much
 * later.
 */
const MAX_HELD_READ_BYTES = 16_384;

export class BufferedBody {
  /** Whether the whole body, as far as the client has sent it, is kept. */
  isWhole = true;
  /** A single piece in its original buffer, or the joined pieces. */
  private room: Uint8Array = NOTHING;
  private length = 0;
  /** Whether no other code uses the buffer of `room`. */
  private isOwn = false;
  /** Bytes taken from the budget for the buffer of `room`. */
  private taken = 0;

  constructor(
    private readonly budget: BufferBudget,
    private readonly maxBytes: number,
  ) {}

  get bytes(): Uint8Array {
    return this.length === this.room.length ? this.room : this.room.subarray(0, this.length);
  }

  get isEmpty(): boolean {
    return this.length === 0;
  }

  /** Whether the kept piece is part of these bytes. */
  isIn(bytes: Uint8Array): boolean {
    return this.length > 0 && this.room.buffer === bytes.buffer;
  }

  /** Keeps a piece that was also sent. Beyond the limit, everything is dropped, and the request cannot be sent again. */
  add(bytes: Uint8Array, start: number, end: number): void {
    if (!this.isWhole) return;
    if (this.length + end - start > this.maxBytes || !this.join(bytes, start, end, false)) this.drop();
  }

  /**
   * Keeps a piece that cannot be sent yet, regardless of the limit. The caller then pauses the client. Returns false if the budget is
   * exhausted and the piece was not counted before.
   */
  hold(bytes: Uint8Array, start: number, end: number, wasCounted = false): boolean {
    return this.join(bytes, start, end, true, wasCounted);
  }

  private join(bytes: Uint8Array, start: number, end: number, isHeld: boolean, isForced = false): boolean {
    const { length } = this;
    if (length === 0) return this.begin(bytes, start, end, isHeld, isForced);
    const needed = length + end - start;
    // Only few bytes, because the client is paused soon.
    if ((!this.isOwn || needed > this.room.length) && !this.grow(needed, isHeld)) return false;
    this.room.set(bytes.subarray(start, end), length);
    this.length = needed;
    return true;
  }

  private begin(bytes: Uint8Array, start: number, end: number, isHeld: boolean, isForced: boolean): boolean {
    const size = end - start;
    // A small piece would keep its much larger buffer in memory.
    const isCopied = (isHeld && size > MAX_HELD_READ_BYTES) || bytes.length > LEAST_BYTES + 2 * size;
    // A large copy is freed as soon as the body is too long to be sent again.
    const isOwn = isCopied && size > LEAST_BYTES;
    const kept = isCopied ? size : bytes.length;
    if (kept > LEAST_BYTES) {
      if (!this.budget.take(kept, isForced)) return false;
      this.taken = kept;
    }
    this.isOwn = isOwn;
    if (isOwn) {
      this.room = Buffer.allocUnsafeSlow(size);
      this.room.set(bytes.subarray(start, end));
    } else this.room = isCopied ? copyOf(bytes, start, end) : bytes.subarray(start, end);
    this.length = size;
    return true;
  }

  /** Returns false if the budget is exhausted. */
  private grow(needed: number, isForced: boolean): boolean {
    const size = Math.max(LEAST_BYTES, 2 * needed);
    if (!this.budget.take(size - this.taken, isForced)) return false;
    this.taken = size;
    const room = Buffer.allocUnsafeSlow(size);
    room.set(this.bytes);
    this.freeOwn();
    this.room = room;
    this.isOwn = true;
    return true;
  }

  /** Called after the bytes were copied or written. */
  private freeOwn(): void {
    if (this.isOwn) freeWritten(this.room);
    this.isOwn = false;
  }

  /** Drops the copy if it exceeds the limit, once its bytes were sent. */
  trim(): void {
    if (this.length > this.maxBytes) this.drop();
  }

  private drop(): void {
    this.clear();
    this.isWhole = false;
  }

  clear(): void {
    if (this.taken > 0) this.budget.give(this.taken);
    this.freeOwn();
    this.taken = 0;
    this.room = NOTHING;
    this.length = 0;
    this.isWhole = true;
  }
}

/** Collects a request's body until it is complete or too large. */
export class CollectedBytes {
  private room: Uint8Array = NOTHING;
  private length = 0;
  /** Bytes taken from the budget: the size of `room`. */
  private taken = 0;

  constructor(
    private readonly budget: BufferBudget,
    private readonly maxBytes: number,
  ) {}

  /** Returns false if the piece is not kept. */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    const length = this.length + end - start;
    if (length > this.maxBytes || (length > this.room.length && !this.grow(length))) return false;
    this.room.set(bytes.subarray(start, end), this.length);
    this.length = length;
    return true;
  }

  private grow(length: number): boolean {
    const size = Math.min(this.maxBytes, Math.max(LEAST_BYTES, length, 2 * this.room.length));
    if (!this.budget.take(size - this.taken)) return false;
    this.taken = size;
    const room = Buffer.allocUnsafeSlow(size);
    room.set(this.bytes);
    this.free();
    this.room = room;
    return true;
  }

  /** Frees bytes that no other code uses. The garbage collector would run only after as many bytes were allocated again. */
  private free(): void {
    if (this.room.length > 0) free(this.room);
  }

  get bytes(): Uint8Array {
    return this.room.subarray(0, this.length);
  }

  /** Clears the body after its bytes were copied. */
  clearCopied(): void {
    this.free();
    this.clear();
  }

  clear(): void {
    this.budget.give(this.taken);
    this.taken = 0;
    this.room = NOTHING;
    this.length = 0;
  }
}
