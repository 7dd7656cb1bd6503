/** The lower pane: the events, or the log of the selected row. */
import type { FleetEvent, LastDeath, LogLine } from "../control/api.js";
import { clock } from "./format.js";
import type { Model } from "./model.js";
import { poolOf } from "./rows.js";
import { clean, fit, fitLine, type Line, lineWidth, type Segment, type Style, segment, widthOf, wrap } from "./text.js";

const LEVEL_STYLE: Record<FleetEvent["level"], Style> = { info: "plain", warn: "busy", error: "bad" };
/** Text beyond this length fits on no screen. */
const MAX_CHARACTERS = 1_000;
/** The most lines that an event or a log line may take. */
const MOST_LINES = 3;
/** In fewer cells than this, long text is cut. */
const LEAST_WRAPPED = 24;

type PaneModel = Pick<Model, "pane" | "events" | "log" | "selected" | "status" | "connection">;

/** Returns the line above the pane; `position` says which rows of the table are visible. */
export function paneTitle(model: PaneModel, position: string, width: number): Line {
  const title = model.pane === "log" ? `log of ${model.selected ?? "nothing"}` : "events";
  const rows = position === "" ? "" : ` ${position} ─`;
  const start = `── ${title} `;
  const death = deathText(model.status?.lastDeath ?? null);
  const end = widthOf(start) + widthOf(death) + widthOf(rows) < width ? death + rows : rows;
  const rule = "─".repeat(Math.max(0, width - widthOf(start) - widthOf(end)));
  return fitLine([segment(start + rule + end, "dim")], width);
}

/** Returns ` last death 10:29:56: web.5 exit 1 · paceline deaths show 17 ─`. */
function deathText(death: LastDeath | null): string {
  if (death === null) return "";
  return clean(` last death ${clock(death.at)}: ${death.name} ${death.how} · paceline deaths show ${death.id} ─`);
}

/** Returns the newest lines that fit, the newest last. Long ones continue in a second and a third line. */
export function paneLines(model: PaneModel, width: number, height: number): Line[] {
  if (height <= 0) return [];
  if (model.pane === "log") {
    const lines = model.log.lines.slice(-height);
    if (lines.length === 0) {
      return [fitLine([segment(model.log.loaded ? " no output yet" : " …", "dim")], width)];
    }
    const nameWidth = model.selected?.includes(".") === true ? 0 : widest(lines.map(({ name }) => name));
    return lines.flatMap((line) => entryLines(logEntry(line, nameWidth), width)).slice(-height);
  }
  const events = model.events.slice(-height);
  const nameWidth = widest(events.map(({ subject }) => subject));
  return events.flatMap((event) => entryLines(eventEntry(event, nameWidth, model.selected), width)).slice(-height);
}

function widest(names: readonly string[]): number {
  return Math.min(
    20,
    names.reduce((most, name) => Math.max(most, widthOf(name)), 0),
  );
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
  return {
    before: [
      segment(` ${clock(at)} `, "dim"),
      segment(level === "info" ? " " : "!", style),
      segment(`${fit(clean(subject), nameWidth)} `, ours ? "bold" : "plain"),
    ],
    text: segment(clean(message.slice(0, MAX_CHARACTERS)), style),
  };
}

function logEntry({ at, name, text }: LogLine, nameWidth: number): Entry {
  const who = nameWidth === 0 ? [] : [segment(`${fit(clean(name), nameWidth)} `, "accent")];
  return {
    before: [segment(` ${clock(at)} `, "dim"), ...who],
    text: segment(clean(text.slice(0, MAX_CHARACTERS))),
  };
}

function entryLines({ before, text }: Entry, width: number): Line[] {
  const indent = lineWidth(before);
  if (width - indent < LEAST_WRAPPED) return [fitLine([...before, text], width)];
  return wrap(text.text, width - indent, MOST_LINES).map((piece, at) => [
    ...(at === 0 ? before : [segment(" ".repeat(indent))]),
    segment(piece, text.style),
  ]);
}
