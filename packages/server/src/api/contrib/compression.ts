/** Compresses responses: negotiated, by type and size, whole or in blocks. */
import {
  ABOUT_THE_BYTES,
  announcesDigest,
  forbidsTransform,
  isCodedStatus,
  isCompressibleType,
  varyWithEncoding,
  weakTag,
} from "@paceline/wire/content-coding";
import type { FetchHandler, Wrapper } from "../../shared/app.js";
import { type BlockSource, blocksOf } from "../../shared/blocks.js";
import { type KeptBody, keptBody, rememberBodies } from "../../shared/kept-body.js";
import { lookAt, piecesOf, streamOf } from "./blocks.js";
import { type Choice, type Coding, chooser, ENCODERS, type Encoder } from "./codings.js";
import { compressedStream } from "./compressed-stream.js";

export interface CompressionOptions {
  /** The allowed codings. Default: those of br, zstd and gzip that the platform has. */
  codings?: readonly Coding[];
  /** Smaller bodies are not compressed, in bytes. Default: 1024. */
  minBytes?: number;
  /** Whether to compress a Content-Type. Default: text, JSON, XML, JavaScript, WebAssembly, SVG and similar types. */
  isCompressible?: (contentType: string) => boolean;
  /**
   * The maximum number of block compressors at a time. Each takes 0.1 to 0.3 MB until its client has read the body. Further bodies are sent
   * unencoded. Default: 256.
   */
  maxStreams?: number;
}

/** Larger bodies are compressed in blocks. Compressed at once, they would block the event loop for over a millisecond. */
const MAX_WHOLE_BYTES = 65_536;

/** Wraps a handler and compresses its responses for clients that accept it. */
export function compression(options: CompressionOptions = {}): Wrapper {
  rememberBodies();
  const compressor = new Compressor(options);
  return (handler: FetchHandler) => (request, info) =>
    afterResponse(handler(request, info), (response) => compressor.respond(request, response));
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
    // An upgrade is not a Response.
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

  /** Compresses a body that may or may not be in memory. */
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

/** Returns NaN if the length is unknown. */
function lengthOf(response: Response, kept: KeptBody | undefined): number {
  if (typeof kept === "string") return Buffer.byteLength(kept);
  if (kept !== undefined) return kept instanceof Blob ? kept.size : kept.length;
  return Number(response.headers.get("content-length") ?? Number.NaN);
}

/** Calls a handler and continues synchronously if its response is not a promise. */
function afterResponse(
  result: Response | Promise<Response>,
  next: (response: Response) => Response | Promise<Response>,
): Response | Promise<Response> {
  return result instanceof Response ? next(result) : Promise.resolve(result).then(next);
}

/** Returns whether a response body may be encoded, whatever its type and size. */
export function mayBeEncoded(method: string, status: number, headers: Headers): boolean {
  if (method === "HEAD" || !isCodedStatus(status) || headers.has("content-encoding")) return false;
  if (forbidsTransform(headers.get("cache-control") ?? "")) return false;
  if (announcesDigest(headers.get("trailer") ?? "")) return false;
  return !ABOUT_THE_BYTES.some((name) => headers.has(name));
}

/** A response without its body. */
interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
}

/** Returns a copy of the head. */
function headOf({ status, statusText, headers }: Response): Head {
  return { status, statusText, headers: new Headers(headers) };
}

/** Returns the response with an encoded body. `type` is its Content-Type if the headers lack it. */
function encodedResponse(
  { status, statusText, headers }: Head,
  body: Uint8Array | ReadableStream<Uint8Array>,
  coding: Coding,
  type: string,
): Response {
  headers.set("content-encoding", coding);
  if (!headers.has("content-type")) headers.set("content-type", type);
  // Length and ranges apply to the unencoded body.
  headers.delete("content-length");
  headers.delete("accept-ranges");
  const etag = headers.get("etag");
  if (etag !== null) headers.set("etag", weakTag(etag));
  addVary(headers);
  return new Response(body as never, { status, statusText, headers });
}

/** Returns an unencoded response that could have been encoded. */
function plainResponse(response: Response): Response {
  try {
    addVary(response.headers);
    return response;
  } catch {
    // The headers of a fetch() response are immutable.
    const head = headOf(response);
    addVary(head.headers);
    return new Response(response.body, head);
  }
}

function addVary(headers: Headers): void {
  const vary = varyWithEncoding(headers.get("vary"));
  if (vary !== undefined) headers.set("vary", vary);
}
