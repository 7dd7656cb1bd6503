/** Turns the fields of an HTTP/2 request into an HTTP/1.1 head, which is parsed, kept and refused like any other (RFC 9113 §8.3). Pure. */
import { MAX_TRAILER_BYTES, MAX_TRAILERS } from "@paceline/wire";
import { ascii, BYTE_CLASS, CR, copy, IS_TARGET, IS_TOKEN, LF, LOWER, SPACE } from "../http1/bytes.js";
import { isOutsideAscii } from "../http1/request-target.js";
import { Kind, SEPARATOR_BYTES } from "./field-kinds.js";
import type { FieldSink } from "./hpack-decoder.js";

/** The result of the conversion. */
type TextState =
  | "whole"
  /** The request is malformed: its stream is reset (RFC 9113 §8.1.1). */
  | "malformed"
  /** The target is too long. */
  | "long-target"
  | "long"
  /** A CONNECT for a protocol other than WebSockets. */
  | "unknown-protocol";

/** Room beyond a head's limit, for the lines that are added to the fields. */
const ROOM_BYTES = 1024;

const HTTP_11 = ascii(" HTTP/1.1\r\n");
const HOST = ascii("host: ");
const COOKIE = ascii("cookie: ");
const CHUNKED = ascii("transfer-encoding: chunked\r\n");
const WEBSOCKET = ascii("websocket");
const UPGRADE = ascii("connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: ");
const GET = ascii("GET");
const CONNECT = ascii("CONNECT");
const OPTIONS = ascii("OPTIONS");
const HTTP = ascii("http");
const HTTPS = ascii("https");
const [SLASH, STAR, SEMICOLON] = [47, 42, 59];

/** The position of a pseudo-header field's value in `RequestText.values`; absent if `end` is -1. */
interface Range {
  start: number;
  end: number;
}

/** Converts one request at a time. One is enough for all connections. */
export class RequestText implements FieldSink {
  /** The head, or the lines of trailers. */
  readonly bytes: Uint8Array;
  length = 0;
  state: TextState = "whole";
  /** Whether it is a WebSocket's extended CONNECT (RFC 8441). */
  isWebSocket = false;
  private isTrailer = false;
  private trailers = 0;
  private hasLine = false;
  private hasLength = false;
  private readonly limit: number;
  /** The values of the pseudo-header fields, until the first regular field. */
  private readonly values: Uint8Array;
  private valuesLength = 0;
  private readonly method: Range = { start: 0, end: -1 };
  private readonly scheme: Range = { start: 0, end: -1 };
  private readonly path: Range = { start: 0, end: -1 };
  private readonly authority: Range = { start: 0, end: -1 };
  private readonly protocol: Range = { start: 0, end: -1 };
  /** The pieces of the Cookie field, joined (RFC 9113 §8.2.3). */
  private readonly cookies: Uint8Array;
  private cookiesLength = 0;

  /** @param webSocketKey returns the key of a handshake */
  constructor(
    maxHeadBytes: number,
    private readonly webSocketKey: () => Uint8Array,
  ) {
    this.limit = maxHeadBytes + ROOM_BYTES;
    this.bytes = Buffer.allocUnsafeSlow(this.limit);
    this.values = Buffer.allocUnsafeSlow(this.limit);
    this.cookies = Buffer.allocUnsafeSlow(this.limit);
  }

  begin(isTrailer: boolean): void {
    this.isTrailer = isTrailer;
    this.length = this.valuesLength = this.cookiesLength = this.trailers = 0;
    this.state = "whole";
    this.isWebSocket = this.hasLength = false;
    this.hasLine = isTrailer;
    this.method.end = this.scheme.end = this.path.end = this.authority.end = this.protocol.end = -1;
  }

  onLongField(): void {
    this.fail(this.hasLine ? "long" : "long-target");
  }

  private fail(state: TextState): void {
    // A malformed request stays malformed, even if it has other faults.
    if (this.state !== "malformed") this.state = state;
  }

