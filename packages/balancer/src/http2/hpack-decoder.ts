/**
 * Decodes header blocks (RFC 7541). Each field is passed on as an HTTP/1.1 line, without a copy: in a table, or in a scratch buffer that
 * all connections share. Pure.
 */
import { CR, copy, LF, SPACE } from "../http1/bytes.js";
import { fieldKindOf, Kind, SEPARATOR_BYTES } from "./field-kinds.js";
import { DYNAMIC_INDEX, DynamicTable, STATIC_LINES, STATIC_POSITIONS } from "./hpack-tables.js";
import { TABLE_BYTES } from "./protocol.js";

export interface FieldSink {
  /**
   * Receives a field as the line `name: value` with its line end, from `start`. The bytes are valid until the call returns.
   * @param kind one of Kind
   */
  onField(kind: number, bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void;
  /** Called for a field that is longer than any request may be. */
  onLongField(): void;
}

const COLON = 58;
const HUFFMAN = 128;
/** Larger numbers are invalid: no table and no string has that size. */
const MAX_NUMBER = 1 << 24;
/** A block may begin with two changes of the table's size (RFC 7541 §4.2). */
const MAX_RESIZES = 2;

export class HpackDecoder {
  private readonly table = new DynamicTable();
  private bytes: Uint8Array = STATIC_LINES;
  private at = 0;
  private end = 0;

  /** @param scratch room for one line; a longer line counts as too long */
  constructor(private readonly scratch: Uint8Array) {}

  /** Decodes a whole block. Returns false if it is invalid: the tables of both sides then differ for good. */
  decode(bytes: Uint8Array, start: number, end: number, sink: FieldSink): boolean {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
    let resizesLeft = MAX_RESIZES;
    while (this.at < end) {
      const first = bytes[this.at] as number;
      if (first >= 128) {
        if (!this.passIndexed(this.number(127), sink)) return false;
      } else if (first >= 64) {
        if (!this.passLiteral(this.number(63), true, sink)) return false;
      } else if (first >= 32) {
        const size = this.number(31);
        if (size < 0 || size > TABLE_BYTES || --resizesLeft < 0) return false;
        this.table.resize(size);
        continue;
      } else if (!this.passLiteral(this.number(15), false, sink)) return false;
      resizesLeft = 0;
    }
    return true;
  }

  /** Reads a number whose prefix has the bits of `mask` (RFC 7541 §5.1). Returns -1 if it is incomplete or too large. */
  private number(mask: number): number {
    const { bytes, end } = this;
    let value = (bytes[this.at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.at >= end) return -1;
      const byte = bytes[this.at++] as number;
      value += (byte & 127) << shift;
      if (byte < 128) return value > MAX_NUMBER ? -1 : value;
    }
    return -1;
  }

  private passIndexed(index: number, sink: FieldSink): boolean {
    if (index <= 0) return false;
    const isStatic = index < DYNAMIC_INDEX;
    const { table } = this;
    if (!isStatic && index - DYNAMIC_INDEX >= table.count) return false;
    const positions = isStatic ? STATIC_POSITIONS : table.positions;
    const at = isStatic ? 4 * index : table.placeOf(index - DYNAMIC_INDEX);
    sink.onField(
      positions[at + 3] as number,
      isStatic ? STATIC_LINES : table.bytes,
      positions[at] as number,
      positions[at + 1] as number,
      positions[at + 2] as number,
    );
    return true;
  }

