/** What the control socket says and does: the status document, the operations, and the seam to the supervisor that serves them. */
import type { CommonFigureValues, FigureValues } from "../core/figures.js";
import type { ProcessState } from "../core/model.js";

export interface LatencyMs {
  /** Milliseconds, over about the last ten seconds; null when nothing was answered in that time. */
  p50: number | null;
  p99: number | null;
}

export interface LastExit {
  code: number | null;
  signal: string | null;
  /** Unix time in milliseconds. */
  at: number;
  /** One clear line, such as `killed by SIGKILL after 3 s`. */
  reason: string;
  /** The last lines the process wrote. */
  lastLines: string[];
}

/** With the figures of core/figures.ts. */
export interface InstanceStatus extends FigureValues {
  name: string;
  state: ProcessState;
  pid: number | null;
  attempt: number;
  generation: number;
  /** The folder that its generation was loaded from, symbolic links followed. */
  release: string;
  /** `bun` or `node`; of a program in another language what it calls itself, such as `python 3.11.7`. */
  runtime: string;
  /** As `rssBytes`, but of a page that several processes share only the part; read every 15 s while somebody asks. */
  pssBytes: number | null;
  errorsTotal: number;
  latencyMs: LatencyMs;
  /** For how long it has not answered the supervisor, in milliseconds; null while that is no longer than usual. */
  stalledMs: number | null;
  eventLoopLagMs: number | null;
  heapBytes: number | null;
  /** Addresses beyond this machine's own that it listens on, past the balancer, such as `0.0.0.0:3000`. */
  exposed: string[];
  /** The parent of a command, which `rssBytes` and `pssBytes` leave out; null where there is none. */
  shim: { rssBytes: number | null; pssBytes: number | null } | null;
  /** How often its process was replaced for having reached a limit such as `maxRequests`. */
  recycles: number;
  lastExit: LastExit | null;
  /** Lines that it wrote, since the supervisor started, and those of them that were written faster than they could be read. */
  linesTotal: number;
  linesLost: number;
  /** A second process in the slot: coming up (replacement) or draining (outgoing process). */
  other: { role: "replacement" | "outgoing"; pid: number | null; state: ProcessState; attempt: number } | null;
}

export interface TemplateStatus {
  /** Such as `web.template`. */
  name: string;
  pid: number | null;
  state: "loading" | "ready";
  generation: number;
  uptimeSeconds: number;
  rssBytes: number | null;
  pssBytes: number | null;
}

export interface PoolStatus {
  name: string;
  kind: string;
  generation: number;
  /** The folder that this generation was loaded from, symbolic links followed: where a process that ends is started again. */
  release: string;
  wanted: number;
  ready: number;
  /** Over all processes the pool ever had, those that ended included. */
  requestsTotal: number;
  requestsPerSecond: number;
  errorsTotal: number;
  routes: string[];
  /** Requests whose body the balancers await before they ask an instance, where instances take few requests at once. */
  receiving: number;
  /** Responses that wait on the balancers' disk for slow clients; their instances are done with them. */
  sending: number;
  instances: InstanceStatus[];
  /** Of a pool with `preload`: the processes that fork its instances; two while a reload runs. */
  templates: TemplateStatus[];
  /** The rollout under way, if any. */
  rollout: { kind: "reload" | "restart" | "recycle"; done: number; total: number } | null;
}

export interface BalancerStatus extends CommonFigureValues {
  name: string;
  pid: number | null;
  state: ProcessState;
  attempt: number;
  runtime: string;
  pssBytes: number | null;
  connections: number;
  connectionsTotal: number;
  errorsTotal: number;
  retriesTotal: number;
  /** What large bodies of slow clients take of the disk. */
  spoolBytes: number;
  stalledMs: number | null;
  latencyMs: LatencyMs;
  lastExit: LastExit | null;
  linesTotal: number;
  linesLost: number;
  snapshotVersion: number;
  other: InstanceStatus["other"];
}

export interface WatchStatus {
  /** How many folders are watched. */
  folders: number;
  /** Why the last change was not taken over; null when it was. */
  failure: string | null;
}

