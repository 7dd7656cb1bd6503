/** The table: a line for each pool and process. */
import type { PoolStatus, Status } from "../control/api.js";
import { figureOf } from "../core/figures.js";
import type { Marks } from "../core/marks.js";
import { boundsText } from "../core/words.js";
import { bar, type Chart, shapeRow, sparkRow } from "./chart.js";
import { type Cells, type Layout, layOut, MARGIN, type PlacedColumn, stateStyle, textOf } from "./columns.js";
import { count, shortDuration, size } from "./format.js";
import { deathsOf, highest, samplesOf, ZOOMS, type Zoom } from "./history.js";
import type { Model } from "./model.js";
import { balancerRows, type Process, poolOf, poolRows, type Row, stateText } from "./rows.js";
import { clean, fit, fitLine, fitName, type Line, lineWidth, type Segment, type Style, segment } from "./text.js";

export interface TableRow {
  /** The name that can be selected. */
  name: string | null;
  /** The contents of the row; null for a blank one. */
  entry: Entry | null;
  /** Whether a blank line may precede it. */
  startsPool: boolean;
}

export interface Table {
  pools: TableRow[];
  balancers: TableRow[];
  /** Draws rows. Most rows of a large fleet are not on the screen. */
  draw(rows: readonly TableRow[]): { head: Line; layout: Layout; lines: Line[] };
}

type TableModel = Pick<
  Model,
  "status" | "filter" | "sort" | "selected" | "history" | "zoom" | "connection" | "glyphs" | "at"
>;

/** The values that all rows share. */
interface Context {
  model: TableModel;
  zoom: Zoom;
  layout: Layout;
  width: number;
  peaks: Map<string, number>;
}

export interface Entry extends Cells {
  row: Row;
  stateStyle: Style;
  nameStyle: Style;
  /** The name of the row's series, and the pool with which its figures are compared. */
  series: string | null;
  pool: string | null;
  shape: readonly number[] | null;
  /** The text in place of the chart. */
  note: Line | null;
  chartStyle: Style;
}

/** Returns the whole table, in `width` cells. */
export function tableOf(model: TableModel, width: number): Table {
  const zoom = ZOOMS[model.zoom] ?? (ZOOMS[1] as Zoom);
  const pools = poolRows(model).map(entryOf);
  const balancers = balancerRows(model).map(entryOf);
  const all = [...pools, ...balancers];
  const members = new Map<string | null, number>();
  for (const { pool } of all) members.set(pool, (members.get(pool) ?? 0) + 1);
  const rowsOf = (entries: readonly Entry[]) =>
    entries.map((entry, at): TableRow => {
      const before = entries[at - 1];
      const isSmall = (each: Entry | undefined) => each !== undefined && !each.isPool && members.get(each.pool) === 1;
      const startsPool = at > 0 && entry.pool !== before?.pool && !(isSmall(entry) && isSmall(before));
      return { name: entry.row.name, entry, startsPool };
    });
  const draw: Table["draw"] = (rows) => {
    const shown = rows.flatMap(({ entry }) => entry ?? []);
    const layout = layOut(shown, width, model.sort, zoom.rowTitle);
    const context: Context = { model, zoom, layout, width, peaks: new Map() };
    if (layout.columns.some(({ column }) => column.key === "chart")) notePeaks(context, all, shown);
    return {
      ...{ layout, head: headLine(layout, width) },
      lines: rows.map(({ entry }) => (entry === null ? [] : lineOf(entry, context))),
    };
  };
  return { pools: rowsOf(pools), balancers: rowsOf(balancers), draw };
}

/** The charts of a pool share the scale of all its processes. */
function notePeaks({ model, zoom, peaks }: Context, all: readonly Entry[], shown: readonly Entry[]): void {
  for (const { pool } of shown) if (pool !== null) peaks.set(pool, 0);
  for (const { series, pool } of all) {
    const before = series === null || pool === null ? undefined : peaks.get(pool);
    if (before === undefined) continue;
    const most = highest(samplesOf(model.history[zoom.from], series as string, "requests", zoom.row));
    if (most > before) peaks.set(pool as string, most);
  }
}

