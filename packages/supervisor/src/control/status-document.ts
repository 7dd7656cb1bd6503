/** The status of a fleet, as the control socket returns it. Types only. */
import type { STATUS_CLASSES } from "@paceline/wire";
import type { Attention } from "../core/attention.js";
import type { CertificateSummary } from "../core/certificates.js";
import type { TestResult } from "../core/deploy.js";
import type { CommonFigureValues, InstanceFigureValues } from "../core/figures.js";
import type { Marks } from "../core/marks.js";
import type { ProcessState } from "../core/model.js";
import type { ScalingTarget } from "../core/scaling-needs.js";
import type { Verdict } from "../core/verdict-model.js";

export interface LatencyMs {
  /** In milliseconds, over about the last ten seconds; null if there was no response in that time. */
  p50: number | null;
  p99: number | null;
}

/** The latencies of about the last ten seconds; for a pool, those of all its processes together. */
interface RecentLatencies {
  latencyMs: LatencyMs;
  /** The responses of that time by latency: up to 0.5, 1, 2, 5, 10, 25, 50, 100 and 250 ms, and above. */
  latencyShape: number[];
}

export interface LastExit {
  code: number | null;
  signal: string | null;
  /** Unix time in milliseconds. */
  at: number;
  /** One line, for example `killed by SIGKILL after 3 s`. */
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
  /** The folder from which its generation was loaded, with symbolic links resolved. */
  release: string;
  /** `bun` or `node`; for other languages their own name, for example `python 3.11.7`. */
  runtime: string;
  /** The version of Paceline that started it; null without a process, and before it has connected. */
  version: string | null;
  /** Like `rssBytes`, but shared pages are divided among the processes that share them. Read every 15 s while a client requests it. */
  pssBytes: number | null;
  errorsTotal: number;
  latencyMs: LatencyMs;
  latencyShape: number[];
  /** The latency in which it is slower than the others of its pool, with their latency (core/slowness.ts); null if it is not slower. */
  slow: { by: "p50" | "p99"; ms: number; usual: number } | null;
  /** By how many bytes a minute its memory grows, if that is certain (core/memory-slope.ts); otherwise null. */
  growthBytesPerMinute: number | null;
  /** Which of its figures differ clearly from the others of its pool (core/marks.ts). */
  marks: Marks;
  /** How long it has not responded to the supervisor, in milliseconds; null while that is normal. */
  stalledMs: number | null;
  eventLoopLagMs: number | null;
  heapBytes: number | null;
  /** Non-loopback addresses on which it listens, bypassing the balancer, for example `0.0.0.0:3000`. */
  exposed: string[];
  /** The parent process of a command, not included in `rssBytes` and `pssBytes`; null if there is none. */
  shim: { rssBytes: number | null; pssBytes: number | null } | null;
  /** Responses of its process by status class, counted by the balancers; null before the first response, and without a balancer. */
  responses: Record<(typeof STATUS_CLASSES)[number], number> | null;
  /** How often its process was replaced because of a limit, for example `maxRequests`. */
  recycles: number;
  /** Null while its process has reached no limit and is not expected to reach its memory limit. */
  recycle: RecycleStatus | null;
  lastExit: LastExit | null;
  /** The number of lines written since the supervisor started, and how many of them were lost because they came too fast. */
  linesTotal: number;
  linesLost: number;
  /**
   * Why it gets no new requests although it is ready. "failing": it should get none, but gets some, because too many of its pool are out
   * of turn.
   */
  outOfTurn: "drained" | "ejected" | "failing" | null;
  /** The balancers that have ejected it because it was worse than the others, the reasons, and how much longer the ejections last. */
  ejections: { balancer: string; reason: string; forSeconds: number }[];
  /** How often balancers have ejected its process; each of them decides separately. */
  ejectionsTotal: number;
  /** Its weight relative to the other instances of its pool; null for an instance that gets no requests. */
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
  /** Whether it is a canary of a deploy. Only then it has figures. */
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

/** Why a process will be replaced, and when it would reach its memory limit. */
export interface RecycleStatus {
  /** The limit that it has reached, for example `uses 212 MB of memory (maxMemoryMb 200)`; null if none. */
  due: string | null;
  /** When its memory reaches `maxMemoryMb` if it continues to grow. This value and the next one are null without steady growth. */
  memoryLimitInSeconds: number | null;
  memoryBytesPerHour: number | null;
}

export interface TemplateStatus {
  /** For example `web.template`. */
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
  /** The minimum that `paceline scale` has set, until the next reload; null if none. */
  floor: number | null;
  target: ScalingTarget;
  /** The figure that is compared with the target; null if unknown. */
  figure: number | null;
  last: LastScaling | null;
}

/** The figures of a pool: sums over its processes, and their latencies together. */
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
  /** The folder from which this generation was loaded, with symbolic links resolved. Restarts use it. */
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
  /** Its routes by method class, for example `reads /api/`, once they had requests. Latencies are of the last half minute. */
  routeClasses: {
    route: string;
    requestsTotal: number;
    errorsTotal: number;
    /** The requests of the last half minute. */
    recentRequests: number;
    p50Ms: number | null;
    p99Ms: number | null;
    /** Whether it is slow compared with the other routes of the pool, as core/slowness.ts decides. */
    isSlow: boolean;
  }[];
  /** Requests whose body is still arriving at the balancers; only with limited concurrency. */
  receiving: number;
  /** Responses that are spooled on the balancers' disk for slow clients, and whose instances have finished. */
  sending: number;
  instances: InstanceStatus[];
  /** The median of each figure that is compared with the others; empty for a small pool. */
  medians: Record<string, number>;
  /** The template processes of a pool with `preload`; two during a reload. */
  templates: TemplateStatus[];
  /** How long a new instance gets fewer requests than the others, in milliseconds; absent without a slow start. */
  slowStartMs?: number;
  /** How much longer its processes are not recycled because a replacement has failed; null if they are recycled. */
  recyclePauseSeconds: number | null;
  /** The limits, the target and the last change of an autoscaled pool; null if the number of instances is fixed. */
  scaling: ScalingStatus | null;
  /** The rollout in progress, or null. */
  rollout: { kind: "reload" | "restart" | "recycle" | "deploy" | "rollback"; done: number; total: number } | null;
  /** The deploy in progress, or null. */
  deploy: DeployStatus | null;
}

