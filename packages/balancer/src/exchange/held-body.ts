/** A request's body as it comes, held until it is whole or too much; joined, so that small pieces take no more than their bytes. */
import { free } from "../transport/free.js";
import type { BufferBudget } from "./buffer-budget.js";

const NOTHING = new Uint8Array(0);
const LEAST_BYTES = 4096;

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