function headLine({ columns, gap }: Layout, width: number): Line {
  const cells = columns.map(({ column, title, width: cell }) => fit(title, cell, column.align));
  return fitLine([segment(" ".repeat(MARGIN) + cells.join(gap), "dim")], width);
}

const PLAIN = {
  ...{ pid: null, generation: null, figures: null, isRunning: true, isPool: false, nameStyle: "plain" as Style },
  ...{ series: null, pool: null, shape: null, note: null, chartStyle: "accent" as Style },
};

function entryOf(row: Row): Entry {
  switch (row.kind) {
    case "pool":
      return poolEntry(row, row.pool);
    case "balancers":
      return balancersEntry(row, row.status);
    case "process":
      return processEntry(row, row.process, row.pool);
    case "template": {
      const { state, pid, generation } = row.template;
      const style = state === "ready" ? ("good" as const) : ("busy" as const);
      const pool = poolOf(row.template.name);
      return {
        ...{ ...PLAIN, row, name: "template", state, stateStyle: style, pid, generation, pool },
        // A template gets no requests, so it has only some figures.
        figures: { ...row.template, requestsPerSecond: null },
      };
    }
    case "other": {
      const { other, slot } = row;
      const name = other.isCanary ? slot : OTHER_NAMES[other.role];
      const isCanary = other.isCanary && other.state === "ready";
      return {
        ...{ ...PLAIN, row, name, state: stateText(other), pid: other.pid, generation: other.generation },
        stateStyle: isCanary ? "canary" : stateStyle(other.state),
        nameStyle: other.isCanary ? "canary" : "dim",
        ...(other.latencyShape !== undefined && { figures: { ...other, restarts: null, errorsPerMinute: null } }),
        ...{ pool: poolOf(slot), shape: other.latencyShape ?? null, chartStyle: "canary" },
        series: other.latencyShape === undefined ? null : `${slot} (replacement)`,
      };
    }
    case "blank":
      return { ...PLAIN, row, name: "", state: "", stateStyle: "plain" };
    default:
      return row satisfies never;
  }
}

const OTHER_NAMES = { replacement: "└ next", outgoing: "└ last", warm: "└ warm" } as const;

/** The fields are written out instead of spread, which is faster: each frame has many entries. */
function processEntry(row: Row, process: Process, pool: string): Entry {
  const { name, pid, state, stalledMs } = process;
  return {
    row,
    name,
    state: stateText(process),
    stateStyle: stateStyle(state, stalledMs, "outOfTurn" in process ? process.outOfTurn : null),
    nameStyle: pool === "balancer" ? "bold" : "plain",
    pid,
    generation: "generation" in process ? process.generation : null,
    figures: process,
    isRunning: pid !== null,
    isPool: false,
    series: name,
    pool,
    shape: pid === null ? null : process.latencyShape,
    note: null,
    chartStyle: "accent",
  };
}

function poolEntry(row: Row, pool: PoolStatus): Entry {
  const { name, ready, wanted, instances, generation } = pool;
  const drained = instances.filter(({ outOfTurn }) => outOfTurn === "drained").length;
  const restarts = instances.reduce((sum, each) => sum + each.restarts, 0);
  const style: Style = ready === 0 && wanted > 0 ? "bad" : ready < wanted || drained > 0 ? "warn" : "good";
  return {
    ...{ ...PLAIN, row, name, pool: name, isPool: true, nameStyle: "bold", stateStyle: style, generation },
    state: `${ready}/${wanted}${drained === 0 ? "" : ` −${drained}`}`,
    figures: { ...pool, restarts, ...(pool.requestsPerSecond === null && { inFlight: null, errorsPerMinute: null }) },
    shape: pool.requestsPerSecond === null ? null : pool.latencyShape,
    note: poolNote(pool),
  };
}

