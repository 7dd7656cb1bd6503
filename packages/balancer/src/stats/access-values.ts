/**
 * The values that the access log records about a request, and how each is written: short texts, numbers, and parts of the request's head.
 * Pure.
 */
import { ascii, writeDecimal } from "../http1/bytes.js";
import { LOGGED, type LoggedHead } from "./logged-head.js";

/** The places of an entry's numbers. Durations are in milliseconds; a negative number is unknown. */
export const NUMBERS = {
  /** The time of the request, in milliseconds since 1970. */
  timeMs: 0,
  status: 1,
  requestBytes: 2,
  /** The size of the response's body without framing, in bytes. */
  bytes: 3,
  durationMs: 4,
  firstByteMs: 5,
  queueMs: 6,
  connectMs: 7,
  handlerMs: 8,
  laneMs: 9,
  retries: 10,
} as const;

/** The places of an entry's texts. The texts are our own and need no escapes. */
export const TEXTS = {
  clientAddress: 0,
  protocol: 1,
  httpVersion: 2,
  method: 3,
  hedge: 4,
  pool: 5,
  /** The last instance that had the request, for example `web.3`. */
  instance: 6,
  outcome: 7,
  phase: 8,
  /** Generated or kept by the balancer; undefined: the client's X-Request-Id. */
  requestId: 9,
  traceId: 10,
} as const;

/** What a line can contain about a request. */
export class AccessEntry {
  /** By NUMBERS. */
  readonly numbers = new Float64Array(Object.keys(NUMBERS).length);
  /** By TEXTS. */
  readonly texts: (string | undefined)[] = Object.keys(TEXTS).map(() => undefined);
  /** The request's head; undefined if it was unreadable. */
  head: LoggedHead | undefined;
  /** The buffer with the head, and where the head begins in it. */
  headBytes: Uint8Array = new Uint8Array(0);
  start = 0;

  /** Sets the texts that depend on the head. */
  describeHead(isHttps: boolean): void {
    const { head, texts } = this;
    texts[TEXTS.protocol] = head && (isHttps ? "https" : "http");
    texts[TEXTS.httpVersion] = head && (head.isHttp2 ? "2.0" : head.minorVersion === 1 ? "1.1" : "1.0");
    texts[TEXTS.method] = head?.method;
  }
}

/** Longer texts from clients are cut and end with `...`. In bytes. */
const MAX_FIELD_BYTES = 2048;
/** The longest escape, `\u00e9`, and the characters around a text. */
export const MAX_ESCAPED_BYTES = 6 * MAX_FIELD_BYTES + 8;
/** The maximum length of all other fields: addresses, names, ids, numbers. */
export const MAX_SHORT_BYTES = 256;

/** A client's request id is left out if it is longer, or has non-printable characters. In bytes. */
const MAX_REQUEST_ID_BYTES = 200;

export const QUOTE = 34;
const POINT = 46;
const ZERO = 48;
const CAPITAL_Z = 90;
const BACKSLASH = 92;
const [SMALL_U, SMALL_X] = [117, 120];
const HEX = ascii("0123456789ABCDEF");

/** The bytes that are written unchanged: printable ASCII except quotes and backslashes. */
const IS_PLAIN = new Uint8Array(256);
for (let byte = 32; byte < 127; byte++) IS_PLAIN[byte] = byte === QUOTE || byte === BACKSLASH ? 0 : 1;

const MAX_INTEGER = 2 ** 31;

// Each function writes a value at a position and returns the position after it, or the same position if there is no such value. The
// functions store bytes directly into the buffer, because a call of the runtime for each of these short texts would cost more than the
// whole line.

export function putNumber(value: number, to: Uint8Array, at: number): number {
  if (!(value >= 0)) return at;
  if (value >= 1000) return putThousands(value, to, at);
  if (value >= 100) return putThreeDigits(value | 0, to, at);
  const tens = ((value | 0) * 103) >>> 10;
  let position = at;
  if (tens > 0) to[position++] = ZERO + tens;
  to[position++] = ZERO + (value | 0) - 10 * tens;
  return position;
}

function putThousands(value: number, to: Uint8Array, at: number): number {
  if (value >= MAX_INTEGER) return writeDecimal(value, to, at);
  const thousands = (value / 1000) | 0;
  return putThreeDigits((value - 1000 * thousands) | 0, to, putNumber(thousands, to, at));
}

/** Uses products and shifts in place of divisions, and in place of a table, which would rarely be in the CPU cache. Exact below 1,000. */
function putThreeDigits(value: number, to: Uint8Array, at: number): number {
  const hundreds = (value * 41) >>> 12;
  const rest = value - 100 * hundreds;
  const tens = (rest * 103) >>> 10;
  to[at] = ZERO + hundreds;
  to[at + 1] = ZERO + tens;
  to[at + 2] = ZERO + rest - 10 * tens;
  return at + 3;
}

