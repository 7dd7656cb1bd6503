/** The figures of each process in the status document, `paceline status` and the dashboard; see operations/measures.ts. */

/** The jobs that an instance's app has deferred. */
export interface DeferredJobs {
  /** Jobs that are running or queued. */
  jobs: number;
  /** The age of the oldest job in milliseconds; 0 if there is none. */
  oldestMs: number;
}

/** The runs of a worker with a schedule. Seconds are relative to the status. */
export interface ScheduleStatus {
  /** When the next run is due, as Unix time in milliseconds; null if no run is due. */
  nextAt: number | null;
  nextInSeconds: number | null;
  /** How long the current run has lasted; null if no run is in progress. */
  runningSeconds: number | null;
  /** The last run that has ended. */
  last: {
    at: number;
    durationSeconds: number;
    code: number | null;
    signal: string | null;
    failure: string | null;
  } | null;
  /** Counts since the last start or reload: ended runs, failed runs, and times that were skipped because a run was in progress. */
  runs: number;
  failures: number;
  skipped: number;
}

/** How a value is formatted for display. */
export type Unit = "megabytes" | "percent" | "count" | "milliseconds" | "seconds" | "jobs" | "schedule";

export interface Figure {
  /** The field in a process's status; a dot selects a part of a field. */
  key: string;
  /** The column's titles: in `paceline status`, and the long and the short one on the dashboard. */
  titles: readonly [status: string, long: string, short: string];
  unit: Unit;
  /** The value while nothing has been measured. */
  none: 0 | null;
  /** Balancers do not have this figure. */
  ofInstances?: true;
  /** Null for an instance that gets no requests. The column is omitted if no process gets any; see `withRequests`. */
  ofRequests?: true;
  /** The figure belongs to the slot and is also shown if it has no process. */
  ofSlot?: true;
  /** The column is the last in `paceline status` and is omitted if no process has a value. */
  isOptional?: true;
  /** `paceline status` shows the figure only if a process has more than 0, because its table is narrow. Its JSON always has the figure. */
  inStatusIfAny?: true;
  /** The dashboard omits columns with higher numbers first. A figure without a number is not on the dashboard. */
  drop?: number;
  /** The column's minimum width on the dashboard, so that the layout does not shift with every digit. */
  least?: number;
  /** How metrics/families.ts reports the figure. Without this, it is not a metric. */
  metric?: FigureMetric;
}

interface FigureMetric {
  /** Without the prefix; for a counter also without `_total`. */
  name: string;
  type: "gauge" | "counter";
  help: string;
  /** The factor for the value. Default: 1. */
  scale?: number;
}

