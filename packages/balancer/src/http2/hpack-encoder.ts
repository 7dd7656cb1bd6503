/**
 * Encodes the heads of responses (RFC 7541) directly from parsed fields. Fields that repeat, such as Date and Content-Type, are added once
 * to the client's dynamic table and then take one byte. Values are compared with the recent ones of the whole process, so that a connection
 * stores only numbers. Pure.
 */
import { copy, equalsIgnoringCase, LOWER, writeDecimal } from "../http1/bytes.js";
import { FieldKind } from "../http1/field-table.js";
import { passes, responseFieldsThatPass } from "../http1/forward-policy.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { FrameBuffer } from "./frame-buffer.js";
import { DYNAMIC_INDEX, ENTRY_OVERHEAD, STATIC_FIELDS } from "./hpack-tables.js";
import { TABLE_BYTES } from "./protocol.js";

/** Fields whose values usually repeat from one response to the next. */
const REPEATED = [
  ...["date", "server", "content-type", "cache-control", "content-encoding", "vary", "accept-ranges"],
  ...["strict-transport-security", "x-powered-by", "access-control-allow-origin", "x-content-type-options"],
  ...["access-control-allow-credentials", "x-frame-options", "referrer-policy", "via", "content-language"],
];
/** No proxy on the way may put these fields into a table (RFC 7541 §7.1.3). */
const SECRET: readonly string[] = ["set-cookie", "www-authenticate", "proxy-authenticate", "authorization"];

/** How many values of each repeated field are known at a time. */
const VALUES = 4;
/** A longer value, in bytes, would evict too much from the table. */
const MAX_VALUE_BYTES = 256;

interface Name {
  bytes: Uint8Array;
  /** The field's index in the static table; 0 if it is not there. */
  index: number;
  /** The position of the field's values in `known`; -1 if its values do not repeat. */
  values: number;
  isSecret: boolean;
}

/** Recent values of the repeated fields, shared by all connections. */
interface KnownValue {
  bytes: Uint8Array;
  /** Changes with the value; never 0. */
  version: number;
}

const known: KnownValue[] = REPEATED.flatMap(() =>
  Array.from({ length: VALUES }, () => ({ bytes: new Uint8Array(0), version: -1 })),
);
/** For each field, the value that is replaced next. */
const nextValue = new Uint8Array(REPEATED.length);
let versions = 0;

const MAX_NAME = 40;
/** Indexed by length and first letter, so that most names need only one comparison. */
const BY_PLACE = Array.from({ length: (MAX_NAME + 1) << 5 }, (): Name[] => []);

for (const name of new Set([...STATIC_FIELDS.map(([name]) => name), ...REPEATED])) {
  if (name.startsWith(":")) continue;
  const place = (name.length << 5) | (name.charCodeAt(0) & 31);
  const repeated = REPEATED.indexOf(name);
  (BY_PLACE[place] as Name[]).push({
    bytes: Buffer.from(name),
    index: STATIC_FIELDS.findIndex(([other]) => other === name) + 1,
    values: repeated < 0 ? -1 : repeated * VALUES,
    isSecret: SECRET.includes(name),
  });
}

const STATUS_INDEX = STATIC_FIELDS.findIndex(([name]) => name === ":status") + 1;
const STATUS_INDICES = new Map(
  STATIC_FIELDS.flatMap(([name, value], i) => (name === ":status" ? [[Number(value), i + 1] as const] : [])),
);
const CONTENT_LENGTH = nameOf(Buffer.from("content-length"), 0, 14) as Name;
const DATE = nameOf(Buffer.from("date"), 0, 4) as Name;
const [COLON, CR, SPACE] = [58, 13, 32];
/** Upgrade applies to one connection, even in a 426. */
const UPGRADE = 1 << FieldKind.UPGRADE;
/** Fields of HTTP/1.1 that HTTP/2 does not have: framing, and the handshake of WebSockets. */
const WEBSOCKET_ACCEPT = Buffer.from("sec-websocket-accept");
/** The maximum size of the numbers and lengths of a field, in addition to name and value. */
const AROUND_BYTES = 12;

function nameOf(bytes: Uint8Array, start: number, end: number): Name | undefined {
  const length = end - start;
  if (length > MAX_NAME) return undefined;
  const names = BY_PLACE[(length << 5) | ((bytes[start] as number) & 31)] as Name[];
  for (const name of names) if (equalsIgnoringCase(bytes, start, end, name.bytes)) return name;
  return undefined;
}

