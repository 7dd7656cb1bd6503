/** The content codings of the platform, with levels for a server: once over a whole body, or block by block; and the choice among them. */

import type { Transform } from "node:stream";
import * as zlib from "node:zlib";
import { AcceptedCodings } from "../../shared/accept-encoding.js";

/** A content coding (RFC 9110 §8.4.1). zstd exists in Bun and in Node from 22.15 on. */
export type Coding = "br" | "zstd" | "gzip";

export interface Encoder {
  whole(bytes: Uint8Array): Uint8Array;
  stream(): Transform & zlib.Zlib;
  /** What makes all that was written so far leave. */
  readonly flush: number;
}

/** What @types/node for Node 20 does not know. */
interface Zstd {
  zstdCompressSync?(bytes: Uint8Array, options: object): Buffer;
  createZstdCompress?(options: object): Transform & zlib.Zlib;
}

const { constants } = zlib;
/** Of zstd.h, which is the same everywhere. */
const ZSTD = { compressionLevel: 100, windowLog: 101, flush: 1 };

/** A compressor block by block lives as long as its client reads, so that its memory counts more than the last percent. */
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

/** Those that the platform has. */
export const ENCODERS: Readonly<Partial<Record<Coding, Encoder>>> =
  zstd === undefined ? { br, gzip } : { zstd, br, gzip };

/** What is taken first where the client likes several as much: the least CPU for the size, */
export const WHOLE_ORDER: readonly Coding[] = ["zstd", "br", "gzip"];
/** and the least memory for each client. */
export const STREAM_ORDER: readonly Coding[] = ["br", "gzip", "zstd"];

export interface Choice {
  /** For a body that is there; undefined: as it is. */
  readonly whole: Coding | undefined;
  /** For one that comes block by block. */
  readonly stream: Coding | undefined;
  /** The client refuses a body that is not encoded, and there is a coding it takes. */
  readonly mustEncode: boolean;
}

/** Browsers send a handful of values; others may send any. */
const MAX_REMEMBERED = 100;

/** @returns a function that chooses among `available`, and remembers what it chose. */
export function chooser(available: readonly Coding[]): (acceptEncoding: string | null) => Choice {
  const remembered = new Map<string, Choice>();
  return (acceptEncoding) => {
    // No field: anything would do, but who does not say so is mostly a program that cannot decode.
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
