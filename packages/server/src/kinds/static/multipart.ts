/** The frame around the parts of a multipart/byteranges answer (RFC 9110 §14.6). Pure. */
import type { ByteRange } from "./ranges.js";

export interface Multipart {
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
