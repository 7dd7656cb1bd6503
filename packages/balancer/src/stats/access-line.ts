/** Formats entries of the access log as lines: JSON, or a template such as the combined format. No client can inject a line. Pure. */
import {
  ACCESS_FIELDS,
  type AccessField,
  type AccessOutcome,
  type AccessPhase,
  type HedgeResult,
  parseTemplate,
  type TemplatePart,
} from "@paceline/wire/access-log";
import { ascii, writeDecimal } from "../http1/bytes.js";
import { LOGGED, type LoggedHead } from "./logged-head.js";

/** Durations are in milliseconds; a negative one is unknown. */
export interface AccessEntry {
  /** The time of the request, in milliseconds since 1970. */
  timeMs: number;
  clientAddress: string;
  isHttps: boolean;
  /** The request's head; undefined if it was unreadable. */
  head: LoggedHead | undefined;
  /** The bytes that contain the head; below, its start in them. */
  headBytes: Uint8Array;
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
  hedge: HedgeResult | undefined;
  pool: string | undefined;
  /** The last instance that had the request, for example `web.3`. */
  instance: string | undefined;
  outcome: AccessOutcome;
  phase: AccessPhase;
  /** Created or kept by the balancer; undefined: the client's X-Request-Id is logged. */
  requestId: string | undefined;
  traceId: string | undefined;
}

/** Longer texts from clients are cut and end in `...`. */
const MAX_FIELD_BYTES = 2048;
/** Room for a text of the longest escapes (`\u00e9`), its quotes and its name. */
const MAX_ESCAPED_BYTES = 6 * MAX_FIELD_BYTES + 8;
/** A bound for the other fields: addresses, names, ids, numbers. */
const MAX_SHORT_BYTES = 256;

/** A client's request id is omitted if it is longer, or has characters that are not printable. */
const MAX_REQUEST_ID_BYTES = 200;

const QUOTE = 34;
const HYPHEN = 45;
const POINT = 46;
const ZERO = 48;
const BACKSLASH = 92;
const [SMALL_U, SMALL_X] = [117, 120];
const HEX = ascii("0123456789ABCDEF");
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The bytes that are written unchanged: printable ASCII without quotes and backslashes. */
const IS_PLAIN = new Uint8Array(256);
for (let byte = 32; byte < 127; byte++) IS_PLAIN[byte] = byte === QUOTE || byte === BACKSLASH ? 0 : 1;

/** The three digits of each number below 1,000. */
const THREE_DIGITS = new Uint8Array(3000);
for (let value = 0; value < 1000; value++) THREE_DIGITS.set(ascii(String(value).padStart(3, "0")), 3 * value);

const MAX_INTEGER = 2 ** 31;

/** How many bytes may be written behind a text; the next text overwrites them. */
const OVERSHOOT_BYTES = 7;

/**
 * An ASCII text of the formatter itself, stored as numbers that are written eight bytes at a time. None of them is NaN, whose bytes a
 * runtime may change.
 */
class PackedText {
  readonly numbers: Float64Array;
  readonly length: number;

  constructor(text: string) {
    const bytes = Buffer.alloc(Math.ceil(text.length / 8) * 8);
    bytes.write(text, "latin1");
    this.numbers = new Float64Array(bytes.length / 8);
    for (let i = 0; i < this.numbers.length; i++) this.numbers[i] = bytes.readDoubleLE(8 * i);
    this.length = text.length;
  }
}

/**
 * A line that is being written, with the two ways to write a value. A missing value is `-`, and is omitted in JSON. Bytes are stored one by
 * one: a call of the runtime for each of these short texts would cost more than the whole line.
 */
class Line {
  to: Uint8Array = new Uint8Array(0);
  private view: DataView = new DataView(new ArrayBuffer(0));
  at = 0;

  constructor(private readonly isJson: boolean) {}

  missing(): boolean {
    if (!this.isJson) this.to[this.at++] = HYPHEN;
    return false;
  }

  begin(to: Uint8Array, at: number): void {
    this.at = at;
    if (this.to === to) return;
    this.to = to;
    this.view = new DataView(to.buffer, to.byteOffset, to.length);
  }

  put({ numbers, length }: PackedText): void {
    const { view, at } = this;
    for (let i = 0; i < numbers.length; i++) view.setFloat64(at + 8 * i, numbers[i] as number, true);
    this.at = at + length;
  }

  private raw(text: string): void {
    const { to } = this;
    let { at } = this;
    for (let i = 0; i < text.length; i++) to[at++] = text.charCodeAt(i);
    this.at = at;
  }

  /** Writes a text of the formatter itself, which needs no escapes. */
  text(text: string | undefined): boolean {
    if (text === undefined || text === "") return this.missing();
    if (this.isJson) this.to[this.at++] = QUOTE;
    this.raw(text);
    if (this.isJson) this.to[this.at++] = QUOTE;
    return true;
  }