/** The log that is kept in files. */
export interface LogStatus {
  /** The file that is written to. */
  path: string;
  /** Why it cannot be written at present, such as a disk that is full; null while it can. */
  problem: string | null;
  /** Lines that were not written into it, of all instances. */
  linesLost: number;
}

export interface Status {
  version: string;
  name: string;
  pid: number;
  runtime: string;
  uptimeSeconds: number;
  state: "starting" | "running" | "stopping";
  /** Such as `http://127.0.0.1:8080`. */
  listen: string[];
  /** Responses of all balancer processes, those that ended included. */
  requestsTotal: number;
  /** Those of them with a status of 500 and more. */
  errorsTotal: number;
  /** Of all processes of the fleet, this one included. */
  rssBytes: number;
  /** The same; a process that came up since the last reading is not in it yet. Null before the first, and where there is no /proc. */
  pssBytes: number | null;
  /** This process. */
  supervisor: { rssBytes: number; pssBytes: number | null };
  /** Null unless the fleet reloads itself when its files change. */
  watch: WatchStatus | null;
  /** Why the record of the fleet in its run directory is out of date, such as a disk that is full; null when it is not. */
  problem: string | null;
  /** Null where no log is kept. */
  log: LogStatus | null;
  balancers: BalancerStatus[];
  pools: PoolStatus[];
}

/** A line in the event log: something that happened to the fleet. */
export interface FleetEvent {
  sequence: number;
  /** Unix time in milliseconds. */
  at: number;
  level: "info" | "warn" | "error";
  /** Such as `web.3`, `web`, `balancer.1` or `paceline`. */
  subject: string;
  message: string;
}

/** A line that a child wrote, or an event, in the log. */
export interface LogLine {
  sequence: number;
  at: number;
  /** `web.3` for its output; `paceline` for the supervisor's own words. */
  name: string;
  /** Of the supervisor's own words: what they speak of, such as `web.3`. */
  subject?: string;
  /** Of an event. */
  level?: FleetEvent["level"];
  text: string;
  /** So many lines of `name` are not there, in this place; `text` says so. */
  lost?: number;
}

/** How an operation ended. A failed one has changed nothing that served before it. */
export type OperationResult =
  | { ok: true; message: string; details?: Record<string, unknown> }
  | { ok: false; code: OperationErrorCode; message: string; lastLines?: string[] };

export type OperationErrorCode =
  /** No pool or instance of that name, or a value out of range. Exit status 2. */
  | "invalid"
  /** The config read for a reload has problems. Exit status 2. */
  | "config"
  /** Another operation on that pool is under way, and this one does not wait. Exit status 5. */
  | "busy"
  /** A new instance did not get ready, or the fleet is stopping. Exit status 1. */
  | "failed"
  /** The deadline passed; the operation goes on. Exit status 4. */
  | "timeout";

/** Progress of an operation, told while it runs. */
export type ProgressListener = (message: string) => void;

/** To a number of instances, or by so many more or fewer. */
export type ScaleChange = { instances: number } | { by: number };

/** What the supervisor offers to the control socket; everything else sees the fleet only through it. */
export interface SupervisorApi {
  status(): Status;
  scale(pool: string, change: ScaleChange, onProgress: ProgressListener): Promise<OperationResult>;
  /** Config, env files and code are read afresh; all pools when none is named. `environment` comes with --update-env. */
  reload(
    pool: string | undefined,
    environment: Record<string, string> | undefined,
    onProgress: ProgressListener,
  ): Promise<OperationResult>;
  /** A pool, an instance, `balancer` or a balancer; all pools when none is named. */
  restart(target: string | undefined, onProgress: ProgressListener): Promise<OperationResult>;
  /** Resolves when nothing of the fleet is left; the process exits soon after. */
  stop(): Promise<OperationResult>;
  /** Resolves when every instance is ready, or at once with what keeps it from that (a failed slot). */
  waitReady(): Promise<OperationResult>;
  /** What events and lines can be asked for by: pools, instances, balancers. */
  names(): string[];
  recentEvents(): FleetEvent[];
  recentLog(name: string | undefined): LogLine[];
  /** Returns the function that ends the subscription. */
  onEvent(listener: (event: FleetEvent) => void): () => void;
  /** Lines that came together are told together. */
  onLog(listener: (lines: readonly LogLine[]) => void): () => void;
}