  /** @param nameIndex 0 if the name follows */
  private passLiteral(nameIndex: number, isAdded: boolean, sink: FieldSink): boolean {
    if (nameIndex < 0) return false;
    const { scratch } = this;
    // The separator and line end must fit, too.
    const limit = scratch.length - SEPARATOR_BYTES - 2;
    let nameEnd = nameIndex === 0 ? this.string(0, limit) : this.copyName(nameIndex, limit);
    if (nameEnd === HUFFMAN_MALFORMED) return false;
    const isNameLong = nameEnd === HUFFMAN_TOO_LONG;
    if (isNameLong) nameEnd = 0;
    const valueEnd = this.string(nameEnd + SEPARATOR_BYTES, limit);
    if (valueEnd === HUFFMAN_MALFORMED) return false;
    if (isNameLong || valueEnd === HUFFMAN_TOO_LONG) {
      // The field is larger than the table, which empties it.
      if (isAdded) this.table.add(scratch, 0, 0, TABLE_BYTES, Kind.MALFORMED);
      sink.onLongField();
      return true;
    }
    scratch[nameEnd] = COLON;
    scratch[nameEnd + 1] = SPACE;
    scratch[valueEnd] = CR;
    scratch[valueEnd + 1] = LF;
    const kind = fieldKindOf(scratch, 0, nameEnd, valueEnd);
    if (isAdded) this.table.add(scratch, 0, nameEnd, valueEnd, kind);
    sink.onField(kind, scratch, 0, nameEnd, valueEnd);
    return true;
  }

  /** Copies a name from a table to the scratch buffer, because its entry may be evicted before its line is added. */
  private copyName(index: number, limit: number): number {
    const isStatic = index < DYNAMIC_INDEX;
    const { table, scratch } = this;
    if (!isStatic && index - DYNAMIC_INDEX >= table.count) return HUFFMAN_MALFORMED;
    const positions = isStatic ? STATIC_POSITIONS : table.positions;
    const at = isStatic ? 4 * index : table.placeOf(index - DYNAMIC_INDEX);
    const start = positions[at] as number;
    const end = positions[at + 1] as number;
    if (end - start > limit) return HUFFMAN_TOO_LONG;
    return copy(isStatic ? STATIC_LINES : table.bytes, start, end, scratch, 0);
  }

