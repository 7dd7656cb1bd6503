/** The columns of the table: their order, and which of them fit a width. */
import { FIGURES, type Figure, type FigureValue, figureOf, withRequests } from "../core/figures.js";
import type { ProcessState } from "../core/model.js";
import { SHAPE_WORDS } from "./chart.js";
import { inFewCells } from "./format.js";
import type { Sort } from "./model.js";
import { isSimple, type Style, widthOf } from "./text.js";

export interface Column {
  /** `name`, `state`, `pid`, `chart`, `latency`, `memory`, or the key of a figure. */
  key: string;
  /** The long title and the short one. */
  titles: readonly [string, string];
  align: "left" | "right";
  /** Columns with a higher number are omitted first if there is not enough space. */
  drop: number;
  /** Omitted if no process has a value. */
  isOptional?: boolean;
  /** Omitted if no process gets requests. */
  ofRequests?: boolean;
  /** Whether the value can be the sum for several processes. */
  isSummed?: boolean;
  figure?: Figure;
  /** The minimum width, so that columns do not shift with every digit. */
  least: number;
}

export interface PlacedColumn {
  column: Column;
  title: string;
  width: number;
}

export interface Layout {
  columns: PlacedColumn[];
  gap: string;
}

/** The contents of a row: the text of `name` and `state`, and the figures. */
export interface Cells {
  name: string;
  state: string;
  pid: number | null;
  generation: number | null;
  /** Null if the row has none. */
  figures: object | null;
  isRunning: boolean;
  isPool: boolean;
}

/** The space to the left of the names, for the marker of the selected row. */
export const MARGIN = 1;
const LEAST_CHART = 12;
const MOST_CHART = 60;
const LEAST_MEMORY = 8;
/** For a name of up to so many cells, or this share of the width if that is less, columns are omitted; a longer one gets what is left. */
const NAME_CELLS = 16;
const NAME_SHARE = 1 / 4;

const FRAME: readonly Column[] = [
  { key: "name", titles: ["NAME", "NAME"], align: "left", drop: 0, least: 10 },
  { key: "state", titles: ["STATE", "STATE"], align: "left", drop: 1, least: 7 },
];
const CHART: Column = { key: "chart", titles: ["", ""], align: "left", drop: 5, ofRequests: true, least: LEAST_CHART };
const SHAPE: Column = {
  ...{ key: "latency", titles: ["LATENCY", "LATENCY"], align: "left", drop: 12, ofRequests: true },
  least: SHAPE_WORDS.length,
};
const MEMORY: Column = { key: "memory", titles: ["HISTORY", "HISTORY"], align: "left", drop: 13, least: LEAST_MEMORY };
const LAST: readonly Column[] = [
  { key: "pid", titles: ["PID", "PID"], align: "right", drop: 14, least: 7 },
  { key: "generation", titles: ["GEN", "GEN"], align: "right", drop: 16, least: 3 },
];

/** The first figures, and the last ones. All others in the list come between them. */
const FIRST_FIGURES = [
  "requestsPerSecond",
  "inFlight",
  "latencyMs.p50",
  "latencyMs.p99",
  "errorsPerMinute",
  "cpuPercent",
  "rssBytes",
];
const LAST_FIGURES = ["restarts", "uptimeSeconds"];
const SUMMED = new Set([...FIRST_FIGURES, "restarts"]);

const COLUMNS: readonly Column[] = [
  ...FRAME,
  ...FIRST_FIGURES.flatMap((key) => {
    const column = columnOf((FIGURES as readonly Figure[]).find((figure) => figure.key === key));
    if (key === "requestsPerSecond") return [...column, CHART];
    if (key === "latencyMs.p99") return [...column, SHAPE];
    return key === "rssBytes" ? [...column, MEMORY] : column;
  }),
  ...(FIGURES as readonly Figure[])
    .filter(({ key }) => !FIRST_FIGURES.includes(key) && !LAST_FIGURES.includes(key))
    .flatMap(columnOf),
  ...LAST_FIGURES.flatMap((key) => columnOf((FIGURES as readonly Figure[]).find((figure) => figure.key === key))),
  ...LAST,
];

/** Returns the column of a figure, if the dashboard has one. */
function columnOf(figure: Figure | undefined): Column[] {
  if (figure?.drop === undefined) return [];
  const { key, titles, drop, least = 0, isOptional, ofRequests } = figure;
  return [
    {
      ...{ key, figure, titles: [titles[1], titles[2]], align: "right", drop, least },
      isSummed: SUMMED.has(key),
      ...(isOptional && { isOptional }),
      ...(ofRequests && { ofRequests }),
    },
  ];
}

const STATE_STYLE: Record<ProcessState, Style> = {
  ready: "good",
  warm: "dim",
  starting: "busy",
  draining: "busy",
  killing: "busy",
  stopped: "dim",
  backoff: "bad",
  failed: "bad",
};

