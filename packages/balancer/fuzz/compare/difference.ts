/** A way in which we and Node read the same bytes differently, with the reason why that is right. */
import type { Field } from "../message.js";
import type { Divergence, DivergenceKind } from "./divergence.js";

export interface Difference {
  name: string;
  kind: DivergenceKind;
  /** Why it is as it should be. */
  why: string;
  /** Whether this divergence is of that sort; looks at the bytes or at what Node saw, never at our own verdict alone. */
  holds(divergence: Divergence): boolean;
}

/** The list's entry that explains a divergence; a refusal of ours is explained only if we did refuse. */
export function explain(list: readonly Difference[], divergence: Divergence): Difference | undefined {
  const isRefusal = divergence.kind === "we-refuse" || divergence.kind === "we-refuse-body";
  if (isRefusal && divergence.ourWhy === "waits") return undefined;
  return list.find((difference) => difference.kind === divergence.kind && difference.holds(divergence));
}

/** A head cut apart by hand, for explanations: nothing here is a parser of the product's. */
export interface RawHead {
  /** With the empty line. */
  bytes: string;
  startLine: string;
  /** Names in lower case, values with the white space around them. */
  fields: Field[];
}

export function rawHead(bytes: string): RawHead {
  const start = bytes.search(/[^\r\n]/);
  const end = bytes.indexOf("\r\n\r\n", Math.max(0, start));
  const head = end < 0 ? bytes : bytes.slice(0, end + 4);
  const [startLine = "", ...lines] = head.slice(Math.max(0, start)).split("\r\n");
  const fields = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, Math.max(0, colon)).toLowerCase(), line.slice(colon + 1)] as const;
  });
  return { bytes: head, startLine, fields };
}

export function rawValues(head: RawHead, name: string): string[] {
  return head.fields.filter(([key]) => key === name).map(([, value]) => value);
}

/** The lines with the sizes of a chunked body, and the lines after the last; stops where it is broken. */
export function chunkLines(bytes: string): { sizes: string[]; trailers: string[] } {
  const head = rawHead(bytes).bytes;
  const sizes: string[] = [];
  let at = head.length;
  for (;;) {
    const end = bytes.indexOf("\r\n", at);
    if (end < 0) return { sizes, trailers: [] };
    const line = bytes.slice(at, end);
    sizes.push(line);
    const size = Number.parseInt(line, 16);
    at = end + 2;
    if (size === 0) break;
    if (!(size > 0)) return { sizes, trailers: [] };
    at += size + 2;
  }
  const end = bytes.indexOf("\r\n\r\n", at - 2);
  return { sizes, trailers: bytes.slice(at, end < 0 ? undefined : end).split("\r\n") };
}
