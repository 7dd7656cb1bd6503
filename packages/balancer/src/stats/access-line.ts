/** Formats entries of the access log as lines: JSON, or a template such as the combined format. No client can begin a line. Pure. */
import {
  ACCESS_FIELDS,
  type AccessField,
  type AccessOutcome,
  type AccessPhase,
  parseTemplate,
  type TemplatePart,
} from "@paceline/wire/access-log";
import { ascii, CR, equalsIgnoringCase, LF } from "../http1/bytes.js";
import type { RequestHead } from "../http1/request-head.js";

/** Durations are in milliseconds; a negative one is unknown. */
export interface AccessEntry {
  /** The time of the request, in milliseconds since 1970. */
  timeMs: number;
  clientAddress: string;
  isHttps: boolean;
  /** The request's head; undefined if it was unreadable. */
  head: RequestHead | undefined;
  /** The start of the request line in `head.bytes`. */
  start: number;
  status: number;
  requestBytes: number;
  /** The size of the response's body without framing. */
  bytes: number;
  durationMs: number;
  firstByteMs: number;
  queueMs: number;
  connectMs: number;
  handlerMs: number;
  laneMs: number;
  retries: number;
  pool: string | undefined;
  /** The last instance that had the request, such as `web.3`. */
  instance: string | undefined;
  outcome: AccessOutcome;
  phase: AccessPhase;
  requestId: string | undefined;
  traceId: string | undefined;
}

/** Longer texts from clients are cut and end in `...`. */
const MAX_FIELD_BYTES = 2048;
/** The longest escape, `\u00e9`, and what is around a text. */
const MAX_ESCAPED_BYTES = 6 * MAX_FIELD_BYTES + 8;
/** A bound for the other fields: addresses, names, ids, numbers. */
const MAX_SHORT_BYTES = 256;

const REFERER = ascii("referer");
const USER_AGENT = ascii("user-agent");
const QUOTE = 34;
const COMMA = 44;
const HYPHEN = 45;
const BACKSLASH = 92;
const SPACE = 32;
const [SMALL_U, SMALL_X, ZERO] = [117, 120, 48];
const HEX = ascii("0123456789ABCDEF");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** A line that is being written, with the two ways to write a value. A missing value is `-`, and left out of JSON. */
class Line {
  to: Buffer = Buffer.alloc(0);
  at = 0;

  constructor(private readonly isJson: boolean) {}

  private missing(): boolean {
    if (!this.isJson) this.to[this.at++] = HYPHEN;
    return false;
  }

  raw(text: string): true {
    this.at += this.to.write(text, this.at, "latin1");
    return true;
  }

  /** Writes a text of our own, which needs no escapes. */
  text(text: string | undefined): boolean {
    if (text === undefined || text === "") return this.missing();
    return this.raw(this.isJson ? `"${text}"` : text);
  }

  number(value: number): boolean {
    return value < 0 ? this.missing() : this.raw(String(value));
  }

  milliseconds(value: number): boolean {
    return value < 0 ? this.missing() : this.raw(String(Math.round(value * 1000) / 1000));
  }

  /** Writes a text of a client: quotes, backslashes and everything but printable ASCII become \xHH like nginx's, in JSON \u00HH. */
  bytes(from: Uint8Array, start: number, end: number): boolean {
    if (start >= end) return this.missing();
    const { to, isJson } = this;
    let { at } = this;
    if (isJson) to[at++] = QUOTE;
    const last = Math.min(end, start + MAX_FIELD_BYTES);
    for (let i = start; i < last; i++) {
      const byte = from[i] as number;
      if (byte >= SPACE && byte < 127 && byte !== QUOTE && byte !== BACKSLASH) {
        to[at++] = byte;
        continue;
      }
      to[at++] = BACKSLASH;
      to[at++] = isJson ? SMALL_U : SMALL_X;
      if (isJson) to[at++] = ZERO;
      if (isJson) to[at++] = ZERO;
      to[at++] = HEX[byte >> 4] as number;
      to[at++] = HEX[byte & 15] as number;
    }
    if (last < end) at += to.write("...", at, "latin1");
    if (isJson) to[at++] = QUOTE;
    this.at = at;
    return true;
  }
}

type Write = (entry: AccessEntry, line: Line) => boolean;

