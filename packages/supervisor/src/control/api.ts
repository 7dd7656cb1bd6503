/** The API of the control socket: the operations, and the interface of the supervisor behind them; with the status document of the file beside it. */
import type { DumpKind, RecordedRequest } from "@paceline/wire";
import type { Alert, AlertKind } from "../core/alerts.js";
import type { KeyChange, ReleaseChange, VariableChange } from "../core/config-diff.js";
import type { DeathReport } from "../core/deaths.js";
import type { OnNoTraffic } from "../core/deploy.js";
import type { Caller, HistoryEntry, HistorySummary } from "../core/history.js";
import type { TextFormat } from "../metrics/exposition.js";
import type { Status } from "./status-document.js";

export type * from "./status-document.js";
export interface LatencyMs {
  /** Milliseconds, over about the last ten seconds; null if there was no response in that time. */
  p50: number | null;
  p99: number | null;
}

/** The latencies of about the last ten seconds; of a pool, of all its processes taken together. */
export interface RecentLatencies {
  latencyMs: LatencyMs;
  /** The responses of that time by latency: up to 0.5, 1, 2, 5, 10, 25, 50, 100 and 250 ms, and the rest. */
  latencyShape: number[];
}

export interface LastExit {
  code: number | null;
  signal: string | null;
  /** Unix time in milliseconds. */
  at: number;
  /** One line, such as `killed by SIGKILL after 3 s`. */
  reason: string;
  /** The last lines of the process's output. */
  lastLines: string[];
}

/** Also has the figures of core/figures.ts. */
export interface InstanceStatus extends InstanceFigureValues {
  name: string;
  state: ProcessState;
  pid: number | null;
  attempt: number;
  generation: number;
  /** The folder that its generation was loaded from, with symbolic links resolved. */
  release: string;
  /** `bun` or `node`; for other languages their own name, such as `python 3.11.7`. */
  runtime: string;
  /** The version of Paceline that started it; null without a process, and before it has connected. */
  version: string | null;
  /** Like `rssBytes`, but shared pages count in proportion. Read every 15 s while a client requests it. */
  pssBytes: number | null;
  errorsTotal: number;
  latencyMs: LatencyMs;
  latencyShape: number[];
  /** For how many milliseconds it has not responded to the supervisor; null while that is normal. */
  stalledMs: number | null;
  eventLoopLagMs: number | null;
  heapBytes: number | null;
  /** Non-loopback addresses that it listens on, bypassing the balancer, such as `0.0.0.0:3000`. */
  exposed: string[];
  /** The parent process of a command, not included in `rssBytes` and `pssBytes`; null if there is none. */
  shim: { rssBytes: number | null; pssBytes: number | null } | null;
  /** How often its process was replaced because of a limit such as `maxRequests`. */
  recycles: number;
  /** Null while its process has reached no limit and is not seen to reach its memory limit. */
  recycle: RecycleStatus | null;
  lastExit: LastExit | null;
  /** Lines written since the supervisor started, and how many of them were lost because they came too fast. */
  linesTotal: number;
  linesLost: number;
  /** Why it gets no new requests although it is ready, or "failing": it is as bad, but gets some, because too many of its pool are. */
  outOfTurn: "drained" | "ejected" | "failing" | null;
  /** The balancers that have ejected it because it was worse than the others, why, and for how much longer. */
  ejections: { balancer: string; reason: string; forSeconds: number }[];
  /** How often balancers have ejected its process; each of them judges by itself. */
  ejectionsTotal: number;
  /** Its weight beside the other instances of its pool; null for an instance that gets no requests. */
  weight: number | null;
  /** A second process in the slot: the replacement or the outgoing process. */
  other: OtherProcess | null;
}

export interface OtherProcess extends Partial<ProcessFigures> {
  role: "replacement" | "outgoing" | "warm";
  pid: number | null;
  state: ProcessState;
  attempt: number;
  generation: number;
  /** Whether a deploy tries it. Only then it has figures. */
  isCanary: boolean;
}

/** The figures of one process, or of several together. */
export interface ProcessFigures extends RecentLatencies {
  requestsTotal: number;
  requestsPerSecond: number;
  errorsTotal: number;
  inFlight: number;
  /** Null while nothing has been measured. */
  cpuPercent: number | null;
  rssBytes: number | null;
  uptimeSeconds: number;
}

