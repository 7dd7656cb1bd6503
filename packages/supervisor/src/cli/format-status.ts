/** Formats the status document as aligned tables. */
import type { BalancerStatus, InstanceStatus, LogStatus, PoolStatus, Status } from "../control/api.js";
import { BAD_SHARE } from "../core/explain-figures.js";
import { shareText } from "../core/explain-model.js";
import {
  type DeferredJobs,
  FIGURES,
  type Figure,
  type FigureValue,
  figureOf,
  type ScheduleStatus,
  type Unit,
  withRequests,
} from "../core/figures.js";
import { FULL_WEIGHT } from "../core/fleet.js";
import type { ProcessState } from "../core/model.js";
import { readyText } from "../core/serving.js";
import { boundsText, formatDuration, stateWord, visibleLine } from "../core/words.js";
import { inFewCells } from "../dashboard/format.js";
import { deployText } from "./format-deploy.js";
import { wrap } from "./format-explanation.js";

const STALLED_COLOUR = "31";
const OUT_OF_TURN_COLOUR = "33";
const MAX_DUE_LINES = 3;
/** Optional columns come last. */
const COLUMNS: readonly Figure[] = [...FIGURES].sort((a, b) => Number("isOptional" in a) - Number("isOptional" in b));

const COLOUR: Record<ProcessState, string> = {
  ready: "32",
  warm: "90",
  starting: "33",
  draining: "33",
  killing: "33",
  stopped: "90",
  backoff: "31",
  failed: "31",
};

interface FormatOptions {
  colour: boolean;
  /** The maximum width of the table: columns are shortened, then left out. Default: no limit. */
  width?: number | undefined;
  /** Whether lines of text are also wrapped at that width. */
  wraps?: boolean;
}

/** The drop order of a figure that has none on the dashboard, and of a figure that is only shown because it has a value. */
const USUAL_DROP = 10;
const OPTIONAL_DROP = 2.5;

/** Formats the whole fleet, one line per process. The last exit of a process that is not ready is shown below the tables. */
export function formatStatus(status: Status, options: FormatOptions): string {
  const instances = status.pools.flatMap((pool) => pool.instances);
  const processes = [...instances, ...status.balancers];
  const hasRequests = withRequests(status.pools);
  const columns = COLUMNS.filter(
    ({ isOptional, ofRequests, inStatusIfAny, ...figure }) =>
      (!inStatusIfAny || processes.some((each) => Number(figureOf(figure, each)) > 0)) &&
      (!ofRequests || hasRequests) &&
      (!isOptional || processes.some((each) => figureOf(figure, each) !== null)),
  );
  const { width = Number.POSITIVE_INFINITY, wraps = false } = options;
  const wrapped = (line: string) => (wraps ? wrap(line, width, "", "    ") : [visibleLine(line)]);
  const rows = fittingRows(status, columns, options, width);
  const troubles = [
    ...processes.flatMap(trouble),
    ...status.pools.flatMap(recycleLines),
    ...instances.flatMap(exposure),
    ...(status.problem === null ? [] : [`problem: ${status.problem}`]),
    ...(status.certificates?.problems ?? []).map(({ reason }) => `certificate: ${reason} (paceline certs)`),
    ...logTrouble(status.log),
  ];
  // Names, paths and last lines may contain control characters; only table cells contain our own styles.
  return [
    ...[
      title(status),
      ...status.pools.flatMap((pool) => [
        ...[poolLine(pool), ...deployLines(pool), ...scalingLines(pool), ...weightLines(pool)],
      ]),
      ...spoolLine(status),
      ...releaseLines(status.pools),
      ...versionLines(status),
      ...lockLines(status),
    ].flatMap(wrapped),
    "",
    ...rows,
    ...(troubles.length === 0 ? [] : ["", ...troubles.flatMap(wrapped)]),
  ].join("\n");
}

/** Returns the table with the columns that fit. */
function fittingRows(status: Status, all: readonly Figure[], options: FormatOptions, width: number): string[] {
  let columns = all;
  for (let isShort = false; ; isShort = true) {
    const rows = tableRows(status, columns, { ...options, isShort });
    const widest = widthOf(rows);
    if (widest <= width) return formatTable(rows);
    if (!isShort) continue;
    if (columns.length === 0) return formatTable(rows.map((row) => row.map((cell) => cut(cell, width, row.length))));
    const first = Math.max(...columns.map(dropOf));
    columns = columns.filter((figure) => dropOf(figure) !== first);
  }
}

