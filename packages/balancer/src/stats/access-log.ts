/** The access log of a balancer: collects lines in memory and writes large blocks. Excess lines are lost and counted. */
import { write, writeSync } from "node:fs";
import type { SavedHead } from "../exchange/saved-head.js";
import { ascii, CR, equalsIgnoringCase, LF } from "../http1/bytes.js";
import type { Forwarded, Peer } from "../http1/forwarded.js";
import { RequestHead, type RequestHeadLimits } from "../http1/request-head.js";

interface AccessEntry {
  /** The time of the request, in milliseconds since 1970. */
  timeMs: number;
  client: string;
  /** The request's head; undefined if it was unreadable. */
  head: RequestHead | undefined;
  /** The start of the request line in `head.bytes`. */
  start: number;
  status: number;
  /** The size of the response's body without framing. */
  bytes: number;
  durationMs: number;
  /** The last instance that had the request, such as `web.3`. */
  upstream: string | undefined;
}

/** Longer fields are cut and end in `...`. */
const MAX_FIELD_BYTES = 2048;
/** The maximum length of a line: three fields, fully escaped at four bytes each, and the rest. */
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

/** Writes the line and its end at `at`, where MAX_LINE_BYTES fit. Returns the position after it. */
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

/** Writes the request line as received. */
function writeRequestLine({ bytes }: RequestHead, start: number, to: Buffer, at: number): number {
  let from = start;
  // Skips one line end before it.
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

/** Escapes like nginx: quotes, backslashes and everything but printable ASCII become \xHH. Empty text becomes `-`. */
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

/** Returns `10/Oct/2000:13:55:36 +0000`; computed once per second. */
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

/** The size of each of two buffers: one is being filled, one written. */
const BUFFER_BYTES = 1 << 20;
/** How long a line may wait, so that several are written together. */
const FLUSH_AFTER_MS = 100;
/** Lines are written at once above this size. */
const FLUSH_AT_BYTES = 256 << 10;

export class AccessLog {
  private readonly head: RequestHead;
  private filled: Buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private spare: Buffer | undefined = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private length = 0;
  private lost = 0;
  private timer: NodeJS.Timeout | undefined;

  /** @param fd a file opened for appending */
  constructor(
    private readonly fd: number,
    private readonly forwarded: Forwarded,
    limits: RequestHeadLimits,
  ) {
    this.head = new RequestHead(limits);
  }

  /** Logs a finished request. `status` is the client's, or 499 if it disconnected before. */
  request(
    kept: SavedHead,
    peer: Peer,
    status: number,
    bytes: number,
    durationMs: number,
    upstream: string | undefined,
  ): void {
    const { head } = this;
    const start = kept.parseOriginal(head);
    const known = start < 0 ? undefined : head;
    const client = known === undefined || !peer.isTrusted ? peer.node : this.forwarded.fields(known, peer).client;
    this.add({ timeMs: Date.now() - durationMs, client, head: known, start, status, bytes, durationMs, upstream });
  }

  /** Logs unreadable input, or a connection beyond the limit. */
  refused(peer: Peer, status: number, bytes: number): void {
    const timeMs = Date.now();
    const nothing = { head: undefined, start: 0, bytes, durationMs: 0, upstream: undefined };
    this.add({ ...nothing, timeMs, client: peer.node, status });
  }

  private add(entry: Parameters<typeof writeAccessLine>[0]): void {
    if (this.length + MAX_LINE_BYTES > this.filled.length) {
      this.lost++;
      return;
    }
    this.length = writeAccessLine(entry, this.filled, this.length);
    if (this.length >= FLUSH_AT_BYTES) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    // One write at a time; its completion starts the next.
    if (this.spare === undefined || this.length === 0) return;
    const { filled, length } = this;
    this.filled = this.spare;
    this.spare = undefined;
    this.length = 0;
    if (this.lost > 0) this.tellLost();
    this.write(filled, 0, length);
  }

  private write(buffer: Buffer, from: number, to: number): void {
    write(this.fd, buffer, from, to - from, null, (error, written) => {
      // The disk is full, so the rest of this buffer is lost.
      if (error !== null) this.lost += countLines(buffer, from, to);
      else if (from + written < to) return this.write(buffer, from + written, to);
      this.spare = buffer;
      if (this.length >= FLUSH_AT_BYTES) this.flush();
      else if (this.length > 0) this.timer ??= setTimeout(() => this.flush(), FLUSH_AFTER_MS);
    });
  }

  private tellLost(): void {
    const text = `access log: ${this.lost} lines were lost, they could not be written in time\n`;
    this.length += this.filled.write(text, this.length, "latin1");
    this.lost = 0;
  }

  /** Writes the rest before the process ends. */
  close(): void {
    clearTimeout(this.timer);
    if (this.lost > 0 && this.length + MAX_LINE_BYTES <= this.filled.length) this.tellLost();
    try {
      writeSync(this.fd, this.filled, 0, this.length);
    } catch {
      // The disk is full, and there is nobody left to tell.
    }
    this.length = 0;
  }
}

function countLines(buffer: Buffer, from: number, to: number): number {
  let lines = 0;
  for (let at = buffer.indexOf(10, from); at >= 0 && at < to; at = buffer.indexOf(10, at + 1)) lines++;
  return lines;
}
