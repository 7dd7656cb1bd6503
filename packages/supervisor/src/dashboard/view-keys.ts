/** Handles key presses in the log view and the deaths view, and copies text. Pure. */
import { only, openLog, withNotice } from "./actions.js";
import type { Key, LogView, Model, Step } from "./model.js";
import { isFiltered, isFound, linesAtLevel } from "./pane.js";
import { processOf } from "./rows.js";

const PAGE = 15;
const LEVELS = { "1": "all", "2": "warn", "3": "error" } as const;

/** Handles a key press in the log view. Returns undefined if the key has no meaning there. */
export function pressInLog(model: Model, key: Key, at: number): Step | undefined {
  const { log } = model;
  const put = (more: Partial<LogView>): Step => only({ ...model, log: { ...log, ...more } });
  switch (key) {
    case "up":
    case "k":
      return put(scrolledBy(log, 1));
    case "down":
    case "j":
      return put(scrolledBy(log, -1));
    case "pageup":
      return put(scrolledBy(log, PAGE));
    case "pagedown":
    case " ":
    case "space":
      return put(scrolledBy(log, -PAGE));
    case "home":
    case "g":
      return put(scrolledBy(log, Number.POSITIVE_INFINITY));
    case "end":
    case "G":
      return put({ scrolled: 0, follows: true });
    case "f":
      return log.follows ? put({ follows: false }) : put({ follows: true, scrolled: 0 });
    case "w":
      return put({ wraps: !log.wraps });
    case "1":
    case "2":
    case "3":
      return put({ level: LEVELS[key], scrolled: 0, follows: true });
    case "e":
      return put({ level: log.level === "error" ? "all" : "error", scrolled: 0, follows: true });
    case "/":
      return only({ ...model, mode: { kind: "search", before: log.search } });
    case "n":
    case "N":
      return only(found(model, key === "N" ? -1 : 1, at));
    case "y":
      return copyLines(model, at);
    case "escape":
      if (log.search !== "") return put({ search: "" });
      return isFiltered(log) ? put({ level: "all", scrolled: 0, follows: true }) : undefined;
    default:
      return undefined;
  }
}

function scrolledBy(log: LogView, by: number): Partial<LogView> {
  const most = Math.max(0, linesAtLevel(log).length - 1);
  const scrolled = Math.max(0, Math.min(most, log.scrolled + by));
  return { scrolled, follows: scrolled === 0 };
}

/** Scrolls to the next matching line above or below. */
function found(model: Model, direction: 1 | -1, at: number): Model {
  const { log } = model;
  if (log.search === "") return withNotice(model, "nothing is searched for: / begins a search", at);
  const lines = linesAtLevel(log);
  const lowest = lines.length - 1 - log.scrolled;
  for (let line = lowest - direction; line >= 0 && line < lines.length; line -= direction) {
    if (isFound(lines[line] as (typeof lines)[number], log.search))
      return { ...model, log: { ...log, scrolled: lines.length - 1 - line, follows: false } };
  }
  return withNotice(model, `no further “${log.search}” ${direction === 1 ? "above" : "below"}`, at);
}

const MOST_COPIED = 500;

/** Copies the visible lines, which end at the scroll position. */
function copyLines(model: Model, at: number): Step {
  const lines = linesAtLevel(model.log);
  const end = lines.length - model.log.scrolled;
  const rows = Math.max(1, Math.min(MOST_COPIED, model.size.height - 2));
  const chosen = lines.slice(Math.max(0, end - rows), end);
  const text = chosen.map(({ at: time, name, text }) => `${new Date(time).toISOString()} ${name} ${text}`).join("\n");
  return { model: withNotice(model, `copied ${chosen.length} lines`, at), effects: [{ type: "copy", text }] };
}

/** Handles a key press in the deaths view. Returns undefined if the key has no meaning there. */
export function pressInDeaths(model: Model, key: Key): Step | undefined {
  const { list, selected } = model.deaths;
  const moves: Record<string, number> = {
    up: -1,
    k: -1,
    down: 1,
    j: 1,
    pageup: -PAGE,
    pagedown: PAGE,
    g: -1e6,
    G: 1e6,
  };
  const by = moves[key];
  if (by !== undefined) {
    const next = Math.max(0, Math.min(list.length - 1, selected + by));
    return only({ ...model, deaths: { ...model.deaths, selected: next } });
  }
  const death = list[selected];
  if (death === undefined || (key !== "enter" && key !== "l")) return undefined;
  const isKnown = processOf(model.status, death.name) !== undefined;
  const chosen = isKnown ? { ...model, selected: death.name } : model;
  return only(key === "l" ? openLog(chosen, death.name, "all") : { ...chosen, view: "detail" });
}

/** Copies the subject of the view: a death, or the figures of the selected row. */
export function copyToClipboard(model: Model, at: number): Step {
  const { view, deaths, selected } = model;
  const death = view === "deaths" ? deaths.list[deaths.selected] : undefined;
  const text =
    death === undefined
      ? JSON.stringify(processOf(model.status, selected) ?? { name: selected }, null, 2)
      : [`${death.process}: ${death.reason}`, ...death.lastLines].join("\n");
  const what = death === undefined ? `the figures of ${selected}` : `the death of ${death.name}`;
  return { model: withNotice(model, `copied ${what}`, at), effects: [{ type: "copy", text }] };
}