function dropOf({ drop = USUAL_DROP, isOptional }: Figure): number {
  return isOptional ? Math.min(drop, OPTIONAL_DROP) : drop;
}

/** Limits a cell to its share of a line that has only name, state and pid. */
function cut(cell: Cell, width: number, cells: number): Cell {
  const most = Math.max(3, Math.floor(width / cells) - 2);
  const text = textOf(cell);
  const short = text.length <= most ? text : `${text.slice(0, most - 1)}…`;
  return typeof cell === "string" ? short : { ...cell, text: short };
}

function tableRows(status: Status, columns: readonly Figure[], options: RowOptions): Cell[][] {
  const head = columns.map(({ titles }): Cell => ({ text: titles[options.isShort ? 2 : 0], align: "right" }));
  const rows: Cell[][] = [["NAME", "STATE", { text: "PID", align: "right" }, ...head]];
  rows.push(
    ...status.pools.flatMap(({ instances }) => instances).flatMap((each) => processRows(each, columns, options)),
  );
  for (const template of status.pools.flatMap(({ templates }) => templates)) {
    const { name, state, pid } = template;
    const colour = options.colour ? { colour: COLOUR[state === "ready" ? "ready" : "starting"] } : {};
    const figures = columns.map((figure) => figureCell(figure, template, options.isShort));
    rows.push([name, { text: state, ...colour }, right(pid), ...figures]);
  }
  rows.push(...status.balancers.flatMap((balancer) => processRows(balancer, columns, options)));
  return rows;
}

interface RowOptions extends FormatOptions {
  /** Whether the short titles and values are used. */
  isShort: boolean;
}

function title(status: Status): string {
  const state = status.state === "running" ? "" : ` · ${status.state}`;
  const addresses = status.listen.length === 0 ? "" : ` · ${status.listen.join(" ")}`;
  return `${status.name}${state}${addresses} · pid ${status.pid} · up ${formatDuration(status.uptimeSeconds)} · paceline ${status.version} (${status.runtime})`;
}

function poolLine(pool: PoolStatus): string {
  const rollout = pool.rollout === null ? "" : ` · ${pool.rollout.kind} ${pool.rollout.done}/${pool.rollout.total}`;
  const { requestsPerSecond } = pool;
  const cron = pool.cron === null ? "" : `  cron ${pool.cron}`;
  const requests =
    requestsPerSecond === null
      ? ""
      : `  ${pool.routes.join(" ")}  ${requestsPerSecond.toFixed(0)} req/s${errorsText(pool)}${heldText(pool)}`;
  const stalled = pool.instances.filter(({ stalledMs }) => stalledMs !== null).length;
  return `${pool.name}  ${pool.kind}  ${readyText(pool)}${boundsText(pool)}${stalled === 0 ? "" : `, ${stalled} stalled`}  generation ${pool.generation}${cron}${requests}${rollout}`;
}

/** Returns the share of 5xx responses since the fleet started, if it is not negligible. */
function errorsText({ requestsTotal, errorsTotal }: PoolStatus): string {
  const share = (errorsTotal ?? 0) / Math.max(1, requestsTotal ?? 0);
  return share < BAD_SHARE ? "" : ` · 5xx ${shareText(share)} (${errorsTotal} of ${requestsTotal})`;
}

function deployLines({ name, deploy }: PoolStatus): string[] {
  // The supervisor of an earlier version has no deploys.
  return deploy == null ? [] : [`${name} deploys generation ${deploy.from} → ${deploy.to}: ${deployText(deploy)}`];
}

/** Shows why an autoscaled pool has its size. */
function scalingLines({ name, scaling }: PoolStatus): string[] {
  // The supervisor of an earlier version has no autoscaling.
  if (scaling == null) return [];
  const { floor, target, figure, last } = scaling;
  const kept = floor === null ? "" : `, at least ${floor} until the next reload`;
  const now = figure === null ? "" : `, now ${figure.toFixed(figure < 10 ? 1 : 0)}`;
  const lines = [`${name} scales by ${target.metric}: target ${target.value}${now}${kept}`];
  if (last === null) return lines;
  const ago = formatDuration(Math.max(0, (Date.now() - last.at) / 1000));
  return [...lines, `${name} went from ${last.from} to ${last.to} ${ago} ago: ${last.reason}`];
}

