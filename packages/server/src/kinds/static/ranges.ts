/** Parses Range (RFC 9110 §14.2). Pure. */

/** A part of a file; `end` is exclusive. */
export interface ByteRange {
  start: number;
  end: number;
}

/** `whole`: ignore the field. `none`: no part of it exists (416). */
type Ranges = { kind: "whole" } | { kind: "none" } | { kind: "parts"; parts: ByteRange[] };

/** If there are more parts, the whole file is sent, because no client needs more (§14.2, §17.15). */
export const MAX_RANGES = 16;
const WHOLE: Ranges = { kind: "whole" };
const RANGE = /^(\d{0,15})-(\d{0,15})$/;

export function rangesOf(value: string | null | undefined, size: number): Ranges {
  if (value === null || value === undefined || !/^\s*bytes\s*=/i.test(value)) return WHOLE;
  const specs = value.slice(value.indexOf("=") + 1).split(",", 8 * MAX_RANGES);
  const parts: ByteRange[] = [];
  let seen = 0;
  let total = 0;
  for (const spec of specs) {
    const text = spec.trim();
    if (text === "") continue;
    if (++seen > MAX_RANGES) return WHOLE;
    const found = RANGE.exec(text);
    if (found === null || text === "-") return WHOLE;
    const [, first = "", last = ""] = found;
    if (first !== "" && last !== "" && Number(last) < Number(first)) return WHOLE;
    const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
    const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
    if (start >= end) continue;
    parts.push({ start, end });
    total += end - start;
  }
  if (seen === 0) return WHOLE;
  if (parts.length === 0) return { kind: "none" };
  // Overlapping parts would send more than the file.
  return total > size ? WHOLE : { kind: "parts", parts };
}

/** The framing of a multipart/byteranges response (RFC 9110 §14.6). Pure. */
interface Multipart {
  /** The response's Content-Type. */
  contentType: string;
  /** The text before each part; the last one ends the response. */
  delimiters: string[];
  length: number;
}

/** @param boundary random text that occurs in no file */
export function multipartOf(parts: readonly ByteRange[], size: number, type: string, boundary: string): Multipart {
  const delimiters = parts.map(
    ({ start, end }, at) =>
      `${at === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: bytes ${start}-${end - 1}/${size}\r\n\r\n`,
  );
  delimiters.push(`\r\n--${boundary}--\r\n`);
  const framing = delimiters.reduce((sum, text) => sum + text.length, 0);
  const length = parts.reduce((sum, { start, end }) => sum + end - start, framing);
  return { contentType: `multipart/byteranges; boundary=${boundary}`, delimiters, length };
}
