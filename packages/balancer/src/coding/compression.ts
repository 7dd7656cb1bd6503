/** The compression of a pool's responses: which ones, how many at once, and each body. */
import type { CompressRule } from "@paceline/wire";
import { type Coding, isCompressibleType } from "@paceline/wire/content-coding";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type CodingRule, matchTag, putCoding, putVary, variesUnsent, verdictOf } from "./coded-head.js";
import { COMPRESSORS, type Compressor, type Operation, workingCodings } from "./compressors.js";

const NOTHING = new Uint8Array(0);

export class Compression {
  private readonly rule: CodingRule;
  private readonly given: string;
  private readonly maxStreams: number;
  /** The number of bodies that are being compressed. */
  private running = 0;

  /** @param onNotice receives a line for the operator */
  constructor(rule: CompressRule, onNotice: (line: string) => void) {
    const { codings: wanted, types, minBytes, maxStreams, secrets } = rule;
    this.given = JSON.stringify(rule);
    const codings = workingCodings().filter((coding) => wanted === undefined || wanted.includes(coding));
    const missing = (wanted ?? ["br", "gzip"]).filter((coding) => !codings.includes(coding as Coding));
    if (missing.length > 0) onNotice(`compress: this runtime has no ${missing.join(", ")}`);
    const isCompressible = types === undefined ? isCompressibleType : among(types);
    this.rule = { codings, isCompressible, minBytes, secrets };
    this.maxStreams = maxStreams;
  }

  /** Whether this compression was made from an equal rule. */
  isFrom(rule: CompressRule | undefined): boolean {
    return this.given === JSON.stringify(rule);
  }

  /**
   * Changes the head of a response if its body is compressed, or could be for another client. Returns the body's compressor; undefined if
   * this body is not compressed.
   */
  apply(head: ResponseHead, request: RequestHead, hasCertificate: boolean): CodedBody | undefined {
    if (head.status === 304) {
      matchTag(head, request);
      if (variesUnsent(head, this.rule)) putVary(head);
      return undefined;
    }
    const verdict = verdictOf(head, request, this.rule, { hasCertificate, hasRoom: this.running < this.maxStreams });
    if (verdict === undefined) return undefined;
    putVary(head);
    const { coding } = verdict;
    if (coding === undefined) return undefined;
    const body = head.framing === "none" ? undefined : this.start(coding, head.contentLength);
    if (body !== undefined || head.framing === "none") putCoding(head, coding);
    return body;
  }

  /** Returns undefined if there is no memory for a compressor. */
  private start(coding: Coding, length: number): CodedBody | undefined {
    try {
      const body = new CodedBody(COMPRESSORS[coding](), length, () => void this.running--);
      this.running++;
      return body;
    } catch {
      // The body can be sent uncompressed instead.
      return undefined;
    }
  }
}

/** Compresses the body of one response. */
export class CodedBody {
  /** The number of compressed bytes. */
  bytes = 0;
  /** The number of bytes received since `takeBatch`. */
  private batchBytes = 0;
  /** Set if zlib failed, so that the rest of the body is lost. */
  hasFailed = false;
  /** Whether bytes were written and not flushed. */
  private isPending = false;
  private compressor: Compressor | undefined;

  constructor(
    compressor: Compressor,
    /** The length of the body; negative if unknown. */
    private length: number,
    private readonly onClosed: () => void,
  ) {
    this.compressor = compressor;
  }

  /** Returns the bytes that can be sent now. */
  write(bytes: Uint8Array, start: number, end: number): Uint8Array {
    this.batchBytes += end - start;
    this.length -= end - start;
    const piece = bytes.subarray(start, end);
    // A small body needs only this one call for the last piece and the end: each call costs some microseconds.
    if (this.length === 0) return this.finish(piece);
    this.isPending = true;
    return this.run(piece, "more");
  }

  /** Returns the number of bytes received since the last call. */
  takeBatch(): number {
    const { batchBytes } = this;
    this.batchBytes = 0;
    return batchBytes;
  }

  /** Returns the rest of the bytes written so far, so that the client can decode all of them. */
  flush(): Uint8Array {
    if (!this.isPending) return NOTHING;
    this.isPending = false;
    return this.run(NOTHING, "flush");
  }

  /** Returns the end of the body, and frees the compressor. */
  end(): Uint8Array {
    return this.finish(NOTHING);
  }

  private finish(bytes: Uint8Array): Uint8Array {
    const rest = this.run(bytes, "end");
    this.isPending = false;
    this.close();
    return rest;
  }

  close(): void {
    if (this.compressor === undefined) return;
    this.compressor.close();
    this.compressor = undefined;
    this.onClosed();
  }

  private run(bytes: Uint8Array, operation: Operation): Uint8Array {
    if (this.compressor === undefined || this.hasFailed) return NOTHING;
    try {
      const coded = this.compressor.write(bytes, operation);
      this.bytes += coded.length;
      return coded;
    } catch {
      // The sender then aborts the response.
      this.hasFailed = true;
      return NOTHING;
    }
  }
}

/** Returns a check for media types: `text/html`, `text/*`, or `*+json` for a suffix. */
function among(types: readonly string[]): (type: string) => boolean {
  const exact = new Set(types.map((type) => type.toLowerCase()));
  const starts = [...exact].filter((type) => type.endsWith("/*")).map((type) => type.slice(0, -1));
  const ends = [...exact].filter((type) => type.startsWith("*+")).map((type) => type.slice(1));
  return (type) =>
    exact.has(type) || starts.some((start) => type.startsWith(start)) || ends.some((end) => type.endsWith(end));
}
