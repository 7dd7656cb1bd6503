/**
 * The path of a request: in its normal form (RFC 3986 §6.2.2), in which it is matched to routes or refused, and as an
 * instance gets it, which is as it came but for dot segments. Pure.
 *
 * - Percent-encoded unreserved characters are decoded, other escapes are written with capital digits, dot segments are
 *   removed. Slashes at the beginning become one, since `//host/x` reads as an authority to whoever resolves it; those
 *   further on stay, since an empty segment is a segment (object keys and URLs within paths have them).
 * - Refused: a path that leaves its root, `%00`, a `%` that begins no escape (what is left of it could become another
 *   escape), and a bare backslash, which no path may hold and which URL parsers read as a slash.
 * - An escaped slash (`%2F`, and `%5C`, which some read as one) stays as it is: it is data to one reader and a slash to
 *   the next. `readEscapedSlashes` gives what the latter sees, so that a request can be refused where that matters.
 */
import { HEX } from "../http1/bytes.js";

/** Bits of `PathScan.traits`. */
export const PathTrait = {
  /** Has percent-encoding. */
  ESCAPED: 1,
  /** Is not what `normalizePath` makes of it. */
  UNNORMAL: 2,
  /** Has a slash or a backslash that is percent-encoded. */
  ESCAPED_SLASH: 4,
  /** Must not pass. */
  REFUSED: 8,
} as const;

const PERCENT = 37;
const DOT = 46;
const SLASH = 47;
const QUESTION = 63;
const BACKSLASH = 92;

/** The bytes at which the scan has to look. */
const IS_SPECIAL = new Uint8Array(256);
for (const byte of [PERCENT, SLASH, QUESTION, BACKSLASH]) IS_SPECIAL[byte] = 1;

/** RFC 3986 §2.3. */
const IS_UNRESERVED = new Uint8Array(256);
for (const character of "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") {
  IS_UNRESERVED[character.charCodeAt(0)] = 1;
}

/** One look at a target's path; used again for the next. Most paths have no trait at all, and cost no more than this. */
export class PathScan {
  /** Where the path ends: at the query, or with the target. */
  end = 0;
  /** Bits of PathTrait. */
  traits = 0;

  /** Looks at a target in origin-form. */
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

/** Whether the segment that begins with the dot at `at` is `.` or `..`; one with an escaped dot is told by the escape. */
function isDotSegment(bytes: Uint8Array, at: number, end: number): boolean {
  const after = bytes[at + 1] === DOT && at + 1 < end ? at + 2 : at + 1;
  return after >= end || bytes[after] === SLASH || bytes[after] === QUESTION;
}

/** The byte that two hexadecimal digits stand for; -1 when they are none. */
function codeOf(first: number, second: number): number {
  const high = HEX[first] as number;
  const low = HEX[second] as number;
  return high <= 15 && low <= 15 ? 16 * high + low : -1;
}

function isSmallLetter(byte: number): boolean {
  return byte >= 97;
}

/** The normal form of a path that begins with a slash; undefined for one that is refused. */
export function normalizePath(path: string): string | undefined {
  if (path.includes("\\")) return undefined;
  const decoded = path.includes("%") ? decodeUnreserved(path) : path;
  // Most paths have nothing to be removed.
  return decoded === undefined || !HAS_DOTS_OR_SLASHES.test(decoded) ? decoded : removeDotSegments(decoded);
}

const HAS_DOTS_OR_SLASHES = /\/\.|^\/\//;

/** In a buffer and not with an expression: a path may have thousands of escapes. */
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
 * What an instance gets of a path that has a normal form: its bytes as they came, whose signature may be checked there, but
 * without dot segments, of which apps make different things.
 */
export function pathWithoutDots(path: string): string {
  return DOT_SEGMENT.test(path) ? (removeDotSegments(path) as string) : path;
}

/** RFC 3986 §5.2.4, but for a path that would leave its root, and for slashes at the beginning. In place, and in one pass. */
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
      // What a dot segment at the end names is a folder.
      if (end === length) bytes[to++] = SLASH;
    }
    at = end;
  }
  return to === 0 ? "/" : bytes.toString("latin1", 0, to);
}

/** How many dots these bytes are, escaped or not, if they are one or two and nothing else; else 0. */
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
 * What else apps make of a path with several slashes at its beginning, of which this is the normal form: a path whose first
 * segment is empty, and, as whoever resolves references reads it, a host with another path behind it.
 */
export function readSlashesAtBeginning(normalPath: string): [literal: string, behindHost: string] {
  return [`/${normalPath}`, normalPath.replace(/^\/[^/]*\/*/, "/")];
}

/** What routes are matched against: a normal path with its escapes decoded, as an app reads it, but for escaped slashes. */
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

/** What a reader sees that takes escaped slashes of a normal path for slashes; undefined when there are dot segments in it. */
export function readEscapedSlashes(normalPath: string): string | undefined {
  const bytes = Buffer.from(normalPath, "latin1");
  let to = 0;
  for (let at = 0; at < bytes.length; at++) {
    const code =
      bytes[at] === PERCENT && at + 2 < bytes.length ? codeOf(bytes[at + 1] as number, bytes[at + 2] as number) : -1;
    const isSlash = code === SLASH || code === BACKSLASH;
    const byte = isSlash ? SLASH : (bytes[at] as number);
    if (isSlash) at += 2;
    // Slashes at the beginning are one.
    if (byte !== SLASH || to !== 1 || bytes[0] !== SLASH) bytes[to++] = byte;
  }
  const read = bytes.toString("latin1", 0, to);
  return /\/\.\.?(\/|$)/.test(read) ? undefined : read;
}
