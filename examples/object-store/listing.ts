/** One page of a listing: keys under a prefix, those behind a delimiter rolled up into common prefixes. Pure but for the query. */

export interface ListOptions {
  prefix: string;
  /** Empty: nothing is rolled up. */
  delimiter: string;
  /** Only keys and common prefixes behind this one; undefined: from the first. */
  after: string | undefined;
  /** At least 1. */
  most: number;
}

/** The keys from which a query returns the first ones, in the order of their bytes. */
export interface KeyRange {
  /** The first key allowed. */
  from: string;
  /** Whether `from` itself is left out. */
  isAfter: boolean;
  /** The first key behind the range; undefined: to the last. */
  to: string | undefined;
}

export interface ListPage<Entry> {
  objects: Entry[];
  commonPrefixes: string[];
  /** What to continue after; undefined if there is no more. */
  next: string | undefined;
}

/** @param query returns at most `limit` entries of a range, ordered. */
export async function listPage<Entry extends { key: string }>(
  { prefix, delimiter, after, most }: ListOptions,
  query: (range: KeyRange, limit: number) => Promise<Entry[]>,
): Promise<ListPage<Entry>> {
  const page: ListPage<Entry> = { objects: [], commonPrefixes: [], next: undefined };
  const to = behindPrefix(prefix);
  let from: KeyRange | undefined = firstRange(prefix, delimiter, after, to);
  let count = 0;
  let last = "";
  while (from !== undefined) {
    const limit: number = most + 1 - count;
    const entries: Entry[] = await query(from, limit);
    let rolled: string | undefined;
    for (const entry of entries) {
      if (rolled !== undefined && entry.key.startsWith(rolled)) continue;
      if (count === most) return { ...page, next: last };
      rolled = commonPrefixOf(entry.key, prefix, delimiter);
      last = rolled ?? entry.key;
      count++;
      if (rolled === undefined) page.objects.push(entry);
      else page.commonPrefixes.push(rolled);
    }
    if (entries.length < limit) return page;
    // The rest of a common prefix is passed over, however many keys it has.
    from = rolled === undefined ? { from: last, isAfter: true, to } : rangeBehind(rolled, to);
  }
  return page;
}

function firstRange(
  prefix: string,
  delimiter: string,
  after: string | undefined,
  to: string | undefined,
): KeyRange | undefined {
  if (after === undefined) return { from: prefix, isAfter: false, to };
  const rolled = after.startsWith(prefix) ? commonPrefixOf(after, prefix, delimiter) : undefined;
  if (rolled !== undefined) return rangeBehind(rolled, to);
  return compareBytes(after, prefix) < 0 ? { from: prefix, isAfter: false, to } : { from: after, isAfter: true, to };
}

function rangeBehind(rolled: string, to: string | undefined): KeyRange | undefined {
  const from = behindPrefix(rolled);
  return from === undefined ? undefined : { from, isAfter: false, to };
}

function commonPrefixOf(key: string, prefix: string, delimiter: string): string | undefined {
  const at = delimiter === "" ? -1 : key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** The order of the databases, which is that of S3: by bytes of UTF-8. JavaScript's own differs for characters beyond U+FFFF. */
export function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** Returns the first text behind all that begin with `prefix`; undefined if there is none. */
export function behindPrefix(prefix: string): string | undefined {
  const points = Array.from(prefix);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const code = last.codePointAt(0) as number;
    if (code === 0x10ffff) continue;
    // No text has a single surrogate.
    return points.join("") + String.fromCodePoint(code === 0xd7ff ? 0xe000 : code + 1);
  }
  return undefined;
}
