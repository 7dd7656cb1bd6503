/** The overview: title, graphs, the table with the balancers always visible, what needs attention, and the events. Pure. */
import { troubleLines } from "./attention.js";
import type { Layout } from "./columns.js";
import { sidePane } from "./detail.js";
import { bareGraphs, boxedGraphs, figuresLine, gauges } from "./graphs.js";
import { type Model, WIDE } from "./model.js";
import { eventLines, logLines, sectionTitle } from "./pane.js";
import { padLine, type Table, type TableRow, tableOf } from "./table.js";
import { clean, fitLine, type Line, segment } from "./text.js";
import { fleetFigures, lossOf, titleLine } from "./title.js";

/** The width of the pane for the selected row, and the minimum height for showing it. */
const SIDE_WIDTH = 68;
const SIDE_HEIGHT = 40;
/** The number of rows of the table beside that pane, if there is room. */
const LEAST_SIDE = 31;
const LEAST_TABLE = 4;
/** From this width on, the title names the command that shows all that needs attention. */
const HINT_WIDTH = 80;
/** The maximum number of lines about what needs attention below the table in plain text. */
const MOST_PLAIN = 10;

/** The lines, and the elements in them that can be clicked. */
export interface Screen {
  lines: Line[];
  /** For each line, the name that a press selects. */
  names: (string | null)[];
  /** The line with the columns' titles, and where each column ends; null if there is none. */
  head: { y: number; columns: { key: string; end: number }[] } | null;
}

/** Returns `height` lines, without the last line of the screen, which has the keys. */
export function overviewOf(model: Model, width: number, height: number): Screen {
  const lines = [titleLine(model, width), ...graphBlock(model, width, height + 1)].slice(0, Math.max(1, height));
  const names: Screen["names"] = lines.map(() => null);
  const room = height - lines.length;
  if (room <= 0) return { lines, names, head: null };
  const hasSide = width >= WIDE && height >= SIDE_HEIGHT && model.selected !== null;
  const tableWidth = hasSide ? width - SIDE_WIDTH - 1 : width;
  const table = tableOf(model, tableWidth);
  const troubles = model.status?.attention?.length ?? 0;
  const parts = divide(table, room, height + 1, hasSide ? LEAST_SIDE : 0, troubles);
  const { rows, position } = scrolled(table, model, parts);
  const drawn = table.draw(rows);
  const head = { y: lines.length, columns: endsOf(drawn.layout) };
  const left = [drawn.head, ...drawn.lines].map((line) => padLine(line, tableWidth));
  const side = hasSide ? sidePane(model, SIDE_WIDTH, left.length) : [];
  const shown = hasSide ? left.map((line, y) => [...line, segment(" "), ...(side[y] ?? [])]) : left;
  lines.push(...shown);
  if (table.pools.length === 0) lines[head.y + 1] = nothingLine(model, tableWidth);
  names.push(null, ...rows.map(({ name }) => name));
  if (parts.events > 0) lines.push(...eventBlock(model, position, tableWidth, width, parts.events));
  while (names.length < lines.length) names.push(null);
  return { lines, names, head };
}

/** Returns the header and the whole table, for output without a selection. */
export function plainOf(model: Model, width: number): Line[] {
  const table = tableOf({ ...model, selected: null }, width);
  const figures = figuresLine(fleetFigures(model), width);
  const { head, lines } = table.draw([...table.pools, ...table.balancers]);
  const troubles = model.status?.attention ?? [];
  const shown = troubleLines(troubles, width, MOST_PLAIN);
  const more = troubles.length - shown.length;
  return [
    ...[titleLine(model, width), figures, head, ...lines, ...shown],
    ...(more > 0 ? [fitLine([segment(` and ${more} more: paceline explain`, "dim")], width)] : []),
  ];
}

function graphBlock(model: Model, width: number, height: number): Line[] {
  const figures = fleetFigures(model);
  if (height < 14 || figures.length === 0) return [];
  const narrow = figures.slice(0, Math.max(1, Math.min(4, Math.floor(width / 15))));
  const line = figuresLine(narrow, width);
  if (height < 20) return [line];
  if (height < 34 || width < 100) return [line, ...bareGraphs(model, narrow, width, 2)];
  const isLarge = height >= 50 && width >= 170;
  const boxes = isLarge ? figures : figures.slice(0, 4);
  return [
    ...boxedGraphs(model, boxes, width, isLarge ? 6 : 4),
    gauges(model, figures, width),
    ...(isLarge ? [[]] : []),
  ];
}

interface FleetParts {
  pools: number;
  balancers: number;
  blanks: boolean;
  /** The number of lines of events, including their title; 0: none are shown. */
  events: number;
}

