/** Handles responses that name a file in an internal pool: X-Accel-Redirect and X-Sendfile. */
import { posix } from "node:path";
import { BYTE_CLASS, equalsIgnoringCase, IS_TARGET } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import { passes, responseFieldsThatPass } from "../http1/forward-policy.js";
import type { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import type { Pool } from "../upstreams/pool.js";
import type { Router } from "./router.js";

/** The pools that clients cannot reach. */
export interface InternalPools {
  readonly router: Router<Pool>;
  /** The folders of the internal pools, and the path that each folder is served under. */
  readonly roots: readonly { folder: string; path: string }[];
}

/** The file that is sent instead of the upstream's body. */
export type NamedFile = { header: "X-Accel-Redirect" | "X-Sendfile"; value: string };

const ACCEL_REDIRECT = Buffer.from("x-accel-redirect");
const SENDFILE = Buffer.from("x-sendfile");
const HASH = 35;
const UNRESERVED = /[^A-Za-z0-9\-._~/]/g;

/** Returns the file that a response names. Removes the fields that name it, so that clients do not see them. */
export function takeNamedFile({ fields, bytes }: ResponseHead): NamedFile | undefined {
  let named: NamedFile | undefined;
  for (let i = 0; i < fields.count; i++) {
    const start = fields.nameStart(i);
    const end = fields.nameEnd(i);
    const isAccel = end - start === ACCEL_REDIRECT.length && equalsIgnoringCase(bytes, start, end, ACCEL_REDIRECT);
    if (!isAccel && !(end - start === SENDFILE.length && equalsIgnoringCase(bytes, start, end, SENDFILE))) continue;
    fields.kinds[i] = FieldKind.HOP;
    named ??= { header: isAccel ? "X-Accel-Redirect" : "X-Sendfile", value: fields.value(i) };
  }
  return named;
}

/** Returns the target in an internal pool; undefined if no internal pool can serve the file. */
export function targetOf({ header, value }: NamedFile, { roots }: InternalPools): Buffer | undefined {
  if (!value.startsWith("/")) return undefined;
  if (header === "X-Accel-Redirect") return Buffer.from(escaped(Buffer.from(value, "latin1")), "latin1");
  const file = posix.normalize(value);
  for (const { folder, path } of roots) {
    const within = folder.endsWith("/") ? folder : `${folder}/`;
    if (!file.startsWith(within)) continue;
    return Buffer.from(path + file.slice(within.length).replace(UNRESERVED, percent), "latin1");
  }
  return undefined;
}

/** Percent-encodes the bytes that a target cannot contain. Existing escapes stay. */
function escaped(bytes: Buffer): string {
  let text = "";
  for (const byte of bytes) {
    const isTarget = ((BYTE_CLASS[byte] as number) & IS_TARGET) !== 0 && byte < 128 && byte !== HASH;
    text += isTarget ? String.fromCharCode(byte) : percent(String.fromCharCode(byte));
  }
  return text;
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

/**
 * Turns a parsed request into the one for the internal pool: without a body, with its ranges, and with its conditions.
 * @param areConditionsDone whether the app has sent validators for the file, and so has already evaluated the conditions
 */
export function asRequestForFile(head: RequestHead, areConditionsDone: boolean): void {
  head.scheme = undefined;
  if (!head.isHead) head.method = "GET";
  head.framing = "none";
  head.contentLength = 0;
  head.expectsContinue = head.isUpgrade = false;
  const { fields } = head;
  for (let i = 0; i < fields.count; i++) {
    switch (fields.kinds[i]) {
      case FieldKind.CONTENT_LENGTH:
      case FieldKind.TRANSFER_ENCODING:
      case FieldKind.EXPECT:
      case FieldKind.UPGRADE:
        fields.kinds[i] = FieldKind.HOP;
    }
  }
  if (areConditionsDone) dropConditions(head);
}

/** A range that depends on the app's ETag cannot be evaluated here. Sending the whole file is always correct (RFC 9110 §14.2). */
function dropConditions({ fields, bytes }: RequestHead): void {
  const dropped: number[] = [];
  const ranges: number[] = [];
  let hasIfRange = false;
  for (let i = 0; i < fields.count; i++) {
    const name = Buffer.from(bytes.subarray(fields.nameStart(i), fields.nameEnd(i)))
      .toString("latin1")
      .toLowerCase();
    if (name === "range") ranges.push(i);
    else if (CONDITIONS.has(name)) dropped.push(i);
    if (name === "if-range") hasIfRange = true;
  }
  for (const i of hasIfRange ? [...dropped, ...ranges] : dropped) fields.kinds[i] = FieldKind.HOP;
}

const CONDITIONS = new Set(["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"]);

/** The app's fields that describe its own body, which is dropped. */
const OF_ITS_BODY = new Set([
  ...["accept-ranges", "content-encoding", "content-length", "content-range", "content-md5", "digest"],
  ...["transfer-encoding", "date", "server", "trailer"],
]);
const VALIDATORS = new Set(["etag", "last-modified"]);
/** Frameworks add an ETag for the body that is dropped, but no date. */
const STRONG_TAG = /^etag:[ \t]*"/i;
/** Fields that may occur several times. */
const REPEATED = new Set(["set-cookie", "vary", "link", "www-authenticate"]);
/** Of the app's own fields, a 304 keeps those about caching and Set-Cookie. Other statuses from 300 keep only Set-Cookie. */
const WITH_304 = new Set(["set-cookie", "vary", "cache-control", "expires"]);
const WITH_ERROR = new Set(["set-cookie"]);

/** One object for the whole process: its bytes are read before the next head is merged into it. */
const merged = new ResponseHead();

/** The app's fields, which are merged into the file's response. */
export class FileRedirect {
  readonly status: number;
  /** Lines that the balancer adds. */
  private readonly added: Uint8Array | undefined;
  private readonly kept: { name: string; line: string }[] = [];
  /**
   * Whether the app has sent a strong ETag and a date for the file. They replace the file's own, and the app has already evaluated the
   * request's conditions.
   */
  readonly areConditionsDone: boolean;

  constructor(
    head: ResponseHead,
    readonly file: NamedFile,
  ) {
    this.status = head.status;
    this.added = head.added;
    head.added = undefined;
    const fields = fieldsOf(head);
    this.areConditionsDone =
      fields.some(({ line }) => STRONG_TAG.test(line)) && fields.some(({ name }) => name === "last-modified");
    for (const field of fields) {
      const isKept = VALIDATORS.has(field.name) ? this.areConditionsDone : !OF_ITS_BODY.has(field.name);
      if (isKept) this.kept.push(field);
    }
  }

  /** Returns the head of the file's response, merged with the app's own fields. */
  merge(head: ResponseHead): ResponseHead {
    const allowed = head.status === 304 ? WITH_304 : head.status >= 300 ? WITH_ERROR : undefined;
    const own = fieldsOf(head);
    const isMultipart = own.some(
      ({ name, line }) => name === "content-type" && /^[^:]*:\s*multipart\/byteranges/i.test(line),
    );
    // A compressed variant is another representation with another ETag.
    const isVariant = own.some(({ name }) => name === "content-encoding");
    const added = this.kept.filter(
      ({ name, line }) =>
        (allowed === undefined || allowed.has(name)) &&
        !(isVariant && VALIDATORS.has(name)) &&
        // If Content-Type is empty, the file's name determines it.
        !(name === "content-type" && (isMultipart || /:\s*$/.test(line))),
    );
    const replaced = new Set(added.map(({ name }) => name).filter((name) => !REPEATED.has(name)));
    const lines = [...own.filter(({ name }) => !replaced.has(name)), ...added].map(({ line }) => line);
    const reason = Buffer.from(head.bytes.subarray(head.reasonStart, head.reasonEnd)).toString("latin1");
    const text = `HTTP/1.1 ${head.status} ${reason}\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`;
    const bytes = Buffer.from(text, "latin1");
    // Two valid heads may merge into one that is too long.
    if (merged.parse(bytes, 0, bytes.length, true) < 0) return head;
    merged.framing = head.framing;
    merged.contentLength = head.contentLength;
    merged.hasNoReason = head.hasNoReason;
    // A cache would update its stored response with these fields.
    merged.added = head.status === 304 ? undefined : this.added;
    return merged;
  }
}

/** An upgrade is impossible here, whatever the status. */
const PASSING = responseFieldsThatPass(200);

/** Returns the fields that are forwarded, with their names in lower case. */
function fieldsOf({ fields, bytes }: ResponseHead): { name: string; line: string }[] {
  const list: { name: string; line: string }[] = [];
  for (let i = 0; i < fields.count; i++) {
    if (!passes(PASSING, fields.kinds[i] as number)) continue;
    const line = Buffer.from(bytes.subarray(fields.nameStart(i), fields.valueEnd(i))).toString("latin1");
    list.push({ name: line.slice(0, fields.nameEnd(i) - fields.nameStart(i)).toLowerCase(), line });
  }
  return list;
}