/** Lists the instances whose weight was set. The supervisor of an earlier version reports no weights. */
function weightLines({ name, instances }: PoolStatus): string[] {
  const own = instances.filter(({ weight = null }) => weight !== null && weight !== FULL_WEIGHT);
  if (own.length === 0) return [];
  return [`${name} weights: ${own.map((each) => `${each.name} ${each.weight}`).join(", ")}; others ${FULL_WEIGHT}`];
}

/** Shows who has locked the fleet, and why. The supervisor of an earlier version has no lock. */
function lockLines({ lock }: Status): string[] {
  if (lock == null) return [];
  const ago = formatDuration(Math.max(0, (Date.now() - lock.since) / 1000));
  return [`locked by ${lock.by} for ${ago}: ${lock.reason}`];
}

/** Shows the releases that the pools run, in one line if all pools run the same release. */
function releaseLines(pools: readonly PoolStatus[]): string[] {
  const line = (of: string, release: string) => `release${of}  ${release}`;
  const all = new Set(pools.flatMap(({ release, instances }) => [release, ...instances.map((each) => each.release)]));
  if (all.size === 1) return [...all].map((release) => line("", release));
  return pools.flatMap(({ name, release, instances }) => [
    line(` of ${name}`, release),
    ...instances.filter((each) => each.release !== release).map((each) => line(` of ${each.name}`, each.release)),
  ]);
}

/** Shows the processes that were started by another version of Paceline, as during an upgrade. */
function versionLines({ version, balancers, pools }: Status): string[] {
  const others = new Map<string, string[]>();
  for (const process of [...pools.flatMap(({ instances }) => instances), ...balancers]) {
    // The supervisor of an earlier version does not report it.
    const own = process.version ?? version;
    if (own !== version) others.set(own, [...(others.get(own) ?? []), process.name]);
  }
  return [...others].map(([other, names]) => `paceline ${other}  ${names.join(", ")}`);
}

/** Shows the requests and responses buffered for slow clients; empty if there are none. */
function heldText({ receiving, sending }: PoolStatus): string {
  return `${receiving > 0 ? ` · receiving ${receiving}` : ""}${sending > 0 ? ` · sending ${sending}` : ""}`;
}

/** Returns `spool: 12.3 MB of slow clients' bodies on disk`. */
function spoolLine({ balancers }: Status): string[] {
  const bytes = balancers.reduce((sum, { spoolBytes }) => sum + spoolBytes, 0);
  return bytes > 0 ? [`spool: ${(bytes / 1e6).toFixed(1)} MB of slow clients' bodies on disk`] : [];
}

function processRows(
  process: InstanceStatus | BalancerStatus,
  columns: readonly Figure[],
  options: RowOptions,
): Cell[][] {
  const { name, stalledMs, pid, other } = process;
  const figures = columns.map((figure) => figureCell(figure, process, options.isShort));
  const row: Cell[] = [name, stateCell(process, options, stalledMs), right(pid), ...figures];
  return other === null ? [row] : [row, [`  ${other.role}`, stateCell(other, options), right(other.pid)]];
}

function figureCell(figure: Figure, process: { pid: number | null }, isShort: boolean): Cell {
  const value = figureOf(figure, process);
  if (figure.isOptional && !((figure.key.split(".")[0] as string) in process)) return "";
  // A slot without a process has no uptime.
  if (value === null || (figure.unit === "seconds" && process.pid === null)) return right(null);
  return right(isShort ? inFewCells(value, figure.unit) : textOfValue(value, figure.unit));
}

function textOfValue(value: NonNullable<FigureValue>, unit: Unit): string {
  if (typeof value === "number") return TEXTS[unit](value);
  return "jobs" in value ? deferredText(value) : scheduleText(value);
}

const TEXTS: Record<Unit, (value: number) => string> = {
  megabytes: (bytes) => (bytes / 1e6).toFixed(1),
  percent: (value) => value.toFixed(0),
  count: (value) => value.toFixed(0),
  milliseconds: (ms) => (ms < 10 ? ms.toFixed(2) : ms.toFixed(0)),
  seconds: formatDuration,
  jobs: String,
  schedule: String,
};

function stateCell(
  process: { state: ProcessState; outOfTurn?: InstanceStatus["outOfTurn"] },
  { colour }: FormatOptions,
  stalledMs: number | null = null,
): Cell {
  const text = stateWord(process);
  if (stalledMs === null)
    return { text, ...(colour ? { colour: text === process.state ? COLOUR[process.state] : OUT_OF_TURN_COLOUR } : {}) };
  return { text: `stalled ${formatDuration(stalledMs / 1000)}`, ...(colour ? { colour: STALLED_COLOUR } : {}) };
}

