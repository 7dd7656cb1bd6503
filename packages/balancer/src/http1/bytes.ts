/** Byte tables and small loops shared by the HTTP/1 parsers and writers. */

const TOKEN = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export const TAB = 9;
export const LF = 10;
export const CR = 13;
export const SPACE = 32;
export const COLON = 58;

/** Bits of BYTE_CLASS. */
export const IS_TOKEN = 1;
export const IS_FIELD_VALUE = 2;
export const IS_TARGET = 4;

/** The classes of each byte: token (RFC 9110 §5.6.2), field value (§5.5), request target. */
export const BYTE_CLASS = new Uint8Array(256);
for (const character of TOKEN) BYTE_CLASS[character.charCodeAt(0)] = IS_TOKEN;
for (let byte = 0; byte < 256; byte++) {
  const isVisible = byte > SPACE && byte < 127;
  if (byte === TAB || byte === SPACE || isVisible || byte >= 128) or(byte, IS_FIELD_VALUE);
  // A fragment must not be sent (RFC 9110 §7.1), and the next hop might take it for a part of the path.
  if (isVisible && byte !== 35) or(byte, IS_TARGET);
}

function or(byte: number, bits: number): void {
  BYTE_CLASS[byte] = (BYTE_CLASS[byte] as number) | bits;
}

/** Maps ASCII letters to lower case and other bytes to themselves. */
export const LOWER = new Uint8Array(256);
for (let byte = 0; byte < 256; byte++) LOWER[byte] = byte >= 65 && byte <= 90 ? byte + 32 : byte;

/** The value of each hexadecimal digit; 255 for other bytes. */
export const HEX = new Uint8Array(256).fill(255);
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit;
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

/** Returns the ASCII bytes of a text. */
export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Whether the range equals that lower-case word, ignoring case. */
export function equalsIgnoringCase(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) {
    if (LOWER[bytes[start + i] as number] !== word[i]) return false;
  }
  return true;
}

/** Below this size, a loop is faster than a call. */
const LOOP_BYTES = 24;

const copyNatively = Buffer.prototype.copy as (
  this: Uint8Array,
  to: Uint8Array,
  at: number,
  start: number,
  end: number,
) => number;

/** Copies a range and returns the position after it. */
export function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  if (end - start > LOOP_BYTES) {
    copyNatively.call(from, to, at, start, end);
    return at + end - start;
  }
  for (let i = start; i < end; i++) to[at++] = from[i] as number;
  return at;
}

/** Returns a copy of the range in its own memory; the `slice` of a Buffer would share memory. */
export function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes, start, end);
}

/** Returns the decimal number in the range; -1 if it contains anything but digits, or exceeds 2^53 - 1. */
export function parseDecimal(bytes: Uint8Array, start: number, end: number): number {
  if (end === start || end - start > 16) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = (bytes[i] as number) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value <= Number.MAX_SAFE_INTEGER ? value : -1;
}

/** Writes a decimal number and returns the position after it. */
export function writeDecimal(value: number, to: Uint8Array, at: number): number {
  let digits = 1;
  for (let rest = value; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    const next = Math.floor(rest / 10);
    to[i] = 48 + rest - next * 10;
    rest = next;
  }
  return at + digits;
}

/** Writes a hexadecimal number and returns the position after it. */
export function writeHex(value: number, to: Uint8Array, at: number): number {
  let digits = 1;
  for (let rest = value; rest >= 16; rest >>>= 4) digits++;
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    const digit = rest & 15;
    to[i] = digit < 10 ? 48 + digit : 87 + digit;
    rest >>>= 4;
  }
  return at + digits;
}
