/** What a target and a Host may have in them: hosts that a URL can have, and bytes outside ASCII. */
import { isUrlHost } from "@paceline/wire";
import { COLON } from "./bytes.js";

const ZERO = 48;
const DOT = 46;
const DASH = 45;
/** Bits of CLASS. */
const IN_NAME = 1;
const IS_DIGIT = 2;

const CLASS = new Uint8Array(256);
for (const character of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_-.") {
  CLASS[character.charCodeAt(0)] = IN_NAME;
}
for (const character of "0123456789") CLASS[character.charCodeAt(0)] = IN_NAME | IS_DIGIT;

/** An empty one is right where a target has no authority (RFC 9112 §3.2). */
export function isHost(bytes: Uint8Array, start: number, end: number): boolean {
  return start === end || isPlainHost(bytes, start, end) || isUrlHost(textOf(bytes, start, end));
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

/** A name whose last label begins with a letter, or four decimal numbers; false for all others, which may be hosts as well. */
function isPlainHost(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start;
  let label = start;
  let numbers = 0;
  let isQuad = true;
  for (; at < end && ((CLASS[bytes[at] as number] as number) & IN_NAME) !== 0; at++) {
    if (bytes[at] === DOT) {
      isQuad &&= isByte(bytes, label, at);
      numbers++;
      label = at + 1;
    } else if (bytes[at] === DASH && bytes[at + 1] === DASH) {
      // Perhaps an A-label, which has to be decoded to be judged.
      return false;
    }
  }
  if (at === label) return false;
  const isNumber = ((CLASS[bytes[label] as number] as number) & IS_DIGIT) !== 0;
  if (isNumber && !(isQuad && numbers === 3 && isByte(bytes, label, at))) return false;
  return at === end || (bytes[at] === COLON && isPort(bytes, at + 1, end));
}

/** A number up to 255 without zeros before it: with them it would be octal to some. */
function isByte(bytes: Uint8Array, start: number, end: number): boolean {
  if (end === start || end - start > 3 || (bytes[start] === ZERO && end - start > 1)) return false;
  return isUpTo(bytes, start, end, 255);
}

function isPort(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start <= 5 && isUpTo(bytes, start, end, 65_535);
}

function isUpTo(bytes: Uint8Array, start: number, end: number, most: number): boolean {
  let value = 0;
  for (let i = start; i < end; i++) {
    if (((CLASS[bytes[i] as number] as number) & IS_DIGIT) === 0) return false;
    value = value * 10 + (bytes[i] as number) - ZERO;
  }
  return value <= most;
}

/** Bytes outside ASCII in a target: no URI has them (RFC 3986 §2.1), yet some clients send a text's UTF-8 as it is. */
export function isOutsideAscii(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 128;
}

/**
 * The range with bytes outside ASCII percent-encoded as browsers do it, in capital digits, all others as they are; `grown` is by how
 * many bytes it grows.
 */
export function encodeNonAscii(bytes: Uint8Array, start: number, end: number, grown: number): Uint8Array {
  const encoded = Buffer.allocUnsafe(end - start + grown);
  let to = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < 128) encoded[to++] = byte;
    else to += encoded.write(`%${byte.toString(16).toUpperCase()}`, to, "latin1");
  }
  return encoded;
}
