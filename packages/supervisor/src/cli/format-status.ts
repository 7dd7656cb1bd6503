/** Shows the status document as aligned tables. */

import type { BalancerStatus, InstanceStatus, LogStatus, PoolStatus, Status } from "../control/api.js";
import { visibleLine } from "../control-characters.js";
import type { ProcessState } from "../core/model.js";
import { type Cell, formatTable } from "./format-table.js";

const HEAD: Cell[] = [
  "NAME",
  "STATE",
  { text: "PID", align: "right" },
  { text: "RSS MB", align: "right" },
  { text: "CPU %", align: "right" },
  { text: "REQ/S", align: "right" },
  { text: "REQUESTS", align: "right" },
  { text: "FLIGHT", align: "right" },
  { text: "P50 MS", align: "right" },
  { text: "P99 MS", align: "right" },
  { text: "RESTARTS", align: "right" },
  { text: "UP", align: "right" },
];
const STALLED_COLOUR = "31";
/** Shown where an app has deferred jobs. */
const DEFERRED: Cell = { text: "DEFERRED", align: "right" };

const COLOUR: Record<ProcessState, string> = {
  ready: "32",
  starting: "33",
  draining: "33",
  killing: "33",
  stopped: "90",
  backoff: "31",
  failed: "31",
};

export interface FormatOptions {
  colour: boolean;
}

/** The whole fleet, one line for each process; what is not ready tells its last exit below the tables. */
export function formatStatus(status: Status, options: FormatOptions): string {
  const instances = status.pools.flatMap((pool) => pool.instances);
  const hasDeferred = instances.some(({ deferred }) => deferred !== null);
  const rows: Cell[][] = [hasDeferred ? [...HEAD, DEFERRED] : HEAD];
  for (const instance of instances) {
    const [row = [], ...others] = processRows(instance, options);
    rows.push(hasDeferred ? [...row, right(formatDeferred(instance.deferred))] : row, ...others);
  }
  for (const { name, state, pid, rssBytes, uptimeSeconds } of status.pools.flatMap(({ templates }) => templates)) {
    const colour = options.colour ? { colour: COLOUR[state === "ready" ? "ready" : "starting"] } : {};
    const figures = [pid, rssBytes === null ? null : (rssBytes / 1e6).toFixed(1)];
    const none = Array.from({ length: 7 }, () => right(null));
    rows.push([name, { text: state, ...colour }, ...figures.map(right), ...none, right(formatDuration(uptimeSeconds))]);
  }
  rows.push(...status.balancers.flatMap((balancer) => processRows(balancer, options)));
  const troubles = [
    ...[...instances, ...status.balancers].flatMap(trouble),
    ...instances.flatMap(exposure),
    ...(status.problem === null ? [] : [`run directory: ${status.problem}`]),
    ...logTrouble(status.log),
  ];
  // Names, paths and last lines are of others; only the cells of the table have colours.
  return [
    ...[title(status), ...status.pools.map(poolLine), ...spoolLine(status), ...releaseLines(status.pools)].map(
      visibleLine,
    ),
    "",
    ...formatTable(rows),
    ...(troubles.length === 0 ? [] : ["", ...troubles.map(visibleLine)]),
  ].join("\n");
}

function title(status: Status): string {
  const state = status.state === "running" ? "" : ` · ${status.state}`;
  return `${status.name}${state} · ${status.listen.join(" ")} · pid ${status.pid} · up ${formatDuration(status.uptimeSeconds)} · paceline ${status.version} (${status.runtime})`;
}

function poolLine(pool: PoolStatus): string {
  const rollout = pool.rollout === null ? "" : ` · ${pool.rollout.kind} ${pool.rollout.done}/${pool.rollout.total}`;
  const rate = pool.requestsPerSecond.toFixed(0);
  const stalled = pool.instances.filter(({ stalledMs }) => stalledMs !== null).length;
  return `${pool.name}  ${pool.kind}  ${pool.ready}/${pool.wanted} ready${stalled === 0 ? "" : `, ${stalled} stalled`}  generation ${pool.generation}  ${pool.routes.join(" ")}  ${rate} req/s${heldText(pool)}${rollout}`;
}