function balancersEntry(row: Row, { balancers, traffic }: Status): Entry {
  const ready = balancers.filter(({ state }) => state === "ready").length;
  const connections = `${count(traffic.connections)} connections`;
  const spooled = balancers.reduce((sum, { spoolBytes }) => sum + spoolBytes, 0);
  const restarts = balancers.reduce((sum, each) => sum + each.restarts, 0);
  return {
    ...{ ...PLAIN, row, name: "balancer", pool: "balancer", isPool: true, nameStyle: "bold" },
    state: `${ready}/${balancers.length}`,
    stateStyle: ready < balancers.length ? "warn" : "good",
    figures: { ...traffic, restarts },
    shape: traffic.latencyShape,
    note: [segment(spooled > 0 ? `${connections}, spool ${size(spooled)}` : connections, "dim")],
  };
}

/** Returns the operation in progress in a pool, or its routes. */
function poolNote(pool: PoolStatus): Line {
  const { rollout, deploy, routes, cron, scaling, receiving, sending } = pool;
  // A pool without requests has no canaries.
  if (deploy != null && deploy.phase === "canary" && pool.requestsPerSecond !== null)
    return [segment(deployNote(deploy), "canary")];
  if (rollout !== null) {
    const { kind, done, total } = rollout;
    return [
      segment(`${kind} ${done}/${total} `, "busy"),
      segment(bar(done / Math.max(1, total), 8, "block", "░"), "busy"),
    ];
  }
  const notes = [
    deferredOf(pool),
    receiving > 0 ? `receiving ${count(receiving)}` : "",
    sending > 0 ? `sending ${count(sending)}` : "",
  ].filter(Boolean);
  const last = scaling?.last;
  const rest = [
    ...(scaling === null ? [] : [boundsText(pool).trim()]),
    ...(last == null ? [] : [`${last.from} → ${last.to}: ${last.reason}`]),
    ...(cron === null ? routes : [`cron ${cron}`]),
  ];
  return [
    ...(notes.length === 0 ? [] : [segment(`${notes.join("  ")}  `, "busy")]),
    segment(clean(rest.join("  ")), "dim"),
  ];
}

/** Returns `canary 10 %, 18 s left, wait`. */
function deployNote({ percent, percentNow, leftMs, verdict, isHeld }: NonNullable<PoolStatus["deploy"]>): string {
  if (leftMs === null) return "canary starts";
  return `canary ${percentNow ?? percent} %, ${isHeld ? "held" : `${Math.ceil(leftMs / 1000)} s left`}, ${verdict}`;
}

/** Returns `12 deferred, oldest 3s`; empty if no job is queued. */
function deferredOf({ instances }: PoolStatus): string {
  let jobs = 0;
  let oldestMs = 0;
  for (const { deferred } of instances) {
    jobs += deferred?.jobs ?? 0;
    oldestMs = Math.max(oldestMs, deferred?.oldestMs ?? 0);
  }
  return jobs === 0 ? "" : `${count(jobs)} deferred, oldest ${shortDuration(oldestMs / 1000)}`;
}

function lineOf(entry: Entry, context: Context): Line {
  const { model, layout, width } = context;
  const isSelected = entry.row.name !== null && entry.row.name === model.selected;
  const isFaded = model.connection.state === "lost";
  const line: Line = [segment(isSelected ? "▸" : " ".repeat(MARGIN), "accent")];
  for (const [at, placed] of layout.columns.entries()) {
    if (at > 0) line.push(segment(layout.gap));
    line.push(...cellOf(entry, placed, context, isSelected));
  }
  const cut = fitLine(line, width);
  return isFaded ? cut.map(({ text, style }) => segment(text, style === "selected" ? style : "dim")) : cut;
}

