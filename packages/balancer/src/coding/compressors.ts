/** Compresses bodies piece by piece with the runtime's zlib, synchronously: a second thread would add work. */
import type * as Zlib from "node:zlib";
import type { Coding } from "@paceline/wire/content-coding";

export type Operation = "more" | "flush" | "end";

export interface Compressor {
  /** Returns the bytes to send, possibly none. Throws if zlib does. */
  write(bytes: Uint8Array, operation: Operation): Uint8Array;
  close(): void;
}

/** Loaded on demand: importing it costs an idle Bun process memory. */
const zlib = () => process.getBuiltinModule("node:zlib") as typeof Zlib & Zstd;

/** Missing in @types/node for Node 20. */
interface Zstd {
  createZstdCompress?(options: object): unknown;
}

/** Constants of zstd.h, the same on all platforms. */
const ZSTD = { compressionLevel: 100, windowLog: 101, more: 0, flush: 1, end: 2 };

/** The size of the output buffer in bytes. Each compressor has one until its client has read the body. */
const OUTPUT_BYTES = 4096;

/*
 * Small windows, because a compressor may live as long as a slow client reads. A compressor takes 0.1 MB for br, 0.15 to 0.2 MB for gzip
 * and 0.2 MB for zstd. br 2 would take 0.4 MB, and gzip with a window of 32 KiB 0.3 MB.
 */
const GZIP = { level: 2, windowBits: 13, memLevel: 7 };
const BROTLI = { quality: 1, windowBits: 16 };
const ZSTD_LEVEL = 1;
const ZSTD_WINDOW_BITS = 15;

/** How many compressors of a coding are kept for reuse, which halves the cost of a small body. A br compressor cannot be reset. */
const MAX_SPARE = 4;
const spareGzip: ZlibCompressor[] = [];
const spareZstd: ZlibCompressor[] = [];

function gzip(): Compressor {
  const former = spareGzip.pop();
  if (former !== undefined) return former;
  const { createGzip, constants } = zlib();
  const { Z_NO_FLUSH: more, Z_SYNC_FLUSH: flush, Z_FINISH: end } = constants;
  const stream = createGzip({ ...GZIP, chunkSize: OUTPUT_BYTES });
  return new ZlibCompressor(stream as never, { more, flush, end }, spareGzip);
}

function br(): Compressor {
  const { createBrotliCompress, constants } = zlib();
  const { BROTLI_OPERATION_PROCESS: more, BROTLI_OPERATION_FLUSH: flush, BROTLI_OPERATION_FINISH: end } = constants;
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: BROTLI.quality,
    [constants.BROTLI_PARAM_LGWIN]: BROTLI.windowBits,
  };
  return new ZlibCompressor(createBrotliCompress({ params, chunkSize: OUTPUT_BYTES }) as never, { more, flush, end });
}

function zstd(): Compressor {
  const former = spareZstd.pop();
  if (former !== undefined) return former;
  const params = { [ZSTD.compressionLevel]: ZSTD_LEVEL, [ZSTD.windowLog]: ZSTD_WINDOW_BITS };
  return new ZlibCompressor(zlib().createZstdCompress?.({ params, chunkSize: OUTPUT_BYTES }) as never, ZSTD, spareZstd);
}

export const COMPRESSORS: Readonly<Record<Coding, () => Compressor>> = { zstd, br, gzip };

/** Undocumented methods of the compressing streams of node:zlib; npm's own `tar` relies on them, too. */
interface SyncStream {
  _handle: { close(): void } | null;
  _processChunk(bytes: Uint8Array, flush: number): Uint8Array;
  removeAllListeners(event: string): void;
  reset(): void;
  destroy(): void;
}

class ZlibCompressor implements Compressor {
  private readonly handle: { close?: () => void };
  private hasEnded = false;

  constructor(
    private readonly stream: SyncStream,
    private readonly operations: Readonly<Record<Operation, number>>,
    /** The place where the compressor is kept for reuse after a body; undefined if it is not reused. */
    private readonly kept?: ZlibCompressor[],
  ) {
    this.handle = stream._handle as { close(): void };
    // Otherwise the runtime would close the handle after the first piece.
    this.handle.close = () => {};
  }

  write(bytes: Uint8Array, operation: Operation): Uint8Array {
    const { stream, handle } = this;
    try {
      const coded = stream._processChunk(bytes, this.operations[operation]);
      this.hasEnded = operation === "end";
      // Up to this size, the result is a part of the stream's buffer, which the next call overwrites.
      return coded.length > OUTPUT_BYTES ? coded : Uint8Array.prototype.slice.call(coded);
    } finally {
      stream._handle = handle as { close(): void };
      // Each call of `_processChunk` adds a listener.
      stream.removeAllListeners("error");
    }
  }

  close(): void {
    const { kept, stream } = this;
    if (this.hasEnded && kept !== undefined && kept.length < MAX_SPARE) {
      this.hasEnded = false;
      // zstd starts a new frame after each end; a reset would discard its level and window.
      if (kept === spareGzip) stream.reset();
      kept.push(this);
      return;
    }
    // Restores the prototype's method.
    delete this.handle.close;
    stream.destroy();
  }
}

let known: readonly Coding[] | undefined;

/** Returns the codings that work on this runtime. Each is tried out, because the methods are undocumented. */
export function workingCodings(): readonly Coding[] {
  known ??= (["zstd", "br", "gzip"] as const).filter(works);
  return known;
}

const TRIED = Buffer.from("paceline ".repeat(20));

function works(coding: Coding): boolean {
  try {
    const { gunzipSync, brotliDecompressSync, zstdDecompressSync } = zlib() as typeof Zlib & {
      zstdDecompressSync(bytes: Uint8Array): Buffer;
    };
    const decode = { zstd: zstdDecompressSync, br: brotliDecompressSync, gzip: gunzipSync }[coding];
    // The second time uses the first compressor again, if it was kept.
    return [1, 2].every(() => {
      const compressor = COMPRESSORS[coding]();
      const pieces = (["more", "flush", "end"] as const).map((operation) => compressor.write(TRIED, operation));
      compressor.close();
      return decode(Buffer.concat(pieces)).equals(Buffer.concat([TRIED, TRIED, TRIED]));
    });
  } catch {
    // This runtime does not support it.
    return false;
  }
}
