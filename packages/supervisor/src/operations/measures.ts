/** Measures each figure of core/figures.ts, and the figures of several processes together: of a pool, or of the arms of a deploy. */
import type { ScheduleReport } from "@paceline/wire";
import type { ArmFigures, PoolFigures, ProcessFigures } from "../control/api.js";
import {
  type CommonFigureValues,
  FIGURES,
  type Figure,
  type FigureValues,
  type InstanceFigureValues,
  type ScheduleStatus,
} from "../core/figures.js";
import { type Fleet, findPool, occupants, type Pool, processId } from "../core/fleet.js";
import type { Children } from "../processes/children.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { LivenessWatch } from "../processes/liveness-watch.js";
import type { SlotRecord } from "../processes/slot-book.js";
import { latenciesOf } from "../stats/stats.js";
import type { UsageSampler } from "../stats/usage.js";
import type { SeriesKeeper } from "./series-keeper.js";

/** The sources of a figure. */
interface Measured {
  /** The process in the slot; undefined if there is none. */
  child: LiveProcess | undefined;
  record: SlotRecord;
  usage: UsageSampler;
  liveness: LivenessWatch;
  /** The name of the slot. */
  name: string;
  series: Pick<SeriesKeeper, "errorsPerMinute">;
  /** The time by performance.now(). */
  now: number;
}

const MEASURES: { [Key in keyof FigureValues]: (of: Measured) => FigureValues[Key] } = {
  rssBytes: ({ child, usage }) => (child?.pid == null ? null : (usage.of(child.pid)?.rssBytes ?? null)),
  cpuPercent: ({ child, usage }) => {
    const percent = child?.pid == null ? undefined : usage.of(child.pid)?.cpuPercent;
    return percent == null ? null : Math.round(percent * 10) / 10;
  },
  requestsPerSecond: ({ child, now }) => child?.stats.requestsPerSecond(now) ?? 0,
  requestsTotal: ({ child }) => child?.stats.last?.requestsTotal ?? 0,
  inFlight: ({ child, liveness }) => (child === undefined ? 0 : inFlightOf(child, liveness)),
  errorsPerMinute: ({ series, name }) => series.errorsPerMinute(name),
  deferred: ({ child }) => {
    const last = child?.stats.last;
    return last?.role === "instance" ? (last.deferred ?? null) : null;
  },
  schedule: ({ child, record }) => scheduleOf(child?.schedule ?? null, record, Date.now()),
  restarts: ({ record }) => record.restarts,
  uptimeSeconds: ({ child, now }) => (child === undefined ? 0 : secondsSince(child.spawnedAt, now)),
};

function inFlightOf({ id, stats, relayed }: LiveProcess, liveness: Pick<LivenessWatch, "stalledMs">): number {
  const own = stats.last?.inFlight ?? 0;
  if (liveness.stalledMs(id) === null) return own;
  // About a process that does not report, the balancers know more.
  return Math.max(
    own,
    [...relayed.values()].reduce((sum, count) => sum + count, 0),
  );
}

function scheduleOf(report: ScheduleReport | null, { lastRun }: SlotRecord, at: number): ScheduleStatus | null {
  if (report === null) return null;
  const { next, running, runs, failures, skipped } = report;
  return {
    nextAt: next,
    nextInSeconds: next === null ? null : tenths(next - at),
    runningSeconds: running === null ? null : tenths(at - running),
    last: lastRun && {
      at: lastRun.started,
      durationSeconds: tenths(lastRun.durationMs),
      ...{ code: lastRun.code, signal: lastRun.signal, failure: lastRun.failure },
    },
    ...{ runs, failures, skipped },
  };
}

const KEYS = FIGURES.map(({ key }) => key).filter((key) => key in MEASURES) as (keyof FigureValues)[];
const COMMON_KEYS = KEYS.filter((key) => !FIGURES.some((figure) => figure.key === key && "ofInstances" in figure));

const OF_REQUESTS = new Set(FIGURES.flatMap((figure: Figure) => (figure.ofRequests ? [figure.key] : [])));

/** @param serves whether the instance gets requests */
export function instanceFigures(of: Measured, serves: boolean): InstanceFigureValues {
  const measure = (key: keyof FigureValues) => (!serves && OF_REQUESTS.has(key) ? null : MEASURES[key](of));
  return Object.fromEntries(KEYS.map((key) => [key, measure(key)])) as unknown as InstanceFigureValues;
}

export function balancerFigures(of: Measured): CommonFigureValues {
  return Object.fromEntries(COMMON_KEYS.map((key) => [key, MEASURES[key](of)])) as unknown as CommonFigureValues;
}

