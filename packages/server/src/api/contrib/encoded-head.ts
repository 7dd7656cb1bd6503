/** Which responses may be compressed, by what their heads say (RFC 9110, RFC 9111), and the heads of those that are, or could have been. */
import type { Coding } from "./codings.js";

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
export interface Head {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Headers;
}

/** The head as it is, on its own. */
export function headOf({ status, statusText, headers }: Response): Head {
  return { status, statusText, headers: new Headers(headers) };
}

/** The response with its body in a coding. `type` is its Content-Type where the headers do not say it. */
export function encodedResponse(
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
export function plainResponse(response: Response): Response {
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
