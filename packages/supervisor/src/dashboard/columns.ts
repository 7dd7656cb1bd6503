/** The columns of the table: their contents, and which of them fit a width. */
import type { TemplateStatus } from "../control/api.js";
import { FIGURES, type Figure, figureOf, withRequests } from "../core/figures.js";
import type { ProcessState } from "../core/model.js";
import { inFewCells, sparklineWidth } from "./format.js";
import { SORT_FIGURES, type SortKey } from "./model.js";
import { type Process, stateText } from "./rows.js";
import { isSimple, type Style, widthOf } from "./text.js";

interface Column {
  /** `name`, `state`, `pid`, `chart`, or the key of a figure. */
  key: string;
  /** The long title and the short one. */
  titles: readonly [string, string];
  align: "left" | "right";
  /** Columns with a higher number are omitted first if there is not enough space. */
  drop: number;
  /** The text for a process, or for a template with the same field. */
  value(process: Process | TemplateStatus): string;
  /** Omitted if no process has a value. */
  isOptional?: boolean;
  /** Omitted if no process gets requests. */
  ofRequests?: boolean;
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

/** The space left of the names, for the marker of the selected row. */
export const MARGIN = 1;
const LEAST_CHART = 8;
const GOOD_CHART = 20;

const CHART: Column = {
  ...{ key: "chart", titles: ["LAST MINUTE", "MINUTE"], align: "left", drop: 5, least: LEAST_CHART },
  ofRequests: true,
  value: () => "",
};

const COLUMNS: readonly Column[] = [
  { key: "name", titles: ["NAME", "NAME"], align: "left", drop: 0, value: ({ name }) => name, least: 6 },
  { key: "state", titles: ["STATE", "STATE"], align: "left", drop: 1, value: stateText, least: 8 },
  { key: "pid", titles: ["PID", "PID"], align: "right", drop: 10, value: ({ pid }) => String(pid ?? "–"), least: 5 },
  ...(FIGURES as readonly Figure[]).flatMap((figure) => {
    const column = columnOf(figure);
    return column === undefined ? [] : figure.key === "requestsPerSecond" ? [column, CHART] : [column];
  }),
];

/** Returns the column of a figure, if the dashboard has one. */
function columnOf(figure: Figure): Column | undefined {
  const { key, titles, drop, least = 0, isOptional, ofRequests, ofSlot } = figure;
  if (drop === undefined) return undefined;
  return {
    ...{ key, titles: [titles[1], titles[2]], align: "right", drop, least },
    ...(isOptional && { isOptional }),
    ...(ofRequests && { ofRequests }),
    value(process) {
      const value = figureOf(figure, process);
      if (isOptional && value === null) return "";
      return process.pid === null && !ofSlot ? "–" : inFewCells(value, figure.unit);
    },
  };
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

/** Lays out the columns: long titles and wide gaps if they fit, then short ones, then fewer columns. The chart fills the rest. */
export function layOut(processes: readonly Process[], width: number, sort: SortKey): Layout {
  const hasRequests = withRequests(processes);
  const present = COLUMNS.filter(
    ({ isOptional, ofRequests, value }) =>
      (!ofRequests || hasRequests) && (!isOptional || processes.some((each) => value(each) !== "")),
  );
  const measured = present.map((column) => ({ column, content: contentWidth(column, processes) }));
  const roomy = measured.map((each) => place(each, 0, sort));
  if (totalWidth(roomy, "  ") + GOOD_CHART - LEAST_CHART <= width) return grow(roomy, "  ", width);
  let placed = measured.map((each) => place(each, 1, sort));
  while (totalWidth(placed, " ") > width && placed.length > 1) {
    const first = Math.max(...placed.map(({ column }) => column.drop));
    placed = placed.filter(({ column }) => column.drop !== first);
  }
  return grow(placed, " ", width);
}

function contentWidth(column: Column, processes: readonly Process[]): number {
  let widest = column.least;
  for (const process of processes) {
    const text = column.value(process);
    if (text.length > widest || !isSimple(text)) widest = Math.max(widest, widthOf(text));
  }
  return widest;
}

function place({ column, content }: { column: Column; content: number }, form: 0 | 1, sort: SortKey): PlacedColumn {
  const title = `${sort !== "name" && column.key === SORT_FIGURES[sort] ? "▾" : ""}${column.titles[form]}`;
  return { column, title, width: Math.max(content, title.length) };
}

function totalWidth(columns: readonly PlacedColumn[], gap: string): number {
  return MARGIN + columns.reduce((sum, { width }) => sum + width, 0) + gap.length * (columns.length - 1);
}

function grow(columns: PlacedColumn[], gap: string, width: number): Layout {
  const spare = width - totalWidth(columns, gap);
  const grown = columns.map((placed) =>
    placed.column.key === "chart"
      ? { ...placed, width: Math.max(placed.width, sparklineWidth(placed.width + Math.max(0, spare))) }
      : placed,
  );
  return { columns: grown, gap };
}
