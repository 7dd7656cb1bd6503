/** The payload of a RESPONSE, written by an instance and read by the balancer; see docs/lane.md. Pure. */
import type { FrameBuffer } from "./frame-buffer.js";
import { FRAME_HEADER_BYTES, FrameType, putUint16, putUint32, readUint16, readUint32 } from "./protocol.js";

export const ResponseFlag = {
  /** No body follows. */
  END: 1,
  /** The length is present. */
  LENGTH: 2,
} as const;

/** The position of the reason in a RESPONSE. */
const RESPONSE_TEXT = 15;

/** The part of a RESPONSE before its fields. */
export class ResponseStart {
  status = 0;
  /** No body follows. */
  isLast = false;
  /** The length of the body; -1 if absent. */
  contentLength = -1;
  handlerMicros = 0;
  /** The positions of the reason and of the field lines. */
  reasonAt = 0;
  fieldsAt = 0;

  /** Whether a response may have this status. */
  get isStatusValid(): boolean {
    return this.status >= 100 && this.status <= 599;
  }

  /** Returns false if the payload is too short for its reason. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    this.status = readUint16(bytes, start);
    const flags = bytes[start + 2] as number;
    this.isLast = (flags & ResponseFlag.END) !== 0;
    this.contentLength =
      (flags & ResponseFlag.LENGTH) === 0 ? -1 : readUint32(bytes, start + 8) + 2 ** 32 * readUint16(bytes, start + 12);
    this.handlerMicros = readUint32(bytes, start + 4);
    this.reasonAt = start + RESPONSE_TEXT;
    this.fieldsAt = this.reasonAt + (bytes[start + 14] as number);
    return this.fieldsAt <= end;
  }
}

export interface LaneResponseHead {
  status: number;
  /** The reason phrase, cut after 255 characters; empty for the standard one. */
  reason: string;
  /** Lines, each with its CRLF. */
  fields: string;
  /** Microseconds from the call of the handler to its response. */
  micros: number;
}

/**
 * Adds a RESPONSE.
 *
 * @param length the length of the body; -1 if unknown
 * @param isLast whether no body follows
 * @returns the position of the length, for setting it later
 */
export function putResponse(
  frames: FrameBuffer,
  id: number,
  head: LaneResponseHead,
  length: number,
  isLast: boolean,
): number {
  const { status, reason, fields } = head;
  const reasonBytes = Math.min(reason.length, 255);
  const payload = RESPONSE_TEXT + reasonBytes + fields.length + 2;
  frames.reserve(FRAME_HEADER_BYTES + payload);
  frames.header(FrameType.RESPONSE, id, payload);
  const { bytes, length: at } = frames;
  bytes[at] = status;
  bytes[at + 1] = status >>> 8;
  bytes[at + 2] = (isLast ? ResponseFlag.END : 0) | (length >= 0 ? ResponseFlag.LENGTH : 0);
  bytes[at + 3] = 0;
  putUint32(bytes, at + 4, Math.min(0xffff_ffff, Math.round(head.micros)));
  putUint48(bytes, at + 8, Math.max(length, 0));
  bytes[at + 14] = reasonBytes;
  if (reasonBytes > 0) bytes.write(reason, at + RESPONSE_TEXT, reasonBytes, "latin1");
  bytes.write(fields, at + RESPONSE_TEXT + reasonBytes, fields.length, "latin1");
  frames.length = at + payload;
  bytes[frames.length - 2] = 13;
  bytes[frames.length - 1] = 10;
  return at + 8;
}

function putUint48(bytes: Uint8Array, at: number, value: number): void {
  putUint32(bytes, at, value % 2 ** 32);
  putUint16(bytes, at + 4, value / 2 ** 32);
}

/**
 * Adds an interim response without fields.
 * @returns how much of the stream's window it takes, in bytes
 */
export function putInterimResponse(frames: FrameBuffer, id: number, status: number): number {
  const before = frames.length;
  putResponse(frames, id, { status, reason: "", fields: "", micros: 0 }, -1, false);
  return frames.length - before - FRAME_HEADER_BYTES;
}

/** Adds a complete response with a text, which is encoded in place. */
export function putTextResponse(frames: FrameBuffer, id: number, head: LaneResponseHead, text: string): void {
  const lengthAt = putResponse(frames, id, head, 0, false);
  // A character takes at most three bytes.
  frames.reserve(FRAME_HEADER_BYTES + text.length * 3);
  const headerAt = frames.length;
  const length = frames.bytes.write(text, headerAt + FRAME_HEADER_BYTES, text.length * 3, "utf8");
  frames.header(FrameType.END, id, length);
  frames.length += length;
  putUint48(frames.bytes, lengthAt, length);
}

