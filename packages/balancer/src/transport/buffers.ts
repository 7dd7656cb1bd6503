/** Buffers of bytes on their way: those that wait to be written, and how the memory of one is given back without waiting for the collector. */

/** Gives a buffer's memory back without waiting for the collector: its contents move to a buffer that nobody has. */
type Transferable = ArrayBuffer & { transfer?(length: number): ArrayBuffer };

/** Of a channel that is closed: what is sent there is given up. For Node 20, which has no `transfer` (ES2024). */
let nowhere: MessagePort | undefined;

export function free(bytes: Uint8Array): void {
  const buffer = bytes.buffer as Transferable;
  if (buffer.transfer !== undefined) buffer.transfer(0);
  else if (process.versions.bun === undefined) sendNowhere(buffer);
}

function sendNowhere(buffer: ArrayBuffer): void {
  if (nowhere === undefined) {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    nowhere = port1;
  }
  nowhere.postMessage(null, [buffer]);
}

/** Of bytes that were written to a connection. On Bun it has copied what the kernel did not take; on Node it may need them still. */
export function freeWritten(bytes: Uint8Array): void {
  if (process.versions.bun !== undefined) free(bytes);
}

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