/** Writes each field; returns false if the entry has no such value. */
const WRITERS: Readonly<Record<AccessField, Write>> = {
  time: ({ timeMs }, line) => line.text(new Date(timeMs).toISOString()),
  clientAddress: ({ clientAddress }, line) => line.text(clientAddress),
  protocol: ({ head, isHttps }, line) => line.text(head && (isHttps ? "https" : "http")),
  httpVersion: ({ head }, line) => line.text(head && (head.minorVersion === 1 ? "1.1" : "1.0")),
  host: ({ head }, line) => (head === undefined ? line.text("") : line.bytes(head.bytes, head.hostStart, head.hostEnd)),
  method: ({ head }, line) => line.text(head?.method),
  target: (entry, line) => {
    const { bytes, start, end } = requestLine(entry);
    const from = bytes.indexOf(SPACE, start) + 1;
    return line.bytes(bytes, from, from > start ? bytes.lastIndexOf(SPACE, end) : from);
  },
  status: ({ status }, line) => line.number(status),
  requestBytes: ({ requestBytes }, line) => line.number(requestBytes),
  bytes: ({ bytes }, line) => line.number(bytes),
  durationMs: ({ durationMs }, line) => line.milliseconds(durationMs),
  firstByteMs: ({ firstByteMs }, line) => line.milliseconds(firstByteMs),
  queueMs: ({ queueMs }, line) => line.milliseconds(queueMs),
  connectMs: ({ connectMs }, line) => line.milliseconds(connectMs),
  handlerMs: ({ handlerMs }, line) => line.milliseconds(handlerMs),
  laneMs: ({ laneMs }, line) => line.milliseconds(laneMs),
  retries: ({ retries }, line) => line.number(retries),
  pool: ({ pool }, line) => line.text(pool),
  instance: ({ instance }, line) => line.text(instance),
  outcome: ({ outcome }, line) => line.text(outcome),
  phase: ({ phase }, line) => line.text(phase),
  requestId: ({ requestId }, line) => line.text(requestId),
  traceId: ({ traceId }, line) => line.text(traceId),
  referer: ({ head }, line) => writeField(head, REFERER, line),
  userAgent: ({ head }, line) => writeField(head, USER_AGENT, line),
  clock: ({ timeMs }, line) => line.text(clockOf(timeMs)),
  request: (entry, line) => {
    const { bytes, start, end } = requestLine(entry);
    return line.bytes(bytes, start, end);
  },
  seconds: ({ durationMs }, line) => line.raw((durationMs / 1000).toFixed(6)),
};

/** Fields with text of a client. */
const LONG: ReadonlySet<AccessField> = new Set(["host", "target", "request", "referer", "userAgent"]);

/** A compiled format. Its lines are at most `maxBytes` long. */
export class AccessFormat {
  readonly maxBytes: number;
  private readonly isJson: boolean;
  private readonly line: Line;
  private readonly parts: readonly TemplatePart[];

  /** @param format `json`, or a template, validated with the configuration */
  constructor(format: string) {
    const isJson = format === "json";
    this.isJson = isJson;
    this.line = new Line(isJson);
    const parts = isJson ? ACCESS_FIELDS.map((field) => ({ field })) : parseTemplate(format);
    this.parts = typeof parts === "string" ? [] : parts;
    const boundOf = (part: TemplatePart) => {
      if ("text" in part) return part.text.length;
      // In JSON with its name, quotes and a comma.
      return (LONG.has(part.field) ? MAX_ESCAPED_BYTES : MAX_SHORT_BYTES) + part.field.length + 4;
    };
    this.maxBytes = this.parts.map(boundOf).reduce((sum, bytes) => sum + bytes, 8);
  }

  has(field: AccessField): boolean {
    return this.parts.some((part) => "field" in part && part.field === field);
  }

  /** Writes the line and its end at `at`, where `maxBytes` fit. Returns the position after it. */
  write(entry: AccessEntry, to: Buffer, at: number): number {
    const { line } = this;
    line.to = to;
    line.at = at;
    if (this.isJson) this.writeJson(entry, line);
    else {
      for (const part of this.parts) {
        if ("text" in part) line.raw(part.text);
        else WRITERS[part.field](entry, line);
      }
      line.raw("\n");
    }
    return line.at;
  }

  private writeJson(entry: AccessEntry, line: Line): void {
    line.raw("{");
    const first = line.at;
    for (const part of this.parts) {
      const { field } = part as { field: AccessField };
      const before = line.at;
      if (before > first) line.to[line.at++] = COMMA;
      line.raw(`"${field}":`);
      if (!WRITERS[field](entry, line)) line.at = before;
    }
    line.raw("}\n");
  }

  /** Returns the line that replaces lost ones. */
  lostLine(lines: number, timeMs: number): string {
    if (this.isJson) return `{"time":"${new Date(timeMs).toISOString()}","linesLost":${lines}}\n`;
    return `access log: ${lines} lines were lost, they could not be written in time\n`;
  }
}

/** Returns where the request line is, as received. */
function requestLine({ head, start }: AccessEntry): { bytes: Uint8Array; start: number; end: number } {
  if (head === undefined) return { bytes: NOTHING, start: 0, end: 0 };
  const { bytes } = head;
  // Skips one line end before it.
  const from = bytes[start] === CR && bytes[start + 1] === LF ? start + 2 : start;
  const end = bytes.indexOf(CR, from);
  return { bytes, start: from, end: end < 0 ? bytes.length : end };
}

const NOTHING = new Uint8Array(0);

function writeField(head: RequestHead | undefined, name: Uint8Array, line: Line): boolean {
  if (head === undefined) return line.text("");
  const { fields, bytes } = head;
  for (let i = 0; i < fields.count; i++) {
    const start = fields.nameStart(i);
    const end = fields.nameEnd(i);
    if (end - start !== name.length || !equalsIgnoringCase(bytes, start, end, name)) continue;
    return line.bytes(bytes, fields.valueStart(i), fields.valueEnd(i));
  }
  return line.text("");
}

let second = Number.NaN;
let clock = "";

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
