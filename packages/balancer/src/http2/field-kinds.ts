/** Classifies a field of an HTTP/2 request, once, when it is decoded (RFC 9113 §8.2, §8.3). Pure. */
import { BYTE_CLASS, IS_FIELD_VALUE, IS_TOKEN, SPACE, TAB } from "../http1/bytes.js";

export const Kind = {
  REGULAR: 0,
  /** Makes the request malformed: its name or value is invalid, or it applies to one connection only (RFC 9113 §8.2.2). */
  MALFORMED: 1,
  METHOD: 2,
  SCHEME: 3,
  PATH: 4,
  AUTHORITY: 5,
  PROTOCOL: 6,
  HOST: 7,
  COOKIE: 8,
  CONTENT_LENGTH: 9,
  /** The key of a WebSocket's handshake in HTTP/1.1; over HTTP/2 there is none (RFC 8441 §5). */
  WEBSOCKET_KEY: 10,
} as const;

const NAMES: Readonly<Record<string, number>> = {
  ":method": Kind.METHOD,
  ":scheme": Kind.SCHEME,
  ":path": Kind.PATH,
  ":authority": Kind.AUTHORITY,
  ":protocol": Kind.PROTOCOL,
  host: Kind.HOST,
  cookie: Kind.COOKIE,
  "content-length": Kind.CONTENT_LENGTH,
  "sec-websocket-key": Kind.WEBSOCKET_KEY,
  connection: Kind.MALFORMED,
  "proxy-connection": Kind.MALFORMED,
  "keep-alive": Kind.MALFORMED,
  "transfer-encoding": Kind.MALFORMED,
  upgrade: Kind.MALFORMED,
};

const MAX_NAME = 18;
const BY_LENGTH = Array.from({ length: MAX_NAME + 1 }, (_, length) =>
  Object.entries(NAMES)
    .filter(([name]) => name.length === length)
    .map(([name, kind]) => ({ name: Buffer.from(name), kind })),
);

const TRAILERS = Buffer.from("trailers");
const COLON = 58;
const [UPPER_A, UPPER_Z, LETTER_T, LETTER_E] = [65, 90, 116, 101];
/** The length of the separator between name and value in a line. */
export const SEPARATOR_BYTES = 2;

/** @param start of a line `name: value` with its line end; the name ends at `nameEnd`, the value at `valueEnd` */
export function fieldKindOf(bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): number {
  const valueStart = nameEnd + SEPARATOR_BYTES;
  if (!isValue(bytes, valueStart, valueEnd)) return Kind.MALFORMED;
  const length = nameEnd - start;
  if (length <= MAX_NAME) {
    for (const { name, kind } of BY_LENGTH[length] as (typeof BY_LENGTH)[number])
      if (equals(bytes, start, name)) return kind;
    // The only value that TE may have (RFC 9113 §8.2.2).
    if (length === 2 && bytes[start] === LETTER_T && bytes[start + 1] === LETTER_E) {
      const isTrailers = valueEnd - valueStart === TRAILERS.length && equals(bytes, valueStart, TRAILERS);
      return isTrailers ? Kind.REGULAR : Kind.MALFORMED;
    }
  }
  return isName(bytes, start, nameEnd) ? Kind.REGULAR : Kind.MALFORMED;
}

function equals(bytes: Uint8Array, start: number, word: Uint8Array): boolean {
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word[i]) return false;
  return true;
}

/** Whether it is a field name in lower case. A colon at its beginning would make it an unknown pseudo-header field. */
function isName(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end || bytes[start] === COLON) return false;
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (((BYTE_CLASS[byte] as number) & IS_TOKEN) === 0 || (byte >= UPPER_A && byte <= UPPER_Z)) return false;
  }
  return true;
}

/** Whether it is valid in a line, and neither begins nor ends with white space (RFC 9113 §8.2.1). */
function isValue(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end) return true;
  if (isSpace(bytes[start]) || isSpace(bytes[end - 1])) return false;
  for (let i = start; i < end; i++)
    if (((BYTE_CLASS[bytes[i] as number] as number) & IS_FIELD_VALUE) === 0) return false;
  return true;
}

function isSpace(byte: number | undefined): boolean {
  return byte === SPACE || byte === TAB;
}
