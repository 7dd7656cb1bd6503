/** Decides which responses get a content coding, from the heads of request and response, and changes the head. Pure. */
import {
  ABOUT_THE_BYTES,
  AcceptedCodings,
  announcesDigest,
  type Coding,
  forbidsTransform,
  isCodedStatus,
  mediaTypeOf,
  STREAM_ORDER,
  varyWithEncoding,
  WHOLE_ORDER,
  weakTag,
} from "@paceline/wire/content-coding";
import { LOWER } from "../http1/bytes.js";
import { FieldKind, type FieldTable } from "../http1/field-table.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";

export interface CodingRule {
  /** The codings that may be used. */
  readonly codings: readonly Coding[];
  /** Whether bodies of this media type, in lower case, are compressed. */
  isCompressible(type: string): boolean;
  /** A body whose known length is smaller than this, in bytes, is not compressed. */
  readonly minBytes: number;
  /** Whether responses that may contain secrets are compressed as well. */
  readonly secrets: boolean;
}

/** What a response gets. `coding` is undefined if this client gets the body uncompressed, although others may get it compressed. */
export interface Verdict {
  readonly coding: Coding | undefined;
}

/** Fields of the heads by name. Other names are skipped quickly, by their length and first letter. */
const RESPONSE_NAMES = [
  ...["content-type", "content-encoding", "cache-control", "set-cookie", "vary", "etag", "accept-ranges"],
  ...ABOUT_THE_BYTES,
] as const;
const REQUEST_NAMES = [
  "accept-encoding",
  "cookie",
  "authorization",
  "sec-fetch-site",
  "range",
  "if-none-match",
] as const;

/** Returns the values of the named fields as text. Several fields with one name are joined. */
function valuesOf(fields: FieldTable, names: readonly string[]): Map<string, string> {
  const values = new Map<string, string>();
  const { bytes } = fields;
  for (let i = 0; i < fields.count; i++) {
    if (fields.kinds[i] !== FieldKind.ORDINARY) continue;
    const start = fields.nameStart(i);
    const length = fields.nameEnd(i) - start;
    const first = LOWER[bytes[start] as number];
    for (const name of names) {
      if (name.length !== length || name.charCodeAt(0) !== first || !isName(bytes, start, name)) continue;
      const former = values.get(name);
      values.set(name, former === undefined ? fields.value(i) : `${former}, ${fields.value(i)}`);
      break;
    }
  }
  return values;
}

function isName(bytes: Uint8Array, start: number, name: string): boolean {
  for (let i = 0; i < name.length; i++) if (LOWER[bytes[start + i] as number] !== name.charCodeAt(i)) return false;
  return true;
}

/**
 * Whether fields or announced trailers depend on the exact bytes of the body. The kinds in `has` do not include Trailer, since it is not
 * forwarded.
 */
function isAboutBytes(fields: FieldTable, has: ReadonlyMap<string, string>): boolean {
  if (ABOUT_THE_BYTES.some((name) => has.has(name))) return true;
  for (let i = 0; i < fields.count; i++) {
    const start = fields.nameStart(i);
    if (fields.kinds[i] !== FieldKind.HOP || fields.nameEnd(i) - start !== 7 || !isName(fields.bytes, start, "trailer"))
      continue;
    if (announcesDigest(fields.value(i))) return true;
  }
  return false;
}

/** Keeps the named field from being forwarded. */
function drop(fields: FieldTable, name: string): void {
  for (let i = 0; i < fields.count; i++) {
    const start = fields.nameStart(i);
    if (fields.nameEnd(i) - start === name.length && isName(fields.bytes, start, name)) fields.kinds[i] = FieldKind.HOP;
  }
}

/** Adds lines to the client's head. */
function add(head: ResponseHead, lines: string): void {
  const bytes = Buffer.from(lines, "latin1");
  head.added = head.added === undefined ? bytes : Buffer.concat([head.added, bytes]);
}

/**
 * Decides on a response that has a body, or would have one. Returns undefined if no client gets it with another coding.
 * @param hasCertificate whether the client has a certificate, which its browser sends like a cookie
 * @param hasRoom whether one more body can be compressed
 */
