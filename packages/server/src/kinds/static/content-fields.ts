/** Fields about a file: its media type, its coding, and how long it may be cached. Pure. */

import { AcceptedCodings } from "@paceline/wire/content-coding";
import { lookup } from "mrmime";
import type { Encoding, StaticSettings } from "./options.js";

const UNKNOWN = "application/octet-stream";
/** Text types whose files do not declare their charset. XML has a declaration, which the field would override. */
const WITH_CHARSET = /^(?:text\/(?!xml$)|application\/(?:javascript|json|manifest\+json)$)/;
const COMPRESSIBLE =
  /^(?:text\/|application\/(?:javascript|json|xml|wasm|rtf|x-sh|.*\+(?:json|xml)|vnd\.ms-fontobject)|image\/(?:svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)|font\/(?:ttf|otf|sfnt)|model\/)/;

interface MediaType {
  /** The value of Content-Type. */
  value: string;
  /** Whether to look for a precompressed file. */
  isCompressible: boolean;
}

/** A cache: few types are in use, whatever the number of files. */
const known = new Map<string, MediaType>();

/** Returns the media type by file name. Pure. */
export function mediaTypeOf(name: string): MediaType {
  const type = (name.includes(".") ? lookup(name) : undefined) ?? UNKNOWN;
  let found = known.get(type);
  if (found === undefined) {
    const value = WITH_CHARSET.test(type) ? `${type}; charset=utf-8` : type;
    found = { value, isCompressible: COMPRESSIBLE.test(type) };
    known.set(type, found);
  }
  return found;
}

/** Returns those of `offered` that have at least the weight of identity, best first. */
export function acceptedEncodings(value: string | null | undefined, offered: readonly Encoding[]): Encoding[] {
  if (value === null || value === undefined || offered.length === 0) return [];
  return new AcceptedCodings(value).best(offered);
}

/** The suffixes of precompressed files. */
export const SUFFIXES: Readonly<Record<Encoding, string>> = { br: ".br", zstd: ".zst", gzip: ".gz" };

const FOREVER = "public, max-age=31536000, immutable";
/** The last part of a name before its extension (`app.3f9a1c2b.js`, `index-BwDk2Fa1.min.css`), if it has at least eight characters. */
const MAYBE_HASHED = /[.-]([A-Za-z0-9_-]{8,64})(?:\.min|\.module|\.chunk|\.bundle)?\.[A-Za-z0-9]{2,5}(?:\.map)?$/;

export type CacheControlOf = (relative: string) => string | undefined;

export function cacheControlBy({ cacheControl, immutable }: StaticSettings): CacheControlOf {
  const rules = Object.entries(cacheControl).map(([pattern, value]) => [matcher(pattern), value] as const);
  if (rules.length === 0 && !immutable) return () => undefined;
  return (relative) => {
    if (immutable && isHashed(relative)) return FOREVER;
    return rules.find(([matches]) => matches.test(relative))?.[1];
  };
}

/** Returns whether a name seems to contain a hash: hexadecimal with both digits and letters, or upper case, lower case and digits. */
export function isHashed(relative: string): boolean {
  const found = MAYBE_HASHED.exec(relative.slice(relative.lastIndexOf("/") + 1));
  if (found === null) return false;
  // In `a-b-BwDk2Fa1.js` the hash follows the last dash, unless it contains a dash.
  const tail = found[1] as string;
  return [tail, tail.slice(tail.lastIndexOf("-") + 1)].some(looksHashed);
}

function looksHashed(text: string): boolean {
  if (text.length < 8 || !/\d/.test(text)) return false;
  if (/^[0-9a-f]+$/.test(text)) return /[a-f]/.test(text);
  return /[a-z]/.test(text) && /[A-Z]/.test(text);
}

/** `*`: any text without a slash. `**`: any text. A pattern without a slash matches a name in any folder. */
function matcher(pattern: string): RegExp {
  const inner = pattern
    .replace(/^\//, "")
    .split(/(\*\*\/|\*\*|\*)/)
    .map((part) => {
      if (part === "**/") return "(?:.*/)?";
      if (part === "**") return ".*";
      if (part === "*") return "[^/]*";
      return part.replace(/[.+?^${}()|[\]\\]/g, "\\$&");
    })
    .join("");
  return new RegExp(pattern.includes("/") ? `^${inner}$` : `(?:^|/)${inner}$`, "s");
}