/** The fields of a response's head in the form of a RESPONSE. Pure. */
export interface FieldLines {
  /** `name: value` lines, each with its CRLF, without framing fields. */
  text: string;
  /** The app's Content-Length; -1 if absent or overruled by Transfer-Encoding (RFC 9112 §6.3), NaN if invalid. */
  contentLength: number;
  hasContentType: boolean;
}

/** One object for the whole process: its contents are used before the next response overwrites them. */
const lines: FieldLines = { text: "", contentLength: -1, hasContentType: false };

/** Whether the fields have Transfer-Encoding. */
let isTransferCoded = false;

function beginLines(): void {
  isTransferCoded = false;
  lines.text = "";
  lines.contentLength = -1;
  lines.hasContentType = false;
}

/** Converts lower-case names, each with one or several values. */
export function fieldLines(fields: Readonly<Record<string, string | readonly string[]>>): FieldLines {
  beginLines();
  for (const name in fields) {
    const value = fields[name] as string | readonly string[];
    if (typeof value === "string") addLine(name, value);
    else for (const each of value) addLine(name, each);
  }
  return lines;
}

/**
 * Converts a plain object of fields that the platform has accepted, in the way its Headers would return them; the result is cached. Returns
 * undefined for any other value, and if the platform would change or join values.
 */
export function plainFieldLines(fields: unknown): FieldLines | undefined {
  if (fields === undefined) return NO_LINES;
  if (!isPlainObject(fields)) return undefined;
  const values = fields;
  if (wasLast(values)) return last.lines;
  last.count = 0;
  beginLines();
  let count = 0;
  for (const name in values) {
    const value = values[name];
    if (typeof value !== "string" || value !== value.trim()) return undefined;
    const lower = name.toLowerCase();
    // If two names only differ in case, the platform makes them one field.
    if (lower !== name && (lower in values || lines.text.includes(`${lower}: `))) return undefined;
    addLine(lower, value);
    last.names[count] = name;
    last.values[count++] = value;
  }
  const { text, contentLength, hasContentType } = lines;
  last.lines = { text, contentLength, hasContentType };
  last.isWhole = undefined;
  // Long ones would stay in memory.
  if (text.length <= MAX_LAST_LENGTH) last.count = count;
  return last.lines;
}

/**
 * Returns the lines of a plain object of fields, if these are the ones that `plainFieldLines` got last, which the platform has accepted.
 * Returns undefined for other fields, and if the lines lack any of them.
 */
export function repeatedFieldLines(fields: unknown): FieldLines | undefined {
  if (!isPlainObject(fields) || !wasLast(fields)) return undefined;
  last.isWhole ??= pairsOf(last.lines.text).length === last.count;
  return last.isWhole ? last.lines : undefined;
}

/** Returns the names and values in lines. */
export function pairsOf(text: string): [string, string][] {
  const pairs: [string, string][] = [];
  for (const line of text.split("\r\n")) {
    const colon = line.indexOf(": ");
    if (colon >= 0) pairs.push([line.slice(0, colon), line.slice(colon + 2)]);
  }
  return pairs;
}

function isPlainObject(fields: unknown): fields is Record<string, unknown> {
  const prototype = typeof fields === "object" && fields !== null ? Object.getPrototypeOf(fields) : undefined;
  return prototype === Object.prototype || prototype === null;
}

/** Whether these are the fields of `last`. */
function wasLast(fields: Record<string, unknown>): boolean {
  let at = 0;
  for (const name in fields) {
    if (at === last.count || name !== last.names[at] || fields[name] !== last.values[at]) return false;
    at++;
  }
  return at === last.count && at > 0;
}

const NO_LINES: FieldLines = { text: "", contentLength: -1, hasContentType: false };

const MAX_LAST_LENGTH = 1024;

/** The last plain fields and their lines, because many responses have the same fields. `count` is 0 if there are none. */
const last = {
  count: 0,
  names: [] as string[],
  values: [] as string[],
  lines: NO_LINES,
  /** Whether `lines` has all of these fields; undefined until that is known. */
  isWhole: undefined as boolean | undefined,
};

/** Converts pairs of lower-case names and values; names may repeat. */
export function fieldLinesOf(fields: Iterable<readonly [string, string]>): FieldLines {
  beginLines();
  for (const [name, value] of fields) addLine(name, value);
  return lines;
}

function addLine(name: string, value: string): void {
  switch (name) {
    case "content-length":
      if (!isTransferCoded) lines.contentLength = /^\d{1,15}$/.test(value) ? Number(value) : Number.NaN;
      return;
    // Hop-by-hop.
    case "transfer-encoding":
      isTransferCoded = true;
      lines.contentLength = -1;
      return;
    case "connection":
    case "keep-alive":
      return;
    case "content-type":
      lines.hasContentType = true;
      break;
  }
  lines.text += `${name}: ${value}\r\n`;
}
