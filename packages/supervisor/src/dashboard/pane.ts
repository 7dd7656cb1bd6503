/** Lines of events and of logs, with their levels and search matches; long ones are wrapped or cut. Pure. */
import type { FleetEvent, LogLine } from "../control/api.js";
import { clock } from "./format.js";
import { ruled } from "./graphs.js";
import type { LogView, Model } from "./model.js";
import { poolOf } from "./rows.js";
import {
  clean,
  fitLine,
  fitName,
  type Line,
  lineWidth,
  type Segment,
  type Style,
  segment,
  widthOf,
  wrap,
} from "./text.js";

type Level = FleetEvent["level"];

const LEVEL_STYLE: Record<Level, Style> = { info: "plain", warn: "warn", error: "bad" };
/** Longer text does not fit on any screen. */
const MAX_CHARACTERS = 1_000;
/** The maximum number of lines for an event or a log line. */
const MOST_LINES = 3;
/** With fewer cells than this, long text is cut. */
const LEAST_WRAPPED = 24;
/** A column of names takes at most this many cells, or this share of the width if that is more. */
const NAME_CELLS = 20;
const NAME_SHARE = 0.3;

/** The cells around both texts of a title. */
const FRAME = 8;

/** Returns `── events ─────────── text ──`; without the text if there is no room for it. */
export function sectionTitle(title: string, text: string, width: number): Line {
  const hasRoom = widthOf(title) + widthOf(text) + FRAME <= width;
  const end: Line = text === "" || !hasRoom ? [] : [segment(` ${text} ──`, "dim")];
  return ruled([segment("── ", "dim"), segment(title, "bold"), segment(" ", "dim")], end, width);
}

/** Returns the newest events that fit, newest last. Long ones continue in a second and a third line. */
export function eventLines(
  { events, selected }: Pick<Model, "events" | "selected">,
  width: number,
  height: number,
): Line[] {
  if (height <= 0) return [];
  const shown = events.slice(-height);
  const nameWidth = widest(
    shown.map(({ subject }) => subject),
    width,
  );
  const lines: Line[] = [];
  // If an event does not fit completely, its beginning is shown, because its end alone is useless.
  for (const event of shown.reverse()) {
    const room = height - lines.length;
    if (room <= 0) break;
    lines.unshift(...entryLines(eventEntry(event, nameWidth, selected), width, MOST_LINES).slice(0, room));
  }
  return lines;
}

/** Returns the width of a column of names, in lines of `width` cells. */
export function widest(names: readonly string[], width: number): number {
  const longest = names.reduce((most, name) => Math.max(most, widthOf(name)), 0);
  return Math.min(longest, Math.max(NAME_CELLS, Math.floor(width * NAME_SHARE)));
}

/** The prefix and the text. */
interface Entry {
  before: Line;
  text: Segment;
}

function eventEntry({ at, level, subject, message }: FleetEvent, nameWidth: number, selected: string | null): Entry {
  const style = LEVEL_STYLE[level];
  // A second process in the slot is called `web.3 (replacement)`.
  const [slot = subject] = subject.split(" ");
  const ours = selected !== null && (slot === selected || poolOf(slot) === selected);
  const isDeploy = /^(deploy|deployed|rolled back)\b/.test(message);
  return {
    before: [
      segment(` ${clock(at)} `, "dim"),
      segment(level === "info" ? " " : "!", style),
      segment(`${fitName(subject, nameWidth)} `, isDeploy ? "canary" : ours ? "bold" : "plain"),
    ],
    text: segment(clean(message.slice(0, MAX_CHARACTERS)), style),
  };
}

const ERROR = /\b([\w$]*error|[\w$]*exception|fatal|panic|traceback|critical)\b|"level":\s*(5\d|60|"(error|fatal)")/i;
const WARNING = /\bwarn(ing)?\b|"level":\s*(4\d|"warn")/i;

/** Returns the level of a line: an event's own level, or the level that the text suggests. */
export function levelOf({ level, text }: LogLine): Level {
  if (level !== undefined) return level;
  return ERROR.test(text) ? "error" : WARNING.test(text) ? "warn" : "info";
}

export const LEVEL_WORDS = { all: "all levels", warn: "only warnings and errors", error: "only errors" } as const;
const RANK: Record<Level, number> = { info: 0, warn: 1, error: 2 };

/** Returns the lines of a log at its level. */
export function linesAtLevel({ lines, level }: Pick<LogView, "lines" | "level">): readonly LogLine[] {
  return level === "all" ? lines : lines.filter((line) => RANK[levelOf(line)] >= RANK[level]);
}

/** Whether the user has chosen a level in the log. If so, Esc ends that before it leaves the log. */
export function isFiltered({ level, opened }: Pick<LogView, "level" | "opened">): boolean {
  return level !== "all" && level !== opened;
}

/** Returns whether a line matches the search. */
export function isFound({ text }: LogLine, search: string): boolean {
  return search !== "" && text.toLowerCase().includes(search.toLowerCase());
}

/**
 * Returns the lines of a log that fit, ending at the scroll position.
 * @param loss why no lines arrive, if none do
 */
export function logLines(
  log: LogView,
  width: number,
  height: number,
  owner: string | null,
  loss: string | null,
): Line[] {
  if (height <= 0) return [];
  const all = linesAtLevel(log);
  const end = all.length - Math.min(log.scrolled, Math.max(0, all.length - 1));
  const shown = all.slice(Math.max(0, end - height), end);
  if (shown.length === 0) {
    const nothing =
      loss !== null ? ` ${loss}; paceline logs prints its log file` : log.loaded ? " no output yet" : " …";
    const text =
      log.lines.length === 0 ? nothing : ` ${LEVEL_WORDS[log.level]}: none of ${log.lines.length} lines; 1 shows all`;
    return [fitLine([segment(text, "dim")], width)];
  }
  // The title of a process's log has its name.
  const nameOf = ({ name }: LogLine) => (name === owner && name.includes(".") ? "" : name);
  const nameWidth = widest(shown.map(nameOf), width);
  const most = log.wraps ? height : 1;
  return shown
    .flatMap((line) => entryLines(logEntry(line, nameOf(line), nameWidth, log.search), width, most))
    .slice(-height);
}

function logEntry(line: LogLine, name: string, nameWidth: number, search: string): Entry {
  const level = levelOf(line);
  const style = LEVEL_STYLE[level];
  const who = nameWidth === 0 ? [] : [segment(`${fitName(name, nameWidth)} `, "accent")];
  const mark = level === "info" ? " " : "!";
  const text = clean(line.text.slice(0, MAX_CHARACTERS));
  return {
    before: [segment(` ${clock(line.at)} `, "dim"), segment(mark, style), ...who],
    text: segment(text, isFound(line, search) ? "found" : style),
  };
}

function entryLines({ before, text }: Entry, width: number, most: number): Line[] {
  const indent = lineWidth(before);
  if (most <= 1 || width - indent < LEAST_WRAPPED) return [fitLine([...before, text], width)];
  return wrap(text.text, width - indent, most).map((piece, at) => [
    ...(at === 0 ? before : [segment(" ".repeat(indent))]),
    segment(piece, text.style),
  ]);
}
