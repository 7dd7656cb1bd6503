/** Bytes that the kernel would not take yet, in slabs that are used again; the buffers they came in are let go at once. */
import { free } from "./free.js";

const SLAB_BYTES = 65_536;

/** Slabs kept for the next that has to wait: 2 MB. */
const MAX_SPARE_SLABS = 8;

const spare: Uint8Array[] = [];

export class WaitingBytes {
  private readonly slabs: Uint8Array[] = [];
  /** Where the first slab's unsent bytes begin, and where the last one's end. */
  private start = 0;
  private end = SLAB_BYTES;

  get length(): number {
    return this.slabs.length === 0 ? 0 : (this.slabs.length - 1) * SLAB_BYTES - this.start + this.end;
  }

  /** Copies bytes behind those that wait already. */
  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.end === SLAB_BYTES) {
        this.slabs.push(spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES));
        this.end = 0;
      }
      const size = Math.min(SLAB_BYTES - this.end, bytes.length - at);
      (this.slabs.at(-1) as Uint8Array).set(bytes.subarray(at, at + size), this.end);
      this.end += size;
      at += size;
    }
  }

  /** The bytes to send first; empty when none wait. */
  first(): Uint8Array {
    const slab = this.slabs[0];
    if (slab === undefined) return NOTHING;
    return slab.subarray(this.start, this.slabs.length === 1 ? this.end : SLAB_BYTES);
  }

  /** That many of the first bytes were sent. */
  sent(count: number): void {
    this.start += count;
    const last = this.slabs.length === 1;
    if (this.start < (last ? this.end : SLAB_BYTES)) return;
    this.release(this.slabs.shift() as Uint8Array);
    this.start = 0;
    if (last) this.end = SLAB_BYTES;
  }

  /** Forgets everything. */
  clear(): void {
    for (const slab of this.slabs.splice(0)) this.release(slab);
    this.start = 0;
    this.end = SLAB_BYTES;
  }

  private release(slab: Uint8Array): void {
    if (spare.length < MAX_SPARE_SLABS) spare.push(slab);
    else free(slab);
  }
}

const NOTHING = new Uint8Array(0);