/** Divides the lines below the graphs; one of them is the head of the table. */
function divide(
  { pools, balancers }: Table,
  room: number,
  height: number,
  leastRows: number,
  troubles: number,
): FleetParts {
  const least = height < 14 ? 0 : height < 20 ? 3 : 5;
  const ofBalancers = Math.min(balancers.length, Math.max(1, Math.floor((room - 1) / 4)));
  // What needs attention gets half of the lines, and has precedence over blank lines.
  const spare = Math.max(0, room - 1 - ofBalancers - pools.length - least);
  const wanted = least + Math.min(spare, Math.max(0, 2 * troubles + 1 - least));
  const ofEvents = least > 0 && room - 1 >= LEAST_TABLE + least ? wanted : 0;
  const ofPools = Math.max(0, room - 1 - ofBalancers - ofEvents);
  const blanks = pools.filter(({ startsPool }) => startsPool).length + 1;
  const hasBlanks = pools.length + blanks <= ofPools;
  const needed = Math.max(leastRows, Math.max(1, pools.length) + (hasBlanks ? blanks : 0));
  const isSmall = needed <= ofPools;
  const rest = isSmall ? ofPools - needed : 0;
  if (ofEvents > 0)
    return { pools: isSmall ? needed : ofPools, balancers: ofBalancers, blanks: hasBlanks, events: ofEvents + rest };
  return { pools: ofPools, balancers: ofBalancers, blanks: hasBlanks, events: 0 };
}

function nothingLine({ status, filter }: Model, width: number): Line {
  const text = status === null ? "" : filter === "" ? " no pool" : ` nothing matches ${clean(filter)}`;
  return padLine(fitLine([segment(text, "dim")], width), width);
}

const BLANK: TableRow = { name: null, entry: null, startsPool: false };

/** Returns the rows around the selected one, then those of the balancers. */
function scrolled(table: Table, model: Model, parts: FleetParts): { rows: TableRow[]; position: string } {
  const { pools, balancers } = table;
  const rows: TableRow[] = [];
  let position = "";
  if (pools.length === 0) {
    rows.push(BLANK);
  } else if (pools.length <= parts.pools) {
    for (const row of pools) rows.push(...(parts.blanks && row.startsPool ? [BLANK] : []), row);
    if (parts.blanks) rows.push(BLANK);
  } else {
    const at = indexOf(pools, model.selected, pools.length - 1);
    const first = Math.min(Math.max(0, at - Math.floor(parts.pools / 2)), pools.length - parts.pools);
    rows.push(...pools.slice(first, first + parts.pools));
    position = `${first + 1}–${first + parts.pools} of ${pools.length} rows`;
  }
  rows.splice(parts.pools);
  const at = indexOf(balancers, model.selected, 0);
  const first = Math.min(Math.max(0, at - parts.balancers + 1), Math.max(0, balancers.length - parts.balancers));
  rows.push(...balancers.slice(first, first + parts.balancers));
  while (rows.length < parts.pools + parts.balancers && parts.events > 0) rows.push(BLANK);
  return { rows, position };
}

/** Returns the index of the selected row; `otherwise` if that row is in the other part. */
function indexOf(rows: readonly TableRow[], selected: string | null, otherwise: number): number {
  const at = selected === null ? 0 : rows.findIndex(({ name }) => name === selected);
  return at < 0 ? otherwise : at;
}

function endsOf({ columns, gap }: Layout): { key: string; end: number }[] {
  let end = 1;
  return columns.map(({ column, width }) => {
    end += width + gap.length;
    return { key: column.key, end };
  });
}

function eventBlock(model: Model, position: string, left: number, width: number, height: number): Line[] {
  const text = position === "" ? troubleText(model) : position;
  const side = width - left;
  const troubles = model.status?.attention ?? [];
  // One line is kept for the newest event.
  const shown = troubleLines(troubles, left, Math.max(1, height - 1 - Math.min(1, model.events.length)));
  const hint = left < HINT_WIDTH ? "" : ": explain shows all";
  const counted = shown.length < troubles.length ? `${shown.length} of ${troubles.length}${hint}` : `${shown.length}`;
  const events = [
    sectionTitle(shown.length === 0 ? "events" : `attention (${counted}), events`, text, left),
    ...shown,
    ...eventLines(model, left, height - 1 - shown.length),
  ];
  if (side === 0) return fill(events, height);
  const log = [
    sectionTitle(`log of ${model.selected ?? ""}`, "l", side),
    ...logLines(model.log, side, height - 1, model.selected, lossOf(model)).slice(-(height - 1)),
  ];
  return Array.from({ length: height }, (_, y) => [...padLine(events[y] ?? [], left), ...(log[y] ?? [])]);
}

const RECENT_MS = 300_000;

/** Returns `2 warnings, 1 error in 5 min`. */
function troubleText({ events, at }: Model): string {
  const recent = events.filter((event) => event.at >= at - RECENT_MS);
  const counted = (level: string, word: string) => {
    const count = recent.filter((event) => event.level === level).length;
    return count === 0 ? "" : `${count} ${word}${count === 1 ? "" : "s"}`;
  };
  const words = [counted("warn", "warning"), counted("error", "error")].filter(Boolean).join(", ");
  return words === "" ? "" : `${words} in 5 min`;
}

/** Cuts or pads to exactly `height` lines. */
export function fill(lines: readonly Line[], height: number): Line[] {
  return Array.from({ length: Math.max(0, height) }, (_, at) => lines[at] ?? []);
}