function right(value: string | number | null): Cell {
  return { text: value === null ? "–" : String(value), align: "right" };
}

function trouble(process: InstanceStatus | BalancerStatus): string[] {
  const { name, state, lastExit, linesLost, linesTotal } = process;
  const failedRun = "schedule" in process ? (process.schedule?.last?.failure ?? null) : null;
  const lost =
    linesLost === 0
      ? []
      : [`${name}: ${linesLost} of ${linesTotal} lines lost: written faster than they could be read`];
  if (failedRun !== null) lost.push(`${name}: the last run failed: ${failedRun}`);
  if (state === "ready" || lastExit === null) return lost;
  const lines = lastExit.lastLines.slice(-5).map((line) => `  | ${line}`);
  return [...lost, `${name}: ${lastExit.reason}`, ...lines];
}

/** Shows the processes that are due to be recycled. After a schedule, these may be all processes. */
function recycleLines({ name, instances, recyclePauseSeconds }: PoolStatus): string[] {
  const due = instances.flatMap(({ name: slot, recycle }) => (recycle?.due == null ? [] : [`${slot}: ${recycle.due}`]));
  const lines = due.slice(0, MAX_DUE_LINES).map((line) => `${line}; its replacement is due`);
  if (due.length > MAX_DUE_LINES) lines.push(`${name}: ${due.length - MAX_DUE_LINES} more are due to be recycled`);
  if (recyclePauseSeconds === null) return lines;
  return [
    ...lines,
    `${name}: the last recycling failed; the next attempt is in ${formatDuration(recyclePauseSeconds)}`,
  ];
}

function exposure({ name, exposed }: InstanceStatus): string[] {
  return exposed.length === 0
    ? []
    : [`${name}: listens on ${exposed.join(", ")}, where others can reach it without the balancer`];
}

function logTrouble(log: LogStatus | null): string[] {
  if (log === null || (log.problem === null && log.linesLost === 0)) return [];
  const problem = log.problem === null ? "is written again" : `cannot be written: ${log.problem}`;
  return [`log ${log.path}: ${problem}; ${log.linesLost} lines lost`];
}

/** Returns `12, oldest 3 s`. */
function deferredText({ jobs, oldestMs }: DeferredJobs): string {
  return jobs === 0 ? "0" : `${jobs}, oldest ${formatDuration(oldestMs / 1000)}`;
}

/** Returns `ok in 2 s, next in 4 min`, `failed in 2 s, …`, or `running 3 s`. */
function scheduleText({ last, nextInSeconds, runningSeconds }: ScheduleStatus): string {
  if (runningSeconds !== null) return `running ${formatDuration(runningSeconds)}`;
  const next = nextInSeconds === null ? "no next" : `next in ${formatDuration(nextInSeconds)}`;
  if (last === null) return next;
  return `${last.failure === null ? "ok" : "failed"} in ${formatDuration(last.durationSeconds)}, ${next}`;
}

type Cell =
  | string
  | { text: string; align?: "left" | "right" /** An SGR parameter, such as 32 for green. */; colour?: string };

function widthsOf(rows: readonly (readonly Cell[])[]): number[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, textOf(cell).length);
  }
  return widths;
}

/** Returns the width of the table that `formatTable` would create from the rows. */
function widthOf(rows: readonly (readonly Cell[])[]): number {
  const widths = widthsOf(rows);
  return widths.reduce((sum, width) => sum + width, 2 * (widths.length - 1));
}

/** Aligns the rows of a table, which may differ in length. */
export function formatTable(rows: readonly (readonly Cell[])[]): string[] {
  const widths = widthsOf(rows);
  return rows.map((row) =>
    row
      .map((cell, at) => formatCell(cell, widths[at] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}

function formatCell(cell: Cell, width: number): string {
  const text = textOf(cell);
  if (typeof cell === "string") return text.padEnd(width);
  const padding = " ".repeat(width - text.length);
  const shown = cell.colour === undefined ? text : `\x1b[${cell.colour}m${text}\x1b[0m`;
  return cell.align === "right" ? padding + shown : shown + padding;
}

function textOf(cell: Cell): string {
  return visibleLine(typeof cell === "string" ? cell : cell.text);
}
