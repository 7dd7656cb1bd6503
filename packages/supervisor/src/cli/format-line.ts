/** Shows a line of the log as text and as JSON, and an event as text. */
import type { FleetEvent, LogLine } from "../control/api.js";
import { visible } from "../control-characters.js";

/** Names up to this long stand in a column. */
const NAME_WIDTH = 10;

/** `2026-05-07 10:31:07.250 web.3      | listening`; control characters as escapes when it is for a terminal. */
export function formatLogLine(line: Pick<LogLine, "at" | "name" | "text">, forTerminal = false): string {
  const text = withIndent(`${dateAndTime(line.at)} ${line.name.padEnd(NAME_WIDTH)} | `, line.text);
  return forTerminal ? visible(text) : text;
}

/** A message of the supervisor may have several lines, and a path in it may be written so: none looks like a line of the log. */
function withIndent(head: string, text: string): string {
  return head + (text.includes("\n") ? text.replaceAll("\n", `\n${" ".repeat(head.length)}`) : text);
}

/** The numbers that pino, whose lines many programs read, has for its levels. */
const LEVELS = { info: 30, warn: 40, error: 50 };

/** A line of the log as pino writes it; what an instance wrote is of the level `info`, whatever it says. */
export interface JsonLine {
  level: number;
  time: number;
  name: string;
  subject?: string;
  msg: string;
  lost?: number;
}

/** `{"level":30,"time":1700000000000,"name":"web.3","msg":"listening"}`; where lines are missing their number is `lost`. */
export function formatLogJson({ at, name, subject, level, text, lost }: Omit<LogLine, "sequence">): string {
  const shownLevel = LEVELS[level ?? (lost === undefined ? "info" : "warn")];
  return JSON.stringify({ level: shownLevel, time: at, name, subject, msg: text, lost } satisfies {
    [Key in keyof JsonLine]: JsonLine[Key] | undefined;
  });
}

/** The line that `formatLogJson` made; undefined when it is another's, or cut. */
export function parseLogJson(json: string): LogLine | undefined {
  try {
    const { level, time, name, subject, msg, lost } = JSON.parse(json) as Partial<JsonLine>;
    if (typeof time !== "number" || typeof name !== "string" || typeof msg !== "string") return undefined;
    const [shown = "info"] = Object.entries(LEVELS).find(([, number]) => number === level) ?? [];
    return {
      ...{ sequence: 0, at: time, name, text: msg, level: shown as keyof typeof LEVELS },
      ...(subject === undefined ? {} : { subject }),
      ...(lost === undefined ? {} : { lost }),
    };
  } catch {
    return undefined;
  }
}

/** `2026-05-07 10:31:07.250 warn  web.3      exited with code 1`. */
export function formatEvent(event: FleetEvent, forTerminal = false): string {
  const head = `${dateAndTime(event.at)} ${event.level.padEnd(5)} ${event.subject.padEnd(NAME_WIDTH)} `;
  const text = withIndent(head, event.message);
  return forTerminal ? visible(text) : text;
}

/** The event that a line of the log tells of; all of the supervisor's own words do. */
export function eventOf({ at, name, subject = name, level = "info", text }: LogLine): FleetEvent | undefined {
  if (name !== "paceline") return undefined;
  const message = text.startsWith(`${subject} `) ? text.slice(subject.length + 1) : text;
  return { sequence: 0, at, level, subject, message };
}

let second = -1;
let shown = "";

/** Local date and time to the millisecond, as lines of a log sort. */
function dateAndTime(at: number): string {
  // Many lines come in one second.
  if (Math.floor(at / 1000) !== second) {
    second = Math.floor(at / 1000);
    const date = new Date(at);
    const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(twoDigits).join("-");
    shown = `${day} ${[date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":")}`;
  }
  return `${shown}.${String(at % 1000).padStart(3, "0")}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, "0");
}
