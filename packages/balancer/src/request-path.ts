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
import { HEX } from "./http1/bytes.js";

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
  let isRefused = false;
  const decoded = path.replace(/%(.{0,2})/gs, (escaped: string, digits: string) => {
    const code = digits.length < 2 ? -1 : codeOf(digits.charCodeAt(0), digits.charCodeAt(1));
    if (code <= 0) isRefused = true;
    return code > 0 && IS_UNRESERVED[code] === 1 ? String.fromCharCode(code) : escaped.toUpperCase();
  });
  return isRefused ? undefined : removeDotSegments(decoded);
}

const ONE_DOT = /^(?:\.|%2e)$/i;
const DOT_DOT = /^(?:\.|%2e){2}$/i;
const DOT_SEGMENT = /\/(?:\.|%2e){1,2}(?:\/|$)/i;

/**
 * What an instance gets of a path that has a normal form: its bytes as they came, whose signature may be checked there, but
 * without dot segments, of which apps make different things.
 */
export function pathWithoutDots(path: string): string {
  return DOT_SEGMENT.test(path) ? (removeDotSegments(path) as string) : path;
}

/** RFC 3986 §5.2.4, but for a path that would leave its root, and for slashes at the beginning. */
function removeDotSegments(path: string): string | undefined {
  const segments = path.slice(1).split("/");
  const last = segments.length - 1;
  const kept: string[] = [];
  for (const [at, segment] of segments.entries()) {
    if (DOT_DOT.test(segment)) {
      if (kept.length === 0) return undefined;
      kept.pop();
    } else if (!ONE_DOT.test(segment) && (segment !== "" || kept.length > 0 || at === last)) {
      kept.push(segment);
      continue;
    }
    // What a dot segment at the end names is a folder.
    if (at === last) kept.push("");
  }
  return `/${kept.join("/")}`;
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
  return normalPath.replace(/%(?!2F|5C)(..)/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

/** What a reader sees that takes escaped slashes of a normal path for slashes; undefined when there are dot segments in it. */
export function readEscapedSlashes(normalPath: string): string | undefined {
  const read = normalPath.replace(/%(2F|5C)/g, "/").replace(/^\/+/, "/");
  return /\/\.\.?(\/|$)/.test(read) ? undefined : read;
}
