/** Bodies of requests that are kept in memory: what may be sent again elsewhere, and what is collected before it is sent at all. Pieces are joined, as each has a cost of its own. */
import { copyOf } from "../http1/bytes.js";
import { free } from "../transport/buffers.js";
import type { BufferBudget } from "./buffer-budget.js";

const NOTHING = new Uint8Array(0);
const LEAST_BYTES = 4096;

export class BufferedBody {
  /** Whether all that the client sent of the body is here. */
  isWhole = true;
  /** One piece where it came, or what pieces were joined in. */
  private room: Uint8Array = NOTHING;
  private length = 0;
  /** Taken from the budget for `room`; a single piece lies where it came. */
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

  /** Whether what is kept lies in these bytes, as they came. */
  isIn(bytes: Uint8Array): boolean {
    return this.length > 0 && this.room.buffer === bytes.buffer;
  }

  /** Keeps a piece that was sent as well; past the bound nothing is kept and the request cannot be sent again. */
  add(bytes: Uint8Array, start: number, end: number): void {
    if (!this.isWhole) return;
    if (this.length + end - start > this.maxBytes || !this.join(bytes, start, end, false)) this.drop();
  }

  /** Keeps a piece that could not be sent yet, whatever the bound; the client is paused then. */
  hold(bytes: Uint8Array, start: number, end: number): void {
    this.join(bytes, start, end, true);
  }

  private join(bytes: Uint8Array, start: number, end: number, isForced: boolean): boolean {
    const { length } = this;
    if (length === 0) {
      // A piece of a much larger read would keep all of that.
      const isMuchLarger = bytes.length > LEAST_BYTES + 2 * (end - start);
      this.room = isMuchLarger ? copyOf(bytes, start, end) : bytes.subarray(start, end);
      this.length = end - start;
      return true;
    }
    const needed = length + end - start;
    if ((this.taken === 0 || needed > this.room.length) && !this.grow(needed, isForced)) return false;
    this.room.set(bytes.subarray(start, end), length);
    this.length = needed;
    return true;
  }

  /** False: the budget is spent. */
  private grow(needed: number, isForced: boolean): boolean {
    const size = Math.max(LEAST_BYTES, 2 * needed);
    if (!this.budget.take(size - this.taken, isForced)) return false;
    this.taken = size;
    const room = Buffer.allocUnsafeSlow(size);
    room.set(this.bytes);
    this.room = room;
    return true;
  }

  /** What was held has been sent: past the bound it is forgotten. */
  trim(): void {
    if (this.length > this.maxBytes) this.drop();
  }

  private drop(): void {
    this.clear();
    this.isWhole = false;
  }

  clear(): void {
    if (this.taken > 0) this.budget.give(this.taken);
    this.taken = 0;
    this.room = NOTHING;
    this.length = 0;
    this.isWhole = true;
  }
}

/** A request's body as it comes, held until it is whole or too much. */
export class CollectedBytes {
  private room: Uint8Array = NOTHING;
  private length = 0;
  /** Taken from the budget: as much as `room` has. */
  private taken = 0;

  constructor(
    private readonly budget: BufferBudget,
    private readonly maxBytes: number,
  ) {}

  /** False: it is not held. */
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

  /** Of bytes that nobody else has: the collector would come for them when there is as much again of them. */
  private free(): void {
    if (this.room.length > 0) free(this.room);
  }

  get bytes(): Uint8Array {
    return this.room.subarray(0, this.length);
  }

  /** Once its bytes were copied. */
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
