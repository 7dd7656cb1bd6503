/** Builds frames into one buffer, from which all that a turn produced leaves in one call. Pure: no sockets. */

import { copy, LOWER } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { FIELD_FIXED, putLengths } from "./field-lengths.js";
import {
  Frame,
  HEADER_BYTES,
  MAX_DATA_BYTES,
  METHOD_CODES,
  REQUEST_ELSEWHERE,
  REQUEST_END,
  REQUEST_EXPECTS,
  REQUEST_FIXED,
  REQUEST_IDEMPOTENT,
  REQUEST_UPGRADE,
} from "./protocol.js";

const INITIAL_BYTES = 4096;
/** A buffer that once grew past this is given back. */
const KEPT_BYTES = 262_144;

const X_FORWARDED_HOST = latin1("x-forwarded-host");
const X_FORWARDED_PREFIX = latin1("x-forwarded-prefix");
const CONNECTION = latin1("connection");
const UPGRADE = latin1("upgrade");
const SLASH = 47;

export class LaneEncoder {
  length = 0;
  /** Where the last frame begins, if that is a DATA, which may still grow; else -1. */
  private dataAt = -1;
  private dataId = 0;
  private buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);

  /** All that was built, to be written at once: it is built over with the next frame. */
  take(): Uint8Array {
    const bytes = this.buffer.subarray(0, this.length);
    this.clear();
    if (this.buffer.length > KEPT_BYTES) this.buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
    return bytes;
  }

  clear(): void {
    this.length = 0;
    this.dataAt = -1;
  }

  empty(type: number, id: number): void {
    this.reserve(HEADER_BYTES);
    this.header(type, id, 0);
  }

  number(type: number, id: number, value: number): void {
    this.reserve(HEADER_BYTES + 4);
    this.header(type, id, 4);
    this.uint32(value);
  }

  /** A frame with a copy of these bytes. */
  bytes(type: number, id: number, from: Uint8Array, start: number, end: number): void {
    this.reserve(HEADER_BYTES + end - start);
    this.header(type, id, end - start);
    this.length = copy(from, start, end, this.buffer, this.length);
  }

  /** A piece of a body: what a client sends in many small ones becomes one DATA. */
  data(id: number, from: Uint8Array, start: number, end: number): void {
    const at = this.dataAt;
    const grown = this.length - at - HEADER_BYTES + end - start;
    if (at < 0 || id !== this.dataId || grown > MAX_DATA_BYTES) {
      const frameAt = this.length;
      this.bytes(Frame.DATA, id, from, start, end);
      this.dataAt = frameAt;
      this.dataId = id;
      return;
    }
    this.reserve(end - start);
    this.length = copy(from, start, end, this.buffer, this.length);
    this.size(at, grown);
  }

  hello(version: number, magic: number, window: number): void {
    this.reserve(HEADER_BYTES + 14);
    this.header(Frame.HELLO, 0, 14);
    this.uint32(magic);
    this.uint16(version);
    this.uint32(window);
    this.uint32(0);
  }

  /**
   * A REQUEST, field by field from what was parsed: the same fields pass that pass in HTTP/1.1. Where `isTrusted`,
   * those that count from a trusted peer alone do too. Where `isAnnounced`, its handler is called only when the
   * instance has said so.
   */
  request(
    id: number,
    head: RequestHead,
    forwarded: ForwardedFields,
    isTrusted: boolean,
    isAnnounced = !head.isIdempotent,
  ): void {
    const { bytes, fields } = head;
    const host = head.hostEnd - head.hostStart;
    const start = this.length;
    this.reserve(HEADER_BYTES + boundOf(head, forwarded));
    const { buffer } = this;
    const fixed = start + HEADER_BYTES;
    let at = fixed + REQUEST_FIXED;
    const code = METHOD_CODES[head.method] ?? 0;
    if (code === 0) for (let i = 0; i < head.method.length; i++) buffer[at++] = head.method.charCodeAt(i);
    const targetAt = at;
    if (head.hasNoPath) buffer[at++] = SLASH;
    at = copy(head.target, head.targetStart, head.targetEnd, buffer, at);
    const target = at - targetAt;
    at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
    let count = 0;
    for (let i = 0; i < fields.count; i++) {
      switch (fields.kinds[i]) {
        case FieldKind.ORDINARY:
        case FieldKind.DATE:
        case FieldKind.CONTENT_LENGTH:
          break;
        case FieldKind.EXPECT:
          if (!head.expectsContinue) continue;
          break;
        case FieldKind.UPGRADE:
          if (!head.isUpgrade) continue;
          break;
        case FieldKind.CLAIM:
          if (!isTrusted) continue;
          break;
        default:
          // Connection, framing, Host, what belongs to one hop and what says who asks are told otherwise or left out.
          continue;
      }
      count++;
      const nameStart = fields.nameStart(i);
      const nameEnd = fields.nameEnd(i);
      const valueStart = fields.valueStart(i);
      const valueEnd = fields.valueEnd(i);
      at = putLengths(buffer, at, nameEnd - nameStart, valueEnd - valueStart);
      for (let j = nameStart; j < nameEnd; j++) buffer[at++] = LOWER[bytes[j] as number] as number;
      at = copy(bytes, valueStart, valueEnd, buffer, at);
    }
    at = copy(forwarded.lane, 0, forwarded.lane.length, buffer, at);
    count += forwarded.count;
    if (!forwarded.isTold && host > 0) {
      count++;
      at = putLengths(buffer, at, X_FORWARDED_HOST.length, host);
      at = copy(X_FORWARDED_HOST, 0, X_FORWARDED_HOST.length, buffer, at);
      at = copy(bytes, head.hostStart, head.hostEnd, buffer, at);
    }
    if (!forwarded.isTold && head.prefix !== undefined) {
      count++;
      at = putLengths(buffer, at, X_FORWARDED_PREFIX.length, head.prefix.length);
      at = copy(X_FORWARDED_PREFIX, 0, X_FORWARDED_PREFIX.length, buffer, at);
      at = copy(head.prefix, 0, head.prefix.length, buffer, at);
    }
    if (head.isUpgrade) {
      count++;
      at = putLengths(buffer, at, CONNECTION.length, UPGRADE.length);
      at = copy(CONNECTION, 0, CONNECTION.length, buffer, at);
      at = copy(UPGRADE, 0, UPGRADE.length, buffer, at);
    }
    this.header(Frame.REQUEST, id, at - fixed);
    buffer[fixed] = code;
    buffer[fixed + 1] =
      (head.framing === "none" && !head.isUpgrade ? REQUEST_END : 0) |
      (isAnnounced ? 0 : REQUEST_IDEMPOTENT) |
      (head.isUpgrade ? REQUEST_UPGRADE : 0) |
      (head.expectsContinue ? REQUEST_EXPECTS : 0) |
      (forwarded.isElsewhere ? REQUEST_ELSEWHERE : 0);
    buffer[fixed + 2] = count;
    buffer[fixed + 3] = count >>> 8;
    buffer[fixed + 4] = target;
    buffer[fixed + 5] = target >>> 8;
    buffer[fixed + 6] = target >>> 16;
    buffer[fixed + 7] = host;
    buffer[fixed + 8] = host >>> 8;
    buffer[fixed + 9] = code === 0 ? head.method.length : 0;
    this.length = at;
  }

  private reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.buffer.length));
    grown.set(this.buffer.subarray(0, this.length));
    this.buffer = grown;
  }

  private header(type: number, id: number, size: number): void {
    const { buffer, length: at } = this;
    this.dataAt = -1;
    this.size(at, size);
    buffer[at + 3] = type;
    this.length += 4;
    this.uint32(id);
  }

  private size(at: number, size: number): void {
    const { buffer } = this;
    buffer[at] = size;
    buffer[at + 1] = size >>> 8;
    buffer[at + 2] = size >>> 16;
  }

  private uint16(value: number): void {
    this.buffer[this.length++] = value;
    this.buffer[this.length++] = value >>> 8;
  }

  private uint32(value: number): void {
    this.uint16(value);
    this.uint16(value >>> 16);
  }
}

/** More than a REQUEST's payload can be. */
function boundOf(
  { method, targetStart, targetEnd, hostStart, hostEnd, fields, prefix }: RequestHead,
  forwarded: ForwardedFields,
): number {
  const { count } = fields;
  const fieldBytes = count === 0 ? 0 : fields.valueEnd(count - 1) - fields.nameStart(0);
  const host = hostEnd - hostStart;
  const stripped = prefix === undefined ? 0 : FIELD_FIXED + X_FORWARDED_PREFIX.length + prefix.length;
  const added =
    forwarded.lane.length + 2 * FIELD_FIXED + X_FORWARDED_HOST.length + CONNECTION.length + UPGRADE.length + stripped;
  return (
    REQUEST_FIXED + method.length + targetEnd - targetStart + 1 + 2 * host + fieldBytes + count * FIELD_FIXED + added
  );
}

function latin1(text: string): Uint8Array {
  return Buffer.from(text, "latin1");
}