  onField(kind: number, bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void {
    if (this.state === "malformed") return;
    const valueStart = nameEnd + SEPARATOR_BYTES;
    switch (kind) {
      case Kind.METHOD:
        return this.keep(this.method, bytes, valueStart, valueEnd);
      case Kind.SCHEME:
        return this.keep(this.scheme, bytes, valueStart, valueEnd);
      case Kind.PATH:
        return this.keep(this.path, bytes, valueStart, valueEnd);
      case Kind.AUTHORITY:
        return this.keep(this.authority, bytes, valueStart, valueEnd);
      case Kind.PROTOCOL:
        return this.keep(this.protocol, bytes, valueStart, valueEnd);
      case Kind.MALFORMED:
        return this.fail("malformed");
    }
    if (!this.hasLine) this.writeLine();
    if (this.state !== "whole") return;
    if (this.isTrailer && ++this.trailers > MAX_TRAILERS) return this.fail("long");
    switch (kind) {
      case Kind.COOKIE:
        if (this.isTrailer) break;
        return this.addCookie(bytes, valueStart, valueEnd);
      case Kind.HOST:
        if (this.authority.end < 0) break;
        // Host may only repeat the authority (RFC 9113 §8.3.1).
        if (!this.isAuthority(bytes, valueStart, valueEnd)) this.fail("malformed");
        return;
      case Kind.CONTENT_LENGTH:
        // A tunnel has no body (RFC 9110 §9.3.6).
        if (this.isWebSocket) return this.fail("malformed");
        this.hasLength = true;
        break;
      case Kind.WEBSOCKET_KEY:
        if (this.isWebSocket) return;
        break;
    }
    this.put(bytes, start, valueEnd + 2);
  }

  /** Keeps the value of a pseudo-header field. Each may occur once, before all other fields, and not in trailers (RFC 9113 §8.3). */
  private keep(range: Range, bytes: Uint8Array, start: number, end: number): void {
    if (this.hasLine || range.end >= 0) return this.fail("malformed");
    if (this.valuesLength + end - start > this.limit) return this.fail("long-target");
    range.start = this.valuesLength;
    this.valuesLength = range.end = copy(bytes, start, end, this.values, this.valuesLength);
  }

  private put(bytes: Uint8Array, start: number, end: number): void {
    const limit = this.isTrailer ? Math.min(MAX_TRAILER_BYTES, this.limit) : this.limit;
    if (this.length + end - start > limit) return this.fail("long");
    this.length = copy(bytes, start, end, this.bytes, this.length);
  }

  private addCookie(bytes: Uint8Array, start: number, end: number): void {
    const { cookies, limit } = this;
    if (this.cookiesLength + 2 + end - start > limit) return this.fail("long");
    if (this.cookiesLength > 0) {
      cookies[this.cookiesLength++] = SEMICOLON;
      cookies[this.cookiesLength++] = SPACE;
    }
    this.cookiesLength = copy(bytes, start, end, cookies, this.cookiesLength);
  }

  private isAuthority(bytes: Uint8Array, start: number, end: number): boolean {
    const { authority, values } = this;
    if (end - start !== authority.end - authority.start) return false;
    for (let i = 0; i < end - start; i++)
      if (LOWER[bytes[start + i] as number] !== LOWER[values[authority.start + i] as number]) return false;
    return true;
  }

  private is(range: Range, word: Uint8Array): boolean {
    if (range.end - range.start !== word.length) return false;
    for (let i = 0; i < word.length; i++) if (this.values[range.start + i] !== word[i]) return false;
    return true;
  }

  /** Writes the request line and Host, after the last pseudo-header field. */
  private writeLine(): void {
    this.hasLine = true;
    if (this.state !== "whole") return;
    const { method, scheme, path, authority, protocol, values } = this;
    if (method.end < 0 || !this.isMethod()) return this.fail("malformed");
    const isConnect = this.is(method, CONNECT);
    if (isConnect && protocol.end < 0) {
      // A CONNECT (RFC 9113 §8.5); the parser refuses it with 501.
      if (scheme.end >= 0 || path.end >= 0 || authority.end <= authority.start) return this.fail("malformed");
      return this.putLine(CONNECT, 0, CONNECT.length, authority);
    }
    if (protocol.end >= 0 && !isConnect) return this.fail("malformed");
    if (!this.is(scheme, HTTP) && !this.is(scheme, HTTPS)) return this.fail("malformed");
    if (path.end < 0 || !this.isPath()) return this.fail("malformed");
    // An empty authority is invalid for these schemes (RFC 9113 §8.3.1).
    if (authority.end >= 0 && authority.end === authority.start) return this.fail("malformed");
    if (!isConnect) return this.putLine(values, method.start, method.end, path);
    if (!this.is(protocol, WEBSOCKET)) return this.fail("unknown-protocol");
    this.isWebSocket = true;
    this.putLine(GET, 0, GET.length, path);
    if (this.state !== "whole") return;
    this.put(UPGRADE, 0, UPGRADE.length);
    const key = this.webSocketKey();
    this.put(key, 0, key.length);
    this.endLine();
  }

  private isMethod(): boolean {
    const { method, values } = this;
    for (let i = method.start; i < method.end; i++)
      if (((BYTE_CLASS[values[i] as number] as number) & IS_TOKEN) === 0) return false;
    return method.end > method.start;
  }

  /** Whether it is in origin-form, or `*` for OPTIONS. The parser checks the rest. */
  private isPath(): boolean {
    const { path, values } = this;
    const first = values[path.start];
    if (first === STAR && path.end === path.start + 1) return this.is(this.method, OPTIONS);
    if (path.end === path.start || first !== SLASH) return false;
    for (let i = path.start; i < path.end; i++) {
      const byte = values[i] as number;
      if (((BYTE_CLASS[byte] as number) & IS_TARGET) === 0 && !isOutsideAscii(byte)) return false;
    }
    return true;
  }

  private putLine(method: Uint8Array, methodStart: number, methodEnd: number, target: Range): void {
    const { authority, values, bytes } = this;
    const host = Math.max(0, authority.end - authority.start);
    const length = methodEnd - methodStart + target.end - target.start + host;
    if (length + HTTP_11.length + HOST.length + 3 > this.limit) return this.fail("long-target");
    let at = copy(method, methodStart, methodEnd, bytes, 0);
    bytes[at++] = SPACE;
    at = copy(values, target.start, target.end, bytes, at);
    this.length = copy(HTTP_11, 0, HTTP_11.length, bytes, at);
    if (authority.end < 0) return;
    at = copy(HOST, 0, HOST.length, bytes, this.length);
    this.length = copy(values, authority.start, authority.end, bytes, at);
    this.endLine();
  }

  private endLine(): void {
    if (this.length + 2 > this.limit) return this.fail("long");
    this.bytes[this.length++] = CR;
    this.bytes[this.length++] = LF;
  }

  /** Completes the head. @param isWhole whether no body follows */
  finish(isWhole: boolean): void {
    if (!this.hasLine) this.writeLine();
    if (this.state !== "whole" || this.isTrailer) return;
    if (this.cookiesLength > 0) {
      this.put(COOKIE, 0, COOKIE.length);
      this.put(this.cookies, 0, this.cookiesLength);
      this.endLine();
    }
    if (!isWhole && !this.hasLength && !this.isWebSocket) this.put(CHUNKED, 0, CHUNKED.length);
    this.endLine();
  }
}
