/** The lower pane: the events, or the log of what is selected. */
import type { FleetEvent, LogLine } from "../control/api.js";
import { clock } from "./format.js";
import type { Model } from "./model.js";
import { poolOf } from "./rows.js";
import { clean, fit, fitLine, type Line, type Style, segment, widthOf } from "./text.js";

const LEVEL_STYLE: Record<FleetEvent["level"], Style> = { info: "plain", warn: "busy", error: "bad" };
/** What is longer than this cannot be seen on any screen, and need not be looked at. */
const MAX_CHARACTERS = 1_000;

type PaneModel = Pick<Model, "pane" | "events" | "log" | "selected" | "status" | "connection">;

/** The rule above the pane; `position` says which rows of the table are seen. */
export function paneTitle(model: PaneModel, position: string, width: number): Line {
  const title = model.pane === "log" ? `log of ${model.selected ?? "nothing"}` : "events";
  const end = position === "" ? "" : ` ${position} ─`;
  const start = `── ${title} `;
  const rule = "─".repeat(Math.max(0, width - widthOf(start) - widthOf(end)));
  return fitLine([segment(start + rule + end, "dim")], width);
}

/** The newest lines that fit, the newest last. */
export function paneLines(model: PaneModel, width: number, height: number): Line[] {
  if (height <= 0) return [];
  if (model.pane === "log") {
    const lines = model.log.lines.slice(-height);
    if (lines.length === 0) {
      return [fitLine([segment(model.log.loaded ? " nothing was written yet" : " …", "dim")], width)];
    }
    const nameWidth = model.selected?.includes(".") === true ? 0 : widest(lines.map(({ name }) => name));
    return lines.map((line) => fitLine(logLine(line, nameWidth), width));
  }
  const events = model.events.slice(-height);
  const nameWidth = widest(events.map(({ subject }) => subject));
  return events.map((event) => fitLine(eventLine(event, nameWidth, model.selected), width));
}

function widest(names: readonly string[]): number {
  return Math.min(
    20,
    names.reduce((most, name) => Math.max(most, widthOf(name)), 0),
  );
}

function eventLine({ at, level, subject, message }: FleetEvent, nameWidth: number, selected: string | null): Line {
  const style = LEVEL_STYLE[level];
  const mark = level === "info" ? " " : "!";
  // A second process in the slot is `web.3 (successor)`.
  const [slot = subject] = subject.split(" ");
  const ours = selected !== null && (slot === selected || poolOf(slot) === selected);
  return [
    segment(` ${clock(at)} `, "dim"),
    segment(mark, style),
    segment(fit(clean(subject), nameWidth), ours ? "bold" : "plain"),
    segment(` ${clean(message.slice(0, MAX_CHARACTERS))}`, style),
  ];
}

function logLine({ at, name, text }: LogLine, nameWidth: number): Line {
  const who = nameWidth === 0 ? [] : [segment(`${fit(clean(name), nameWidth)} `, "accent")];
  return [segment(` ${clock(at)} `, "dim"), ...who, segment(clean(text.slice(0, MAX_CHARACTERS)))];
}
