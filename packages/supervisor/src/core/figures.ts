/** The figures of each process that the status document, `paceline status` and the dashboard show: one list; operations/measures.ts measures them. */

/** The jobs that an instance's app has deferred. */
export interface DeferredJobs {
  /** Those that have not ended: the one under way, and those that wait. */
  jobs: number;
  /** How long ago the oldest of them was deferred, in milliseconds; 0 when there is none. */
  oldestMs: number;
}

/** How a value is written for people. */
export type Unit = "megabytes" | "percent" | "count" | "milliseconds" | "seconds" | "jobs";

export interface Figure {
  /** Where it is in the status document of a process: a field, or a part of one. */
  key: string;
  /** Over its column in `paceline status`; on the dashboard, where it has room and where it has not. */
  titles: readonly [status: string, long: string, short: string];
  unit: Unit;
  /** What it is while nothing was measured. */
  none: 0 | null;
  /** Balancers do not have it. */
  ofInstances?: true;
  /** It is that of the slot, and is shown without a process too. */
  ofSlot?: true;
  /** Its column is left out where no process has a value, and is the last of `paceline status`. */
  isOptional?: true;
  /** On the dashboard columns with a higher number go first when there is not enough room; without one it is not there. */
  drop?: number;
  /** The cells that its column has at least there, so that it does not move with every digit. */
  least?: number;
}

/** In the order of their columns. */
export const FIGURES = [
  { key: "rssBytes", titles: ["RSS MB", "RSS MB", "RSS"], unit: "megabytes", none: null, drop: 4, least: 5 },
  { key: "cpuPercent", titles: ["CPU %", "CPU %", "CPU"], unit: "percent", none: null, drop: 6, least: 4 },
  { key: "requestsPerSecond", titles: ["REQ/S", "REQ/S", "REQ/S"], unit: "count", none: 0, drop: 2, least: 6 },
  { key: "requestsTotal", titles: ["REQUESTS", "REQUESTS", "REQS"], unit: "count", none: 0 },
  { key: "inFlight", titles: ["FLIGHT", "FLIGHT", "FLY"], unit: "count", none: 0, drop: 7, least: 4 },
  { key: "latencyMs.p50", titles: ["P50 MS", "P50", "P50"], unit: "milliseconds", none: null, drop: 9, least: 4 },
  { key: "latencyMs.p99", titles: ["P99 MS", "P99", "P99"], unit: "milliseconds", none: null, drop: 3, least: 4 },
  {
    key: "deferred",
    titles: ["DEFERRED", "DEFERRED", "DEFER"],
    unit: "jobs",
    none: null,
    ofInstances: true,
    isOptional: true,
    drop: 12,
    least: 5,
  },
  {
    key: "restarts",
    titles: ["RESTARTS", "RESTARTS", "RST"],
    unit: "count",
    none: 0,
    ofSlot: true,
    drop: 8,
    least: 3,
  },
  { key: "uptimeSeconds", titles: ["UP", "UP", "UP"], unit: "seconds", none: 0, drop: 11, least: 3 },
] as const satisfies readonly Figure[];

type Entry = (typeof FIGURES)[number];

type Value<E extends Figure> = E["unit"] extends "jobs"
  ? DeferredJobs | null
  : E["none"] extends null
    ? number | null
    : number;

/** Those that are fields of their own, with their values. */
export type FigureValues<E extends Figure = Entry> = {
  -readonly [Each in E as Each["key"] extends `${string}.${string}` ? never : Each["key"]]: Value<Each>;
};

/** Those that balancers have too. */
export type CommonFigureValues = FigureValues<Exclude<Entry, { ofInstances: true }>>;

/** The value of a figure in the status of a process, or null where it has none. */
export function figureOf({ key }: Pick<Figure, "key">, process: object): number | DeferredJobs | null {
  let value: unknown = process;
  for (const part of key.split(".")) value = (value as Record<string, unknown> | null | undefined)?.[part];
  return (value ?? null) as number | DeferredJobs | null;
}
