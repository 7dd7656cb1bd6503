/** What a file is, by its name. Pure. */
import { lookup } from "mrmime";

const UNKNOWN = "application/octet-stream";
/** Text whose charset nothing in it tells; XML has a declaration, which the field would overrule. */
const WITH_CHARSET = /^(?:text\/(?!xml$)|application\/(?:javascript|json|manifest\+json)$)/;
const COMPRESSIBLE =
  /^(?:text\/|application\/(?:javascript|json|xml|wasm|rtf|x-sh|.*\+(?:json|xml)|vnd\.ms-fontobject)|image\/(?:svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)|font\/(?:ttf|otf|sfnt)|model\/)/;

export interface MediaType {
  /** As it stands in Content-Type. */
  value: string;
  /** A neighbour that is compressed is looked for. */
  isCompressible: boolean;
}

/** Few names of types are in use, whatever the number of files. */
const known = new Map<string, MediaType>();

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
