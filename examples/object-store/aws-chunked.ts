/** Decodes `aws-chunked`: a body in chunks, each with its size and perhaps a signature, and trailing fields. Pure. */
import { createHash, type Hash } from "node:crypto";
import { S3Error } from "./errors.ts";
import type { ChunkSignatures } from "./signature.ts";

/** The longest line, and all trailing fields together, in bytes. */
const MAX_LINE_BYTES = 4096;
const LF = 10;

/** The signed and unsigned forms, by the value of x-amz-content-sha256. */
const FORMS: Record<string, { isSigned: boolean; hasTrailer: boolean }> = {
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD": { isSigned: true, hasTrailer: false },
  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER": { isSigned: true, hasTrailer: true },
  "STREAMING-UNSIGNED-PAYLOAD-TRAILER": { isSigned: false, hasTrailer: true },
};

export function isChunked(payloadHash: string): boolean {
  return payloadHash in FORMS;
}

/** @param stated the value of x-amz-trailer. @throws S3Error MalformedTrailerError */
export function checkTrailers(stated: string | null, trailers: ReadonlyMap<string, string>): void {
  if ([...trailers.keys()].join() !== (stated ?? "").trim().toLowerCase()) throw new S3Error("MalformedTrailerError");
}

type State = "size" | "data" | "afterData" | "trailer" | "end";

export class ChunkDecoder {
  /** The trailing fields, complete after `finish()`. */
  readonly trailers = new Map<string, string>();
  private state: State = "size";
  private line = "";
  private left = 0;
  private trailerBytes = 0;
  private trailerText = "";
  private trailerSignature = "";
  private signature = "";
  private hash: Hash | undefined;
  private readonly form: { isSigned: boolean; hasTrailer: boolean };

  constructor(
    payloadHash: string,
    private readonly signatures: ChunkSignatures,
  ) {
    this.form = FORMS[payloadHash] ?? { isSigned: false, hasTrailer: true };
  }

  /** Yields the data in a piece of the body. @throws S3Error if the framing or a signature is wrong */
  *decode(piece: Uint8Array): Generator<Uint8Array> {
    for (let at = 0; at < piece.length; ) {
      if (this.state === "data") {
        const data = piece.subarray(at, at + this.left);
        at += data.length;
        this.left -= data.length;
        this.hash?.update(data);
        if (this.left === 0) this.endChunk();
        yield data;
        continue;
      }
      const end = piece.indexOf(LF, at);
      const part = piece.subarray(at, end < 0 ? piece.length : end);
      this.line += Buffer.from(part.buffer, part.byteOffset, part.length).toString("latin1");
      if (this.line.length > MAX_LINE_BYTES)
        throw new S3Error("IncompleteBody", "A line of the chunked body is too long");
      if (end < 0) return;
      at = end + 1;
      const line = this.line.endsWith("\r") ? this.line.slice(0, -1) : this.line;
      this.line = "";
      this.readLine(line);
    }
  }

  /** The body has ended. @throws S3Error IncompleteBody if its last chunk is missing */
  finish(): void {
    // Some clients leave out the empty line at the very end.
    if (this.state === "trailer") this.endTrailer();
    if (this.state !== "end") throw new S3Error("IncompleteBody");
  }

  private readLine(line: string): void {
    switch (this.state) {
      case "size":
        return this.beginChunk(line);
      case "afterData":
        if (line !== "") throw new S3Error("IncompleteBody", "A chunk is longer than its size");
        this.state = "size";
        return;
      case "trailer":
        return line === "" ? this.endTrailer() : this.readTrailer(line);
      case "data":
      case "end":
        if (line !== "") throw new S3Error("IncompleteBody", "There is data behind the last chunk");
        return;
      default:
        return this.state satisfies never;
    }
  }

  private beginChunk(line: string): void {
    const [, size, signature = ""] = /^([0-9a-f]{1,12})(?:;chunk-signature=([0-9a-f]{64}))?$/i.exec(line) ?? [];
    if (size === undefined) throw new S3Error("IncompleteBody", "A chunk has no valid size");
    if (this.form.isSigned && signature === "") throw new S3Error("SignatureDoesNotMatch", "A chunk is not signed");
    this.left = Number.parseInt(size, 16);
    this.signature = signature;
    this.hash = this.form.isSigned ? createHash("sha256") : undefined;
    this.state = "data";
    if (this.left > 0) return;
    this.endChunk();
    this.state = "trailer";
  }

  private endChunk(): void {
    if (this.hash !== undefined) this.signatures.checkChunk(this.hash.digest("hex"), this.signature);
    this.state = "afterData";
  }

  private readTrailer(line: string): void {
    const colon = line.indexOf(":");
    this.trailerBytes += line.length;
    if (colon < 1 || this.trailerBytes > MAX_LINE_BYTES || !this.form.hasTrailer) {
      throw new S3Error("IncompleteBody", "The trailing fields are not valid");
    }
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === "x-amz-trailer-signature") {
      this.trailerSignature = value;
      return;
    }
    this.trailers.set(name, value);
    this.trailerText += `${name}:${value}\n`;
  }

  private endTrailer(): void {
    this.state = "end";
    if (!this.form.isSigned || !this.form.hasTrailer) return;
    const hash = createHash("sha256").update(this.trailerText).digest("hex");
    this.signatures.checkTrailer(hash, this.trailerSignature);
  }
}
