/** Builds all heads field by field from parsed fields. A received head is never copied. */

import { REASONS } from "@paceline/wire/reasons";
import type { Connection } from "../transport/transport.js";
import { ascii, COLON, CR, copy, LF, SPACE, writeDecimal, writeHex } from "./bytes.js";
import { FieldKind, type FieldTable } from "./field-table.js";
import {
  addedPrefix,
  addsForwardedHost,
  passes,
  requestFieldsThatPass,
  responseFieldsThatPass,
} from "./forward-policy.js";
import type { ForwardedFields } from "./forwarded.js";
import type { AddedField, Framing, RequestHead } from "./request-head.js";
import { MAX_RESPONSE_HEAD_BYTES, type ResponseHead } from "./response-head.js";

const HTTP_11 = ascii(" HTTP/1.1\r\n");
const RESPONSE_HTTP_11 = ascii("HTTP/1.1 ");
const HOST = ascii("Host: ");
const CONTENT_LENGTH = ascii("Content-Length: ");
const CHUNKED = ascii("Transfer-Encoding: chunked\r\n");
const CONNECTION_CLOSE = ascii("Connection: close\r\n");
const CONNECTION_KEEP_ALIVE = ascii("Connection: keep-alive\r\n");
const CONNECTION_TE = ascii("TE: trailers\r\nConnection: TE\r\n");
const CONNECTION_UPGRADE = ascii("Connection: upgrade\r\n");
const X_FORWARDED_HOST = ascii("X-Forwarded-Host: ");
const X_FORWARDED_PREFIX = ascii("X-Forwarded-Prefix: ");
const LAST_CHUNK = ascii("0\r\n");
const EMPTY_LINE = ascii("\r\n");
const SLASH = 47;

/** Enough for the line before or after a chunk, in bytes. */
const CHUNK_LINE_BYTES = 32;

const CRLF_BYTES = 2;
/** Up to this size in bytes, further data is appended to an unsent chunk. */
const MAX_GROWN_CHUNK_BYTES = 65_536;

/** Room for additions to a head, in bytes: forwarded fields, framing, Connection, Date. */
const ROOM_BYTES = 4096;

/**
 * Pieces of a body that are smaller than this, in bytes, are appended to the unsent bytes and sent with them. Larger pieces are sent
 * directly.
 */
const SMALL_PIECE_BYTES = 16_384;

/**
 * Builds heads in a buffer and sends them from there. A process needs one per direction: the buffer is flushed before the turn ends, and
 * before anything for another connection is built. Small pieces of a body follow their head in the buffer, so that both are sent in one
 * call.
 */
export class HeadWriter {
  private readonly buffer: Uint8Array;
  /** Unsent bytes and their connection. */
  private length = 0;
  private connection: Connection | undefined;
  /** Whether the unsent bytes begin with the head of a response. */
  private holdsHead = false;
  /** Whether the kernel collects the bytes written to the connection until `flush`. */
  private isCorked = false;
  /** The positions of the last chunk's size, data and final CRLF, while nothing was built after it. */
  private chunkAt = 0;
  private chunkDataAt = 0;
  private chunkEnd = -1;
  /** The Date line of the current second, and the clock's time when it was built. */
  private dateLine: Uint8Array = new Uint8Array(0);
  private dateAt = Number.NaN;

  /** @param clock its time advances several times a second; reading the system's clock for each response would cost more */
  constructor(
    maxHeadBytes: number,
    private readonly clock: { readonly now: number },
  ) {
    const largestHead = Math.max(2 * maxHeadBytes, MAX_RESPONSE_HEAD_BYTES) + ROOM_BYTES;
    this.buffer = Buffer.allocUnsafeSlow(largestHead + 2 * SMALL_PIECE_BYTES);
  }

  /**
   * Sends the built bytes. Returns false if more must wait until the connection has drained.
   * @param isLast whether the connection is closed immediately afterwards
   */
  flush(connection: Connection, isLast = false): boolean {
    if (this.connection !== connection) return true;
    const isFlowing = this.send(connection, isLast);
    if (this.isCorked) {
      this.isCorked = false;
      // The FIN makes the kernel send what it has collected.
      if (!isLast) connection.uncork?.();
    }
    return isFlowing;
  }

  private send(connection: Connection, isLast = false): boolean {
    if (this.length === 0) return true;
    const { length } = this;
    this.length = 0;
    this.holdsHead = false;
    this.chunkEnd = -1;
    return connection.writeTransient(this.buffer, length, isLast);
  }

  /** Withdraws a response. Returns false if part of it was sent. */
  withdrawHead(connection: Connection): boolean {
    if (!this.holdsHead || this.connection !== connection) return false;
    this.length = 0;
    this.chunkEnd = -1;
    this.holdsHead = false;
    return true;
  }

  private turnTo(connection: Connection): void {
    if (this.connection === connection) return;
    if (this.connection !== undefined) this.flush(this.connection);
    this.connection = connection;
  }

