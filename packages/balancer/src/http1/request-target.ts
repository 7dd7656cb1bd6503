/** The bytes allowed in a target and a Host: hosts that are valid in a URL, and non-ASCII bytes. */
import { isUrlHost } from "@paceline/wire";
import { COLON, copy } from "./bytes.js";

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

/** The last valid host, cached because most requests have the same host. */
const lastHost = new Uint8Array(64);
let lastLength = 0;

/** Whether it is a valid host. An empty one is valid for a target without authority (RFC 9112 §3.2). */
export function isHost(bytes: Uint8Array, start: number, end: number): boolean {
  if (isLastHost(bytes, start, end)) return true;
  if (!isPlainHost(bytes, start, end) && !isUrlHost(textOf(bytes, start, end))) return false;
  if (end - start <= lastHost.length) lastLength = copy(bytes, start, end, lastHost, 0);
  return true;
}

function isLastHost(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start !== lastLength) return start === end;
  for (let i = 0; i < lastLength; i++) if (bytes[start + i] !== lastHost[i]) return false;
  return true;
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}

/** Whether it is a name whose last label begins with a letter, or four decimal numbers. Others may be valid hosts, too. */
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
      // It may be an A-label, which must be decoded to be checked.
      return false;
    }
  }
  if (at === label) return false;
  const isNumber = ((CLASS[bytes[label] as number] as number) & IS_DIGIT) !== 0;
  if (isNumber && !(isQuad && numbers === 3 && isByte(bytes, label, at))) return false;
  return at === end || (bytes[at] === COLON && isPort(bytes, at + 1, end));
}

/** Whether it is a number up to 255 without leading zeros, which some parsers read as octal. */
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

/** Whether the byte is not ASCII. URIs must not contain such bytes (RFC 3986 §2.1), but some clients send raw UTF-8. */
export function isOutsideAscii(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 128;
}

/** Percent-encodes the range's non-ASCII bytes with upper-case digits, as browsers do. `grown` is the number of added bytes. */
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
