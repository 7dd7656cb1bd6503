/** Measures each figure of core/figures.ts. */
import type { ScheduleReport } from "@paceline/wire";
import {
  type CommonFigureValues,
  FIGURES,
  type Figure,
  type FigureValues,
  type InstanceFigureValues,
  type ScheduleStatus,
} from "../core/figures.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { LivenessWatch } from "../processes/liveness-watch.js";
import type { SlotRecord } from "../processes/slot-book.js";
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

export function inFlightOf({ id, stats, relayed }: LiveProcess, liveness: Pick<LivenessWatch, "stalledMs">): number {
  const own = stats.last?.inFlight ?? 0;
  if (liveness.stalledMs(id) === null) return own;
  // The balancers know more about a process that does not report.
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
