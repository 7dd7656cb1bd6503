/** Bytes that the kernel would not take yet, in slabs that are used again; the buffers they came in are let go at once. */
import { free } from "./free.js";

const SLAB_BYTES = 65_536;

/** The first slab is as small as what waits: many wait for a few bytes. */
const LEAST_SLAB_BYTES = 2048;

/** Behind others a slab is larger, but no larger than what comes slowly fills soon. */
const LEAST_NEXT_SLAB_BYTES = 32_768;

/** Slabs kept for the next that has to wait: half a megabyte. */
const MAX_SPARE_SLABS = 8;

const spare: Uint8Array[] = [];

export class WaitingBytes {
  /** All full but the last. */
  private readonly slabs: Uint8Array[] = [];
  /** Where the first slab's unsent bytes begin, and where the last one's end. */
  private start = 0;
  private end = 0;
  length = 0;

  /** Copies bytes behind those that wait already. */
  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      let slab = this.slabs.at(-1);
      if (slab === undefined || this.end === slab.length) {
        slab = newSlab(Math.max(bytes.length - at, this.slabs.length === 0 ? 0 : LEAST_NEXT_SLAB_BYTES));
        this.slabs.push(slab);
        this.end = 0;
      }
      const size = Math.min(slab.length - this.end, bytes.length - at);
      slab.set(size === bytes.length ? bytes : bytes.subarray(at, at + size), this.end);
      this.end += size;
      at += size;
    }
    this.length += bytes.length;
  }

  /** The bytes to send first; empty when none wait. */
  first(): Uint8Array {
    const slab = this.slabs[0];
    if (slab === undefined) return NOTHING;
    return slab.subarray(this.start, this.slabs.length === 1 ? this.end : slab.length);
  }

  /** That many of the first bytes were sent. */
  sent(count: number): void {
    this.start += count;
    this.length -= count;
    const first = this.slabs[0] as Uint8Array;
    if (this.start < (this.slabs.length === 1 ? this.end : first.length)) return;
    this.slabs.shift();
    release(first);
    this.start = 0;
  }

  /** Forgets everything. */
  clear(): void {
    for (const slab of this.slabs.splice(0)) release(slab);
    this.start = this.end = this.length = 0;
  }
}

/** With room for so many bytes, or for as many as a slab has at the most. */
function newSlab(bytes: number): Uint8Array {
  if (bytes > SLAB_BYTES / 2) return spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  let size = LEAST_SLAB_BYTES;
  while (size < bytes) size *= 2;
  return Buffer.allocUnsafeSlow(size);
}

function release(slab: Uint8Array): void {
  if (slab.length === SLAB_BYTES && spare.length < MAX_SPARE_SLABS) spare.push(slab);
  else free(slab);
}

const NOTHING = new Uint8Array(0);