export function secondsSince(at: number, now: number): number {
  return tenths(now - at);
}

/** Returns milliseconds as seconds, at least 0. */
function tenths(ms: number): number {
  return Math.max(0, Math.round(ms / 100) / 10);
}

/** The sources of the figures of several processes. */
interface Sources {
  children: Pick<Children, "get">;
  usage: UsageSampler;
  liveness: Pick<LivenessWatch, "stalledMs">;
  series: Pick<SeriesKeeper, "errorsPerMinute">;
}

/** Returns the processes of a pool that have not exited, including those that are being replaced. */
export function processesOf({ children }: Pick<Sources, "children">, { slots }: Pick<Pool, "slots">): LiveProcess[] {
  return slots.flatMap((slot) =>
    occupants(slot).flatMap(({ occupant }) => {
      const child = children.get(processId(slot.name, occupant.process.attempt));
      return child === undefined || child.exit !== null ? [] : [child];
    }),
  );
}

export function poolFigures(sources: Sources, pool: Pick<Pool, "name" | "slots">, now: number): PoolFigures {
  const { inFlight, cpuPercent, rssBytes, latencyMs, latencyShape } = figuresOf(
    sources,
    processesOf(sources, pool),
    now,
  );
  const errorsPerMinute = sources.series.errorsPerMinute(pool.name);
  return { inFlight, cpuPercent, rssBytes, latencyMs, latencyShape, errorsPerMinute };
}

/** Returns the sums, the latencies of all processes together, and the age of the oldest process. */
export function figuresOf(
  { usage, liveness }: Pick<Sources, "usage" | "liveness">,
  processes: readonly LiveProcess[],
  now: number,
): ProcessFigures {
  const sums = { requestsTotal: 0, requestsPerSecond: 0, errorsTotal: 0, inFlight: 0, uptimeSeconds: 0 };
  let cpuPercent: number | null = null;
  let rssBytes: number | null = null;
  for (const process of processes) {
    const { stats, pid, spawnedAt } = process;
    sums.requestsTotal += stats.last?.requestsTotal ?? 0;
    sums.errorsTotal += stats.last?.errorsTotal ?? 0;
    sums.inFlight += inFlightOf(process, liveness);
    sums.requestsPerSecond += stats.requestsPerSecond(now);
    sums.uptimeSeconds = Math.max(sums.uptimeSeconds, (now - spawnedAt) / 1000);
    const used = pid === null ? undefined : usage.of(pid);
    if (used === undefined) continue;
    rssBytes = (rssBytes ?? 0) + used.rssBytes;
    if (used.cpuPercent !== null) cpuPercent = (cpuPercent ?? 0) + used.cpuPercent;
  }
  const latencies = latenciesOf(processes.flatMap(({ stats }) => stats.recentLatencies(now)));
  return {
    ...sums,
    requestsPerSecond: tenth(sums.requestsPerSecond),
    uptimeSeconds: tenth(sums.uptimeSeconds),
    cpuPercent: cpuPercent === null ? null : tenth(cpuPercent),
    rssBytes,
    ...latencies,
  };
}

/** Returns the figures of the processes with these ids, per process on average; null if none is running. */
export function armFigures(sources: Sources, ids: readonly string[], now: number): ArmFigures | null {
  const processes = ids.flatMap((id) => {
    const child = sources.children.get(id);
    return child === undefined || child.exit !== null ? [] : [child];
  });
  const { length } = processes;
  if (length === 0) return null;
  const all = figuresOf(sources, processes, now);
  const each = (sum: number | null) => (sum === null ? null : tenth(sum / length));
  return {
    ...all,
    processes: length,
    requestsPerSecond: tenth(all.requestsPerSecond / length),
    inFlight: tenth(all.inFlight / length),
    cpuPercent: each(all.cpuPercent),
    rssBytes: all.rssBytes === null ? null : Math.round(all.rssBytes / length),
  };
}

/** Returns the processes of a pool whose generation is in service, and those of another one. */
export function armsOf(fleet: Fleet, pool: string, next: number, former: number): { old: string[]; new: string[] } {
  const arms = { old: [] as string[], new: [] as string[] };
  for (const slot of findPool(fleet, pool)?.slots ?? [])
    for (const { role, occupant } of occupants(slot)) {
      if (role === "warm" || occupant.process.state !== "ready") continue;
      const id = processId(slot.name, occupant.process.attempt);
      if (occupant.generation === next) arms.new.push(id);
      else if (occupant.generation === former) arms.old.push(id);
    }
  return arms;
}

function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}