function cellOf(entry: Entry, { column, width }: PlacedColumn, context: Context, isSelected: boolean): Segment[] {
  const { key, align } = column;
  switch (key) {
    case "name":
      return [segment(fitName(entry.name, width), isSelected ? "selected" : entry.nameStyle)];
    case "state":
      return [segment(fit(entry.state, width), entry.stateStyle)];
    case "chart":
      if (entry.note !== null)
        return exactly(lineWidth(entry.note) > width ? shortNote(entry.note) : entry.note, width);
      return entry.series === null ? [segment(" ".repeat(width))] : chartOf(entry, width, context, "requests");
    case "memory":
      return entry.series === null ? [segment(" ".repeat(width))] : chartOf(entry, width, context, "rssBytes");
    case "latency":
      if (entry.shape === null) return [segment(" ".repeat(width))];
      return exactly(shapeRow(entry.shape, context.model.glyphs), width);
    default: {
      const text = textOf(column, entry);
      return [segment(fit(text, width, align), styleOf(entry, key, text))];
    }
  }
}

/** Shares of 5xx responses that are marked if there is nothing to compare them with. */
const ERROR_SHARES = { warn: 0.01, bad: 0.05 };

/** Shortens the note of a deploy, so that its verdict is not cut: the rows of its canaries follow. */
function shortNote(note: Line): Line {
  return note.map(({ text, style }) => segment(style === "canary" ? text.replace(/^canary | left/g, "") : text, style));
}

function styleOf(entry: Entry, key: string, text: string): Style {
  if (text === "–") return "dim";
  if (entry.isPool) {
    const isErrors = key === "errorsPerMinute" && entry.figures !== null;
    const errors = isErrors
      ? styleOfErrors((entry.figures as PoolStatus).errorsPerMinute, entry.figures ?? {})
      : "plain";
    return errors === "plain" ? "bold" : errors;
  }
  if (key === "restarts") return text === "0" ? "dim" : entry.isRunning ? "warn" : "bad";
  if (entry.figures === null || !entry.isRunning) return entry.isRunning ? "plain" : "dim";
  const mark = (entry.figures as { marks?: Marks }).marks?.[key];
  if (mark !== undefined) return mark.isBad ? "bad" : "warn";
  const errors = key === "errorsPerMinute" ? figureOf({ key }, entry.figures) : null;
  return typeof errors === "number" ? styleOfErrors(errors, entry.figures) : "plain";
}

/** Returns the style of a number of 5xx per minute, by its share of the requests. */
function styleOfErrors(errorsPerMinute: number, process: object): Style {
  if (errorsPerMinute === 0) return "plain";
  const perSecond = figureOf({ key: "requestsPerSecond" }, process);
  const share = typeof perSecond === "number" ? errorsPerMinute / Math.max(1, 60 * perSecond) : 1;
  return share >= ERROR_SHARES.bad ? "bad" : share >= ERROR_SHARES.warn ? "warn" : "plain";
}

function chartOf(entry: Entry, width: number, context: Context, figure: "requests" | "rssBytes"): Line {
  const { model, zoom, peaks } = context;
  const record = model.history[zoom.from];
  const name = entry.series ?? "";
  const samples = samplesOf(record, name, figure, zoom.row);
  const isMemory = figure === "rssBytes";
  const chart: Chart = {
    ...{ samples, newest: record?.newest ?? 0, window: zoom.row, glyphs: model.glyphs },
    most: isMemory ? highest(samples) : (peaks.get(entry.pool ?? "") ?? 0),
    styleOf: () => (isMemory ? "memory" : entry.chartStyle),
  };
  return exactly(sparkRow(chart, width, entry.row.kind === "process" ? deathsOf(record, name) : []), width);
}

/** Cuts or pads a line to exactly `width` cells. */
function exactly(line: Line, width: number): Line {
  const cut = fitLine(line, width);
  const space = width - lineWidth(cut);
  return space > 0 ? [...cut, segment(" ".repeat(space))] : cut;
}

/** Pads `line` with spaces to `width` cells. */
export function padLine(line: Line, width: number): Line {
  const space = width - lineWidth(line);
  return space > 0 ? [...line, segment(" ".repeat(space))] : line;
}