  /** Adds a piece of a body with a known length; returns false like `flush`. */
  body(connection: Connection, bytes: Uint8Array, start: number, end: number): boolean {
    this.turnTo(connection);
    if (this.join(bytes, start, end)) return true;
    // Otherwise each line before or after a chunk would be sent in a packet of its own, which costs as much as a packet with the chunk.
    if (this.length > 0 && !this.isCorked) {
      this.isCorked = true;
      connection.cork?.();
    }
    this.send(connection);
    return connection.write(bytes.subarray(start, end));
  }

  /** Adds a piece of a chunked body; consecutive small pieces become one chunk. Returns false like `flush`. */
  chunk(connection: Connection, bytes: Uint8Array, start: number, end: number): boolean {
    this.turnTo(connection);
    if (this.chunkEnd === this.length && this.growChunk(bytes, start, end)) return true;
    this.makeRoom(connection);
    const at = this.length;
    const dataAt = endLine(this.buffer, writeHex(end - start, this.buffer, at));
    this.length = dataAt;
    const isFlowing = this.body(connection, bytes, start, end);
    const isHere = this.length === dataAt + end - start;
    this.length = endLine(this.buffer, this.length);
    this.chunkAt = at;
    this.chunkDataAt = dataAt;
    this.chunkEnd = isHere ? this.length : -1;
    return isFlowing;
  }

  /** Extends the last chunk. A peer may send its body byte by byte, and each chunk has a cost for the receiver. */
  private growChunk(bytes: Uint8Array, start: number, end: number): boolean {
    const { buffer, chunkAt, chunkDataAt } = this;
    const dataEnd = this.chunkEnd - CRLF_BYTES;
    const size = dataEnd - chunkDataAt + end - start;
    const roomLeft = buffer.length - CHUNK_LINE_BYTES - this.length;
    if (end - start > SMALL_PIECE_BYTES || size > MAX_GROWN_CHUNK_BYTES || end - start > roomLeft) return false;
    // The size may now have one digit more.
    const shift = hexDigits(size) - (chunkDataAt - CRLF_BYTES - chunkAt);
    if (shift > 0) buffer.copyWithin(chunkDataAt + shift, chunkDataAt, dataEnd);
    this.chunkDataAt = endLine(buffer, writeHex(size, buffer, chunkAt));
    this.length = endLine(buffer, copy(bytes, start, end, buffer, dataEnd + shift));
    this.chunkEnd = this.length;
    return true;
  }

  /**
   * Ends a chunked body.
   * @param trailers the lines to send
   */
  lastChunk(connection: Connection, trailers?: Uint8Array): void {
    this.turnTo(connection);
    this.makeRoom(connection);
    this.length = put(LAST_CHUNK, this.buffer, this.length);
    if (trailers !== undefined) this.body(connection, trailers, 0, trailers.length);
    this.length = put(EMPTY_LINE, this.buffer, this.length);
    this.chunkEnd = -1;
  }