  number(value: number): boolean {
    if (value < 0) return this.missing();
    if (value < 10) this.to[this.at++] = ZERO + value;
    else if (value < 1000) {
      for (let i = value < 100 ? 1 : 0; i < 3; i++) this.to[this.at++] = THREE_DIGITS[3 * value + i] as number;
    } else this.at = writeDecimal(value, this.to, this.at);
    return true;
  }

  private threeDigits(value: number): void {
    const { to, at } = this;
    const from = 3 * value;
    to[at] = THREE_DIGITS[from] as number;
    to[at + 1] = THREE_DIGITS[from + 1] as number;
    to[at + 2] = THREE_DIGITS[from + 2] as number;
    this.at = at + 3;
  }

  /** Writes up to three decimals, for example `1.5`. */
  milliseconds(value: number): boolean {
    if (value < 0) return this.missing();
    const micros = Math.round(value * 1000);
    // Integer operations are faster. Times of more than half an hour do not fit.
    const whole = micros < MAX_INTEGER ? ((micros | 0) / 1000) | 0 : Math.floor(micros / 1000);
    this.number(whole);
    const rest = (micros - 1000 * whole) | 0;
    if (rest === 0) return true;
    this.to[this.at++] = POINT;
    this.threeDigits(rest);
    while (this.to[this.at - 1] === ZERO) this.at--;
    return true;
  }

  /** Writes milliseconds as seconds with six decimals. */
  seconds(value: number): boolean {
    const micros = Math.max(0, Math.round(value * 1000));
    const whole = micros < 1_000_000 ? 0 : Math.floor(micros / 1_000_000);
    // Uses integer operations from here on.
    const rest = (micros - 1_000_000 * whole) | 0;
    const thousands = (rest / 1000) | 0;
    this.number(whole);
    this.to[this.at++] = POINT;
    this.threeDigits(thousands);
    this.threeDigits(rest - 1000 * thousands);
    return true;
  }

