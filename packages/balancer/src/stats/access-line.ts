/** Formats entries of the access log as lines: JSON, or a template such as the combined format. No client can inject a line. Pure. */
import { ACCESS_FIELDS, type AccessField, COMBINED, parseTemplate, type TemplatePart } from "@paceline/wire/access-log";
import {
  type AccessEntry,
  MAX_ESCAPED_BYTES,
  MAX_SHORT_BYTES,
  NUMBERS,
  putClientId,
  putMillisecond,
  putMilliseconds,
  putNumber,
  putPart,
  putRequestLine,
  putSeconds,
  putText,
  QUOTE,
  TEXTS,
} from "./access-values.js";
import { LOGGED } from "./logged-head.js";

const [LINE_END, SPACE, HYPHEN] = [10, 32, 45];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** How a field is written. */
const [TEXT, PART, NUMBER, SECONDS, MILLISECONDS, MILLISECOND, LINE, REQUEST_ID, END] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/** A placeholder in the texts of a format for the time of the request, in whole seconds. */
const CLOCK = "\0";
const ISO_TIME = "\x01";

/** How each field is written, and the place of its value in the entry. The placeholder of the clock is part of the text before it. */
const SOURCES: Readonly<Record<Exclude<AccessField, "clock">, readonly [how: number, place: number]>> = {
  time: [MILLISECOND, NUMBERS.timeMs],
  clientAddress: [TEXT, TEXTS.clientAddress],
  protocol: [TEXT, TEXTS.protocol],
  httpVersion: [TEXT, TEXTS.httpVersion],
  host: [PART, LOGGED.HOST],
  method: [TEXT, TEXTS.method],
  target: [PART, LOGGED.TARGET],
  status: [NUMBER, NUMBERS.status],
  requestBytes: [NUMBER, NUMBERS.requestBytes],
  bytes: [NUMBER, NUMBERS.bytes],
  durationMs: [MILLISECONDS, NUMBERS.durationMs],
  firstByteMs: [MILLISECONDS, NUMBERS.firstByteMs],
  queueMs: [MILLISECONDS, NUMBERS.queueMs],
  connectMs: [MILLISECONDS, NUMBERS.connectMs],
  handlerMs: [MILLISECONDS, NUMBERS.handlerMs],
  laneMs: [MILLISECONDS, NUMBERS.laneMs],
  retries: [NUMBER, NUMBERS.retries],
  hedge: [TEXT, TEXTS.hedge],
  pool: [TEXT, TEXTS.pool],
  instance: [TEXT, TEXTS.instance],
  outcome: [TEXT, TEXTS.outcome],
  phase: [TEXT, TEXTS.phase],
  requestId: [REQUEST_ID, TEXTS.requestId],
  traceId: [TEXT, TEXTS.traceId],
  referer: [PART, LOGGED.REFERER],
  userAgent: [PART, LOGGED.USER_AGENT],
  request: [LINE, LOGGED.LINE],
  seconds: [SECONDS, NUMBERS.durationMs],
};

/** The fields whose JSON value is a string. */
const QUOTED: ReadonlySet<number> = new Set([TEXT, PART, MILLISECOND, LINE, REQUEST_ID]);

/** Fields with text of a client. */
const LONG: ReadonlySet<AccessField> = new Set(["host", "target", "request", "referer", "userAgent", "requestId"]);

/** Fields that need the times within a request. */
const TIMED: ReadonlySet<AccessField> = new Set(["firstByteMs", "queueMs", "connectMs", "handlerMs", "laneMs"]);

/** How many bytes may be written after a text. The next value overwrites them. */
const OVERSHOOT_BYTES = 7;
/** The number of seconds for which texts with a time are cached, because requests of several seconds end at the same time. */
const COPIES = 8;
/**
 * The numbers of each step of a program. First for its text: where it begins, the number of words between two copies of it, and its length.
 * Then for the value after it: how it is written, its place, and whether a quote follows.
 */
const STEP = 6;

/** A text of a format, and the value after it. */
interface Step {
  readonly before: string;
  readonly how: number;
  readonly place: number;
  readonly field?: AccessField;
}

/** A text, and the position at which it is packed. */
interface Packed {
  readonly text: string;
  readonly word: number;
  readonly words: number;
}

/**
 * A compiled format. Its lines are at most `maxBytes` long. The format is a program of numbers that one loop runs, with all its texts in
 * one array. Functions and objects for each field would rarely be in the CPU caches, because the code of the relay displaces them.
 */
