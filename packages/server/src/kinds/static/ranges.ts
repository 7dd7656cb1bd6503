/** Reads Range (RFC 9110 §14.2). Pure. */

/** A part of a file; `end` is the position behind its last byte. */
export interface ByteRange {
  start: number;
  end: number;
}

/** `whole`: the field is not to be followed. `none`: no part of it exists (416). */
type Ranges = { kind: "whole" } | { kind: "none" } | { kind: "parts"; parts: ByteRange[] };

/** More parts than this in one request are nobody's need (§14.2, §17.15): the whole is sent. */
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
  // Parts that overlap would send more than there is.
  return total > size ? WHOLE : { kind: "parts", parts };
}

/** The frame around the parts of a multipart/byteranges answer (RFC 9110 §14.6). Pure. */
interface Multipart {
  /** The response's Content-Type. */
  contentType: string;
  /** What stands before each part; the last one ends the response. */
  delimiters: string[];
  length: number;
}

/** @param boundary text that no file has in it: random. */
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
