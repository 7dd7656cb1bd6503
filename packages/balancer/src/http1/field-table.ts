/** The fields of one head as positions in its bytes, with the names that matter to a proxy marked. */
import { CLIENT_FIELDS, DECIDING_FIELDS, HOP_BY_HOP_FIELDS, X_FORWARDED } from "@paceline/wire";
import {
  ascii,
  BYTE_CLASS,
  COLON,
  CR,
  equalsIgnoringCase,
  IS_FIELD_VALUE,
  IS_TOKEN,
  LF,
  LOWER,
  SPACE,
  TAB,
} from "./bytes.js";

/** The meaning of a field for the balancer. All other fields are ORDINARY and forwarded unchanged. */
export const FieldKind = {
  ORDINARY: 0,
  /** Hop-by-hop, or named by Connection: never forwarded. */
  HOP: 1,
  CONNECTION: 2,
  CONTENT_LENGTH: 3,
  TRANSFER_ENCODING: 4,
  HOST: 5,
  UPGRADE: 6,
  EXPECT: 7,
  FORWARDED_FOR: 8,
  FORWARDED_PROTO: 9,
  FORWARDED_HOST: 10,
  FORWARDED: 11,
  DATE: 12,
  FORWARDED_PREFIX: 13,
  /** A statement about the client, which is only believed from a trusted proxy. */
  CLAIM: 14,
  /** An app could mistake it for another field, so it is never sent upstream. */
  DISGUISED: 15,
  REQUEST_ID: 16,
  TRACEPARENT: 17,
  TRACESTATE: 18,
  TE: 19,
} as const;

/** Names that have a kind. */
const KNOWN: Readonly<Record<string, number>> = {
  connection: FieldKind.CONNECTION,
  "content-length": FieldKind.CONTENT_LENGTH,
  date: FieldKind.DATE,
  expect: FieldKind.EXPECT,
  forwarded: FieldKind.FORWARDED,
  host: FieldKind.HOST,
  te: FieldKind.TE,
  traceparent: FieldKind.TRACEPARENT,
  tracestate: FieldKind.TRACESTATE,
  "transfer-encoding": FieldKind.TRANSFER_ENCODING,
  upgrade: FieldKind.UPGRADE,
  "x-forwarded-for": FieldKind.FORWARDED_FOR,
  "x-forwarded-host": FieldKind.FORWARDED_HOST,
  "x-forwarded-prefix": FieldKind.FORWARDED_PREFIX,
  "x-forwarded-proto": FieldKind.FORWARDED_PROTO,
  "x-request-id": FieldKind.REQUEST_ID,
};

/** The known names are shorter than this. */
const MAX_KNOWN_LENGTH = 32;

/** The known names by length and first letter, so that most other fields need no comparison. */
const KNOWN_NAMES = Array.from(
  { length: MAX_KNOWN_LENGTH << 5 },
  (): { name: Uint8Array; kind: number; disguised: number }[] => [],
);

function know(name: string, kind: number, disguised: number): void {
  const names = KNOWN_NAMES[placeOf(name.length, name.charCodeAt(0))] as (typeof KNOWN_NAMES)[number];
  names.push({ name: ascii(name), kind, disguised });
}

function placeOf(length: number, first: number): number {
  return (length << 5) | (first & 31);
}

for (const name of new Set([...Object.keys(KNOWN), ...HOP_BY_HOP_FIELDS])) {
  const decides = Object.hasOwn(CLIENT_FIELDS, name) || DECIDING_FIELDS.includes(name);
  know(name, KNOWN[name] ?? FieldKind.HOP, decides ? FieldKind.DISGUISED : FieldKind.ORDINARY);
}
for (const [name, rule] of Object.entries(CLIENT_FIELDS)) {
  if (rule === "made" || name.endsWith("*")) continue;
  know(name, rule === "never" ? FieldKind.DISGUISED : FieldKind.CLAIM, FieldKind.DISGUISED);
}

const X_FORWARDED_BYTES = ascii(X_FORWARDED);
const SMALL_X = 120;
const DASH = 45;

