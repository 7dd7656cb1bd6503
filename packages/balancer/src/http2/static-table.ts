/** The static table of HPACK (RFC 7541 Appendix A), each field as the line that it is in HTTP/1.1. */
import { kindOf, SEPARATOR_BYTES } from "./field-kinds.js";

/** In the order of their indices, which begin with 1. */
export const STATIC_FIELDS: readonly (readonly [name: string, value: string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""],
];

/** The first index of the dynamic table. */
export const DYNAMIC_INDEX = STATIC_FIELDS.length + 1;

/** All lines one after another, and four numbers for each index: start, end of the name, end of the value, kind. */
export const STATIC_LINES: Uint8Array = Buffer.from(
  STATIC_FIELDS.map(([name, value]) => `${name}: ${value}\r\n`).join(""),
);
export const STATIC_POSITIONS = new Int32Array(4 * DYNAMIC_INDEX);

let at = 0;
for (const [i, [name, value]] of STATIC_FIELDS.entries()) {
  const nameEnd = at + name.length;
  const valueEnd = nameEnd + SEPARATOR_BYTES + value.length;
  STATIC_POSITIONS.set([at, nameEnd, valueEnd, kindOf(STATIC_LINES, at, nameEnd, valueEnd)], 4 * (i + 1));
  at = valueEnd + 2;
}
