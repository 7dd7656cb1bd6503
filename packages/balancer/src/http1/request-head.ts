/** Parses a request's head strictly (RFC 9112), and decides once how its body is framed. */
import { IDEMPOTENT_METHODS, takesTrailers } from "@paceline/wire";
import { ascii, BYTE_CLASS, CR, equalsIgnoringCase, IS_TARGET, IS_TOKEN, LF, parseDecimal, SPACE } from "./bytes.js";
import { ConnectionOption, FIELDS_INCOMPLETE, FIELDS_TOO_MANY, FieldKind, FieldTable } from "./field-table.js";
import { encodeNonAscii, isHost, isOutsideAscii } from "./request-target.js";

/** How the end of a body is determined; a request never has "close". */
export type Framing = "none" | "length" | "chunked" | "close";

export interface RequestHeadLimits {
  /** The maximum size of the whole head, including the empty line, in bytes. */
  maxHeadBytes: number;
  maxHeaderFields: number;
  maxBodyBytes: number;
}

/** A field that the balancer adds to a request. */
export interface AddedField {
  /** The beginning of the field's line in HTTP/1.1. */
  readonly line: Uint8Array;
  /** Its name in lower case. */
  readonly name: Uint8Array;
  readonly value: Uint8Array;
}

const NO_FIELDS: readonly AddedField[] = [];

/** Negative results of `RequestHead.parse`. Any other result is the position after the head. */
export const HEAD_INCOMPLETE = -1;
export const HEAD_REFUSED = -2;

/** The maximum length of a method, in bytes. */
const MAX_METHOD_BYTES = 24;

const CHUNKED = ascii("chunked");
const CONTINUE = ascii("100-continue");
const HTTP_1 = ascii("HTTP/1.");
const HTTP = ascii("HTTP/");
const SCHEMES = [ascii("http://"), ascii("https://")];

/** One request's head at a time. It is reused for the next head, so values that are needed later must be copied. */
export class RequestHead {
  readonly fields: FieldTable;
  /** The response status if `parse` returned HEAD_REFUSED. */
  refusal: RefusalStatus = 400;

  bytes: Uint8Array = new Uint8Array(0);
  method = "GET";
  /** The bytes that contain the target: `bytes`, unless the target was replaced. */
  target: Uint8Array = this.bytes;
  /** The target in origin-form (or `*`), as positions in `target`. If it has no path (it is empty, or only a query), it means `/`. */
  targetStart = 0;
  targetEnd = 0;
  /** The authority of an absolute target; otherwise the Host. Empty if an HTTP/1.0 request has none. */
  hostStart = 0;
  hostEnd = 0;
  /** The scheme of an absolute target, such as `http://`. Scheme, authority and target are as the client sent them. */
  scheme: Uint8Array | undefined;
  minorVersion: 0 | 1 = 1;
  framing: Framing = "none";
  contentLength = 0;
  keepAlive = true;
  isUpgrade = false;
  expectsContinue = false;
  /** Whether the client accepts trailers. */
  takesTrailers = false;
  /** The removed prefix of the target's path, which the instance gets in a field. */
  prefix: Uint8Array | undefined;
  /** The fields that the balancer adds for the upstream, and the kinds of the fields that they replace, as bits. */
  added: readonly AddedField[] = NO_FIELDS;
  replaced = 0;
  /** How many bytes longer the target becomes when its non-ASCII bytes are percent-encoded. */
  private grown = 0;
  /** Where a refused head ends if its line and fields are well-formed, so that they can be logged; otherwise 0. */
  legibleEnd = 0;

  constructor(private readonly limits: RequestHeadLimits) {
    this.fields = new FieldTable(limits.maxHeaderFields);
  }

  get isIdempotent(): boolean {
    return IDEMPOTENT_METHODS.has(this.method);
  }

  /** A TRACE response repeats the request's fields, which can reveal secrets to scripts. Only configured upstreams get it. */
  get isTrace(): boolean {
    return this.method === "TRACE";
  }

  get isHead(): boolean {
    return this.method === "HEAD";
  }