/** Bytes that disguise a name (packages/wire/src/http/forwarding.ts). */
const IS_DISGUISE = new Uint8Array(256);
/** Maps letters to lower case and disguising bytes to `-`, like programs that turn field names into variables. */
const READ_AS = Uint8Array.from(LOWER);
for (let byte = 0; byte < 256; byte++) {
  if (/[a-zA-Z0-9-]/.test(String.fromCharCode(byte))) continue;
  IS_DISGUISE[byte] = 1;
  READ_AS[byte] = DASH;
}

function kindOf(bytes: Uint8Array, start: number, end: number): number {
  const first = READ_AS[bytes[start] as number] as number;
  if (end - start < MAX_KNOWN_LENGTH) {
    const candidates = KNOWN_NAMES[placeOf(end - start, first)] as (typeof KNOWN_NAMES)[number];
    for (const { name, kind, disguised } of candidates) {
      if (readsAs(bytes, start, name)) return isDisguised(bytes, start, end) ? disguised : kind;
    }
  }
  if (first !== SMALL_X || end - start <= X_FORWARDED_BYTES.length) return FieldKind.ORDINARY;
  if (!readsAs(bytes, start, X_FORWARDED_BYTES)) return FieldKind.ORDINARY;
  return isDisguised(bytes, start, end) ? FieldKind.DISGUISED : FieldKind.CLAIM;
}

/** Whether the bytes at `start` read as `name`, which is not longer than the field's name. */
function readsAs(bytes: Uint8Array, start: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i++) if (READ_AS[bytes[start + i] as number] !== name[i]) return false;
  return true;
}

function isDisguised(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (IS_DISGUISE[bytes[i] as number] === 1) return true;
  return false;
}

/** Kinds that Connection may remove. A client must not remove framing or client fields. */
const IS_NAMEABLE = new Uint8Array(32);
for (const kind of [FieldKind.ORDINARY, FieldKind.EXPECT, FieldKind.DATE]) IS_NAMEABLE[kind] = 1;
for (const kind of [FieldKind.REQUEST_ID, FieldKind.TRACEPARENT, FieldKind.TRACESTATE]) IS_NAMEABLE[kind] = 1;

/** Negative results of `parse`. */
export const FIELDS_INCOMPLETE = -1;
const FIELDS_MALFORMED = -2;
export const FIELDS_TOO_MANY = -3;

const UPGRADE_WORD = ascii("upgrade");
const CLOSE_WORD = ascii("close");
const KEEP_ALIVE_WORD = ascii("keep-alive");
/** A connection option that our instances send to the balancer. */
const WORKING_WORD = ascii("paceline-working");

/** The maximum number of options in all Connection fields of a head. */
const MAX_CONNECTION_OPTIONS = 32;

/** Holds the fields of one head at a time; reused for the next. */
export class FieldTable {
  bytes: Uint8Array = new Uint8Array(0);
  count = 0;
  /** Four numbers per field: start and end of the name, start and end of the value. */
  readonly positions: Int32Array;
  readonly kinds: Uint8Array;
  /** The number of options in the head's Connection fields so far. */
  private connectionOptions = 0;

  constructor(readonly maxFields: number) {
    this.positions = new Int32Array(maxFields * 4);
    this.kinds = new Uint8Array(maxFields);
  }

