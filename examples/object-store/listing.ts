/**
 * One page of a listing: keys with a prefix; keys that contain a delimiter after it are grouped into common prefixes. Pure, apart from the
 * query.
 */

export interface ListOptions {
  prefix: string;
  /** Empty: nothing is grouped. */
  delimiter: string;
  /** Only keys and common prefixes after this one; undefined: from the first one. */
  after: string | undefined;
  most: number;
}

export interface ListPage<Entry> {
  objects: Entry[];
  commonPrefixes: string[];
  /** Where the next page continues; undefined if there is no more. */
  next: string | undefined;
}

/** @param query returns at most `limit` entries from a key on and before another one, if given, in the order of their bytes */
export async function listPage<Entry extends { key: string }>(
  { prefix, delimiter, after, most }: ListOptions,
  query: (from: string, to: string | undefined, limit: number) => Promise<Entry[]>,
): Promise<ListPage<Entry>> {
  const page: ListPage<Entry> = { objects: [], commonPrefixes: [], next: undefined };
  // S3 responds with an empty page too.
  if (most === 0) return page;
  const to = behindPrefix(prefix);
  // The rest of a common prefix is skipped, however many keys it has.
  const behind = (name: string) => {
    const rolled = name.startsWith(prefix) ? commonPrefixOf(name, prefix, delimiter) : undefined;
    return rolled === undefined ? behindKey(name) : behindPrefix(rolled);
  };
  let from = after === undefined || compareBytes(after, prefix) < 0 ? prefix : behind(after);
  for (let last = "", count = 0; from !== undefined; from = behind(last)) {
    const limit = most + 1 - count;
    const entries = await query(from, to, limit);
    for (const entry of entries) {
      const rolled = commonPrefixOf(entry.key, prefix, delimiter);
      if (rolled !== undefined && rolled === last) continue;
      if (count === most) return { ...page, next: last };
      if (rolled === undefined) page.objects.push(entry);
      else page.commonPrefixes.push(rolled);
      last = rolled ?? entry.key;
      count++;
    }
    if (entries.length < limit) break;
  }
  return page;
}

function commonPrefixOf(key: string, prefix: string, delimiter: string): string | undefined {
  const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/**
 * The order of the databases, which is that of S3: by bytes of UTF-8. The order of JavaScript strings differs for characters beyond U+FFFF.
 */
export const compareBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Returns a text between a key and the next possible key: no key contains this character. */
const behindKey = (key: string) => `${key}\u0001`;

/** Returns the first text after all texts that begin with `prefix`; undefined if there is none. */
export function behindPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const code = last.codePointAt(0) as number;
    if (code === 0x10ffff) continue;
    // No text contains a single surrogate.
    return points.join("") + String.fromCodePoint(code === 0xd7ff ? 0xe000 : code + 1);
  }
  return undefined;
}