/** Returns the index of a value in `known`. A new value replaces another one. */
function placeOf(name: Name, bytes: Uint8Array, start: number, end: number): number {
  const first = name.values;
  next: for (let place = first; place < first + VALUES; place++) {
    const value = (known[place] as KnownValue).bytes;
    if (value.length !== end - start) continue;
    for (let i = value.length - 1; i >= 0; i--) if (bytes[start + i] !== value[i]) continue next;
    return place;
  }
  const field = first / VALUES;
  const place = first + (nextValue[field] as number);
  nextValue[field] = ((nextValue[field] as number) + 1) % VALUES;
  const value = known[place] as KnownValue;
  value.bytes = Uint8Array.prototype.slice.call(bytes, start, end);
  value.version = ++versions;
  return place;
}

/** For each known value, a connection stores its version, the number of its entry, and the bytes that were added before it. */
const RECORD = 3;
/** A connection forgets its entries before its counts exceed 31 bits. */
const MAX_ADDED_BYTES = 2 ** 30;

/** Encodes the heads for one client. */
export class HpackEncoder {
  private records: Int32Array | undefined;
  private tableSize = TABLE_BYTES;
  /** The number of entries ever added, and their size. */
  private added = 0;
  private addedBytes = 0;
  /** Whether the next block must announce the table sizes that were set since the last block. */
  private isResized = false;
  private leastSize = TABLE_BYTES;

  /** Called when the client sets the size of its table. */
  resize(size: number): void {
    const used = Math.min(size, TABLE_BYTES);
    if (used === this.tableSize) return;
    this.tableSize = used;
    this.leastSize = Math.min(this.leastSize, used);
    this.isResized = true;
    this.forget();
  }

  private forget(): void {
    this.records?.fill(0);
    this.added = this.addedBytes = 0;
  }

  /**
   * Writes a response's head as a block.
   * @param date the value of Date for a head without one
   */
  response(to: FrameBuffer, head: ResponseHead, date: Uint8Array): void {
    const { fields, bytes, status } = head;
    to.reserve(boundOf(head));
    this.begin(to, status === 101 ? 200 : status);
    const kinds = responseFieldsThatPass(status) & ~UPGRADE;
    for (let i = 0; i < fields.count; i++) {
      if (!passes(kinds, fields.kinds[i] as number)) continue;
      const start = fields.nameStart(i);
      const end = fields.nameEnd(i);
      if (status === 101 && equalsIgnoringCase(bytes, start, end, WEBSOCKET_ACCEPT)) continue;
      this.field(to, bytes, start, end, fields.valueStart(i), fields.valueEnd(i));
    }
    if (head.added !== undefined) {
      this.lines(to, head.added);
      head.added = undefined;
    }
    if (status < 200) return;
    if (!head.hasDate) this.repeated(to, DATE, date, 0, date.length);
    if (head.contentLength >= 0 && status !== 204) this.contentLength(to, head.contentLength);
  }

  /**
   * Writes trailers as a block.
   * @param lines `name: value` with line ends
   */
  trailers(to: FrameBuffer, lines: Uint8Array): void {
    to.reserve(2 * lines.length + AROUND_BYTES);
    this.sizes(to);
    this.lines(to, lines);
  }

  /** Writes a 100 that the balancer generates itself. */
  continue(to: FrameBuffer): void {
    to.reserve(2 * AROUND_BYTES);
    this.begin(to, 100);
  }

  private sizes(to: FrameBuffer): void {
    if (!this.isResized) return;
    if (this.leastSize < this.tableSize) number(to, 32, 31, this.leastSize);
    number(to, 32, 31, this.tableSize);
    this.isResized = false;
    this.leastSize = this.tableSize;
  }

  private begin(to: FrameBuffer, status: number): void {
    if (this.addedBytes > MAX_ADDED_BYTES) this.forget();
    this.sizes(to);
    const index = STATUS_INDICES.get(status);
    if (index !== undefined) {
      to.bytes[to.length++] = 128 | index;
      return;
    }
    to.bytes[to.length++] = STATUS_INDEX;
    to.bytes[to.length++] = 3;
    to.length = writeDecimal(status, to.bytes, to.length);
  }