  /**
   * Parses field lines up to the empty line, strictly by RFC 9112 §5: no bare CR or LF, no folding, no space before the colon, no
   * control bytes. Returns the position after the head.
   */
  parse(bytes: Uint8Array, start: number, end: number): number {
    this.bytes = bytes;
    this.count = 0;
    this.connectionOptions = 0;
    let at = start;
    for (;;) {
      if (at >= end) return FIELDS_INCOMPLETE;
      if (bytes[at] === CR) {
        if (at + 1 >= end) return FIELDS_INCOMPLETE;
        return bytes[at + 1] === LF ? at + 2 : FIELDS_MALFORMED;
      }
      const nameStart = at;
      while (at < end && ((BYTE_CLASS[bytes[at] as number] as number) & IS_TOKEN) !== 0) at++;
      if (at >= end) return FIELDS_INCOMPLETE;
      if (bytes[at] !== COLON || at === nameStart) return FIELDS_MALFORMED;
      const nameEnd = at++;
      while (at < end && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
      const valueStart = at;
      while (at < end && ((BYTE_CLASS[bytes[at] as number] as number) & IS_FIELD_VALUE) !== 0) at++;
      if (at + 1 >= end) return at < end && bytes[at] !== CR ? FIELDS_MALFORMED : FIELDS_INCOMPLETE;
      if (bytes[at] !== CR || bytes[at + 1] !== LF) return FIELDS_MALFORMED;
      let valueEnd = at;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SPACE || bytes[valueEnd - 1] === TAB)) valueEnd--;
      at += 2;
      if (this.count === this.maxFields) return FIELDS_TOO_MANY;
      const position = this.count * 4;
      this.positions[position] = nameStart;
      this.positions[position + 1] = nameEnd;
      this.positions[position + 2] = valueStart;
      this.positions[position + 3] = valueEnd;
      this.kinds[this.count++] = kindOf(bytes, nameStart, nameEnd);
    }
  }

  nameStart(index: number): number {
    return this.positions[index * 4] as number;
  }
  nameEnd(index: number): number {
    return this.positions[index * 4 + 1] as number;
  }
  valueStart(index: number): number {
    return this.positions[index * 4 + 2] as number;
  }
  valueEnd(index: number): number {
    return this.positions[index * 4 + 3] as number;
  }

  /** Whether its line is `name: value` with one space, as the writers build it. */
  isAsWritten(index: number): boolean {
    const { bytes } = this;
    const colon = this.nameEnd(index);
    return this.valueStart(index) === colon + 2 && bytes[colon + 1] === SPACE && bytes[this.valueEnd(index)] === CR;
  }

  /** Returns the value as text, for the rare places that need it. */
  value(index: number): string {
    return Buffer.from(this.bytes.subarray(this.valueStart(index), this.valueEnd(index))).toString("latin1");
  }

  valueIs(index: number, word: Uint8Array): boolean {
    return equalsIgnoringCase(this.bytes, this.valueStart(index), this.valueEnd(index), word);
  }

  /**
   * Parses the Connection field at `index`. Returns its options as bits of ConnectionOption, and marks every other field that it names HOP.
   * Connection cannot remove framing fields, Host or client fields.
   */
  readConnection(index: number): number {
    let options = 0;
    const { bytes } = this;
    const end = this.valueEnd(index);
    let at = this.valueStart(index);
    while (at < end) {
      while (at < end && (bytes[at] === SPACE || bytes[at] === TAB || bytes[at] === COMMA)) at++;
      const start = at;
      while (at < end && bytes[at] !== COMMA) at++;
      let wordEnd = at;
      while (wordEnd > start && (bytes[wordEnd - 1] === SPACE || bytes[wordEnd - 1] === TAB)) wordEnd--;
      if (wordEnd === start) continue;
      // Limited, because each option may be compared with every field.
      if (++this.connectionOptions > MAX_CONNECTION_OPTIONS) return ConnectionOption.TOO_MANY;
      if (equalsIgnoringCase(bytes, start, wordEnd, CLOSE_WORD)) options |= ConnectionOption.CLOSE;
      else if (equalsIgnoringCase(bytes, start, wordEnd, KEEP_ALIVE_WORD)) options |= ConnectionOption.KEEP_ALIVE;
      else if (equalsIgnoringCase(bytes, start, wordEnd, UPGRADE_WORD)) options |= ConnectionOption.UPGRADE;
      else if (equalsIgnoringCase(bytes, start, wordEnd, WORKING_WORD)) options |= ConnectionOption.WORKING;
      else this.markNamed(start, wordEnd);
    }
    return options;
  }

  private markNamed(start: number, end: number): void {
    for (let i = 0; i < this.count; i++) {
      if (IS_NAMEABLE[this.kinds[i] as number] === 0) continue;
      if (sameName(this.bytes, this.nameStart(i), this.nameEnd(i), start, end)) this.kinds[i] = FieldKind.HOP;
    }
  }
}

const COMMA = 44;

/** Bits for the options of a Connection field. */
export const ConnectionOption = { CLOSE: 1, KEEP_ALIVE: 2, UPGRADE: 4, TOO_MANY: 8, WORKING: 16 } as const;

function sameName(bytes: Uint8Array, start: number, end: number, otherStart: number, otherEnd: number): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = 0; i < end - start; i++) {
    if (((bytes[start + i] as number) | 32) !== ((bytes[otherStart + i] as number) | 32)) return false;
  }
  return true;
}