export function verdictOf(
  response: ResponseHead,
  request: RequestHead,
  rule: CodingRule,
  { hasCertificate, hasRoom }: { hasCertificate: boolean; hasRoom: boolean },
): Verdict | undefined {
  if (!isCodedStatus(response.status)) return undefined;
  const has = valuesOf(response.fields, RESPONSE_NAMES);
  if (has.has("content-encoding") || isAboutBytes(response.fields, has)) return undefined;
  const cacheControl = has.get("cache-control") ?? "";
  if (forbidsTransform(cacheControl)) return undefined;
  const asked = valuesOf(request.fields, REQUEST_NAMES);
  const accepted = new AcceptedCodings(asked.get("accept-encoding") ?? "");
  const order = response.contentLength < 0 ? STREAM_ORDER : WHOLE_ORDER;
  const [coding] = accepted.best(order.filter((each) => rule.codings.includes(each)));
  // A client that refuses the identity coding gets the body as it is, too: otherwise every response would need a Vary.
  if (!rule.isCompressible(mediaTypeOf(has.get("content-type") ?? "")) || isShort(response, rule)) return undefined;
  // A client of HTTP/1.0 needs a length, or the end of its connection, to see that the body is whole.
  if (coding === undefined || !hasRoom || asked.has("range") || request.minorVersion === 0) return PLAIN;
  const isPersonal =
    hasCertificate ||
    asked.has("cookie") ||
    asked.has("authorization") ||
    has.has("set-cookie") ||
    /(?:^|[\s,])private(?=$|[\s,=])/i.test(cacheControl);
  if (isPersonal && !rule.secrets && !isOfOwnSite(asked.get("sec-fetch-site"))) return PLAIN;
  return { coding };
}

const PLAIN: Verdict = { coding: undefined };

function isShort({ contentLength }: ResponseHead, { minBytes }: CodingRule): boolean {
  return contentLength === 0 || (contentLength > 0 && contentLength < minBytes);
}

/** Whether, by Fetch Metadata, a page of the same origin or the browser's user caused the request. Other sites cannot forge that. */
function isOfOwnSite(site: string | undefined): boolean {
  return site === "same-origin" || site === "none";
}

/** Changes the head for a body in this coding. Drops the length and ranges, which belong to the uncompressed body. */
export function putCoding(head: ResponseHead, coding: Coding): void {
  const { fields } = head;
  const etag = valuesOf(fields, ["etag"]).get("etag");
  drop(fields, "accept-ranges");
  add(head, `Content-Encoding: ${coding}\r\n`);
  if (etag !== undefined && etag !== weakTag(etag)) {
    drop(fields, "etag");
    add(head, `ETag: ${weakTag(etag)}\r\n`);
  }
  head.contentLength = -1;
  if (head.framing !== "none") head.framing = "chunked";
}

/** Adds a Vary, because the coding depends on the client. */
export function putVary(head: ResponseHead): void {
  const vary = varyWithEncoding(valuesOf(head.fields, ["vary"]).get("vary") ?? null);
  if (vary === undefined) return;
  drop(head.fields, "vary");
  add(head, `Vary: ${vary}\r\n`);
}

/**
 * Whether the 200 that this 304 replaces would have a Vary (RFC 9110 §15.4.5). A 304 rarely has a Content-Type; without one, any type is
 * possible.
 */
export function variesUnsent(response: ResponseHead, { isCompressible }: CodingRule): boolean {
  const has = valuesOf(response.fields, RESPONSE_NAMES);
  if (has.has("content-encoding") || isAboutBytes(response.fields, has)) return false;
  const type = has.get("content-type");
  return (type === undefined || isCompressible(mediaTypeOf(type))) && !forbidsTransform(has.get("cache-control") ?? "");
}

/**
 * If the client sent the weak ETag, which it got with a compressed body, makes the strong ETag of a 304 weak, too. A cache would not match
 * the strong ETag with that body (RFC 9111 §4.3.4). Drops the length, which belongs to the uncompressed body.
 */
export function matchTag(head: ResponseHead, request: RequestHead): void {
  const etag = valuesOf(head.fields, ["etag"]).get("etag");
  if (etag === undefined || !etag.startsWith('"')) return;
  const tags: string[] = (valuesOf(request.fields, REQUEST_NAMES).get("if-none-match") ?? "").match(TAG) ?? [];
  if (!tags.includes(weakTag(etag)) || tags.includes(etag)) return;
  drop(head.fields, "etag");
  add(head, `ETag: ${weakTag(etag)}\r\n`);
  head.contentLength = -1;
}

/** An entity tag (RFC 9110 §8.8.3). */
const TAG = /(?:W\/)?"[!#-~\x80-\xff]*"/g;