export function stateStyle(
  state: ProcessState,
  stalledMs: number | null = null,
  outOfTurn: string | null = null,
): Style {
  if (stalledMs !== null) return "bad";
  return outOfTurn === null ? STATE_STYLE[state] : "busy";
}

/** Returns the text of a cell; charts have no text. */
export function textOf({ key, figure, isOptional, isSummed }: Column, cells: Cells): string {
  if (key === "name") return cells.name;
  if (key === "state") return cells.state;
  if (key === "pid") return cells.isPool ? "" : String(cells.pid ?? "–");
  if (key === "generation") return cells.generation === null ? "" : String(cells.generation);
  if (figure === undefined || cells.figures === null || (cells.isPool && !isSummed)) return "";
  const value: FigureValue = figureOf(figure, cells.figures);
  if (isOptional && value === null) return "";
  if (!cells.isRunning && !figure.ofSlot) return "–";
  return inFewCells(value, figure.unit);
}

/**
 * Lays out the columns: with long titles and wide gaps if they fit, then with short ones, then with fewer columns. The chart fills the
 * rest.
 */
export function layOut(rows: readonly Cells[], width: number, sort: Sort, chartTitle: string): Layout {
  const processes = rows.filter(({ isPool }) => !isPool);
  const rates = processes.flatMap(({ figures }) =>
    figures === null ? [] : [figures as { requestsPerSecond: number | null }],
  );
  const hasRequests = withRequests(rates);
  const present = COLUMNS.filter(
    (column) =>
      (!column.ofRequests || hasRequests) &&
      (!column.isOptional || processes.some((each) => textOf(column, each) !== "")),
  );
  const measured = present.map((column) => ({ column, content: contentWidth(column, rows) }));
  const [name] = measured;
  const longest = name?.content ?? 0;
  const most = Math.min(NAME_CELLS, Math.floor(width * NAME_SHARE));
  if (name !== undefined) name.content = Math.min(longest, Math.max(name.column.least, most));
  const inForm = (form: 0 | 1) => measured.map((each) => place(each, form, sort, chartTitle));
  const roomy = inForm(0);
  if (totalWidth(roomy, "  ") + 2 * LEAST_CHART <= width) return grow(roomy, "  ", width, longest);
  let placed = inForm(1);
  while (totalWidth(placed, " ") > width && placed.length > 1) {
    const first = Math.max(...placed.map(({ column }) => column.drop));
    placed = placed.filter(({ column }) => column.drop !== first);
  }
  const wide = placed.length > 1 && totalWidth(placed, "  ") + LEAST_CHART <= width;
  return grow(placed, wide ? "  " : " ", width, longest);
}

function contentWidth(column: Column, rows: readonly Cells[]): number {
  let widest = column.least;
  if (column.key === "chart" || column.key === "latency" || column.key === "memory") return widest;
  for (const row of rows) {
    const text = textOf(column, row);
    if (text.length > widest || (column.figure === undefined && !isSimple(text)))
      widest = Math.max(widest, widthOf(text));
  }
  return widest;
}

function place(
  { column, content }: { column: Column; content: number },
  form: 0 | 1,
  sort: Sort,
  chartTitle: string,
): PlacedColumn {
  const arrow = column.key !== sort.key || sort.key === "name" ? "" : sort.reversed ? "▴" : "▾";
  const own = column.key === "chart" ? (form === 0 ? `REQUESTS, LAST ${chartTitle}` : chartTitle) : column.titles[form];
  const title = `${arrow}${own}`;
  // A long title of the chart is cut, so that it does not widen the chart.
  return { column, title, width: column.key === "chart" ? content : Math.max(content, title.length) };
}

function totalWidth(columns: readonly PlacedColumn[], gap: string): number {
  return MARGIN + columns.reduce((sum, { width }) => sum + width, 0) + gap.length * (columns.length - 1);
}

/** Widens the name to `longest`, then the chart, if there is room. */
function grow(columns: PlacedColumn[], gap: string, width: number, longest: number): Layout {
  let spare = Math.max(0, width - totalWidth(columns, gap));
  const grown = columns.map((placed) => {
    const { key } = placed.column;
    const most = key === "name" ? longest : key === "chart" ? MOST_CHART : 0;
    const more = Math.min(spare, Math.max(0, most - placed.width));
    spare -= more;
    return more === 0 ? placed : { ...placed, width: placed.width + more };
  });
  return { columns: grown, gap };
}

/** Returns the keys that rows can be sorted by, in the order of the columns. */
export function sortKeys(): string[] {
  return COLUMNS.filter(({ key }) => !["chart", "latency", "memory", "generation"].includes(key)).map(({ key }) => key);
}

export function titleOf(key: string): string {
  return COLUMNS.find((column) => column.key === key)?.titles[0] ?? key;
}