  /** Parses one head from `start`. Skips one CRLF before the head (RFC 9112 §2.2). */
  parse(bytes: Uint8Array, start: number, end: number): number {
    this.bytes = bytes;
    this.target = bytes;
    this.prefix = undefined;
    this.added = NO_FIELDS;
    this.replaced = 0;
    this.legibleEnd = 0;
    let at = start;
    if (at < end && bytes[at] === CR) {
      if (at + 1 >= end) return HEAD_INCOMPLETE;
      if (bytes[at + 1] !== LF) return this.refuse(400);
      at += 2;
    }
    const afterLine = this.parseRequestLine(bytes, at, end);
    if (afterLine < 0) {
      const isTooLong = afterLine === HEAD_INCOMPLETE && end - start >= this.limits.maxHeadBytes;
      return isTooLong ? this.refuse(414) : afterLine;
    }
    if (afterLine - start + this.grown > this.limits.maxHeadBytes) return this.refuse(414);
    const afterHead = this.fields.parse(bytes, afterLine, end);
    if (afterHead === FIELDS_INCOMPLETE) {
      return end - start >= this.limits.maxHeadBytes ? this.refuse(431) : HEAD_INCOMPLETE;
    }
    if (afterHead === FIELDS_TOO_MANY) return this.refuse(431);
    if (afterHead < 0) return this.refuse(400);
    if (afterHead - start + this.grown > this.limits.maxHeadBytes) return this.refuse(431);
    const status = this.interpret();
    if (status === undefined) return afterHead;
    if (status !== 400) this.legibleEnd = afterHead;
    return this.refuse(status);
  }

  /** Replaces the target. */
  retarget(target: Uint8Array): void {
    this.target = target;
    this.targetStart = 0;
    this.targetEnd = target.length;
  }

  /** Whether the target has no path; head writers then prepend a slash. */
  get hasNoPath(): boolean {
    return this.targetStart === this.targetEnd || this.target[this.targetStart] === QUESTION;
  }

  private refuse(status: RefusalStatus): number {
    this.refusal = status;
    return HEAD_REFUSED;
  }

