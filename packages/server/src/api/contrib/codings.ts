/** The platform's content codings, with levels for a server, for whole bodies and for blocks; and the choice between them. */

import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { AcceptedCodings, type Coding, STREAM_ORDER, WHOLE_ORDER } from "@paceline/wire/content-coding";

/** zstd needs Bun or Node 22.15. */
export type { Coding };

export interface Encoder {
  whole(bytes: Uint8Array): Uint8Array;
  stream(): Transform & zlib.Zlib;
  /** The flush mode that sends everything written so far. */
  readonly flush: number;
}

/** Missing in @types/node for Node 20. */
interface Zstd {
  zstdCompressSync?(bytes: Uint8Array, options: object): Buffer;
  createZstdCompress?(options: object): Transform & zlib.Zlib;
}

const { constants } = zlib;
/** Constants of zstd.h, the same on all platforms. */
const ZSTD = { compressionLevel: 100, windowLog: 101, flush: 1 };

/** A block compressor lives as long as its client reads, so memory matters more than the last percent. */
const SMALL_GZIP = { level: 6, windowBits: 13, memLevel: 6 };
const SMALL_BROTLI = { [constants.BROTLI_PARAM_QUALITY]: 1, [constants.BROTLI_PARAM_LGWIN]: 16 };
const SMALL_ZSTD = { [ZSTD.compressionLevel]: 1, [ZSTD.windowLog]: 16 };

const gzip: Encoder = {
  whole: (bytes) => zlib.gzipSync(bytes, { level: 6, windowBits: 14, memLevel: 7 }),
  stream: () => zlib.createGzip(SMALL_GZIP) as never,
  flush: constants.Z_SYNC_FLUSH,
};

const br: Encoder = {
  whole: (bytes) =>
    zlib.brotliCompressSync(bytes, {
      params: {
        [constants.BROTLI_PARAM_QUALITY]: 4,
        [constants.BROTLI_PARAM_LGWIN]: 16,
        [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
      },
    }),
  stream: () => zlib.createBrotliCompress({ params: SMALL_BROTLI }) as never,
  flush: constants.BROTLI_OPERATION_FLUSH,
};

function zstdEncoder({ zstdCompressSync, createZstdCompress }: Zstd): Encoder | undefined {
  if (zstdCompressSync === undefined || createZstdCompress === undefined) return undefined;
  const params = { [ZSTD.compressionLevel]: 3, [ZSTD.windowLog]: 16 };
  return {
    whole: (bytes) => zstdCompressSync(bytes, { params }),
    stream: () => createZstdCompress({ params: SMALL_ZSTD }),
    flush: ZSTD.flush,
  };
}

const zstd = zstdEncoder(zlib as unknown as Zstd);

/** The codings of this platform. */
export const ENCODERS: Readonly<Partial<Record<Coding, Encoder>>> =
  zstd === undefined ? { br, gzip } : { zstd, br, gzip };

export interface Choice {
  /** For a body in memory; undefined: identity. */
  readonly whole: Coding | undefined;
  /** For a body in blocks. */
  readonly stream: Coding | undefined;
  /** Whether the client refuses the identity coding and accepts one of the available ones. */
  readonly mustEncode: boolean;
}

/** Browsers send few values; other clients may send any. */
const MAX_REMEMBERED = 100;

/** @returns a function that chooses from `available` and caches its choices */
export function chooser(available: readonly Coding[]): (acceptEncoding: string | null) => Choice {
  const remembered = new Map<string, Choice>();
  return (acceptEncoding) => {
    // Without the field any coding is allowed, but most such clients cannot decode.
    const value = acceptEncoding ?? "";
    let choice = remembered.get(value);
    if (choice === undefined) {
      if (remembered.size === MAX_REMEMBERED) remembered.clear();
      choice = choose(value, available);
      remembered.set(value, choice);
    }
    return choice;
  };
}

function choose(value: string, available: readonly Coding[]): Choice {
  const accepted = new AcceptedCodings(value);
  const first = (order: readonly Coding[]) => accepted.best(order.filter((coding) => available.includes(coding)))[0];
  const whole = first(WHOLE_ORDER);
  return { whole, stream: first(STREAM_ORDER), mustEncode: whole !== undefined && accepted.refusesIdentity };
}