/** In column order. */
export const FIGURES = [
  {
    key: "rssBytes",
    titles: ["RSS MB", "RSS", "RSS"],
    unit: "megabytes",
    none: null,
    drop: 8,
    least: 4,
    metric: { name: "process_resident_memory_bytes", type: "gauge", help: "Resident memory (RSS) of the process." },
  },
  {
    key: "cpuPercent",
    titles: ["CPU %", "CPU%", "CPU%"],
    unit: "percent",
    none: null,
    drop: 6,
    least: 4,
    metric: {
      name: "process_cpu_ratio",
      type: "gauge",
      help: "CPU time of the process in the last second or so; 1 is one core.",
      scale: 0.01,
    },
  },
  {
    key: "requestsPerSecond",
    titles: ["REQ/S", "REQ/S", "REQ/S"],
    unit: "count",
    none: 0,
    ofRequests: true,
    drop: 2,
    least: 6,
  },
  {
    key: "requestsTotal",
    titles: ["REQUESTS", "REQUESTS", "REQS"],
    unit: "count",
    none: 0,
    ofRequests: true,
    metric: { name: "requests", type: "counter", help: "Requests that the process has responded to." },
  },
  {
    key: "inFlight",
    titles: ["FLIGHT", "FLY", "FLY"],
    unit: "count",
    none: 0,
    ofRequests: true,
    drop: 7,
    least: 3,
    metric: { name: "requests_in_flight", type: "gauge", help: "Requests that the process has not finished." },
  },
  {
    key: "latencyMs.p50",
    titles: ["P50 MS", "P50", "P50"],
    unit: "milliseconds",
    none: null,
    ofRequests: true,
    drop: 9,
    least: 4,
  },
  {
    key: "latencyMs.p99",
    titles: ["P99 MS", "P99", "P99"],
    unit: "milliseconds",
    none: null,
    ofRequests: true,
    drop: 3,
    least: 4,
  },
  {
    key: "errorsPerMinute",
    titles: ["5XX/MIN", "5XX", "5XX"],
    unit: "count",
    none: 0,
    ofRequests: true,
    ofSlot: true,
    inStatusIfAny: true,
    drop: 3.5,
    least: 4,
  },
  {
    key: "deferred",
    titles: ["DEFERRED", "DEFERRED", "DEFER"],
    unit: "jobs",
    none: null,
    ofInstances: true,
    isOptional: true,
    drop: 12,
    least: 5,
    metric: { name: "deferred_jobs", type: "gauge", help: "Deferred jobs that are running or queued." },
  },
  {
    key: "schedule",
    titles: ["LAST RUN, NEXT", "LAST RUN, NEXT", "RUN, NEXT"],
    unit: "schedule",
    none: null,
    ofInstances: true,
    isOptional: true,
    drop: 1.5,
    least: 12,
  },
  {
    key: "recycle.memoryLimitInSeconds",
    titles: ["LIMIT IN", "LIMIT IN", "LIMIT"],
    unit: "seconds",
    none: null,
    ofInstances: true,
    isOptional: true,
    drop: 7.5,
    least: 6,
    metric: {
      name: "memory_limit_in_seconds",
      type: "gauge",
      help: "Time until the process reaches maxMemoryMb at its present growth; absent without steady growth.",
    },
  },
  {
    key: "restarts",
    titles: ["RESTARTS", "RST", "RST"],
    unit: "count",
    none: 0,
    ofSlot: true,
    drop: 10,
    least: 3,
    metric: { name: "restarts", type: "counter", help: "Restarts of the slot since the fleet started." },
  },
  {
    key: "uptimeSeconds",
    titles: ["UP", "UP", "UP"],
    unit: "seconds",
    none: 0,
    drop: 11,
    least: 3,
    metric: { name: "process_uptime_seconds", type: "gauge", help: "Time since the process started." },
  },
] as const satisfies readonly Figure[];

type Entry = (typeof FIGURES)[number];

type Value<E extends Figure> = E["unit"] extends "jobs"
  ? DeferredJobs | null
  : E["unit"] extends "schedule"
    ? ScheduleStatus | null
    : E["none"] extends null
      ? number | null
      : number;

export type FigureValue = number | DeferredJobs | ScheduleStatus | null;

/** The values of the figures that have a field of their own. */
export type FigureValues<E extends Figure = Entry> = {
  -readonly [Each in E as Each["key"] extends `${string}.${string}` ? never : Each["key"]]: Value<Each>;
};

/** An instance's figures. */
export type InstanceFigureValues = {
  [Key in keyof FigureValues]: Key extends Extract<Entry, { ofRequests: true }>["key"]
    ? FigureValues[Key] | null
    : FigureValues[Key];
};

/** The figures that balancers have, too. */
export type CommonFigureValues = FigureValues<Exclude<Entry, { ofInstances: true }>>;

/** Whether any of these processes gets requests. */
export function withRequests(processes: readonly { requestsPerSecond: number | null }[]): boolean {
  return processes.length === 0 || processes.some(({ requestsPerSecond }) => requestsPerSecond !== null);
}

/** The parts of keys that have several. */
const PARTS = new Map<string, readonly string[]>();
for (const { key } of FIGURES) if (key.includes(".")) PARTS.set(key, key.split("."));

/** Returns a figure's value from a process's status; null if it has none. */
export function figureOf({ key }: Pick<Figure, "key">, process: object): FigureValue {
  const parts = PARTS.get(key);
  if (parts === undefined) return ((process as Record<string, unknown>)[key] ?? null) as FigureValue;
  let value: unknown = process;
  for (const part of parts) value = (value as Record<string, unknown> | null | undefined)?.[part];
  return (value ?? null) as FigureValue;
}
