/** The part of a request's body that is held so that the request can be sent again elsewhere; pieces are joined, as each has a cost of its own. */
import { copyOf } from "../http1/bytes.js";
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