  private parseRequestLine(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && ((BYTE_CLASS[bytes[at] as number] as number) & IS_TOKEN) !== 0) at++;
    if (at >= end) return HEAD_INCOMPLETE;
    if (at === start || bytes[at] !== SPACE) return this.refuse(400);
    const methodEnd = at++;
    const targetStart = at;
    while (at < end && ((BYTE_CLASS[bytes[at] as number] as number) & IS_TARGET) !== 0) at++;
    this.grown = 0;
    if (at < end && isOutsideAscii(bytes[at])) at = this.passNonAscii(bytes, at, end);
    if (at >= end) return HEAD_INCOMPLETE;
    if (at === targetStart || bytes[at] !== SPACE) return this.refuse(400);
    const targetEnd = at++;
    const versionStart = at;
    while (at < end && bytes[at] !== CR && at - versionStart < 9) {
      if (bytes[at] === LF) return this.refuse(400);
      at++;
    }
    if (at >= end) return HEAD_INCOMPLETE;
    if (bytes[at] !== CR) return this.refuse(400);
    if (at + 1 >= end) return HEAD_INCOMPLETE;
    if (bytes[at + 1] !== LF || at - versionStart !== 8) return this.refuse(400);
    for (let i = 0; i < HTTP.length; i++) if (bytes[versionStart + i] !== HTTP[i]) return this.refuse(400);
    const minor = (bytes[versionStart + 7] as number) - 48;
    if (!isDigit(bytes[versionStart + 5]) || bytes[versionStart + 6] !== 46 || !isDigit(bytes[versionStart + 7])) {
      return this.refuse(400);
    }
    if (bytes[versionStart + 5] !== HTTP_1[5] || minor > 1) return this.refuse(505);
    this.minorVersion = minor as 0 | 1;
    if (methodEnd - start > MAX_METHOD_BYTES) return this.refuse(501);
    this.method = methodName(bytes, start, methodEnd);
    this.targetStart = targetStart;
    this.targetEnd = targetEnd;
    // Its target is a host and port.
    if (this.method !== "CONNECT" && !this.parseTarget(bytes)) return this.refuse(400);
    if (this.grown > 0) this.retarget(encodeNonAscii(bytes, this.targetStart, targetEnd, this.grown));
    return at + 2;
  }

  /** Reads the rest of a target that has non-ASCII bytes. A URI must not contain such bytes, but curl and others send raw UTF-8. */
  private passNonAscii(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    for (; at < end; at++) {
      if (isOutsideAscii(bytes[at])) this.grown += 2;
      else if (((BYTE_CLASS[bytes[at] as number] as number) & IS_TARGET) === 0) break;
    }
    return at;
  }

  /** Splits the target. Origin-form and `*` stay; the authority of an absolute target replaces the host (RFC 9112 §3.2). */
  private parseTarget(bytes: Uint8Array): boolean {
    this.hostStart = this.hostEnd = 0;
    this.scheme = undefined;
    if (bytes[this.targetStart] === SLASH) return true;
    if (bytes[this.targetStart] === STAR) return this.method === "OPTIONS" && this.targetEnd - this.targetStart === 1;
    for (const scheme of SCHEMES) {
      const hostStart = this.targetStart + scheme.length;
      if (hostStart >= this.targetEnd || !equalsIgnoringCase(bytes, this.targetStart, hostStart, scheme)) continue;
      let hostEnd = hostStart;
      while (hostEnd < this.targetEnd && bytes[hostEnd] !== SLASH && bytes[hostEnd] !== QUESTION) hostEnd++;
      if (hostEnd === hostStart || !isHost(bytes, hostStart, hostEnd)) return false;
      this.scheme = scheme;
      this.hostStart = hostStart;
      this.hostEnd = hostEnd;
      this.targetStart = hostEnd;
      return true;
    }
    return false;
  }

  /** Decides framing, persistence, upgrade and host. Returns the status if the head must be refused. */
  private interpret(): RefusalStatus | undefined {
    const { fields } = this;
    let hosts = 0;
    let lengths = 0;
    let codings = 0;
    let connection = 0;
    let upgrades = 0;
    let isUpgradeUnsafe = false;
    const hasAbsoluteTarget = this.hostEnd > 0;
    this.expectsContinue = this.takesTrailers = false;
    this.contentLength = 0;
    for (let i = 0; i < fields.count; i++) {
      switch (fields.kinds[i]) {
        case FieldKind.HOST:
          hosts++;
          if (!isHost(this.bytes, fields.valueStart(i), fields.valueEnd(i))) return 400;
          if (!hasAbsoluteTarget) {
            this.hostStart = fields.valueStart(i);
            this.hostEnd = fields.valueEnd(i);
          }
          break;
        case FieldKind.CONTENT_LENGTH:
          lengths++;
          this.contentLength = parseDecimal(this.bytes, fields.valueStart(i), fields.valueEnd(i));
          if (this.contentLength < 0) return 400;
          break;
        case FieldKind.TRANSFER_ENCODING:
          codings++;
          if (!fields.valueIs(i, CHUNKED)) return endsWithChunkedOnce(fields.value(i)) ? 501 : 400;
          break;
        case FieldKind.CONNECTION:
          connection |= fields.readConnection(i);
          break;
        case FieldKind.UPGRADE:
          upgrades++;
          if (/\bh2c\b/i.test(fields.value(i))) isUpgradeUnsafe = true;
          break;
        case FieldKind.TE:
          if (this.minorVersion === 1 && takesTrailers(fields.value(i))) this.takesTrailers = true;
          break;
        case FieldKind.EXPECT:
          if (!fields.valueIs(i, CONTINUE)) return 417;
          this.expectsContinue = this.minorVersion === 1;
          break;
      }
    }
    // A reverse proxy does not provide tunnels.
    if (this.method === "CONNECT") return 501;
    if ((connection & ConnectionOption.TOO_MANY) !== 0) return 400;
    if (hosts > 1 || (hosts === 0 && this.minorVersion === 1)) return 400;
    if (lengths > 1 || codings > 1) return 400;
    if (codings === 1 && (lengths === 1 || this.minorVersion === 0)) return 400;
    if (this.contentLength > this.limits.maxBodyBytes) return 413;
    this.framing = codings === 1 ? "chunked" : this.contentLength > 0 ? "length" : "none";
    this.keepAlive =
      (connection & ConnectionOption.CLOSE) === 0 &&
      (this.minorVersion === 1 || (connection & ConnectionOption.KEEP_ALIVE) !== 0);
    // h2c would allow a protocol that is not checked, and a body cannot be combined with an upgrade.
    this.isUpgrade =
      upgrades === 1 &&
      (connection & ConnectionOption.UPGRADE) !== 0 &&
      this.minorVersion === 1 &&
      this.framing === "none" &&
      !isUpgradeUnsafe;
    return undefined;
  }
}

/** The statuses of refused heads. */
type RefusalStatus = 400 | 413 | 414 | 417 | 431 | 501 | 505;

const SLASH = 47;
const STAR = 42;
const QUESTION = 63;

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 48 && byte <= 57;
}

/** An unknown coding before a final `chunked` gets 501 (RFC 9112 §6.1). Any other order cannot be framed. */
function endsWithChunkedOnce(value: string): boolean {
  const codings = value.split(",").map((coding) => coding.trim().toLowerCase());
  return codings.every((coding, i) => coding !== "" && (coding === "chunked") === (i === codings.length - 1));
}

const METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"].map((name) => ({
  name,
  bytes: ascii(name),
}));

function methodName(bytes: Uint8Array, start: number, end: number): string {
  next: for (const method of METHODS) {
    if (method.bytes.length !== end - start) continue;
    for (let i = 0; i < method.bytes.length; i++) if (bytes[start + i] !== method.bytes[i]) continue next;
    return method.name;
  }
  return Buffer.from(bytes.subarray(start, end)).toString("latin1");
}