/** What runs, where the folder says it: one line when all run the same. */
function releaseLines(pools: readonly PoolStatus[]): string[] {
  const line = (of: string, release: string) => `release${of}  ${release}`;
  const all = new Set(pools.flatMap(({ release, instances }) => [release, ...instances.map((each) => each.release)]));
  if (all.size === 1) return [...all].map((release) => line("", release));
  return pools.flatMap(({ name, release, instances }) => [
    line(` of ${name}`, release),
    ...instances.filter((each) => each.release !== release).map((each) => line(` of ${each.name}`, each.release)),
  ]);
}

/** What waits for slow clients; nothing while nothing does. */
function heldText({ receiving, sending }: PoolStatus): string {
  return `${receiving > 0 ? ` · receiving ${receiving}` : ""}${sending > 0 ? ` · sending ${sending}` : ""}`;
}

/** `spool: 12.3 MB of slow clients' bodies on disk`. */
function spoolLine({ balancers }: Status): string[] {
  const bytes = balancers.reduce((sum, { spoolBytes }) => sum + spoolBytes, 0);
  return bytes > 0 ? [`spool: ${(bytes / 1e6).toFixed(1)} MB of slow clients' bodies on disk`] : [];
}

function processRows(process: InstanceStatus | BalancerStatus, options: FormatOptions): Cell[][] {
  const row: Cell[] = [
    process.name,
    stateCell(process.state, options, process.stalledMs),
    right(process.pid),
    right(process.rssBytes === null ? null : (process.rssBytes / 1e6).toFixed(1)),
    right(process.cpuPercent?.toFixed(0) ?? null),
    right(process.requestsPerSecond.toFixed(0)),
    right(process.requestsTotal),
    right(process.inFlight),
    right(formatLatency(process.latencyMs.p50)),
    right(formatLatency(process.latencyMs.p99)),
    right(process.restarts),
    right(process.pid === null ? null : formatDuration(process.uptimeSeconds)),
  ];
  const { other } = process;
  return other === null ? [row] : [row, [`  ${other.role}`, stateCell(other.state, options), right(other.pid)]];
}

function stateCell(state: ProcessState, { colour }: FormatOptions, stalledMs: number | null = null): Cell {
  if (stalledMs === null) return { text: state, ...(colour ? { colour: COLOUR[state] } : {}) };
  return { text: `stalled ${formatDuration(stalledMs / 1000)}`, ...(colour ? { colour: STALLED_COLOUR } : {}) };
}

function right(value: string | number | null): Cell {
  return { text: value === null ? "–" : String(value), align: "right" };
}

function trouble(process: InstanceStatus | BalancerStatus): string[] {
  const { name, state, lastExit, linesLost, linesTotal } = process;
  const lost =
    linesLost === 0
      ? []
      : [`${name}: ${linesLost} of ${linesTotal} lines lost: written faster than they could be read`];
  if (state === "ready" || lastExit === null) return lost;
  const lines = lastExit.lastLines.slice(-5).map((line) => `  | ${line}`);
  return [...lost, `${name}: ${lastExit.reason}`, ...lines];
}

function exposure({ name, exposed }: InstanceStatus): string[] {
  return exposed.length === 0
    ? []
    : [`${name}: listens on ${exposed.join(", ")}, where others reach it past the balancer`];
}

function logTrouble(log: LogStatus | null): string[] {
  if (log === null || (log.problem === null && log.linesLost === 0)) return [];
  const problem = log.problem === null ? "is written again" : `cannot be written: ${log.problem}`;
  return [`log ${log.path}: ${problem}; ${log.linesLost} lines lost`];
}

/** `12, oldest 3 s`. */
function formatDeferred(deferred: InstanceStatus["deferred"]): string | null {
  if (deferred === null) return null;
  const { jobs, oldestMs } = deferred;
  return jobs === 0 ? "0" : `${jobs}, oldest ${formatDuration(oldestMs / 1000)}`;
}

function formatLatency(ms: number | null): string | null {
  if (ms === null) return null;
  return ms < 10 ? ms.toFixed(2) : ms.toFixed(0);
}

/** `4 s`, `12 min`, `3 h 5 min`, `2 d 4 h`: the two largest units. */
export function formatDuration(seconds: number): string {
  const units = [
    ["d", 86_400],
    ["h", 3_600],
    ["min", 60],
    ["s", 1],
  ] as const;
  let rest = Math.floor(seconds);
  const parts: string[] = [];
  for (const [unit, size] of units) {
    const count = Math.floor(rest / size);
    rest -= count * size;
    if (count > 0 || (unit === "s" && parts.length === 0)) parts.push(`${count} ${unit}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(" ");
}
