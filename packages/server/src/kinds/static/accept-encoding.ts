/** Which codings a client prefers to the file as it is (RFC 9110 §12.5.3). Pure. */
import type { Encoding } from "./options.js";

const ITEM = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?$/i;
/** What comes behind so many is not read. */
const MAX_ITEMS = 32;

/** Of `offered`, best first and by weight: those that weigh at least what the file as it is does. */
export function acceptedEncodings(value: string | null | undefined, offered: readonly Encoding[]): Encoding[] {
  if (value === null || value === undefined || offered.length === 0) return [];
  const weights = new Map<string, number>();
  for (const item of value.split(",", MAX_ITEMS)) {
    const found = ITEM.exec(item.trim());
    if (found === null) continue;
    const [, name = "", weight] = found;
    const lower = name.toLowerCase();
    weights.set(lower === "x-gzip" ? "gzip" : lower, weight === undefined ? 1 : Math.min(1, Number(weight)));
  }
  const any = weights.get("*") ?? 0;
  // Where nothing is said of it, it is what is left when nothing else fits.
  const identity = weights.get("identity") ?? 0;
  const weightOf = (encoding: Encoding) => weights.get(encoding) ?? any;
  return offered
    .filter((encoding) => weightOf(encoding) > 0 && weightOf(encoding) >= identity)
    .sort((a, b) => weightOf(b) - weightOf(a));
}

/** How the name of a neighbour ends. */
export const SUFFIXES: Readonly<Record<Encoding, string>> = { br: ".br", zstd: ".zst", gzip: ".gz" };
