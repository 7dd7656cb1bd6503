/** The table: a line for each pool and process. */
import type { PoolStatus, Status, TemplateStatus } from "../control/api.js";
import { readyText } from "../core/serving.js";
import { boundsText } from "../core/words.js";
import { type Layout, layOut, MARGIN, type PlacedColumn, stateStyle } from "./columns.js";
import { bar, count, peak, shortDuration, size, sparkline } from "./format.js";
import type { Model } from "./model.js";
import { type Process, type Row, rowsOf, stateText } from "./rows.js";
import { clean, fit, fitLine, type Line, lineWidth, type Segment, type Style, segment, spread } from "./text.js";

const MARK = "▸";
const BAR_WIDTH = 8;

export interface Table {
  head: Line;
  rows: Line[];
  /** The index of the selected row, or -1. */
  selected: number;
}

type TableModel = Pick<Model, "status" | "filter" | "sort" | "selected" | "histories" | "ticks" | "connection">;

/** Returns the whole table, in `width` cells. */
export function tableOf(model: TableModel, width: number): Table {
  const rows = rowsOf(model);
  const processes = rows.flatMap((row) => (row.kind === "process" ? [row.process] : []));
  const layout = layOut(processes, width, model.sort);
  const peaks = peaksOf(model, rows);
  const faded = model.connection.state === "lost";
  const lines = rows.map((row) => {
    const line = lineOf(row, model, layout, peaks, width);
    return emphasise(line, row.name !== null && row.name === model.selected, faded, width);
  });
  return {
    head: fitLine(headLine(layout), width),
    rows: lines,
    selected: rows.findIndex(({ name }) => name !== null && name === model.selected),
  };
}

/** Returns the highest rate of each group, whose charts share one scale. */
function peaksOf({ histories }: TableModel, rows: readonly Row[]): Map<string, number> {
  const peaks = new Map<string, number>();
  for (const row of rows) {
    if (row.kind !== "process") continue;
    const highest = peak(histories.get(row.name) ?? []);
    peaks.set(row.group, Math.max(peaks.get(row.group) ?? 0, highest));
  }
  return peaks;
}

function headLine({ columns, gap }: Layout): Line {
  const cells = columns.map(({ column, title, width }) => fit(title, width, column.align));
  return [segment(" ".repeat(MARGIN) + cells.join(gap), "dim")];
}

function lineOf(row: Row, model: TableModel, layout: Layout, peaks: Map<string, number>, width: number): Line {
  switch (row.kind) {
    case "pool":
      return poolLine(row, width);
    case "balancers":
      return balancersLine(row.status, width);
    case "process": {
      const history = model.histories.get(row.name) ?? [];
      const chart = (cells: number) => sparkline(history, model.ticks, cells, peaks.get(row.group) ?? 0);
      return processLine(row.process, layout, chart);
    }
    case "template":
      return templateLine(row.template, layout);
    case "other":
      return otherLine(row.other, layout);
    default:
      return row satisfies never;
  }
}

function poolLine({ pool }: Extract<Row, { kind: "pool" }>, width: number): Line {
  const text = readyText(pool);
  const short = pool.ready < pool.wanted || text.includes("drained");
  const left: Line = [
    segment(" "),
    segment(pool.name, "bold"),
    segment(`  ${pool.kind}  `),
    segment(text, short ? "busy" : "good"),
    segment(boundsText(pool)),
    segment(`  gen ${pool.generation}`),
  ];
  const deferred = deferredOf(pool);
  if (deferred !== "") left.push(segment(`  ${deferred}`, "busy"));
  if (pool.receiving > 0) left.push(segment(`  receiving ${count(pool.receiving)}`));
  if (pool.sending > 0) left.push(segment(`  sending ${count(pool.sending)}`));
  const routes = clean(pool.routes.join(" "));
  if (pool.rollout === null) {
    const { requestsPerSecond } = pool;
    if (requestsPerSecond === null)
      return spread(left, pool.cron === null ? [] : [segment(`cron ${clean(pool.cron)} `, "dim")], width);
    const right = [segment(`${count(requestsPerSecond)} req/s  ${routes} `, "dim")];
    const scaled = lastScaling(pool);
    const fits = scaled !== undefined && lineWidth([...left, scaled, ...right]) < width;
    return spread(fits ? [...left, scaled] : left, right, width);
  }
  const { kind, done, total } = pool.rollout;
  // The supervisor of an earlier version knows no deploys.
  if (pool.deploy?.phase === "canary") return spread(left, [segment(`${deployLine(pool.deploy)} `, "busy")], width);
  return spread(left, [segment(`${kind} ${done}/${total} ${bar(done, total, BAR_WIDTH)} `, "busy")], width);
}

