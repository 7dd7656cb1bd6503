/** A request's body as it comes, held until it is whole or too much; joined, so that small pieces take no more than their bytes. */
import type { BufferBudget } from "./buffer-budget.js";

const NOTHING = new Uint8Array(0);
const LEAST_BYTES = 4096;

export class HeldBody {
  private room: Uint8Array = NOTHING;
  private length = 0;

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
    if (!this.budget.take(size - this.room.length)) return false;
    const room = Buffer.allocUnsafeSlow(size);
    room.set(this.bytes);
    this.room = room;
    return true;
  }

  get bytes(): Uint8Array {
    return this.room.subarray(0, this.length);
  }

  clear(): void {
    this.budget.give(this.room.length);
    this.room = NOTHING;
    this.length = 0;
  }
}
