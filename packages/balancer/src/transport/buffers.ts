/** Queued bytes, and freeing what was written. */
import { free, fs } from "@paceline/wire";

interface Received {
  buffer: ArrayBufferLike | undefined;
  /** Whether a part of the buffer waits to be written to a connection, so that the buffer must not be freed yet. */
  isLent: boolean;
  /** The number of connections that still have a part of the buffer to write. Only Node's transport counts them. */
  lends: number;
  /** The last of these connections. If it is the only one, it frees the buffer after the write. */
  borrower: { borrow(bytes: Uint8Array): void } | undefined;
}

/** The buffer that is being received. */
export const received: Received = { buffer: undefined, isLent: false, lends: 0, borrower: undefined };

/** Frees bytes that were written to a connection. Bun has copied the bytes that the kernel did not take; Node may still need them. */
export function freeWritten(bytes: Uint8Array): void {
  if (process.versions.bun !== undefined) free(bytes);
}

/** What `readNow` reads first, because it usually finds less, or nothing. */
let scratch: Buffer | undefined;

/**
 * Reads up to this many bytes from a socket that the runtime does not read at the moment. Returns undefined if none are available yet, and
 * no bytes after the peer's FIN.
 * @throws an error of the system if the connection is broken
 */
export function readNow(fd: number, mostBytes: number): Buffer | undefined {
  if (scratch === undefined || scratch.length < mostBytes) scratch = Buffer.allocUnsafeSlow(mostBytes);
  const { stackTraceLimit } = Error;
  // If there are no bytes, the stack of the error would cost ten times as much as the call.
  Error.stackTraceLimit = 0;
  try {
    const bytes = Buffer.allocUnsafeSlow(fs().readSync(fd, scratch, 0, mostBytes, null));
    scratch.copy(bytes);
    return bytes;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EAGAIN" || code === "EINTR") return undefined;
    throw error;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
  }
}

const SLAB_BYTES = 65_536;

/** The first slab is only as large as needed, because many connections queue just a few bytes. */
const LEAST_SLAB_BYTES = 512;

/** Later slabs are as large as the queued bytes, up to this size, which slow input soon fills. */
const LEAST_NEXT_SLAB_BYTES = 32_768;

/** The size of a larger slab is a multiple of this, so that a window of the lane and a little more does not need two slabs. */
const SLAB_STEP_BYTES = 2048;

/** How many slabs are kept for reuse: half a megabyte in total. */
const MAX_SPARE_SLABS = 8;
/** The same for the smallest slabs. */
const MAX_SPARE_SMALL_SLABS = 1024;

const spare: Uint8Array[] = [];
const spareSmall: Uint8Array[] = [];

export class WaitingBytes {
  /** All slabs except the last one are full. */
  private readonly slabs: Uint8Array[] = [];
  /** Where the unsent bytes start in the first slab, and where they end in the last one. */
  private start = 0;
  private end = 0;
  length = 0;
  /** The size of all slabs, in bytes. */
  heldBytes = 0;

  /** Copies bytes to the end of the queue. */
  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      let slab = this.slabs.at(-1);
      if (slab === undefined || this.end === slab.length) {
        slab = newSlab(Math.max(bytes.length - at, Math.min(LEAST_NEXT_SLAB_BYTES, this.heldBytes)));
        this.slabs.push(slab);
        this.heldBytes += slab.length;
        this.end = 0;
      }
      const size = Math.min(slab.length - this.end, bytes.length - at);
      slab.set(size === bytes.length ? bytes : bytes.subarray(at, at + size), this.end);
      this.end += size;
      at += size;
    }
    this.length += bytes.length;
  }

  /** Returns the bytes to send first; empty if there are none. */
  first(): Uint8Array {
    const slab = this.slabs[0];
    if (slab === undefined) return NOTHING;
    return slab.subarray(this.start, this.slabs.length === 1 ? this.end : slab.length);
  }

  /** Removes this many bytes that were sent. */
  sent(count: number): void {
    this.start += count;
    this.length -= count;
    const first = this.slabs[0] as Uint8Array;
    if (this.start < (this.slabs.length === 1 ? this.end : first.length)) return;
    this.slabs.shift();
    this.heldBytes -= first.length;
    release(first);
    this.start = 0;
  }

  /** Drops everything. */
  clear(): void {
    if (this.slabs.length === 0) return;
    for (const slab of this.slabs.splice(0)) release(slab);
    this.start = this.end = this.length = this.heldBytes = 0;
  }
}

/** Returns a slab with room for this many bytes, up to the size of a full slab. */
function newSlab(bytes: number): Uint8Array {
  if (bytes > SLAB_BYTES / 2) return spare.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
  if (bytes <= LEAST_SLAB_BYTES) return spareSmall.pop() ?? Buffer.allocUnsafeSlow(LEAST_SLAB_BYTES);
  let size = LEAST_SLAB_BYTES;
  while (size < bytes && size < SLAB_STEP_BYTES) size *= 2;
  return Buffer.allocUnsafeSlow(Math.ceil(bytes / size) * size);
}

function release(slab: Uint8Array): void {
  if (slab.length === SLAB_BYTES && spare.length < MAX_SPARE_SLABS) spare.push(slab);
  else if (slab.length === LEAST_SLAB_BYTES && spareSmall.length < MAX_SPARE_SMALL_SLABS) spareSmall.push(slab);
  else free(slab);
}

const NOTHING = new Uint8Array(0);