  /**
   * Writes a text of a client. Quotes, backslashes and everything but printable ASCII are escaped as \xHH, as in nginx, and in JSON as
   * \u00HH.
   */
  bytes(from: Uint8Array, start: number, end: number): boolean {
    if (start >= end) return this.missing();
    const { to, isJson } = this;
    let { at } = this;
    if (isJson) to[at++] = QUOTE;
    const last = Math.min(end, start + MAX_FIELD_BYTES);
    for (let i = start; i < last; i++) {
      const byte = from[i] as number;
      if (IS_PLAIN[byte] === 1) {
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
    if (last < end) for (let i = 0; i < 3; i++) to[at++] = POINT;
    if (isJson) to[at++] = QUOTE;
    this.at = at;
    return true;
  }

  /**
   * Writes a part of the request's head.
   * @param field one of LOGGED
   */
  part({ head, headBytes, start }: AccessEntry, field: number): boolean {
    if (head === undefined) return this.missing();
    const { positions } = head;
    return this.bytes(headBytes, start + (positions[field] as number), start + (positions[field + 1] as number));
  }

  /** Writes the request line with the version that the client speaks. */
  requestOfHttp2(entry: AccessEntry): boolean {
    const { head, headBytes, start } = entry;
    const at = start + ((head?.positions[LOGGED.LINE + 1] as number) - VERSION_2.length);
    headBytes.set(VERSION_2, at);
    const isWritten = this.part(entry, LOGGED.LINE);
    headBytes.set(VERSION_1, at);
    return isWritten;
  }
}

const VERSION_1 = ascii("1.1");
const VERSION_2 = ascii("2.0");

type Write = (entry: AccessEntry, line: Line) => boolean;

/** Writes each field. Returns false if the entry has no such value. */
const WRITERS: Readonly<Record<AccessField, Write>> = {
  time: ({ timeMs }, line) => line.text(isoTime(timeMs)),
  clientAddress: ({ clientAddress }, line) => line.text(clientAddress),
  protocol: ({ head, isHttps }, line) => line.text(head && (isHttps ? "https" : "http")),
  httpVersion: ({ head }, line) => line.text(head && (head.isHttp2 ? "2.0" : head.minorVersion === 1 ? "1.1" : "1.0")),
  host: (entry, line) => line.part(entry, LOGGED.HOST),
  method: ({ head }, line) => line.text(head?.method),
  target: (entry, line) => line.part(entry, LOGGED.TARGET),
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
  hedge: ({ hedge }, line) => line.text(hedge),
  pool: ({ pool }, line) => line.text(pool),
  instance: ({ instance }, line) => line.text(instance),
  outcome: ({ outcome }, line) => line.text(outcome),
  phase: ({ phase }, line) => line.text(phase),
  requestId: (entry, line) => {
    if (entry.requestId !== undefined) return line.text(entry.requestId);
    return isIdOfClient(entry) ? line.part(entry, LOGGED.REQUEST_ID) : line.missing();
  },
  traceId: ({ traceId }, line) => line.text(traceId),
  referer: (entry, line) => line.part(entry, LOGGED.REFERER),
  userAgent: (entry, line) => line.part(entry, LOGGED.USER_AGENT),
  clock: ({ timeMs }, line) => {
    line.put(clockOf(timeMs));
    return true;
  },
  request: (entry, line) => (entry.head?.isHttp2 === true ? line.requestOfHttp2(entry) : line.part(entry, LOGGED.LINE)),
  seconds: ({ durationMs }, line) => line.seconds(durationMs),
};

/** Fields with text of a client. */
const LONG: ReadonlySet<AccessField> = new Set(["host", "target", "request", "referer", "userAgent", "requestId"]);

/** Fields that need the times within a request. */
const TIMED: ReadonlySet<AccessField> = new Set(["firstByteMs", "queueMs", "connectMs", "handlerMs", "laneMs"]);

/** A field and the text before it; in JSON, the text is its name. */
interface Step {
  readonly before: PackedText;
  readonly write: Write;
}

/** A compiled format. Its lines are at most `maxBytes` long. */
export class AccessFormat {
  readonly maxBytes: number;
  /** Whether its lines have the times within a request. */
  readonly hasTimes: boolean;
  private readonly isJson: boolean;
  private readonly line: Line;
  private readonly fields: readonly AccessField[];
  private readonly steps: readonly Step[];
  /** The text after the last field. */
  private readonly end: PackedText;

  /** @param format `json`, or a template, validated with the configuration */
  constructor(format: string) {
    this.isJson = format === "json";
    this.line = new Line(this.isJson);
    const template = this.isJson ? ACCESS_FIELDS.map((field) => ({ field })) : parseTemplate(format);
    const parts: readonly TemplatePart[] = typeof template === "string" ? [] : template;
    const steps: Step[] = [];
    const fields: AccessField[] = [];
    let before = "";
    for (const part of parts) {
      if ("text" in part) before += part.text;
      else {
        const name = `${fields.length === 0 ? "{" : ","}"${part.field}":`;
        steps.push({ before: new PackedText(this.isJson ? name : before), write: WRITERS[part.field] });
        fields.push(part.field);
        before = "";
      }
    }
    this.fields = fields;
    this.steps = steps;
    this.end = new PackedText(this.isJson ? "}\n" : `${before}\n`);
    this.hasTimes = fields.some((field) => TIMED.has(field));
    const boundOf = (field: AccessField) => (LONG.has(field) ? MAX_ESCAPED_BYTES : MAX_SHORT_BYTES);
    const texts = steps.reduce((sum, step) => sum + step.before.length, this.end.length + OVERSHOOT_BYTES);
    this.maxBytes = fields.map(boundOf).reduce((sum, bytes) => sum + bytes, texts);
  }

  has(field: AccessField): boolean {
    return this.fields.includes(field);
  }

  /** Writes the line and its end at `at`, where `maxBytes` fit. Returns the position after it. */
  write(entry: AccessEntry, to: Uint8Array, at: number): number {
    const { line, isJson } = this;
    line.begin(to, at);
    for (const { before, write } of this.steps) {
      const from = line.at;
      line.put(before);
      // JSON omits a field without a value. Its first field always has one.
      if (!write(entry, line) && isJson) line.at = from;
    }
    line.put(this.end);
    return line.at;
  }

  /** Returns the line that replaces lost ones. */
  lostLine(lines: number, timeMs: number): string {
    if (this.isJson) return `{"time":"${new Date(timeMs).toISOString()}","linesLost":${lines}}\n`;
    return `access log: ${lines} lines were lost, because they could not be written in time\n`;
  }
}

/** Whether the client's X-Request-Id is short enough and has no spaces, so that it can be logged. */
function isIdOfClient({ head, headBytes, start }: AccessEntry): boolean {
  const from = head?.positions[LOGGED.REQUEST_ID] ?? 0;
  const to = head?.positions[LOGGED.REQUEST_ID + 1] ?? 0;
  if (from === to || to - from > MAX_REQUEST_ID_BYTES) return false;
  for (let at = start + from; at < start + to; at++) {
    const byte = headBytes[at] as number;
    if (byte <= 32 || byte >= 127) return false;
  }
  return true;
}

let clockSecond = Number.NaN;
let clock = new PackedText("");

/** Returns `10/Oct/2000:13:55:36 +0000`; computed once per second. */
function clockOf(timeMs: number): PackedText {
  const now = Math.floor(timeMs / 1000);
  if (now === clockSecond) return clock;
  clockSecond = now;
  const date = new Date(now * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  clock = new PackedText(
    `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`,
  );
  return clock;
}

let isoMillisecond = Number.NaN;
let iso = "";

/** Returns `2000-10-10T13:55:36.000Z`; computed once per millisecond. */
function isoTime(timeMs: number): string {
  const now = Math.floor(timeMs);
  if (now === isoMillisecond) return iso;
  isoMillisecond = now;
  iso = new Date(now).toISOString();
  return iso;
}