/** Returns `deploy 3 → 4: canary 10 %, 18 s left, wait`. */
function deployLine({ from, to, percent, leftMs, verdict }: NonNullable<PoolStatus["deploy"]>): string {
  const left = leftMs === null ? "starting" : `${Math.ceil(leftMs / 1000)} s left, ${verdict}`;
  return `deploy ${from} → ${to}: canary ${percent} %, ${left}`;
}

/** Returns `2 → 3: ` and why, for an autoscaled pool; undefined if its size has not changed. */
function lastScaling({ scaling }: PoolStatus): Segment | undefined {
  const last = scaling?.last;
  return last == null ? undefined : segment(`  ${last.from} → ${last.to}: ${clean(last.reason)}`, "dim");
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

function balancersLine({ balancers, listen }: Status, width: number): Line {
  const ready = balancers.filter(({ state }) => state === "ready").length;
  const connections = balancers.reduce((sum, each) => sum + each.connections, 0);
  const left: Line = [
    segment(" "),
    segment("balancer", "bold"),
    segment("  "),
    segment(`${ready}/${balancers.length} ready`, ready < balancers.length ? "busy" : "good"),
    segment(`  ${count(connections)} ${connections === 1 ? "connection" : "connections"}`),
  ];
  const spooled = balancers.reduce((sum, { spoolBytes }) => sum + spoolBytes, 0);
  if (spooled > 0) left.push(segment(`  spool ${size(spooled)}`));
  return spread(left, [segment(`${clean(listen.join(" "))} `, "accent")], width);
}

function processLine(process: Process, { columns, gap }: Layout, chart: (cells: number) => string): Line {
  const line: Line = [segment(" ".repeat(MARGIN))];
  for (const [at, placed] of columns.entries()) {
    if (at > 0) line.push(segment(gap));
    line.push(cellOf(process, placed, chart));
  }
  return line;
}

function cellOf(process: Process, { column, width }: PlacedColumn, chart: (cells: number) => string): Segment {
  switch (column.key) {
    case "state":
      return segment(
        fit(stateText(process), width),
        stateStyle(process.state, process.stalledMs, "outOfTurn" in process ? process.outOfTurn : null),
      );
    case "chart":
      return segment(fit(chart(width), width), "accent");
    case "name":
      return segment(fit(clean(process.name), width));
    default:
      return segment(fit(column.value(process), width, column.align));
  }
}

/** A template serves no requests, so it has no request figures. Its full name would widen the column. */
function templateLine(template: TemplateStatus, { columns, gap }: Layout): Line {
  const { state, pid } = template;
  const line: Line = [segment(" ".repeat(MARGIN))];
  for (const [at, { column, width }] of columns.entries()) {
    if (at > 0) line.push(segment(gap));
    if (column.key === "name") line.push(segment(fit("template", width)));
    else if (column.key === "state") line.push(segment(fit(state, width), state === "ready" ? "good" : "busy"));
    else if (column.key === "pid") line.push(segment(fit(String(pid ?? "–"), width, "right")));
    else if (column.key in template) line.push(segment(fit(column.value(template), width, "right")));
    else line.push(segment(" ".repeat(width)));
  }
  return line;
}

const OTHER_NAMES = { replacement: "└ next", outgoing: "└ last", warm: "└ warm" } as const;

function otherLine(other: NonNullable<Process["other"]>, { columns, gap }: Layout): Line {
  const line: Line = [segment(" ".repeat(MARGIN))];
  for (const [at, { column, width }] of columns.entries()) {
    if (at > 0) line.push(segment(gap));
    if (column.key === "name") line.push(segment(fit(OTHER_NAMES[other.role], width), "dim"));
    else if (column.key === "state") line.push(segment(fit(other.state, width), stateStyle(other.state)));
    else if (column.key === "pid") line.push(segment(fit(String(other.pid ?? "–"), width, "right")));
    else line.push(segment(" ".repeat(width)));
  }
  return line;
}

/** Highlights the selected row over its whole width, and dims the values of a lost supervisor. */
function emphasise(line: Line, selected: boolean, faded: boolean, width: number): Line {
  const cut = fitLine(line, width);
  if (selected) {
    const style: Style = "selected";
    const text = cut.map((each) => each.text).join("");
    return [segment(fit(MARK + text.slice(1), width), style)];
  }
  return faded ? cut.map(({ text }) => segment(text, "dim")) : cut;
}

/** Pads `line` with spaces to `width` cells. */
export function padLine(line: Line, width: number): Line {
  const space = width - lineWidth(line);
  return space > 0 ? [...line, segment(" ".repeat(space))] : line;
}
