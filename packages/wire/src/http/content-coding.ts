/**
 * Content codings of responses, for the server and the balancer: what a client accepts (RFC 9110 §12.5.3), which bodies are worth
 * compressing, and what changes in the head. Pure.
 */

/** A content coding (RFC 9110 §8.4.1). */
export type Coding = "br" | "zstd" | "gzip";

/**
 * The server's order for a body of known length if the client has no preference. The coding that needs the least CPU time for its size
 * comes first.
 */
export const WHOLE_ORDER: readonly Coding[] = ["zstd", "br", "gzip"];
/** The same for a body that may last: the coding that needs the least memory comes first. */
export const STREAM_ORDER: readonly Coding[] = ["br", "gzip", "zstd"];

const ITEM = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?$/i;
/** Further items are ignored. */
const MAX_ITEMS = 32;

export class AcceptedCodings {
  private readonly weights = new Map<string, number>();

  constructor(value: string) {
    for (const item of value.split(",", MAX_ITEMS)) {
      const found = ITEM.exec(item.trim());
      if (found === null) continue;
      const [, name = "", weight] = found;
      const lower = name.toLowerCase();
      this.weights.set(lower === "x-gzip" ? "gzip" : lower, weight === undefined ? 1 : Math.min(1, Number(weight)));
    }
  }

  /** Returns the client's weight of a coding, from 0 to 1. */
  weightOf(coding: string): number {
    return this.weights.get(coding) ?? this.weights.get("*") ?? 0;
  }

  /** Whether the client refuses an unencoded body. If it does not mention identity, identity is the fallback. */
  get refusesIdentity(): boolean {
    return (this.weights.get("identity") ?? this.weights.get("*")) === 0;
  }

  /** Returns the codings of `offered` that have at least the weight of identity, best first. */
  best<C extends string>(offered: readonly C[]): C[] {
    const identity = this.weightOf("identity");
    return offered
      .filter((coding) => this.weightOf(coding) > 0 && this.weightOf(coding) >= identity)
      .sort((a, b) => this.weightOf(b) - this.weightOf(a));
  }
}

/** Types that compress well; images, videos and archives are already compressed. */
const COMPRESSIBLE =
  /^(?:text\/[\w.+-]+|[\w.-]+\/[\w.-]+\+(?:json|xml|text|yaml)|application\/(?:json|javascript|x-javascript|ecmascript|xml|xml-dtd|graphql|toml|yaml|x-yaml|sql|rtf|wasm|x-ndjson|ndjson|jsonl|manifest|vnd\.ms-fontobject|x-www-form-urlencoded)|image\/(?:bmp|svg\+xml|x-icon|vnd\.microsoft\.icon)|font\/(?:otf|ttf|collection)|model\/(?:gltf\+json|obj|stl))$/;

/** Returns whether a Content-Type is one of them. */
export function isCompressibleType(contentType: string): boolean {
  return COMPRESSIBLE.test(mediaTypeOf(contentType));
}

/** Returns the media type of a Content-Type in lower case, without parameters. */
export function mediaTypeOf(contentType: string): string {
  const semicolon = contentType.indexOf(";");
  return (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
}

/** Fields about the exact bytes, which compression would make wrong (Content-Digest and Repr-Digest: RFC 9530). */
export const ABOUT_THE_BYTES = ["content-range", "content-digest", "repr-digest", "digest", "content-md5"];

/** Whether a Trailer announces one of these fields, or an ETag, which would be wrong for the encoded body. */
export function announcesDigest(trailer: string): boolean {
  const names = trailer.split(",").map((name) => name.trim().toLowerCase());
  return names.some((name) => name === "etag" || ABOUT_THE_BYTES.includes(name));
}

/** Whether a response with this status has a complete body, so that it may have another coding. */
export function isCodedStatus(status: number): boolean {
  return status >= 200 && status !== 204 && status !== 205 && status !== 206 && status !== 304;
}

/** Whether a Cache-Control forbids proxies to change the body (RFC 9111 §5.2.2.6). */
export function forbidsTransform(cacheControl: string): boolean {
  return /(?:^|,)\s*no-transform\s*(?:,|$)/i.test(cacheControl);
}

/** Returns Vary with Accept-Encoding added; undefined if no change is needed. */
export function varyWithEncoding(vary: string | null): string | undefined {
  if (vary === null || vary.trim() === "") return "Accept-Encoding";
  const names = vary.split(",").map((name) => name.trim().toLowerCase());
  return names.includes("*") || names.includes("accept-encoding") ? undefined : `${vary}, Accept-Encoding`;
}

/**
 * Returns the ETag of the encoded body: weak, because the bytes differ (RFC 9110 §8.8.1). A value without quotes is not an ETag, and stays.
 */
export function weakTag(etag: string): string {
  return etag.startsWith('"') ? `W/${etag}` : etag;
}