  private join(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start > SMALL_PIECE_BYTES || this.length + end - start > this.buffer.length - CHUNK_LINE_BYTES)
      return false;
    this.length = copy(bytes, start, end, this.buffer, this.length);
    return true;
  }

  private makeRoom(connection: Connection): void {
    if (this.length > this.buffer.length - 2 * CHUNK_LINE_BYTES) this.send(connection);
  }

  /**
   * Builds a request head for an upstream. `forwarded` has the client fields. With `isTrusted`, fields are forwarded that only a trusted
   * peer may send.
   */
  request(connection: Connection, head: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    this.turnTo(connection);
    this.flush(connection);
    const { buffer } = this;
    const { bytes, fields } = head;
    let at = 0;
    for (let i = 0; i < head.method.length; i++) buffer[at++] = head.method.charCodeAt(i);
    buffer[at++] = SPACE;
    if (head.scheme !== undefined) {
      at = put(head.scheme, buffer, at);
      at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
    }
    if (head.hasNoPath) buffer[at++] = SLASH;
    at = copy(head.target, head.targetStart, head.targetEnd, buffer, at);
    at = put(HTTP_11, buffer, at);
    at = put(HOST, buffer, at);
    at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
    at = endLine(buffer, at);
    const kinds = requestFieldsThatPass(head, isTrusted);
    at = this.passing(fields, kinds, at);
    at = put(forwarded.lines, buffer, at);
    if (addsForwardedHost(head, forwarded)) {
      at = put(X_FORWARDED_HOST, buffer, at);
      at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
      at = endLine(buffer, at);
    }
    const prefix = addedPrefix(head, forwarded);
    if (prefix !== undefined) {
      at = put(X_FORWARDED_PREFIX, buffer, at);
      at = put(prefix, buffer, at);
      at = endLine(buffer, at);
    }
    for (let i = 0; i < head.added.length; i++) {
      const { line, value } = head.added[i] as AddedField;
      at = endLine(buffer, put(value, buffer, put(line, buffer, at)));
    }
    if (head.isUpgrade) at = put(CONNECTION_UPGRADE, buffer, at);
    else if (head.takesTrailers) at = put(CONNECTION_TE, buffer, at);
    if (head.framing === "chunked") at = put(CHUNKED, buffer, at);
    else if (head.framing === "length" || hasLengthZero(head)) at = this.contentLength(head.contentLength, at);
    this.length = endLine(buffer, at);
  }

  /** Builds a response head for the client, with the client's `framing` and `keepAlive`. */
  response(
    connection: Connection,
    head: ResponseHead,
    framing: Framing,
    keepAlive: boolean,
    clientMinorVersion: 0 | 1,
  ): void {
    this.turnTo(connection);
    this.flush(connection);
    const { buffer } = this;
    const { fields } = head;
    let at = this.statusLine(head);
    at = this.passing(fields, responseFieldsThatPass(head.status), at);
    if (head.added !== undefined) {
      at = put(head.added, buffer, at);
      head.added = undefined;
    }
    if (head.status === 101) at = put(CONNECTION_UPGRADE, buffer, at);
    else if (head.status >= 200) {
      if (!head.hasDate) at = this.date(at);
      if (framing === "chunked") at = put(CHUNKED, buffer, at);
      else if (head.contentLength >= 0 && head.status !== 204) at = this.contentLength(head.contentLength, at);
      if (!keepAlive) at = put(CONNECTION_CLOSE, buffer, at);
      else if (clientMinorVersion === 0) at = put(CONNECTION_KEEP_ALIVE, buffer, at);
    }
    this.length = endLine(buffer, at);
    this.holdsHead = head.status >= 200;
  }

  private statusLine(head: ResponseHead): number {
    const { buffer } = this;
    const usual = head.hasNoReason ? STATUS_LINES[head.status] : undefined;
    if (usual !== undefined) return put(usual, buffer, 0);
    let at = put(RESPONSE_HTTP_11, buffer, 0);
    at = writeDecimal(head.status, buffer, at);
    buffer[at++] = SPACE;
    if (!head.hasNoReason) at = copy(head.bytes, head.reasonStart, head.reasonEnd, buffer, at);
    return endLine(buffer, at);
  }

  /** Adds the fields of these kinds. Adjacent fields that arrived in the form in which they are written are copied together. */
  private passing(fields: FieldTable, kinds: number, at: number): number {
    let start = 0;
    let end = 0;
    for (let i = 0; i < fields.count; i++) {
      if (!passes(kinds, fields.kinds[i] as number)) continue;
      const isAsWritten = fields.isAsWritten(i);
      if (!isAsWritten || fields.nameStart(i) !== end) {
        at = copy(fields.bytes, start, end, this.buffer, at);
        start = end = fields.nameStart(i);
      }
      if (isAsWritten) end = fields.valueEnd(i) + CRLF_BYTES;
      else at = this.field(fields, i, at);
    }
    return copy(fields.bytes, start, end, this.buffer, at);
  }

  private field(fields: FieldTable, index: number, at: number): number {
    const { buffer } = this;
    at = copy(fields.bytes, fields.nameStart(index), fields.nameEnd(index), buffer, at);
    buffer[at++] = COLON;
    buffer[at++] = SPACE;
    at = copy(fields.bytes, fields.valueStart(index), fields.valueEnd(index), buffer, at);
    return endLine(buffer, at);
  }

  private contentLength(value: number, at: number): number {
    at = put(CONTENT_LENGTH, this.buffer, at);
    at = writeDecimal(value, this.buffer, at);
    return endLine(this.buffer, at);
  }

  /** A recipient with a clock adds a missing Date (RFC 9110 §6.6.1). */
  private date(at: number): number {
    const { now } = this.clock;
    if (now !== this.dateAt) {
      this.dateAt = now;
      this.dateLine = ascii(`Date: ${new Date().toUTCString()}\r\n`);
    }
    return put(this.dateLine, this.buffer, at);
  }
}

/** Keeps an explicit `Content-Length: 0`, because some servers treat a POST without a length differently. */
function hasLengthZero(head: RequestHead): boolean {
  if (head.framing !== "none") return false;
  for (let i = 0; i < head.fields.count; i++) if (head.fields.kinds[i] === FieldKind.CONTENT_LENGTH) return true;
  return false;
}

function hexDigits(value: number): number {
  let digits = 1;
  for (let rest = value >>> 4; rest > 0; rest >>>= 4) digits++;
  return digits;
}

function put(text: Uint8Array, to: Uint8Array, at: number): number {
  return copy(text, 0, text.length, to, at);
}

function endLine(to: Uint8Array, at: number): number {
  to[at] = CR;
  to[at + 1] = LF;
  return at + 2;
}

/** Status lines by status, with the standard reason. */
const STATUS_LINES: Uint8Array[] = [];
for (const [status, reason] of Object.entries(REASONS)) {
  STATUS_LINES[Number(status)] = ascii(`HTTP/1.1 ${status} ${reason}\r\n`);
}
