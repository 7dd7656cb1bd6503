/** The static and the dynamic table of HPACK (RFC 7541 Appendix A, §2.3.2), with each field as an HTTP/1.1 line. Pure. */
import { fieldKindOf, SEPARATOR_BYTES } from "./field-kinds.js";
import { TABLE_BYTES } from "./protocol.js";

/** In the order of their indices, which start at 1. */
export const STATIC_FIELDS: readonly (readonly [name: string, value: string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

/** The first index of the dynamic table. */
export const DYNAMIC_INDEX = STATIC_FIELDS.length + 1;

/** All lines one after another. Each index has four numbers: start, end of the name, end of the value, kind. */
export const STATIC_LINES: Uint8Array = Buffer.from(
  STATIC_FIELDS.map(([name, value]) => `${name}: ${value}\r\n`).join(""),
);
export const STATIC_POSITIONS = new Int32Array(4 * DYNAMIC_INDEX);

let at = 0;
for (const [i, [name, value]] of STATIC_FIELDS.entries()) {
  const nameEnd = at + name.length;
  const valueEnd = nameEnd + SEPARATOR_BYTES + value.length;
  STATIC_POSITIONS.set([at, nameEnd, valueEnd, fieldKindOf(STATIC_LINES, at, nameEnd, valueEnd)], 4 * (i + 1));
  at = valueEnd + 2;
}

/** The overhead of each entry, in addition to its name and value (RFC 7541 §4.1). */
export const ENTRY_OVERHEAD = 32;
/** How much longer a line is than its name and value. */
const LINE_OVERHEAD = 4;

const FIRST_STORE_BYTES = 1024;
/** Room for the entries and as much again, so that the entries are rarely moved. */
const MOST_STORE_BYTES = 2 * TABLE_BYTES;
const FIRST_ENTRIES = 16;
/** The maximum number of entries in the table; a power of two. */
const MOST_ENTRIES = TABLE_BYTES / ENTRY_OVERHEAD;

const NOTHING = new Uint8Array(0);

/** Fields as lines, in one buffer that is reused. */
export class DynamicTable {
  /** Holds the lines. */
  bytes: Uint8Array = NOTHING;
  count = 0;
  /** The size by the rules of HPACK. */
  size = 0;
  private maxSize = TABLE_BYTES;
  /** A ring with four numbers per entry, as in STATIC_POSITIONS. */
  private entries = new Int32Array(0);
  private newest = 0;
  /** The position of the next line. */
  private end = 0;

  /** Returns the position of the entry in `positions`; `index` 0 is the newest one. */
  placeOf(index: number): number {
    return 4 * ((this.newest - index) & (this.entries.length / 4 - 1));
  }

  get positions(): Int32Array {
    return this.entries;
  }

  /** @param size at most TABLE_BYTES */
  resize(size: number): void {
    this.maxSize = size;
    this.makeRoom(0);
  }

  /** Adds a line with its line end. A line that is too large empties the table (RFC 7541 §4.4). */
  add(from: Uint8Array, start: number, nameEnd: number, valueEnd: number, kind: number): void {
    const length = valueEnd + 2 - start;
    const size = length - LINE_OVERHEAD + ENTRY_OVERHEAD;
    this.makeRoom(size);
    if (size > this.maxSize) return;
    if (this.count === this.entries.length / 4) this.growEntries();
    if (this.end + length > this.bytes.length) this.compact(length);
    const { bytes, entries, end } = this;
    this.newest = (this.newest + 1) & (entries.length / 4 - 1);
    const at = 4 * this.newest;
    entries[at] = end;
    entries[at + 1] = end + nameEnd - start;
    entries[at + 2] = end + valueEnd - start;
    entries[at + 3] = kind;
    bytes.set(from.subarray(start, start + length), end);
    this.end = end + length;
    this.size += size;
    this.count++;
  }

  /** Evicts entries until there is room for this size. */
  private makeRoom(size: number): void {
    const { entries, maxSize } = this;
    while (this.count > 0 && this.size + size > maxSize) {
      const at = this.placeOf(--this.count);
      this.size -= (entries[at + 2] as number) + 2 - (entries[at] as number) - LINE_OVERHEAD + ENTRY_OVERHEAD;
    }
    if (this.count === 0) this.end = 0;
  }

  private growEntries(): void {
    const room = Math.min(MOST_ENTRIES, Math.max(FIRST_ENTRIES, (this.entries.length / 4) * 2));
    const grown = new Int32Array(4 * room);
    for (let index = this.count - 1, to = 0; index >= 0; index--, to += 4) {
      const at = this.placeOf(index);
      grown.set(this.entries.subarray(at, at + 4), to);
    }
    this.entries = grown;
    this.newest = (this.count - 1) & (room - 1);
  }

  /** Moves the lines, which are consecutive, to the beginning of the buffer. If they fill half of it, moves them to a larger buffer. */
  private compact(needed: number): void {
    const { entries, bytes } = this;
    const start = this.count === 0 ? this.end : (entries[this.placeOf(this.count - 1)] as number);
    const live = this.end - start;
    let room = Math.max(FIRST_STORE_BYTES, bytes.length);
    while (room < 2 * (live + needed) && room < MOST_STORE_BYTES) room *= 2;
    if (room === bytes.length) bytes.copyWithin(0, start, this.end);
    else {
      this.bytes = Buffer.allocUnsafeSlow(room);
      this.bytes.set(bytes.subarray(start, this.end));
    }
    for (let index = 0; index < this.count; index++) {
      const at = this.placeOf(index);
      for (let i = at; i < at + 3; i++) entries[i] = (entries[i] as number) - start;
    }
    this.end = live;
  }
}