  /** Reads a string to the scratch buffer at `to`. Returns the position after it, or a negative result of `decodeHuffman`. */
  private string(to: number, limit: number): number {
    if (this.at >= this.end) return HUFFMAN_MALFORMED;
    const isHuffman = (this.bytes[this.at] as number) >= HUFFMAN;
    const length = this.number(127);
    const start = this.at;
    if (length < 0 || start + length > this.end) return HUFFMAN_MALFORMED;
    this.at = start + length;
    if (isHuffman) return decodeHuffman(this.bytes, start, this.at, this.scratch, to, limit);
    if (to + length > limit) return HUFFMAN_TOO_LONG;
    return copy(this.bytes, start, this.at, this.scratch, to);
  }
}

/**
 * The Huffman code (RFC 7541 Appendix B): the length of each byte's code in bits, and at the end the length of EOS. Codes of the same
 * length are consecutive, in the order of their bytes.
 */
const LENGTHS = Uint8Array.from(
  (
    "13,23,28,28,28,28,28,28,28,24,30,28,28,30,28,28,28,28,28,28,28,28,30,28,28,28,28,28,28,28,28,28," +
    "6,10,10,12,13,6,8,11,10,10,8,11,8,6,6,6,5,5,5,6,6,6,6,6,6,6,7,8,15,6,12,10," +
    "13,6,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,7,8,7,8,13,19,13,14,6," +
    "15,5,6,5,6,5,6,6,6,5,7,7,6,6,6,5,6,7,6,5,5,6,7,7,7,7,7,15,11,14,13,28," +
    "20,22,20,20,22,22,22,23,22,23,23,23,23,23,24,23,24,24,22,23,24,23,23,23,23,21,22,23,22,23,23,24," +
    "22,21,20,22,22,23,23,21,23,22,22,24,21,22,23,23,21,21,22,21,23,22,23,23,20,22,22,22,23,22,22,23," +
    "26,26,20,19,22,23,22,25,26,26,26,27,27,26,24,25,19,21,26,27,27,26,27,24,21,21,26,26,28,27,27,27," +
    "20,24,20,21,22,21,21,23,22,22,25,25,24,24,26,23,26,27,26,26,27,27,27,27,27,28,27,27,27,27,27,26," +
    "30"
  ).split(","),
  Number,
);

const EOS = 256;
const MAX_BITS = 30;
/** Codes of up to this length are found in one step. */
const STEP_BITS = 8;

/** Indexed by the next 8 bits: the byte of a short code, shifted left by 4, and its length; 0 for the beginning of a longer one. */
const SHORT = new Uint16Array(1 << STEP_BITS);
/** Indexed by length: the first code of that length, the number of codes, and the position of their bytes in SYMBOLS. */
const FIRST = new Int32Array(MAX_BITS + 1);
const COUNT = new Int32Array(MAX_BITS + 1);
const OFFSET = new Int32Array(MAX_BITS + 1);
const SYMBOLS = new Uint16Array(257);

let code = 0;
let offset = 0;
for (let length = 1; length <= MAX_BITS; length++) {
  code *= 2;
  FIRST[length] = code;
  OFFSET[length] = offset;
  for (let symbol = 0; symbol <= EOS; symbol++) {
    if (LENGTHS[symbol] !== length) continue;
    SYMBOLS[offset++] = symbol;
    if (length <= STEP_BITS) {
      const spare = STEP_BITS - length;
      for (let rest = 0; rest < 1 << spare; rest++) SHORT[(code << spare) | rest] = (symbol << 4) | length;
    }
    code++;
  }
  COUNT[length] = offset - (OFFSET[length] as number);
}

/** Results of `decodeHuffman` that are not a position. */
const HUFFMAN_MALFORMED = -1;
const HUFFMAN_TOO_LONG = -2;

/**
 * Decodes the range to `to` from `at`. Returns the position after it, or HUFFMAN_TOO_LONG if it would exceed `limit`. Returns
 * HUFFMAN_MALFORMED for EOS, and for padding that is longer than 7 bits or contains a 0 (RFC 7541 §5.2).
 */
export function decodeHuffman(
  from: Uint8Array,
  start: number,
  end: number,
  to: Uint8Array,
  at: number,
  limit: number,
): number {
  // The bits that were read and not decoded. At most 7 remain from before, so 25 more fit.
  let bits = 0;
  let count = 0;
  let i = start;
  for (;;) {
    while (count <= 16 && i < end) {
      bits = ((bits << 8) | (from[i++] as number)) & 0xffffff;
      count += 8;
    }
    if (count < STEP_BITS) break;
    const short = SHORT[(bits >>> (count - STEP_BITS)) & 255] as number;
    if (short === 0) {
      const symbol = readLong(from, i, end, bits, count);
      if (symbol < 0) return HUFFMAN_MALFORMED;
      if (at >= limit) return HUFFMAN_TOO_LONG;
      to[at++] = symbol;
      i = long.at;
      bits = long.bits;
      count = long.count;
      continue;
    }
    if (at >= limit) return HUFFMAN_TOO_LONG;
    to[at++] = short >>> 4;
    count -= short & 15;
  }
  // Up to 7 bits are left: short codes, then padding of ones.
  while (count > 0) {
    const padded = ((bits << (STEP_BITS - count)) | (255 >>> count)) & 255;
    const short = SHORT[padded] as number;
    const length = short & 15;
    if (short === 0 || length > count) break;
    if (at >= limit) return HUFFMAN_TOO_LONG;
    to[at++] = short >>> 4;
    count -= length;
  }
  const padding = (1 << count) - 1;
  return (bits & padding) === padding ? at : HUFFMAN_MALFORMED;
}

/** The position after a long code. */
const long = { at: 0, bits: 0, count: 0 };

/** Reads a code of more than 8 bits, of which `count` bits were already read. Returns its byte, or -1. */
function readLong(from: Uint8Array, start: number, end: number, bits: number, count: number): number {
  let at = start;
  let value = 0;
  let left = count;
  for (let length = 1; length <= MAX_BITS; length++) {
    if (left === 0) {
      if (at >= end) return -1;
      bits = from[at++] as number;
      left = 8;
    }
    left--;
    value = value * 2 + ((bits >>> left) & 1);
    const index = value - (FIRST[length] as number);
    if (length <= STEP_BITS || index < 0 || index >= (COUNT[length] as number)) continue;
    const symbol = SYMBOLS[(OFFSET[length] as number) + index] as number;
    if (symbol === EOS) return -1;
    long.at = at;
    long.bits = bits;
    long.count = left;
    return symbol;
  }
  return -1;
}
