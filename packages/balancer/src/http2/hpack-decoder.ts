/**
 * Decodes header blocks (RFC 7541). Each field is passed on as the line that it is in HTTP/1.1, where it lies: in a table, or in a
 * scratch buffer that all connections share. Pure.
 */
import { CR, copy, LF, SPACE } from "../http1/bytes.js";
import { DynamicTable } from "./dynamic-table.js";
import { Kind, kindOf, SEPARATOR_BYTES } from "./field-kinds.js";
import { decodeHuffman, HUFFMAN_MALFORMED, HUFFMAN_TOO_LONG } from "./huffman.js";
import { TABLE_BYTES } from "./protocol.js";
import { DYNAMIC_INDEX, STATIC_LINES, STATIC_POSITIONS } from "./static-table.js";

export interface FieldSink {
  /**
   * A field as the line `name: value` with its line end, from `start`. The bytes are valid until the call returns.
   * @param kind of Kind
   */
  onField(kind: number, bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void;
  /** A field that is longer than any request may be. */
  onLongField(): void;
}

const COLON = 58;
const HUFFMAN = 128;
/** Numbers beyond this are invalid: no table and no string is as large. */
const MAX_NUMBER = 1 << 24;
/** A block may begin with two changes of the table's size (RFC 7541 §4.2). */
const MAX_RESIZES = 2;

export class HpackDecoder {
  private readonly table = new DynamicTable();
  private bytes: Uint8Array = STATIC_LINES;
  private at = 0;
  private end = 0;

  /** @param scratch for one line; a longer one counts as too long */
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

  /** @param nameIndex 0: the name follows */
  private passLiteral(nameIndex: number, isAdded: boolean, sink: FieldSink): boolean {
    if (nameIndex < 0) return false;
    const { scratch } = this;
    // The line's other bytes must fit, too.
    const limit = scratch.length - SEPARATOR_BYTES - 2;
    let nameEnd = nameIndex === 0 ? this.string(0, limit) : this.copyName(nameIndex, limit);
    if (nameEnd === HUFFMAN_MALFORMED) return false;
    const isNameLong = nameEnd === HUFFMAN_TOO_LONG;
    if (isNameLong) nameEnd = 0;
    const valueEnd = this.string(nameEnd + SEPARATOR_BYTES, limit);
    if (valueEnd === HUFFMAN_MALFORMED) return false;
    if (isNameLong || valueEnd === HUFFMAN_TOO_LONG) {
      // Larger than the table, so it is emptied.
      if (isAdded) this.table.add(scratch, 0, 0, TABLE_BYTES, Kind.MALFORMED);
      sink.onLongField();
      return true;
    }
    scratch[nameEnd] = COLON;
    scratch[nameEnd + 1] = SPACE;
    scratch[valueEnd] = CR;
    scratch[valueEnd + 1] = LF;
    const kind = kindOf(scratch, 0, nameEnd, valueEnd);
    if (isAdded) this.table.add(scratch, 0, nameEnd, valueEnd, kind);
    sink.onField(kind, scratch, 0, nameEnd, valueEnd);
    return true;
  }

  /** Copies a name of a table to the scratch buffer; the entry may be evicted before its line is added. */
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

  /** Reads a string to the scratch buffer at `to`. Returns where it ends there, or a negative result of `decodeHuffman`. */
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
