/** The percent-encoding of S3: paths, queries and keys. */
import { S3Error } from "./errors.ts";

/** Encodes all but `A-Z a-z 0-9 - _ . ~`, as signatures need it. */
export function encodeUri(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Encodes a key, whose slashes stay. */
export function encodePath(text: string): string {
  return encodeUri(text).replaceAll("%2F", "/");
}

/** @throws S3Error InvalidURI, since a key is UTF-8 */
export function decodeUri(text: string): string {
  if (!text.includes("%")) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    throw new S3Error("InvalidURI");
  }
}

/** Answers in XML cannot name every key. @throws S3Error InvalidArgument */
export function checkKey(key: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
  if (!/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(key)) return;
  throw new S3Error("InvalidArgument", "The key has a control character, or another one that XML cannot hold");
}

/** The parameters of a query, decoded, in the order sent. */
export class Query {
  readonly pairs: [name: string, value: string][];

  constructor(query: string) {
    this.pairs = query
      .split("&")
      .filter((pair) => pair !== "")
      .map((pair) => {
        const at = pair.indexOf("=");
        const [name, value] = at < 0 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
        return [decodeUri(name.replaceAll("+", " ")), decodeUri(value.replaceAll("+", " "))];
      });
  }

  get(name: string): string | undefined {
    return this.pairs.find((pair) => pair[0] === name)?.[1];
  }

  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  /** @throws S3Error InvalidArgument unless it is a whole number of at least `least`; larger ones count as `most` */
  number(name: string, missing: number, least: number, most: number): number {
    const text = this.get(name);
    if (text === undefined || text === "") return missing;
    if (!/^\d{1,10}$/.test(text) || Number(text) < least) {
      throw new S3Error("InvalidArgument", `${name} must be a whole number of at least ${least}`);
    }
    return Math.min(Number(text), most);
  }
}
