/** Compresses answers: negotiated, by type and size, whole or as they come. */
import type { FetchHandler, Wrapper } from "../../shared/app.js";
import { type BlockSource, blocksOf } from "../../shared/blocks.js";
import { type KeptBody, keptBody, rememberBodies } from "../../shared/kept-body.js";
import { lookAt, piecesOf, streamOf } from "./blocks.js";
import { type Choice, type Coding, chooser, ENCODERS, type Encoder } from "./codings.js";
import { compressedStream } from "./compressed-stream.js";
import { encodedResponse, type Head, headOf, isCompressibleType, mayBeEncoded, plainResponse } from "./encoded-head.js";

export interface CompressionOptions {
  /** Codings that may be used. Default: all that the platform has of br, zstd and gzip. */
  codings?: readonly Coding[];
  /** Bodies that are known to be shorter are left as they are, in bytes. Default 1024. */
  minBytes?: number;
  /** Whether a Content-Type is worth it. Default: text, JSON, XML, JavaScript, WebAssembly, SVG and the like. */
  isCompressible?: (contentType: string) => boolean;
  /**
   * Bodies that are compressed block by block at once; each holds its compressor, of 0.1 to 0.3 MB, until its client has
   * read it. What comes above is sent as it is. Default 256.
   */
  maxStreams?: number;
}

/** Longer ones are compressed block by block: at once they would hold up the event loop for more than a millisecond. */
const MAX_WHOLE_BYTES = 65_536;

/** Wraps a handler whose responses are compressed for clients that can take it. */
export function compression(options: CompressionOptions = {}): Wrapper {
  rememberBodies();
  const compressor = new Compressor(options);
  return (handler: FetchHandler) => (request, info) =>
    answered(handler(request, info), (response) => compressor.respond(request, response));
}

class Compressor {
  private readonly choose: (acceptEncoding: string | null) => Choice;
  private readonly minBytes: number;
  private readonly isCompressible: (contentType: string) => boolean;
  private streamsLeft: number;

  constructor(options: CompressionOptions) {
    const { codings, minBytes = 1024, isCompressible = isCompressibleType, maxStreams = 256 } = options;
    const available = Object.keys(ENCODERS) as Coding[];
    this.choose = chooser(codings === undefined ? available : available.filter((coding) => codings.includes(coding)));
    this.minBytes = minBytes;
    this.isCompressible = isCompressible;
    this.streamsLeft = maxStreams;
  }

  respond(request: Request, response: Response): Response | Promise<Response> {
    // An upgrade is none.
    if (!(response instanceof Response)) return response;
    const { headers } = response;
    if (!mayBeEncoded(request.method, response.status, headers)) return response;
    const choice = this.choose(request.headers.get("accept-encoding"));
    const kept = keptBody(response);
    const type = headers.get("content-type") ?? (typeof kept === "string" ? TEXT_TYPE : "");
    if (!choice.mustEncode && !this.isCompressible(type)) return response;
    if (kept === undefined && (response.body === null || response.bodyUsed)) return response;
    if (choice.whole === undefined || this.isShort(lengthOf(response, kept), choice)) return plainResponse(response);
    if (kept === undefined) return this.lookFirst(response, choice, type);
    if (kept instanceof Blob)
      return this.hasRoom(choice) ? this.lookFirst(response, choice, type) : plainResponse(response);
    const bytes = typeof kept === "string" ? Buffer.from(kept) : kept;
    if (bytes.length <= MAX_WHOLE_BYTES) return this.whole(response, bytes, choice.whole, choice, type);
    if (!this.hasRoom(choice)) return plainResponse(response);
    return this.stream(headOf(response), piecesOf(bytes, MAX_WHOLE_BYTES), choice, type);
  }

  /** For a body of which nobody knows whether it is there already. */
  private async lookFirst(response: Response, choice: Choice, type: string): Promise<Response> {
    const head = headOf(response);
    const looked = await lookAt(blocksOf(response.body as ReadableStream<Uint8Array>), MAX_WHOLE_BYTES);
    if (looked.isWhole) {
      const whole = new Response(looked.bytes as never, head);
      if (this.isShort(looked.bytes.length, choice)) return plainResponse(whole);
      return this.whole(whole, looked.bytes, choice.whole as Coding, choice, type);
    }
    if (!this.hasRoom(choice)) return plainResponse(new Response(streamOf(looked.source), head));
    return this.stream(head, looked.source, choice, type);
  }

  private isShort(length: number, choice: Choice): boolean {
    return length < this.minBytes && !choice.mustEncode;
  }

  private hasRoom(choice: Choice): boolean {
    return this.streamsLeft > 0 || choice.mustEncode;
  }

  private whole(response: Response, bytes: Uint8Array, coding: Coding, choice: Choice, type: string): Response {
    const encoded = encoderOf(coding).whole(bytes);
    if (encoded.length >= bytes.length && !choice.mustEncode) return plainResponse(response);
    return encodedResponse(headOf(response), encoded, coding, type);
  }

  private stream(head: Head, source: BlockSource, { stream }: Choice, type: string): Response {
    const coding = stream as Coding;
    this.streamsLeft--;
    const freed = () => void this.streamsLeft++;
    return encodedResponse(head, compressedStream(source, encoderOf(coding), freed), coding, type);
  }
}

const TEXT_TYPE = "text/plain;charset=utf-8";

function encoderOf(coding: Coding): Encoder {
  return ENCODERS[coding] as Encoder;
}

/** NaN where nobody knows. */
function lengthOf(response: Response, kept: KeptBody | undefined): number {
  if (typeof kept === "string") return Buffer.byteLength(kept);
  if (kept !== undefined) return kept instanceof Blob ? kept.size : kept.length;
  return Number(response.headers.get("content-length") ?? Number.NaN);
}

/** Calls a handler, and what follows its response at once where the response is there at once. */
function answered(
  result: Response | Promise<Response>,
  next: (response: Response) => Response | Promise<Response>,
): Response | Promise<Response> {
  return result instanceof Response ? next(result) : Promise.resolve(result).then(next);
}