/** The deploy of one pool while it is in progress. */
export interface DeployStatus {
  /** The old and the new generation, and the folder of the new one. */
  from: number;
  to: number;
  release: string;
  /** `canary`: the canaries start or are judged; `rolling`: the others follow; `back`: the release is rolled back. */
  phase: "loading" | "canary" | "rolling" | "back";
  /** The percentage of the requests that all canaries together get. */
  percent: number;
  /** The percentage that they get now; null if there are no canaries. */
  percentNow: number | null;
  /** The processes of the new generation, and the processes of the old one that were started for the comparison. */
  canaries: string[];
  controls: string[];
  judgeMs: number;
  /** The rest of that time; null before it starts. */
  leftMs: number | null;
  verdict: Verdict;
  tests: TestResult[];
  /** Whether an operator wants it to wait after the verdict. */
  isHeld: boolean;
  /** The processes of the generation in service and the new ones, with each figure per process on average; null if there are none. */
  arms: { old: ArmFigures | null; new: ArmFigures | null };
}

export interface ArmFigures extends ProcessFigures {
  processes: number;
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
  /** Requests that were sent to two instances, and how many of them the second instance served. */
  hedgesTotal: number;
  hedgesWonTotal: number;
  /** Disk space in use for large bodies of slow clients, in bytes. */
  spoolBytes: number;
  /** Connections that were reset because their peers read nothing and others needed the memory. */
  unreadEndedTotal: number;
  /** Requests that were refused or cut off because the balancer had no room for them, in memory or in the spool. */
  noRoomTotal: number;
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

/** The state of the log files. */
export interface LogStatus {
  /** The current file. */
  path: string;
  /** Why it cannot be written, for example a full disk; null if it can. */
  problem: string | null;
  /** Lines of all instances that could not be written. */
  linesLost: number;
}

/** The last death that was reported; see docs/deaths.md. */
interface LastDeath {
  /** The number of its report. */
  id: number;
  /** Unix time in milliseconds. */
  at: number;
  name: string;
  /** For example `exit 3`, `SIGSEGV` or `hung`. */
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
  /** For example `http://127.0.0.1:8080`. */
  listen: string[];
  /** Responses of all balancer processes, including exited ones. */
  requestsTotal: number;
  /** How many of them had a status of 500 or more. */
  errorsTotal: number;
  /** The sum over all processes of the fleet, including the supervisor. */
  rssBytes: number;
  /** Percent of one core, in about the last second; null while nothing has been measured. */
  cpuPercent: number | null;
  /**
   * Like `rssBytes`, but shared pages are divided among the processes that share them. Excludes processes started since the last reading.
   * Null without /proc.
   */
  pssBytes: number | null;
  /** `rssBytes` of the processes in `pssBytes` at the moment of that reading; null without one. */
  pssOfRssBytes: number | null;
  /** What needs attention, most serious first (core/attention.ts), at most a second old. Undefined from an earlier version. */
  attention?: readonly Attention[];
  /** The figures of all balancers together. */
  traffic: PoolFigures & { requestsPerSecond: number; connections: number; queued: number };
  /** The machine, and the limits of the configuration. Memory is null without /proc. */
  machine: { cpus: number; memoryBytes: number | null; availableBytes: number | null };
  limits: { connections: number; queue: number };
  /** The supervisor process. */
  supervisor: { rssBytes: number; pssBytes: number | null };
  /** Null unless the fleet reloads when its files change. */
  watch: WatchStatus | null;
  /**
   * Why the record or the state in the run directory is out of date, or why the running fleet differs from its configuration; null if all
   * is well.
   */
  problem: string | null;
  /** Null if no log files are kept. */
  log: LogStatus | null;
  /** Why and when the last upgrade was rolled back, as Unix time in milliseconds; null if none was since the supervisor started. */
  rolledBack: { at: number; reason: string } | null;
  /** The last death since the supervisor started; null if no process has died. */
  lastDeath: LastDeath | null;
  /** The operator's lock, since a Unix time in milliseconds; null if there is none. */
  lock: { reason: string; by: string; since: number } | null;
  /** Absent unless an address is https. GET /v1/certificates lists each. */
  certificates?: CertificateSummary;
  balancers: BalancerStatus[];
  pools: PoolStatus[];
}