/** Why a process is to be replaced, and when it would reach its memory limit. */
export interface RecycleStatus {
  /** The limit that it has reached, such as `uses 212 MB of memory (maxMemoryMb 200)`; null if none. */
  due: string | null;
  /** When its memory reaches `maxMemoryMb` if it goes on growing; both null if no steady growth is seen. */
  memoryLimitInSeconds: number | null;
  memoryBytesPerHour: number | null;
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

/** The last change of a pool's size. */
export interface LastScaling {
  /** Unix time in milliseconds. */
  at: number;
  from: number;
  to: number;
  reason: string;
}

/** An autoscaled pool, as `paceline status` shows it. */
export interface ScalingStatus {
  min: number;
  max: number;
  /** What `paceline scale` has set as the least, until the next reload; null: nothing. */
  floor: number | null;
  target: ScalingTarget;
  /** The figure that is compared with the target; null if it is unknown. */
  figure: number | null;
  last: LastScaling | null;
}

/** The figures of a pool: sums over its processes, and their latencies taken together. */
export interface PoolFigures extends RecentLatencies {
  /** Responses with status 500 and above in the last minute. */
  errorsPerMinute: number;
  inFlight: number;
  /** Null while nothing has been measured. */
  cpuPercent: number | null;
  rssBytes: number | null;
}

export interface PoolStatus extends PoolFigures {
  name: string;
  kind: string;
  generation: number;
  /** The folder that this generation was loaded from, with symbolic links resolved. Restarts use it. */
  release: string;
  /** The cron pattern of a worker with a schedule; null for others. */
  cron: string | null;
  wanted: number;
  ready: number;
  /** Over all processes that the pool has had; null if it gets no requests. */
  requestsTotal: number | null;
  requestsPerSecond: number | null;
  errorsTotal: number | null;
  routes: string[];
  /** Its routes by method class, such as `reads /api/`, once they had requests; latencies over the last half minute. */
  routeClasses: {
    route: string;
    requestsTotal: number;
    errorsTotal: number;
    p50Ms: number | null;
    p99Ms: number | null;
  }[];
  /** Requests whose body is still arriving at the balancers; only if instances take few requests at once. */
  receiving: number;
  /** Responses spooled on the balancers' disk for slow clients; their instances have finished them. */
  sending: number;
  instances: InstanceStatus[];
  /** The template processes of a pool with `preload`; two during a reload. */
  templates: TemplateStatus[];
  /** For how long its processes are not recycled, after a replacement that failed; null if they are. */
  recyclePauseSeconds: number | null;
  /** The bounds, the target and the last change of an autoscaled pool; null if the number of instances is fixed. */
  scaling: ScalingStatus | null;
  /** The rollout in progress, or null. */
  rollout: { kind: "reload" | "restart" | "recycle" | "deploy" | "rollback"; done: number; total: number } | null;
  /** The deploy in progress, or null. */
  deploy: DeployStatus | null;
}

/** A pool of a deploy that is under way. */
export interface DeployStatus {
  /** The generations, and the folder of the new one. */
  from: number;
  to: number;
  release: string;
  /** `canary`: the canaries start or are judged; `rolling`: the others follow; `back`: it is taken back. */
  phase: "loading" | "canary" | "rolling" | "back";
  /** The percentage of the requests that the canaries get together. */
  percent: number;
  /** What they get at present; null if there is none. */
  percentNow: number | null;
  /** The processes of the new generation, and those of the old one that were started beside them. */
  canaries: string[];
  controls: string[];
  judgeMs: number;
  /** The rest of that time; null before it begins. */
  leftMs: number | null;
  verdict: Verdict;
  tests: TestResult[];
  /** Whether an operator wants it to wait after the verdict. */
  isHeld: boolean;
  /** The processes of the generation in service and the new ones, each figure as of one process on average; null without any. */
  arms: { old: ArmFigures | null; new: ArmFigures | null };
}

/** `promote`: go on without the verdict; `hold`: wait after it, until `resume`. */
export type DeploySteering = "promote" | "hold" | "resume";

/** What is deployed. */
export interface NamedRelease {
  /** The absolute path of a release folder. Default: the fleet's own path, read again. */
  dir?: string | undefined;
  /** The absolute path of a config file, instead of that in the folder. */
  config?: string | undefined;
  /** The absolute path of a further env file. */
  envFile?: string | undefined;
}

/** What a deploy is asked for. Default: the values of `deploy` in the configuration that it loads. */
export interface DeployRequest extends NamedRelease {
  canaryPercent?: number | undefined;
  judgeMs?: number | undefined;
  onNoTraffic?: OnNoTraffic | undefined;
  keepWarmMs?: number | undefined;
}

export interface BalancerStatus extends CommonFigureValues {
  name: string;
  pid: number | null;
  state: ProcessState;
  attempt: number;
  runtime: string;
  /** The version of Paceline that started it; null without a process, and before it has connected. */
  version: string | null;
  pssBytes: number | null;
  connections: number;
  connectionsTotal: number;
  errorsTotal: number;
  retriesTotal: number;
  /** Bytes on disk that hold large bodies of slow clients. */
  spoolBytes: number;
  stalledMs: number | null;
  latencyMs: LatencyMs;
  latencyShape: number[];
  lastExit: LastExit | null;
  linesTotal: number;
  linesLost: number;
  snapshotVersion: number;
  other: InstanceStatus["other"];
}

export interface WatchStatus {
  /** The number of watched folders. */
  folders: number;
  /** Why the last change was not applied; null if it was. */
  failure: string | null;
}

/** A webhook or a command that alerts go to. */
export interface AlertStatus {
  /** The host of the webhook, or the program. */
  to: string;
  on: AlertKind[];
  /** Since the supervisor started: delivered alerts, those whose attempts all failed, and those that were too many or repeated. */
  delivered: number;
  failed: number;
  suppressed: number;
  /** Waiting for their delivery, and held because of quiet hours. */
  waiting: number;
  held: number;
  /** The last delivery, if there was one; `problem` is null if it succeeded. */
  last: { at: number; kind: Alert["kind"]; problem: string | null } | null;
}

/** The state of the log files. */
export interface LogStatus {
  /** The current file. */
  path: string;
  /** Why it cannot be written, such as a full disk; null if it can. */
  problem: string | null;
  /** Lines that could not be written, of all instances. */
  linesLost: number;
}

/** The last death that was reported; see docs/deaths.md. */
export interface LastDeath {
  /** The number of its report. */
  id: number;
  /** Unix time in milliseconds. */
  at: number;
  name: string;
  /** Such as `exit 3`, `SIGSEGV` or `hung`. */
  how: string;
  reason: string;
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
  /** Responses of all balancer processes, including ended ones. */
  requestsTotal: number;
  /** How many of them had a status of 500 or more. */
  errorsTotal: number;
  /** All processes of the fleet, including the supervisor. */
  rssBytes: number;
  /** Like `rssBytes`, but proportional. Excludes processes started since the last reading. Null without /proc. */
  pssBytes: number | null;
  /** `rssBytes` of the processes in `pssBytes` at the moment of that reading; null without one. */
  pssOfRssBytes: number | null;
  /** The figures of all balancers together. */
  traffic: PoolFigures & { requestsPerSecond: number; connections: number; queued: number };
  /** The machine, and what the configuration allows. Memory is null without /proc. */
  machine: { cpus: number; memoryBytes: number | null; availableBytes: number | null };
  limits: { connections: number; queue: number };
  /** The supervisor process. */
  supervisor: { rssBytes: number; pssBytes: number | null };
  /** Null unless the fleet reloads when its files change. */
  watch: WatchStatus | null;
  /** Why the record or the state in the run directory is out of date, or what runs is not the fleet's configuration; null if all is well. */
  problem: string | null;
  /** Null if no log files are kept. */
  log: LogStatus | null;
  /** Why the last upgrade was rolled back, and when, as Unix time in milliseconds; null if none was since the supervisor started. */
  rolledBack: { at: number; reason: string } | null;
  /** Since the supervisor started; null if no process has died. */
  lastDeath: LastDeath | null;
  /** The operator's lock, since a Unix time in milliseconds; null if there is none. */
  lock: { reason: string; by: string; since: number } | null;
  balancers: BalancerStatus[];
  pools: PoolStatus[];
}

/** What happened at a moment of the history. */
export interface HistoryMark {
  /** Unix time in milliseconds. */
  at: number;
  kind: "death" | "deploy" | "reload";
  /** What it concerns, such as `web.3`, a pool or `all`. */
  name: string;
  /** The number of the death's report, or of the operation's entry in the history; null if there is none. */
  id: number | null;
}

/** The figures of the last minutes, or of the last day. */
export interface FigureHistory {
  /** The Unix time in milliseconds of the newest sample. */
  now: number;
  /** The time between two samples. */
  everyMs: number;
  /** The number of samples. */
  length: number;
  /** By the name of an instance, balancer or pool, and `supervisor`. The oldest first; null: unknown, or nothing ran. */
  series: Record<string, Record<HistoryFigure, (number | null)[]>>;
  marks: HistoryMark[];
}

/** Requests and 5xx a second, milliseconds, requests in flight, bytes, percent of one core. */
export type HistoryFigure = "requests" | "errors5xx" | "p50" | "p99" | "inFlight" | "rssBytes" | "cpuPercent";

/** A request that an instance has not finished. */
export interface OpenRequestStatus {
  /** Such as `web.3`. */
  name: string;
  /** Method and path without the query, such as `GET /report`. */
  request: string;
  ageMs: number;
  /** The address of the connection's other end. */
  client: string;
}

/** A death, without what only its report has. */
export interface DeathSummary {
  /** The number of its report. */
  id: number;
  /** Unix time in milliseconds. */
  at: number;
  name: string;
  /** Such as `web.3#7`. */
  process: string;
  kind: string;
  /** Such as `exit 3`, `SIGSEGV` or `hung`. */
  how: string;
  uptimeMs: number;
  reason: string;
  /** The request that it was running, such as `GET /report`; null if unknown. */
  running: string | null;
  /** Requests that got an error or were cut off, and those that another instance got. */
  lost: number;
  reassigned: number;
  /** What its output says of the cause, or where its code was. */
  lastLine: string;
}

/** A death with the end of its output, and the requests that were lost with it, such as `POST /cart`. */
export interface DeathDetails extends DeathSummary {
  requests: string[];
  lastLines: string[];
}

/** An entry in the event log. */
export interface FleetEvent {
  sequence: number;
  /** Unix time in milliseconds. */
  at: number;
  level: "info" | "warn" | "error";
  /** Such as `web.3`, `web`, `balancer.1` or `paceline`. */
  subject: string;
  message: string;
  /** Of those that can be alerts; see docs/alerts.md. */
  kind?: AlertKind;
}

/** A line in the log: output of a child, or an event. */
export interface LogLine {
  sequence: number;
  at: number;
  /** `web.3` for its output; `paceline` for the supervisor's messages. */
  name: string;
  /** The subject of a supervisor's message, such as `web.3`. */
  subject?: string;
  /** The level of an event. */
  level?: FleetEvent["level"];
  text: string;
  /** The number of lines of `name` missing at this point; `text` says so. */
  lost?: number;
}

/** A line of a recording. `began`: all balancers report their requests from now on. `lost`: so many could not be reported. */
export type RecordingLine = RecordedRequest | { began: true } | { lost: number };

/** What a reload or a deploy would change: the `details` of a diff. */
export interface FleetDiff {
  /** Why it would be refused; null if it would not. */
  refused: string | null;
  config: KeyChange[];
  env: VariableChange[];
  /** Of all pools: the caller compares the files. */
  releases: ReleaseChange[];
  /** A running process of each pool, and the program that would run the next one. */
  runtimes: { pool: string; pid: number; program: string }[];
}

/** The supervisor of another version, which is to take over. */
export interface Heir {
  version: string;
  /** The absolute path of its runtime. */
  command: string;
  /** The runtime's options and the absolute path of the program; ours follow. */
  args: string[];
}

/** The result of an operation. A failed operation leaves the serving processes unchanged. */
export type OperationResult =
  | { ok: true; message: string; details?: Record<string, unknown> }
  | { ok: false; code: OperationErrorCode; message: string; lastLines?: string[] };

export type OperationErrorCode =
  /** Unknown pool or instance, or a value out of range. Exit status 2. */
  | "invalid"
  /** The reloaded config has problems. Exit status 2. */
  | "config"
  /** Another operation on that pool is running. Exit status 5. */
  | "busy"
  /** No other instance of the pool gets requests. Exit status 1. */
  | "last-available"
  /** A new instance failed to start, or the fleet is stopping. Exit status 1. */
  | "failed"
  /** A deploy failed, and no canary had had a request of a client. Exit status 6. */
  | "release-refused"
  /** A deploy failed after a canary had had requests of clients. Exit status 7. */
  | "taken-back"
  /** A deploy was taken back because it could not tell in time whether the release is as good. Exit status 9. */
  | "untold"
  /** The deadline passed; the operation continues. Exit status 4. */
  | "timeout";

/** Receives the progress of a running operation. */
export type ProgressListener = (message: string) => void;

/** What an operator changes of an instance's turns; `name` is such as `web.3`. */
export type TurnChange =
  /** No new requests, and for `waits` the result comes when the last one has ended; `isForced` also without another instance. */
  | { do: "drain"; name: string; isForced: boolean; waits: boolean }
  /** `eject`: new requests only if all other instances are ejected, too, until its process ends. */
  | { do: "undrain" | "eject" | "readmit"; name: string }
  | { do: "weight"; name: string; weight: number };

/** A number of instances, or a difference. */
export type ScaleChange = { instances: number } | { by: number };

/** Reports of deaths, and the history of operations with the newest first. */
export interface FleetRecords {
  death(id: number): DeathReport | undefined;
  operations(): HistorySummary[];
  operation(id: number): HistoryEntry | undefined;
}

/** How the page is reached, and what it may do. */
export interface PageAccess {
  /** Its address with the token; null if there is no `admin.listen`. */
  url: string | null;
  mayWrite: boolean;
}

/**
 * What the supervisor offers to the control socket, which accesses the fleet only through this interface. `by` is who asks, for the
 * history.
 */
export interface SupervisorApi {
  status(): Status;
  /** Returns the figures of the last five minutes, or of the last day; only those after `since`, a Unix time in milliseconds. */
  history(zoom: "seconds" | "minutes", since?: number): FigureHistory;
  /** Returns the requests that instances have not finished, the oldest first; of each instance, or of the named, only some. */
  openRequests(name?: string): Promise<{ requests: OpenRequestStatus[] }>;
  /** Returns the last deaths, the newest first. */
  deaths(): { deaths: DeathDetails[] };
  readonly records: FleetRecords;
  page(): PageAccess;
  /** Returns the metrics of the fleet as text. */
  metrics(format: TextFormat): string;
  scale(pool: string, change: ScaleChange, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Reads config, env files and code again. Without a pool, reloads all. `environment` is given with --update-env. */
  reload(
    pool: string | undefined,
    environment: Record<string, string> | undefined,
    onProgress: ProgressListener,
    by?: Caller,
  ): Promise<OperationResult>;
  /** Compares what is in service with what such a reload, or a deploy of `release`, would load; `details` is a FleetDiff. */
  diff(
    pool: string | undefined,
    environment: Record<string, string> | undefined,
    release: NamedRelease | undefined,
  ): Promise<OperationResult>;
  /** Reloads read `config` from now on. Returns why not, if the fleet was started from a file. */
  replaceConfig(config: object): string | undefined;
  /** Changes which share of its pool's requests an instance gets. */
  turn(change: TurnChange, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Restarts a pool, an instance, `balancer` or one balancer; without a target, all pools. */
  restart(target: string | undefined, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Tries a release beside the one in service, then puts it in service or takes it back. */
  deploy(request: DeployRequest, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /**
   * Returns to the version before the last deploy, or takes back the one that is under way.
   * @param release does so only if it was a deploy of this folder or config file
   */
  rollback(release: string | undefined, onProgress: ProgressListener, by?: Caller): Promise<OperationResult>;
  /** Changes what happens to the deploy under way after its verdict. A release that is worse is taken back all the same. */
  steerDeploy(what: DeploySteering): OperationResult;
  /** While the fleet is locked, operations that would change it are refused with code `busy`. */
  /** Returns where alerts go, and what became of them. */
  alerts(): { alerts: AlertStatus[] };
  /** Sends a test to each destination; fails if one does not get it. */
  testAlerts(onProgress: ProgressListener): Promise<OperationResult>;
  lock(reason: string, by?: Caller): OperationResult;
  unlock(by?: Caller): OperationResult;
  /** Hands the fleet over. Resolves before the heir is started; the caller sees by the status whether it has taken over. */
  handOver(heir: Heir, by?: Caller): Promise<OperationResult>;
  /** Dumps a process into a file of the run directory (`details.path`), or its stack into the message. */
  dump(target: string, what: DumpKind, durationMs: number): Promise<OperationResult>;
  /** Resolves when the whole fleet has stopped; the process exits soon after. */
  stop(by?: Caller): Promise<OperationResult>;
  /** Resolves when every instance is ready, or as soon as a slot has failed. */
  waitReady(): Promise<OperationResult>;
  /** The names by which events and lines can be selected: pools, instances, balancers. */
  names(): string[];
  recentEvents(): FleetEvent[];
  recentLog(name: string | undefined): LogLine[];
  /** Returns a function that ends the subscription. */
  onEvent(listener: (event: FleetEvent) => void): () => void;
  /** The balancers report their requests, without anything secret, while somebody listens. */
  onRecorded(listener: (lines: readonly RecordingLine[]) => void): () => void;
  /** Lines that arrive together are passed together. */
  onLog(listener: (lines: readonly LogLine[]) => void): () => void;
}
