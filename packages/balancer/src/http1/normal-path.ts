/**
 * The path of a request in two forms. The normalized form (RFC 3986 §6.2.2) decides the route, and whether the path is refused. The form
 * that an instance gets is as sent, without dot segments. Pure.
 * - Escapes of unreserved characters are decoded, other escapes get upper-case digits, dot segments are removed. Several leading slashes
 *   become one, because `//host/x` reads as an authority. Later ones stay, because object keys and URLs within paths have empty segments.
 * - Refused are a path that leaves its root, `%00`, a `%` without two digits (which could form another escape with what follows), and a
 *   bare backslash, which is invalid and which URL parsers read as a slash.
 * - An escaped slash (`%2F`, or `%5C`, which some read as one) stays: some readers treat it as data, others as a slash.
 *   `readEscapedSlashes` returns the latter reading, so that an ambiguous request can be refused.
 */
import { HEX } from "./bytes.js";

/** Bits of `PathScan.traits`. */
export const PathTrait = {
  /** Has percent-encoding. */
  ESCAPED: 1,
  /** Differs from its normalized form. */
  UNNORMAL: 2,
  /** Has an escaped slash or backslash. */
  ESCAPED_SLASH: 4,
  /** Must be refused. */
  REFUSED: 8,
} as const;

const PERCENT = 37;
const DOT = 46;
const SLASH = 47;
const QUESTION = 63;
const BACKSLASH = 92;

/** The bytes that the scan has to examine. */
const IS_SPECIAL = new Uint8Array(256);
for (const byte of [PERCENT, SLASH, QUESTION, BACKSLASH]) IS_SPECIAL[byte] = 1;

/** Unreserved characters (RFC 3986 §2.3). */
const IS_UNRESERVED = new Uint8Array(256);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
  IS_UNRESERVED[character.charCodeAt(0)] = 1;
}

/** The result of scanning a target's path; reused for the next one. Most paths have no trait and need no more work. */
export class PathScan {
  /** The end of the path: the position of the query, or the end of the target. */
  end = 0;
  /** Bits of PathTrait. */
  traits = 0;

  /** Scans a target in origin-form. */
  read(bytes: Uint8Array, start: number, end: number): void {
    let traits = 0;
    let at = start;
    for (; at < end; at++) {
      const byte = bytes[at] as number;
      if (IS_SPECIAL[byte] === 0) continue;
      if (byte === QUESTION) break;
      if (byte === SLASH) {
        const next = at + 1 < end ? bytes[at + 1] : QUESTION;
        if (next === DOT ? isDotSegment(bytes, at + 1, end) : next === SLASH && at === start) {
          traits |= PathTrait.UNNORMAL;
        }
      } else if (byte === PERCENT) {
        const found = traitsOfEscape(bytes, at, end);
        traits |= found;
        if (found !== PathTrait.REFUSED) at += 2;
      } else traits |= PathTrait.REFUSED;
    }
    this.end = Math.min(at, end);
    this.traits = traits;
  }
}

function traitsOfEscape(bytes: Uint8Array, at: number, end: number): number {
  if (at + 2 >= end) return PathTrait.REFUSED;
  const first = bytes[at + 1] as number;
  const second = bytes[at + 2] as number;
  const code = codeOf(first, second);
  if (code <= 0) return PathTrait.REFUSED;
  const isUnnormal = IS_UNRESERVED[code] === 1 || isSmallLetter(first) || isSmallLetter(second);
  const isSlash = code === SLASH || code === BACKSLASH;
  return PathTrait.ESCAPED | (isUnnormal ? PathTrait.UNNORMAL : 0) | (isSlash ? PathTrait.ESCAPED_SLASH : 0);
}

/** Whether the segment that starts with the dot at `at` is `.` or `..`. An escaped dot is detected at its escape. */
function isDotSegment(bytes: Uint8Array, at: number, end: number): boolean {
  const after = bytes[at + 1] === DOT && at + 1 < end ? at + 2 : at + 1;
  return after >= end || bytes[after] === SLASH || bytes[after] === QUESTION;
}

/** Returns the byte of two hexadecimal digits; -1 if they are invalid. */
function codeOf(first: number, second: number): number {
  const high = HEX[first] as number;
  const low = HEX[second] as number;
  return high <= 15 && low <= 15 ? 16 * high + low : -1;
}

function isSmallLetter(byte: number): boolean {
  return byte >= 97;
}

/** Returns the normalized form of a path that begins with a slash; undefined if it must be refused. */
export function normalizePath(path: string): string | undefined {
  if (path.includes("\\")) return undefined;
  const decoded = path.includes("%") ? decodeUnreserved(path) : path;
  // Most paths contain no dot segments.
  return decoded === undefined || !HAS_DOTS_OR_SLASHES.test(decoded) ? decoded : removeDotSegments(decoded);
}