export class AccessFormat {
  readonly maxBytes: number;
  /** Whether its lines have the times within a request. */
  readonly hasTimes: boolean;
  private readonly isJson: boolean;
  private readonly isCombined: boolean;
  readonly fields: ReadonlySet<AccessField>;
  private readonly program: Int32Array;
  /** The texts, eight bytes in each number. None of the numbers is NaN, because a runtime may change the bytes of NaN. */
  private readonly words: Float64Array;
  /** The texts with a time: the first copy of each. */
  private readonly timed: readonly Packed[];
  /** The second that each copy shows. */
  private readonly seconds = new Float64Array(COPIES).fill(-1);
  /** The second of the last line, as Unix time in milliseconds, and its copy. */
  private secondMs = Number.NEGATIVE_INFINITY;
  private copy = 0;
  private view: DataView = new DataView(new ArrayBuffer(0));
  private viewed: Uint8Array | undefined;

  /** @param format `json`, or a template, validated with the configuration */
  constructor(format: string) {
    this.isJson = format === "json";
    this.isCombined = format === COMBINED;
    const steps = stepsOf(format, this.isJson);
    this.fields = new Set(steps.flatMap(({ field }) => field ?? []));
    this.program = new Int32Array(steps.length * STEP);
    const timed: Packed[] = [];
    const fixed: Packed[] = [];
    let word = 0;
    let bytes = OVERSHOOT_BYTES;
    for (const [at, { before: text, how, place, field }] of steps.entries()) {
      const { length } = textAt(0, text);
      const words = Math.ceil(length / 8);
      const isTimed = text.includes(CLOCK) || text.includes(ISO_TIME);
      const isQuoted = this.isJson && QUOTED.has(how);
      this.program.set([word, isTimed ? words : 0, length, how, place, isQuoted ? 1 : 0], at * STEP);
      (isTimed ? timed : fixed).push({ text, word, words });
      word += isTimed ? COPIES * words : words;
      bytes += length + (field !== undefined && LONG.has(field) ? MAX_ESCAPED_BYTES : MAX_SHORT_BYTES);
    }
    this.words = new Float64Array(word);
    this.timed = timed;
    for (const each of fixed) pack(each.text, this.words, each.word);
    this.hasTimes = [...this.fields].some((field) => TIMED.has(field));
    this.maxBytes = bytes;
  }

  /** Writes the line and its end at `at`, where `maxBytes` fit. Returns the position after it. */
  write(entry: AccessEntry, to: Uint8Array, at: number): number {
    if (this.viewed !== to) {
      this.viewed = to;
      this.view = new DataView(to.buffer, to.byteOffset, to.length);
    }
    return this.isCombined ? this.writeCombined(entry, to, at) : this.run(entry, to, at);
  }

  /** Writes a line of the combined format, which most logs have, as `run` does, but in half of the time. */
  private writeCombined(entry: AccessEntry, to: Uint8Array, at: number): number {
    const { numbers, texts } = entry;
    let position = orHyphen(to, at, putText(texts[TEXTS.clientAddress], to, at));
    position = this.putClock(position, this.copyOf(numbers[NUMBERS.timeMs] as number));
    position = orHyphen(to, position, putRequestLine(entry, to, position, false));
    to[position] = QUOTE;
    to[position + 1] = SPACE;
    position = orHyphen(to, position + 2, putNumber(numbers[NUMBERS.status] as number, to, position + 2));
    to[position++] = SPACE;
    position = orHyphen(to, position, putNumber(numbers[NUMBERS.bytes] as number, to, position));
    to[position] = SPACE;
    to[position + 1] = QUOTE;
    position = orHyphen(to, position + 2, putPart(entry, LOGGED.REFERER, to, position + 2, false));
    to[position] = to[position + 2] = QUOTE;
    to[position + 1] = SPACE;
    position = orHyphen(to, position + 3, putPart(entry, LOGGED.USER_AGENT, to, position + 3, false));
    to[position] = QUOTE;
    to[position + 1] = SPACE;
    position = putSeconds(numbers[NUMBERS.durationMs] as number, to, position + 2);
    to[position++] = SPACE;
    position = orHyphen(to, position, putText(texts[TEXTS.instance], to, position));
    to[position] = LINE_END;
    return position + 1;
  }

  /** Writes the text of the combined format that has the clock: that of the second step. */
  private putClock(at: number, copy: number): number {
    const { program, words, view } = this;
    let word = (program[STEP] as number) + copy * (program[STEP + 1] as number);
    const end = at + (program[STEP + 2] as number);
    for (let position = at; position < end; position += 8) view.setFloat64(position, words[word++] as number, true);
    return end;
  }

