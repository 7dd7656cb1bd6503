/** The percent-encoding of S3: paths, queries and keys. */
import { S3Error } from "./errors.ts";

/** Encodes all characters except `A-Z a-z 0-9 - _ . ~`, as signatures require. */
export const encodeUri = (text: string) =>
  encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Encodes a key, but keeps its slashes. */
export const encodePath = (text: string) => encodeUri(text).replaceAll("%2F", "/");

/** @throws S3Error InvalidURI: a key is UTF-8, and PostgreSQL's text type cannot contain NUL */
export function decodeUri(text: string): string {
  try {
    const decoded = text.includes("%") ? decodeURIComponent(text) : text;
    if (!decoded.includes("\0")) return decoded;
  } catch {
    // Rejected below.
  }
  throw new S3Error("InvalidURI");
}

/**
 * Responses in XML cannot contain every key.
 * @throws S3Error InvalidArgument
 */
export function checkKey(key: string): void {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
  if (!/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/.test(key)) return;
  throw new S3Error("InvalidArgument", "The key has a control character, or another one that XML cannot hold");
}

/** @throws S3Error InvalidArgument unless it is a whole number of at least `least`; larger numbers count as `most` */
export function numberIn(query: URLSearchParams, name: string, missing: number, least: number, most: number): number {
  const text = query.get(name) || `${missing}`;
  if (/^\d{1,10}$/.test(text) && Number(text) >= least) return Math.min(Number(text), most);
  throw new S3Error("InvalidArgument", `${name} must be a whole number of at least ${least}`);
}
