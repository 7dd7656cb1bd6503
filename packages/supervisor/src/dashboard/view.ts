/** Lays the parts of the screen out: header, table, pane, last line. Pure: lines of styled text, never wider than the screen. */
import { bottomLine } from "./bottom-line.js";
import { headerOf } from "./header.js";
import { helpLines } from "./help.js";
import type { Model } from "./model.js";
import { paneLines, paneTitle } from "./pane.js";
import { padLine, type Table, tableOf } from "./table.js";
import { fitLine, type Line, segment } from "./text.js";

/** The pane has at least so many lines, its title included, where the screen is high enough. */
const LEAST_PANE = 5;
const LEAST_TABLE = 4;

/** Exactly as many lines as the screen has, each exactly as wide. */
export function view(model: Model): Line[] {
  const { width, height } = model.size;
  const lines = [headerOf(model, width)];
  if (height > 2) lines.push(...middle(model, width, height - 2));
  if (height > 1) lines.push(bottomLine(model, width));
  return lines.slice(0, height).map((line) => padLine(line, width));
}

/** The header and the whole table, for where nothing can be selected. */
export function plainView(model: Model, width: number): Line[] {
  const table = tableOf({ ...model, selected: null }, width);
  return [headerOf(model, width), table.head, ...table.rows];
}

function middle(model: Model, width: number, height: number): Line[] {
  if (model.mode.kind === "help") return fill(helpLines(model.ownership, width), height);
  const table = tableOf(model, width);
  const paneHeight = height >= LEAST_TABLE + LEAST_PANE ? Math.max(LEAST_PANE, height - table.rows.length - 1) : 0;
  const tableHeight = height - paneHeight;
  const { lines, position } = scrolled(table, model, tableHeight, width);
  if (paneHeight === 0) return lines;
  const content = paneLines(model, width, paneHeight - 1);
  return [...lines, paneTitle(model, position, width), ...fill(content, paneHeight - 1)];
}

/** The part of the table around the selected row. */
function scrolled(table: Table, model: Model, height: number, width: number): { lines: Line[]; position: string } {
  const room = height - 1;
  if (table.rows.length === 0) {
    const text = model.status === null ? "" : model.filter === "" ? " no pool" : ` nothing is like ${model.filter}`;
    return { lines: fill([table.head, fitLine([segment(text, "dim")], width)], height), position: "" };
  }
  const most = Math.max(0, table.rows.length - room);
  const first = Math.min(Math.max(0, table.selected - Math.floor(room / 2)), most);
  const shown = table.rows.slice(first, first + room);
  const position = most === 0 ? "" : `${first + 1}–${first + shown.length} of ${table.rows.length}`;
  return { lines: fill([table.head, ...shown], height), position };
}

/** Exactly `height` lines. */
function fill(lines: readonly Line[], height: number): Line[] {
  return Array.from({ length: height }, (_, at) => lines[at] ?? []);
}
