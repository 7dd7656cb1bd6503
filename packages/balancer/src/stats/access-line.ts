/** Writes one request as a line of the access log, of printable ASCII alone: no client can begin a line or end a quoted text. Pure. */
import { ascii, CR, equalsIgnoringCase, LF } from "../http1/bytes.js";
import type { RequestHead } from "../http1/request-head.js";

export interface AccessEntry {
  /** When the request came, in milliseconds since 1970. */
  timeMs: number;
  client: string;
  /** The request as it came; undefined where it could not be read. */
  head: RequestHead | undefined;
  /** Where its line begins in `head.bytes`. */
  start: number;
  status: number;
  /** Of the response's body, before its framing. */
  bytes: number;
  durationMs: number;
  /** The instance that had it last, such as `web.3`. */
  upstream: string | undefined;
}

/** So much of a field is written; what is cut ends in `...`. */
const MAX_FIELD_BYTES = 2048;
/** More than a line can be: three fields in which each byte is an escape of four, and what stands around them. */
export const MAX_LINE_BYTES = 3 * (4 * MAX_FIELD_BYTES + 8) + 512;

const REFERER = ascii("referer");
const USER_AGENT = ascii("user-agent");
const QUOTE = 34;
const BACKSLASH = 92;
const SPACE = 32;
const HEX = ascii("0123456789ABCDEF");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

let second = Number.NaN;
let clock = "";

/** Writes the line, with its end, at `at`, where there is room for MAX_LINE_BYTES; returns the position after it. */
export function writeAccessLine(entry: AccessEntry, to: Buffer, at: number): number {
  const { head, client, status, bytes, durationMs, upstream } = entry;
  let end = at + to.write(`${client || "-"} - - [${clockOf(entry.timeMs)}] `, at, "latin1");
  if (head === undefined) end += to.write(`"-" ${status} ${bytes} "-" "-"`, end, "latin1");
  else {
    end = writeRequestLine(head, entry.start, to, end);
    end += to.write(` ${status} ${bytes} `, end, "latin1");
    end = writeField(head, REFERER, to, end);
    to[end++] = SPACE;
    end = writeField(head, USER_AGENT, to, end);
  }
  return end + to.write(` ${(durationMs / 1000).toFixed(6)} ${upstream ?? "-"}\n`, end, "latin1");
}

/** As it came, up to its end. */
function writeRequestLine({ bytes }: RequestHead, start: number, to: Buffer, at: number): number {
  let from = start;
  // One line end before it is passed over.
  if (bytes[from] === CR && bytes[from + 1] === LF) from += 2;
  let end = from;
  while (end < bytes.length && bytes[end] !== CR) end++;
  return writeQuoted(bytes, from, end, to, at);
}

function writeField({ fields, bytes }: RequestHead, name: Uint8Array, to: Buffer, at: number): number {
  for (let i = 0; i < fields.count; i++) {
    const start = fields.nameStart(i);
    const end = fields.nameEnd(i);
    if (end - start !== name.length || !equalsIgnoringCase(bytes, start, end, name)) continue;
    return writeQuoted(bytes, fields.valueStart(i), fields.valueEnd(i), to, at);
  }
  return writeQuoted(bytes, 0, 0, to, at);
}

/** As nginx escapes: each byte that is a quote, a backslash or not printable ASCII becomes \xHH. Nothing is `-`. */
function writeQuoted(from: Uint8Array, start: number, end: number, to: Buffer, at: number): number {
  let position = at;
  to[position++] = QUOTE;
  if (start === end) to[position++] = 45;
  const last = Math.min(end, start + MAX_FIELD_BYTES);
  for (let i = start; i < last; i++) {
    const byte = from[i] as number;
    if (byte >= SPACE && byte < 127 && byte !== QUOTE && byte !== BACKSLASH) to[position++] = byte;
    else {
      to[position++] = BACKSLASH;
      to[position++] = 120;
      to[position++] = HEX[byte >> 4] as number;
      to[position++] = HEX[byte & 15] as number;
    }
  }
  if (last < end) position += to.write("...", position, "latin1");
  to[position++] = QUOTE;
  return position;
}

/** `10/Oct/2000:13:55:36 +0000`, made once a second. */
function clockOf(timeMs: number): string {
  const now = Math.floor(timeMs / 1000);
  if (now === second) return clock;
  second = now;
  const date = new Date(now * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  clock = `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
  return clock;
}
