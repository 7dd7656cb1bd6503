/** The columns of the table: what each shows, and which of them fit a width. */
import type { ProcessState } from "../core/model.js";
import { count, megabytes, milliseconds, percent, shortDuration } from "./format.js";
import { sparklineWidth } from "./history.js";
import type { SortKey } from "./model.js";
import type { Process } from "./rows.js";
import { isSimple, type Style, widthOf } from "./text.js";

export interface Column {
  key:
    | "name"
    | "state"
    | "pid"
    | "memory"
    | "cpu"
    | "rate"
    | "chart"
    | "flight"
    | "p50"
    | "p99"
    | "deferred"
    | "restarts"
    | "up";
  /** The long title and the short one. */
  titles: readonly [string, string];
  align: "left" | "right";
  /** Columns with a higher number go first when there is not enough room. */
  drop: number;
  /** The rows are sorted by this column when they are sorted by … */
  sort?: SortKey;
  value(process: Process): string;
  /** Left out where no process has anything to show in it. */
  isOptional?: boolean;
  /** Wide enough for what comes, so that the columns do not move with every digit. */
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

/** The room left of the names, for the mark of the selected row. */
export const MARGIN = 1;
const LEAST_CHART = 8;
const GOOD_CHART = 20;

const COLUMNS: readonly Column[] = [
  { key: "name", titles: ["NAME", "NAME"], align: "left", drop: 0, sort: "name", value: ({ name }) => name, least: 6 },
  { key: "state", titles: ["STATE", "STATE"], align: "left", drop: 1, value: stateText, least: 8 },
  { key: "pid", titles: ["PID", "PID"], align: "right", drop: 10, value: ({ pid }) => String(pid ?? "–"), least: 5 },
  numeric("memory", ["RSS MB", "RSS"], 4, "memory", 5, ({ rssBytes }) => megabytes(rssBytes)),
  numeric("cpu", ["CPU %", "CPU"], 6, "cpu", 4, ({ cpuPercent }) => percent(cpuPercent)),
  numeric("rate", ["REQ/S", "REQ/S"], 2, "rate", 6, ({ requestsPerSecond }) => count(requestsPerSecond)),
  { key: "chart", titles: ["LAST MINUTE", "MINUTE"], align: "left", drop: 5, value: () => "", least: LEAST_CHART },
  numeric("flight", ["FLIGHT", "FLY"], 7, undefined, 4, ({ inFlight }) => count(inFlight)),
  numeric("p50", ["P50", "P50"], 9, undefined, 4, ({ latencyMs }) => milliseconds(latencyMs.p50)),
  numeric("p99", ["P99", "P99"], 3, "latency", 4, ({ latencyMs }) => milliseconds(latencyMs.p99)),
  {
    ...{ key: "deferred", titles: ["DEFERRED", "DEFER"], align: "right", drop: 12 },
    ...{ value: deferredJobs, least: 5, isOptional: true },
  },
  numeric("restarts", ["RESTARTS", "RST"], 8, "restarts", 3, ({ restarts }) => count(restarts)),
  numeric("up", ["UP", "UP"], 11, undefined, 3, ({ uptimeSeconds }) => shortDuration(uptimeSeconds)),
];

/** `ready`, or `stalled 12s`. */
export function stateText({ state, stalledMs }: Pick<Process, "state" | "stalledMs">): string {
  return stalledMs === null ? state : `stalled ${shortDuration(stalledMs / 1000)}`;
}

/** `1,200 6s`: how many, and the age of the oldest. */
function deferredJobs(process: Process): string {
  if (!("deferred" in process) || process.deferred === null) return "";
  const { jobs, oldestMs } = process.deferred;
  return jobs === 0 ? "0" : `${count(jobs)} ${shortDuration(oldestMs / 1000)}`;
}

function numeric(
  key: Column["key"],
  titles: readonly [string, string],
  drop: number,
  sort: SortKey | undefined,
  least: number,
  value: Column["value"],
): Column {
  const shown = (process: Process) => (process.pid === null && key !== "restarts" ? "–" : value(process));
  return { key, titles, align: "right", drop, least, value: shown, ...(sort === undefined ? {} : { sort }) };
}

const STATE_STYLE: Record<ProcessState, Style> = {
  ready: "good",
  starting: "busy",
  draining: "busy",
  killing: "busy",
  stopped: "dim",
  backoff: "bad",
  failed: "bad",
};

export function stateStyle(state: ProcessState, stalledMs: number | null = null): Style {
  return stalledMs === null ? STATE_STYLE[state] : "bad";
}

/** Long titles and wide gaps where they fit, then short ones, then fewer columns; the chart takes what is left. */
export function layOut(processes: readonly Process[], width: number, sort: SortKey): Layout {
  const present = COLUMNS.filter(
    ({ isOptional, value }) => !isOptional || processes.some((each) => value(each) !== ""),
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
  const title = `${column.sort === sort && sort !== "name" ? "▾" : ""}${column.titles[form]}`;
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
