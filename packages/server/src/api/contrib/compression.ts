/** Compresses answers: negotiated, by type and size, whole or as they come. */
import type { FetchHandler, Wrapper } from "../../shared/app.js";
import { type BlockSource, blocksOf } from "../../shared/blocks.js";
import { type KeptBody, keptBody, rememberBodies } from "../../shared/kept-body.js";
import { lookAt, piecesOf, streamOf } from "./blocks.js";
import { type Choice, type Coding, chooser, ENCODERS, type Encoder } from "./codings.js";
import { compressedStream } from "./compressed-stream.js";

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

/** Types whose bodies get smaller; pictures, films and archives are compressed already. */
const COMPRESSIBLE =
  /^(?:text\/[\w.+-]+|[\w.-]+\/[\w.-]+\+(?:json|xml|text|yaml)|application\/(?:json|javascript|x-javascript|ecmascript|xml|xml-dtd|graphql|toml|yaml|x-yaml|sql|rtf|wasm|x-ndjson|ndjson|jsonl|manifest|vnd\.ms-fontobject|x-www-form-urlencoded)|image\/(?:bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)|font\/(?:otf|ttf|collection)|model\/(?:gltf\+json|obj|stl))$/;

/** Whether a Content-Type names one of them. */
export function isCompressibleType(contentType: string): boolean {
  const semicolon = contentType.indexOf(";");
  const type = semicolon < 0 ? contentType : contentType.slice(0, semicolon);
  return COMPRESSIBLE.test(type.trim().toLowerCase());
}

/** Fields that speak of the body byte by byte, which would no longer be true. */
const ABOUT_THE_BYTES = ["content-range", "content-digest", "repr-digest", "digest", "content-md5"];

/** Whether a response has a body that may be encoded at all, whatever its type and size. */
export function mayBeEncoded(method: string, status: number, headers: Headers): boolean {
  if (method === "HEAD" || status < 200 || status === 204 || status === 205 || status === 206 || status === 304)
    return false;
  if (headers.has("content-encoding")) return false;
  if (/(?:^|,)\s*no-transform\s*(?:,|$)/i.test(headers.get("cache-control") ?? "")) return false;
  return !ABOUT_THE_BYTES.some((name) => headers.has(name));
}

/** The value of Vary with Accept-Encoding in it; undefined where it needs no change. */
export function varyWithEncoding(vary: string | null): string | undefined {
  if (vary === null || vary.trim() === "") return "Accept-Encoding";
  const names = vary.split(",").map((name) => name.trim().toLowerCase());
  return names.includes("*") || names.includes("accept-encoding") ? undefined : `${vary}, Accept-Encoding`;
}

/** The ETag of the encoded body: it means the same, but is not the same byte by byte (RFC 9110 §8.8.1). */
export function weakTag(etag: string): string {
  return etag.startsWith("W/") ? etag : `W/${etag}`;
}

/** What a response is beside its body. */
interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
}

/** The head as it is, on its own. */
function headOf({ status, statusText, headers }: Response): Head {
  return { status, statusText, headers: new Headers(headers) };
}

/** The response with its body in a coding. `type` is its Content-Type where the headers do not say it. */
function encodedResponse(
  { status, statusText, headers }: Head,
  body: Uint8Array | ReadableStream<Uint8Array>,
  coding: Coding,
  type: string,
): Response {
  headers.set("content-encoding", coding);
  if (!headers.has("content-type")) headers.set("content-type", type);
  // The length, and ranges, are those of what is not encoded.
  headers.delete("content-length");
  headers.delete("accept-ranges");
  const etag = headers.get("etag");
  if (etag !== null) headers.set("etag", weakTag(etag));
  addVary(headers);
  return new Response(body as never, { status, statusText, headers });
}

/** A response that could have been encoded, as it is. */
function plainResponse(response: Response): Response {
  try {
    addVary(response.headers);
    return response;
  } catch {
    // The response of a fetch() has headers that cannot be changed.
    const head = headOf(response);
    addVary(head.headers);
    return new Response(response.body, head);
  }
}

function addVary(headers: Headers): void {
  const vary = varyWithEncoding(headers.get("vary"));
  if (vary !== undefined) headers.set("vary", vary);
}