const HAS_DOTS_OR_SLASHES = /\/\.|^\/\//;

/** Uses a buffer instead of a regular expression, because a path may have thousands of escapes. */
function decodeUnreserved(path: string): string | undefined {
  const bytes = Buffer.from(path, "latin1");
  let to = 0;
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== PERCENT) {
      bytes[to++] = bytes[at] as number;
      continue;
    }
    const code = at + 2 < bytes.length ? codeOf(bytes[at + 1] as number, bytes[at + 2] as number) : -1;
    if (code <= 0) return undefined;
    if (IS_UNRESERVED[code] === 1) bytes[to++] = code;
    else {
      bytes[to++] = PERCENT;
      bytes[to++] = UPPER_HEX[code >> 4] as number;
      bytes[to++] = UPPER_HEX[code & 15] as number;
    }
    at += 2;
  }
  return bytes.toString("latin1", 0, to);
}

const UPPER_HEX = Buffer.from("0123456789ABCDEF", "latin1");

const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;

/**
 * Returns the path for an instance: as sent, because a signature may cover it, but without dot segments, which apps interpret
 * differently.
 */
export function pathWithoutDots(path: string): string {
  return DOT_SEGMENT.test(path) ? (removeDotSegments(path) as string) : path;
}

/**
 * Removes dot segments (RFC 3986 §5.2.4) in place and in one pass. Unlike there, paths must not leave their root, and leading slashes
 * become one.
 */
function removeDotSegments(path: string): string | undefined {
  const bytes = Buffer.from(path, "latin1");
  const { length } = bytes;
  let to = 0;
  let depth = 0;
  for (let at = 0; at < length; ) {
    const start = at + 1;
    let end = start;
    while (end < length && bytes[end] !== SLASH) end++;
    const dots = dotsOf(bytes, start, end);
    if (dots === 0) {
      if (end > start || depth > 0 || end === length) {
        bytes.copyWithin(to, at, end);
        to += end - at;
        depth++;
      }
    } else {
      if (dots === 2) {
        if (depth-- === 0) return undefined;
        while (bytes[--to] !== SLASH);
      }
      // A final dot segment refers to a folder.
      if (end === length) bytes[to++] = SLASH;
    }
    at = end;
  }
  return to === 0 ? "/" : bytes.toString("latin1", 0, to);
}

/** Returns the number of dots if these bytes are exactly one or two, escaped or not; otherwise 0. */
function dotsOf(bytes: Uint8Array, start: number, end: number): number {
  let dots = 0;
  for (let at = start; at < end; dots++) {
    if (dots === 2) return 0;
    if (bytes[at] === DOT) at++;
    else if (bytes[at] === PERCENT && at + 2 < end && codeOf(bytes[at + 1] as number, bytes[at + 2] as number) === DOT)
      at += 3;
    else return 0;
  }
  return dots;
}

/**
 * Returns two other readings of a path that had several leading slashes before it was normalized: with an empty first segment, and as a
 * host followed by another path, which is how a URL reference is resolved.
 */
export function readSlashesAtBeginning(normalPath: string): [literal: string, behindHost: string] {
  return [`/${normalPath}`, normalPath.replace(/^\/[^/]*\/*/, "/")];
}

/** Returns the form that routes are matched against: escapes decoded as by an app, except for escaped slashes. */
export function decodeForMatch(normalPath: string): string {
  if (!normalPath.includes("%")) return normalPath;
  const bytes = Buffer.from(normalPath, "latin1");
  let to = 0;
  for (let at = 0; at < bytes.length; at++) {
    const code =
      bytes[at] === PERCENT && at + 2 < bytes.length ? codeOf(bytes[at + 1] as number, bytes[at + 2] as number) : -1;
    if (code < 0 || code === SLASH || code === BACKSLASH) bytes[to++] = bytes[at] as number;
    else {
      bytes[to++] = code;
      at += 2;
    }
  }
  return bytes.toString("latin1", 0, to);
}

/** Returns how a normalized path reads if escaped slashes count as slashes; undefined if it then has dot segments. */
export function readEscapedSlashes(normalPath: string): string | undefined {
  const bytes = Buffer.from(normalPath, "latin1");
  let to = 0;
  for (let at = 0; at < bytes.length; at++) {
    const code =
      bytes[at] === PERCENT && at + 2 < bytes.length ? codeOf(bytes[at + 1] as number, bytes[at + 2] as number) : -1;
    const isSlash = code === SLASH || code === BACKSLASH;
    const byte = isSlash ? SLASH : (bytes[at] as number);
    if (isSlash) at += 2;
    // Several leading slashes become one.
    if (byte !== SLASH || to !== 1 || bytes[0] !== SLASH) bytes[to++] = byte;
  }
  const read = bytes.toString("latin1", 0, to);
  return /\/\.\.?(\/|$)/.test(read) ? undefined : read;
}
