/** Decodes `aws-chunked`: a body in chunks, each with its size and optionally a signature, and trailing fields. */
import { createHash } from "node:crypto";
import { demand } from "./errors.ts";
import { type CheckChunk, hashOf } from "./signature.ts";

/** The maximum length of a line, and of all trailing fields together, in bytes. */
const MAX_LINE_BYTES = 4096;
const LF = 10;

/** The signed and unsigned forms in x-amz-content-sha256. */
export const CHUNKED = /^STREAMING-(?:AWS4-HMAC-SHA256-PAYLOAD(?:-TRAILER)?|UNSIGNED-PAYLOAD-TRAILER)$/;

/**
 * @param stated the value of x-amz-trailer
 * @throws S3Error MalformedTrailerError
 */
export function checkTrailers(stated: string | null, trailers: ReadonlyMap<string, string>): void {
  demand([...trailers.keys()].join() === (stated ?? "").trim().toLowerCase(), "MalformedTrailerError");
}

export class ChunkedBody {
  /** The trailing fields, complete after the data. */
  readonly trailers = new Map<string, string>();
  private readonly pieces: AsyncIterator<Uint8Array>;
  private piece: Uint8Array = new Uint8Array(0);

  private readonly isSigned: boolean;
  private readonly hasTrailer: boolean;

  constructor(
    body: AsyncIterable<Uint8Array>,
    payloadHash: string,
    private readonly check: CheckChunk,
  ) {
    this.pieces = body[Symbol.asyncIterator]();
    this.isSigned = payloadHash.startsWith("STREAMING-AWS4-HMAC-SHA256");
    this.hasTrailer = payloadHash.endsWith("-TRAILER");
  }

  /** @throws S3Error if the framing or a signature is wrong */
  async *data(): AsyncGenerator<Uint8Array> {
    try {
      while ((yield* this.chunk()) > 0) {
        demand((await this.line()) === "", "IncompleteBody", "A chunk is longer than its size");
      }
      await this.readTrailers();
      for (let line = await this.line(); line !== undefined; line = await this.line()) {
        demand(line === "", "IncompleteBody", "There is data behind the last chunk");
      }
    } finally {
      await this.pieces.return?.();
    }
  }

  /** Returns the size of the chunk, which is 0 for the last one. */
  private async *chunk(): AsyncGenerator<Uint8Array, number> {
    const head = /^([0-9a-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec((await this.line()) ?? "");
    const [, digits, signature] = head ?? [];
    demand(digits !== undefined, "IncompleteBody", "A chunk has no valid size");
    demand(signature !== undefined || !this.isSigned, "SignatureDoesNotMatch", "A chunk is not signed");
    const size = Number.parseInt(digits, 16);
    const hash = this.isSigned ? createHash("sha256") : undefined;
    for (let left = size; left > 0; ) {
      demand(await this.hasMore(), "IncompleteBody");
      const data = this.take(left);
      left -= data.length;
      hash?.update(data);
      yield data;
    }
    if (hash !== undefined) this.check("PAYLOAD", hash.digest("hex"), signature ?? "");
    return size;
  }

  private async readTrailers(): Promise<void> {
    let signature = "";
    let bytes = 0;
    // Some clients leave out the empty line at the very end.
    for (let line = await this.line(); line !== undefined && line !== ""; line = await this.line()) {
      const colon = line.indexOf(":");
      bytes += line.length;
      const isGood = colon > 0 && bytes <= MAX_LINE_BYTES && this.hasTrailer;
      demand(isGood, "IncompleteBody", "The trailing fields are not valid");
      const [name, value] = [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()];
      if (name === "x-amz-trailer-signature") signature = value;
      else this.trailers.set(name, value);
    }
    const text = [...this.trailers].map(([name, value]) => `${name}:${value}\n`).join("");
    if (this.isSigned && this.hasTrailer) this.check("TRAILER", hashOf(text), signature);
  }

  /** Returns the next line without its end; undefined at the end of the body. */
  private async line(): Promise<string | undefined> {
    let line = "";
    while (await this.hasMore()) {
      const end = this.piece.indexOf(LF);
      line += Buffer.from(this.take(end < 0 ? MAX_LINE_BYTES : end + 1)).toString("latin1");
      demand(line.length < MAX_LINE_BYTES, "IncompleteBody", "A line of the body is too long");
      if (end >= 0) return line.replace(/\r?\n$/, "");
    }
    return line === "" ? undefined : line;
  }

  private async hasMore(): Promise<boolean> {
    while (this.piece.length === 0) {
      const { done, value } = await this.pieces.next();
      if (done) return false;
      this.piece = value;
    }
    return true;
  }

  private take(most: number): Uint8Array {
    const bytes = this.piece.subarray(0, most);
    this.piece = this.piece.subarray(bytes.length);
    return bytes;
  }
}