  private contentLength(to: FrameBuffer, length: number): void {
    number(to, 0, 15, CONTENT_LENGTH.index);
    const at = to.length;
    to.length = writeDecimal(length, to.bytes, at + 1);
    to.bytes[at] = to.length - at - 1;
  }

  /** Writes fields given as lines. */
  private lines(to: FrameBuffer, lines: Uint8Array): void {
    to.reserve(lines.length + (lines.length / 4) * AROUND_BYTES);
    for (let at = 0; at < lines.length; ) {
      const nameEnd = lines.indexOf(COLON, at);
      const end = lines.indexOf(CR, at);
      if (nameEnd < 0 || end < nameEnd) return;
      let value = nameEnd + 1;
      while (lines[value] === SPACE) value++;
      this.field(to, lines, at, nameEnd, value, end);
      at = end + 2;
    }
  }

  private field(
    to: FrameBuffer,
    bytes: Uint8Array,
    nameStart: number,
    nameEnd: number,
    valueStart: number,
    valueEnd: number,
  ): void {
    const name = nameOf(bytes, nameStart, nameEnd);
    if (name === undefined) {
      to.bytes[to.length++] = 0;
      string(to, bytes, nameStart, nameEnd, true);
    } else if (name.values >= 0 && valueEnd - valueStart <= MAX_VALUE_BYTES)
      return this.repeated(to, name, bytes, valueStart, valueEnd);
    else if (name.index > 0) number(to, name.isSecret ? 16 : 0, 15, name.index);
    else {
      to.bytes[to.length++] = name.isSecret ? 16 : 0;
      string(to, name.bytes, 0, name.bytes.length, false);
    }
    string(to, bytes, valueStart, valueEnd, false);
  }

  /** Writes a field by its index in the client's table, or adds the field to that table. */
  private repeated(to: FrameBuffer, name: Name, bytes: Uint8Array, start: number, end: number): void {
    this.records ??= new Int32Array(RECORD * known.length);
    const { records, tableSize } = this;
    const place = placeOf(name, bytes, start, end);
    const { version } = known[place] as KnownValue;
    const at = RECORD * place;
    // Fewer bytes than the table's size were added since then, so the entry is still there.
    if (records[at] === version && this.addedBytes - (records[at + 2] as number) <= tableSize)
      return number(to, 128, 127, DYNAMIC_INDEX + this.added - 1 - (records[at + 1] as number));
    const size = name.bytes.length + end - start + ENTRY_OVERHEAD;
    const isAdded = size <= tableSize / 4;
    if (isAdded) {
      records[at] = version;
      records[at + 1] = this.added++;
      records[at + 2] = this.addedBytes;
      this.addedBytes += size;
    }
    if (name.index > 0) number(to, isAdded ? 64 : 0, isAdded ? 63 : 15, name.index);
    else {
      to.bytes[to.length++] = isAdded ? 64 : 0;
      string(to, name.bytes, 0, name.bytes.length, false);
    }
    string(to, bytes, start, end, false);
  }
}

/** Writes a number behind the bits of `pattern`, in the bits of `mask` (RFC 7541 §5.1). */
function number(to: FrameBuffer, pattern: number, mask: number, value: number): void {
  const { bytes } = to;
  if (value < mask) {
    bytes[to.length++] = pattern | value;
    return;
  }
  bytes[to.length++] = pattern | mask;
  let rest = value - mask;
  for (; rest >= 128; rest >>>= 7) bytes[to.length++] = (rest & 127) | 128;
  bytes[to.length++] = rest;
}

/** Writes a string without Huffman coding, which would save a third of its size but take as long as the rest of the head. */
function string(to: FrameBuffer, from: Uint8Array, start: number, end: number, isName: boolean): void {
  number(to, 0, 127, end - start);
  if (!isName) {
    to.length = copy(from, start, end, to.bytes, to.length);
    return;
  }
  const { bytes } = to;
  let at = to.length;
  for (let i = start; i < end; i++) bytes[at++] = LOWER[from[i] as number] as number;
  to.length = at;
}

/** Returns an upper bound for the size of a head's block. */
function boundOf({ fields, added }: ResponseHead): number {
  const { count } = fields;
  const lines = count === 0 ? 0 : fields.valueEnd(count - 1) - fields.nameStart(0);
  return lines + (count + 6) * AROUND_BYTES + 64 + (added === undefined ? 0 : 4 * added.length);
}