  private run(entry: AccessEntry, to: Uint8Array, at: number): number {
    const { program, words, isJson, view } = this;
    const { numbers, texts } = entry;
    const copy = this.timed.length === 0 ? 0 : this.copyOf(numbers[NUMBERS.timeMs] as number);
    let position = at;
    for (let step = 0; ; step += STEP) {
      const from = position;
      let word = (program[step] as number) + copy * (program[step + 1] as number);
      const value = from + (program[step + 2] as number);
      for (; position < value; position += 8) view.setFloat64(position, words[word++] as number, true);
      position = value;
      const place = program[step + 4] as number;
      switch (program[step + 3]) {
        case TEXT:
          position = putText(texts[place], to, value);
          break;
        case PART:
          position = putPart(entry, place, to, value, isJson);
          break;
        case NUMBER:
          position = putNumber(numbers[place] as number, to, value);
          break;
        case SECONDS:
          position = putSeconds(numbers[place] as number, to, value);
          break;
        case MILLISECONDS:
          position = putMilliseconds(numbers[place] as number, to, value);
          break;
        case MILLISECOND:
          position = putMillisecond(numbers[place] as number, to, value);
          break;
        case LINE:
          position = putRequestLine(entry, to, value, isJson);
          break;
        case REQUEST_ID:
          position = putText(texts[place], to, value);
          if (position === value) position = putClientId(entry, to, value, isJson);
          break;
        default:
          return value;
      }
      if (position > value) {
        if (program[step + 5] === 1) to[position++] = QUOTE;
      }
      // JSON leaves out a field without a value. The first field always has a value.
      else if (isJson) position = from;
      else to[position++] = HYPHEN;
    }
  }

  /** Returns which copy of the texts with a time shows the second of this time. */
  private copyOf(timeMs: number): number {
    const since = timeMs - this.secondMs;
    if (since >= 0 && since < 1000) return this.copy;
    const second = Math.floor(timeMs / 1000);
    const copy = second & (COPIES - 1);
    this.secondMs = 1000 * second;
    this.copy = copy;
    if (this.seconds[copy] === second) return copy;
    this.seconds[copy] = second;
    for (const { text, word, words } of this.timed) pack(textAt(second, text), this.words, word + copy * words);
    return copy;
  }

  /** Returns the line that stands for lost lines. */
  lostLine(lines: number, timeMs: number): string {
    if (this.isJson) return `{"time":"${new Date(timeMs).toISOString()}","linesLost":${lines}}\n`;
    return `access log: ${lines} lines were lost, because they could not be written in time\n`;
  }
}

/** Writes a hyphen if there was no value. Returns the position after it. */
function orHyphen(to: Uint8Array, from: number, end: number): number {
  if (end > from) return end;
  to[from] = HYPHEN;
  return from + 1;
}

function stepsOf(format: string, isJson: boolean): Step[] {
  const template = isJson ? ACCESS_FIELDS.map((field) => ({ field })) : parseTemplate(format);
  const parts: readonly TemplatePart[] = typeof template === "string" ? [] : template;
  const steps: Step[] = [];
  let before = "";
  for (const part of parts) {
    const field = "text" in part ? undefined : part.field;
    if (field === undefined || field === "clock") {
      before += "text" in part ? part.text : CLOCK;
      continue;
    }
    const [how, place] = SOURCES[field];
    if (isJson) before = `${steps.length === 0 ? "{" : ","}"${field}":${QUOTED.has(how) ? '"' : ""}`;
    if (field === "time") before += ISO_TIME;
    steps.push({ before, how, place, field });
    before = "";
  }
  return [...steps, { before: isJson ? "}\n" : `${before}\n`, how: END, place: 0 }];
}

/** Returns a text of a format with this time inserted. */
function textAt(second: number, text: string): string {
  return text.replaceAll(CLOCK, () => clockOf(second)).replaceAll(ISO_TIME, () => isoOf(second));
}

/** Returns `10/Oct/2000:13:55:36 +0000`. */
function clockOf(second: number): string {
  const date = new Date(second * 1000);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  return `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
}

/** Returns `2000-10-10T13:55:36.`. */
function isoOf(second: number): string {
  return new Date(second * 1000).toISOString().slice(0, -"000Z".length);
}

/** Packs one of our own texts, in ASCII, into numbers of eight bytes. */
function pack(text: string, words: Float64Array, word: number): void {
  const bytes = Buffer.alloc(Math.ceil(text.length / 8) * 8);
  bytes.write(text, "latin1");
  for (let i = 0; 8 * i < bytes.length; i++) words[word + i] = bytes.readDoubleLE(8 * i);
}
