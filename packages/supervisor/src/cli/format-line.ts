/** Formats log lines as text and JSON, and events as text. */
import type { FleetEvent, LogLine } from "../control/api.js";
import { dateAndTime, visible } from "../core/words.js";

/** Names up to this length are padded to one column. */
const NAME_WIDTH = 10;

/** Returns `2026-05-07 10:31:07.250 web.3      | listening`; with `forTerminal`, control characters are escaped. */
export function formatLogLine(line: Pick<LogLine, "at" | "name" | "text">, forTerminal = false): string {
  const text = withIndent(`${dateAndTime(line.at)} ${line.name.padEnd(NAME_WIDTH)} | `, line.text);
  return forTerminal ? visible(text) : text;
}

/** Indents the further lines of a message, so that none of them looks like a log line. */
function withIndent(head: string, text: string): string {
  return head + (text.includes("\n") ? text.replaceAll("\n", `\n${" ".repeat(head.length)}`) : text);
}

/** The level numbers of pino, which many programs read. */
const LEVELS = { info: 30, warn: 40, error: 50 };

/** A log line in pino's format. The output of instances has the level `info`. */
interface JsonLine {
  level: number;
  time: number;
  name: string;
  subject?: string;
  msg: string;
  lost?: number;
}

/** The head of the last line of output, cached because consecutive lines often share it. */
let head = { at: -1, name: "", text: "" };

/** Returns `{"level":30,"time":1700000000000,"name":"web.3","msg":"listening"}`. For lost lines, `lost` holds their number. */
export function formatLogJson({ at, name, subject, level, text, lost }: Omit<LogLine, "sequence">): string {
  if (subject === undefined && level === undefined && lost === undefined) {
    if (head.at !== at || head.name !== name) {
      const begin = JSON.stringify({ level: LEVELS.info, time: at, name } satisfies Partial<JsonLine>);
      head = { at, name, text: `${begin.slice(0, -1)},"msg":` };
    }
    return `${head.text}${JSON.stringify(text)}}`;
  }
  const shownLevel = LEVELS[level ?? (lost === undefined ? "info" : "warn")];
  return JSON.stringify({ level: shownLevel, time: at, name, subject, msg: text, lost } satisfies {
    [Key in keyof JsonLine]: JsonLine[Key] | undefined;
  });
}

/** Parses a line written by `formatLogJson`; undefined if it is incomplete or in another format. */
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

/** Returns `2026-05-07 10:31:07.250 warn  web.3      exited with code 1`. Control characters are escaped, even if stdout is a pipe. */
export function formatEvent(event: FleetEvent): string {
  const head = `${dateAndTime(event.at)} ${event.level.padEnd(5)} ${event.subject.padEnd(NAME_WIDTH)} `;
  return visible(withIndent(head, event.message));
}

/** Returns the event in a log line; undefined for the output of instances. */
export function eventOf({ at, name, subject = name, level = "info", text }: LogLine): FleetEvent | undefined {
  if (name !== "paceline") return undefined;
  const message = text.startsWith(`${subject} `) ? text.slice(subject.length + 1) : text;
  return { sequence: 0, at, level, subject, message };
}
