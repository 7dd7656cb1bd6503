/** Shows a line of the log, and an event, as a line of text. */
import type { FleetEvent, LogLine } from "../control/api.js";

/** Names up to this long stand in a column. */
const NAME_WIDTH = 10;

/** `10:31:07 web.3      | listening`. */
export function formatLogLine(line: Pick<LogLine, "at" | "name" | "text">): string {
  return `${clock(line.at)} ${line.name.padEnd(NAME_WIDTH)} | ${line.text}`;
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