/** Writes the end of a time whose seconds are already written, for example `482Z`. */
export function putMillisecond(timeMs: number, to: Uint8Array, at: number): number {
  const end = putThreeDigits((timeMs - 1000 * Math.floor(timeMs / 1000)) | 0, to, at);
  to[end] = CAPITAL_Z;
  return end + 1;
}

/** Writes milliseconds with up to three decimals, for example `1.5`. */
export function putMilliseconds(value: number, to: Uint8Array, at: number): number {
  if (!(value >= 0)) return at;
  const micros = Math.round(value * 1000);
  // Integers are faster, but cannot hold times longer than half an hour.
  const whole = micros < MAX_INTEGER ? ((micros | 0) / 1000) | 0 : Math.floor(micros / 1000);
  let position = putNumber(whole, to, at);
  const rest = (micros - 1000 * whole) | 0;
  if (rest === 0) return position;
  to[position] = POINT;
  position = putThreeDigits(rest, to, position + 1);
  while (to[position - 1] === ZERO) position--;
  return position;
}

/** Writes milliseconds as seconds with six decimals. */
export function putSeconds(value: number, to: Uint8Array, at: number): number {
  if (value < 999) {
    // Nearly all requests. A sum and integers take a fraction of the time of rounding and division.
    to[at] = ZERO;
    return putMicros(value > 0 ? (value * 1000 + 0.5) | 0 : 0, to, at + 1);
  }
  const micros = Math.round(value * 1000);
  const whole = Math.floor(micros / 1_000_000);
  return putMicros((micros - 1_000_000 * whole) | 0, to, putNumber(whole, to, at));
}

/** Writes a point and six digits. */
function putMicros(micros: number, to: Uint8Array, at: number): number {
  const thousands = (micros * 0.001) | 0;
  to[at] = POINT;
  return putThreeDigits(micros - 1000 * thousands, to, putThreeDigits(thousands, to, at + 1));
}

export function putText(text: string | undefined, to: Uint8Array, at: number): number {
  if (text === undefined) return at;
  for (let i = 0; i < text.length; i++) to[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/**
 * Writes a part of the request's head.
 * @param field one of LOGGED
 */
export function putPart(
  { head, headBytes, start }: AccessEntry,
  field: number,
  to: Uint8Array,
  at: number,
  isJson: boolean,
): number {
  if (head === undefined) return at;
  const { positions } = head;
  const from = start + (positions[field] as number);
  const end = start + (positions[field + 1] as number);
  const last = Math.min(end, from + MAX_FIELD_BYTES);
  let position = at;
  for (let i = from; i < last; i++) {
    const byte = headBytes[i] as number;
    if (IS_PLAIN[byte] === 1) to[position++] = byte;
    else position = putEscaped(byte, to, position, isJson);
  }
  if (last < end) for (let i = 0; i < 3; i++) to[position++] = POINT;
  return position;
}

/** Quotes, backslashes and everything except printable ASCII become \xHH as in nginx; in JSON they become \u00HH. */
function putEscaped(byte: number, to: Uint8Array, at: number, isJson: boolean): number {
  let position = at;
  to[position++] = BACKSLASH;
  to[position++] = isJson ? SMALL_U : SMALL_X;
  if (isJson) to[position++] = ZERO;
  if (isJson) to[position++] = ZERO;
  to[position++] = HEX[byte >> 4] as number;
  to[position++] = HEX[byte & 15] as number;
  return position;
}

const VERSION_1 = ascii("1.1");
const VERSION_2 = ascii("2.0");

/** Writes the request line with the protocol version that the client uses. */
export function putRequestLine(entry: AccessEntry, to: Uint8Array, at: number, isJson: boolean): number {
  const { head, headBytes, start } = entry;
  if (head?.isHttp2 !== true) return putPart(entry, LOGGED.LINE, to, at, isJson);
  const version = start + ((head.positions[LOGGED.LINE + 1] as number) - VERSION_2.length);
  headBytes.set(VERSION_2, version);
  const after = putPart(entry, LOGGED.LINE, to, at, isJson);
  headBytes.set(VERSION_1, version);
  return after;
}

/** Writes the client's X-Request-Id if people and programs can use it: it must not be too long or contain spaces. */
export function putClientId(entry: AccessEntry, to: Uint8Array, at: number, isJson: boolean): number {
  const { head, headBytes, start } = entry;
  const from = head?.positions[LOGGED.REQUEST_ID] ?? 0;
  const end = head?.positions[LOGGED.REQUEST_ID + 1] ?? 0;
  if (end - from > MAX_REQUEST_ID_BYTES) return at;
  for (let i = start + from; i < start + end; i++) {
    const byte = headBytes[i] as number;
    if (byte <= 32 || byte >= 127) return at;
  }
  return putPart(entry, LOGGED.REQUEST_ID, to, at, isJson);
}
