/** Shows a line of the log as text and as JSON, and an event as text. */
import type { FleetEvent, LogLine } from "../control/api.js";

/** Names up to this long stand in a column. */
const NAME_WIDTH = 10;

/** `10:31:07 web.3      | listening`. */
export function formatLogLine(line: Pick<LogLine, "at" | "name" | "text">): string {
  return `${clock(line.at)} ${line.name.padEnd(NAME_WIDTH)} | ${line.text}`;
}

/** The numbers that pino, whose lines many programs read, has for its levels. */
const LEVELS = { info: 30, warn: 40 };

/** `{"level":30,"time":1700000000000,"name":"web.3","msg":"listening"}`, as pino writes it. */
export function formatLogJson(
  line: Pick<LogLine, "at" | "name" | "text">,
  level: keyof typeof LEVELS = "info",
): string {
  return JSON.stringify({ level: LEVELS[level], time: line.at, name: line.name, msg: line.text });
}

/** `10:31:07 warn  web.3      exited with code 1`. */
export function formatEvent(event: FleetEvent): string {
  return `${clock(event.at)} ${event.level.padEnd(5)} ${event.subject.padEnd(NAME_WIDTH)} ${event.message}`;
}

/** The local time of day. */
function clock(at: number): string {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) => String(part).padStart(2, "0")).join(":");
}
