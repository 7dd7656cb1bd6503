/** The facts and findings of `paceline explain`, and the wording that both rules and layout use. Pure. */
import type { CertificateTrouble } from "./certificates.js";
import type { DeathReport } from "./deaths.js";
import type { DeferredJobs, ScheduleStatus } from "./figures.js";
import type { HistoryEntry } from "./history.js";
import { formatDuration } from "./words.js";

/** A process as in the status document. For an instance without requests, the values about requests are null. */
export interface ProcessFacts {
  name: string;
  state: string;
  pid: number | null;
  attempt: number;
  uptimeSeconds: number;
  restarts: number;
  rssBytes: number | null;
  cpuPercent: number | null;
  requestsPerSecond: number | null;
  requestsTotal: number | null;
  inFlight: number | null;
  errorsTotal: number;
  /** Missing from the supervisor of an earlier version. */
  errorsPerMinute?: number | null;
  latencyMs: { p50: number | null; p99: number | null };
  latencyShape: readonly number[];
  stalledMs: number | null;
  lastExit: { at: number; reason: string } | null;
  linesLost: number;
}

export interface InstanceFacts extends ProcessFacts {
  generation: number;
  outOfTurn: "drained" | "ejected" | "failing" | null;
  ejections: readonly { balancer: string; reason: string; forSeconds: number }[];
  weight: number | null;
  eventLoopLagMs: number | null;
  recycles: number;
  recycle: {
    due: string | null;
    memoryLimitInSeconds: number | null;
    memoryBytesPerHour: number | null;
  } | null;
  /** Missing from the supervisor of an earlier version. */
  growthBytesPerMinute?: number | null;
  exposed: readonly string[];
  /** A second process in its slot. */
  other?: { role: string; state: string; isCanary?: boolean } | null;
  deferred: DeferredJobs | null;
  schedule: ScheduleStatus | null;
}

export interface BalancerFacts extends ProcessFacts {
  connections: number;
  retriesTotal: number;
  spoolBytes: number;
  /** Missing from the supervisor of an earlier version. */
  noRoomTotal?: number;
  snapshotVersion: number;
}

/** A route class of a pool: its responses, and their latencies. */
export interface RouteFacts {
  route: string;
  requestsTotal: number;
  errorsTotal: number;
  /** The number of responses in these latencies. Missing from the supervisor of an earlier version. */
  recentRequests?: number;
  p50Ms: number | null;
  p99Ms: number | null;
}

export interface PoolFacts {
  name: string;
  kind: string;
  generation: number;
  release: string;
  wanted: number;
  ready: number;
  requestsPerSecond: number | null;
  requestsTotal: number | null;
  errorsTotal: number | null;
  /** Missing from the supervisor of an earlier version, like the next three. */
  errorsPerMinute?: number;
  inFlight?: number;
  rssBytes?: number | null;
  latencyMs?: { p50: number | null; p99: number | null };
  receiving: number;
  sending: number;
  recyclePauseSeconds: number | null;
  /** Missing without a slow start. */
  slowStartMs?: number;
  scaling: {
    min: number;
    max: number;
    target: { metric: string; value: number };
    figure: number | null;
    last: { at: number; from: number; to: number; reason: string } | null;
  } | null;
  rollout: { kind: string; done: number; total: number } | null;
  deploy: DeployFacts | null;
  routeClasses?: readonly RouteFacts[];
  instances: readonly InstanceFacts[];
}

export interface DeployFacts {
  from: number;
  to: number;
  release: string;
  phase: "loading" | "canary" | "rolling" | "back";
  percent: number;
  leftMs: number | null;
  verdict: string;
  canaries: readonly string[];
  tests: readonly { name: string; verdict: string; difference: string; limit: string }[];
}

export interface FleetFacts {
  name: string;
  state: string;
  version: string;
  uptimeSeconds: number;
  problem: string | null;
  log: { problem: string | null; linesLost: number } | null;
  lock: { reason: string; by: string; since: number } | null;
  rolledBack: { at: number; reason: string } | null;
  /** Missing from the supervisor of an earlier version. */
  watch?: { failure: string | null } | null;
  /** Missing from the supervisor of an earlier version. */
  certificates?: { problems: readonly CertificateTrouble[] } | null;
  balancers: readonly BalancerFacts[];
  pools: readonly PoolFacts[];
}

export interface EventFacts {
  at: number;
  level: string;
  subject: string;
  message: string;
}

/** A request that was recorded for the explanation (`--watch`). */
export interface RequestFacts {
  method: string;
  path: string;
  status: number;
  ms: number;
}

/** A request that an instance has not finished. */
export interface OpenFacts {
  /** For example `web.3`. */
  name: string;
  /** For example `GET /report`. */
  request: string;
  ageMs: number;
}

/** A log line that contains a request id. */
export interface LineFacts {
  at: number;
  name: string;
  text: string;
}

/** All facts for an explanation. Times are Unix times in milliseconds. */
export interface Facts {
  now: number;
  /** Null if the fleet is not running. */
  fleet: FleetFacts | null;
  /** What the fleet's record says, also after its end. `endedAt` is null if it did not stop by itself. */
  record?: { name: string; endedAt: number | null } | undefined;
  /** When a fleet that is not running was running for the last time, as far as known; 0 if nothing shows it. */
  seenAt?: number;
  /** Oldest first. */
  events: readonly EventFacts[];
  /** Newest first. */
  deaths: readonly DeathReport[];
  /** Newest first. */
  history: readonly HistoryEntry[];
  requests: readonly RequestFacts[];
  open: readonly OpenFacts[];
  /** How long requests were watched; 0 if they were not. */
  watchedMs: number;
  /** Lines of the log that contain the id of the request in question, oldest first. */
  lines: readonly LineFacts[];
  /** The file of the access log, whose end is also searched, and the problem if it could not be read. */
  accessLog?: { path: string; problem: string | undefined };
}

export type Target =
  | { kind: "fleet" }
  | { kind: "pool" | "instance" | "balancer"; name: string }
  | { kind: "deploy"; id: number | null }
  | { kind: "request"; id: string };

/** `fault`: it fails requests or does not run. `warning`: it is worse than it could be. `note`: good to know. */
type Severity = "fault" | "warning" | "note";

export interface Finding {
  /** The rule's name, stable for programs. */
  kind: string;
  severity: Severity;
  /** The pool, instance or balancer. */
  about: string;
  what: string;
  evidence: string[];
  /** What would help; empty if no action is needed. */
  todo: string;
  /** The number of the death's report with more details, if there is one. */
  death?: number;
}

export interface Change {
  at: number;
  subject: string;
  text: string;
}

export interface Explanation {
  target: string;
  kind: Target["kind"];
  /** One sentence. */
  summary: string;
  /** Most serious first. */
  findings: Finding[];
  /** The current state, with numbers. */
  now: string[];
  /** The last changes of state, newest last. */
  changes: Change[];
}

const RANK: Record<Severity, number> = { fault: 0, warning: 1, note: 2 };

/** Sorts by severity; equal findings keep their order. */
export function gravestFirst(findings: readonly Finding[]): Finding[] {
  return [...findings].sort((a, b) => RANK[a.severity] - RANK[b.severity]);
}

/** Returns the middle value; null if there is none. */
export function median(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  const middle = Math.floor(known.length / 2);
  if (known.length === 0) return null;
  return known.length % 2 === 1
    ? (known[middle] as number)
    : ((known[middle - 1] as number) + (known[middle] as number)) / 2;
}

/** Returns `0.4 ms`, `12 ms`, `1.2 s`; below a tenth of a millisecond `40 µs`. */
export function msText(ms: number): string {
  if (ms < 0.95) return `${Math.round(ms * 1000)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  return ms < 999.5 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Returns `28 MB` or `1.2 GB`. */
export function sizeText(bytes: number): string {
  return bytes < 999.5e6 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Returns `0.3`, `12` or `1,234`. */
export function rateText(value: number): string {
  return value < 9.95 ? value.toFixed(1).replace(/\.0$/, "") : value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Returns a share as `0.4 %` or `12 %`. */
export function shareText(share: number): string {
  const percent = share * 100;
  return `${percent < 9.95 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}

/** Returns `12 min ago`. */
export function agoText(at: number, now: number): string {
  return `${formatDuration(Math.max(0, now - at) / 1000)} ago`;
}

/** Returns `1 request` or `3 requests`. */
export function requestsText(count: number): string {
  return `${count} request${count === 1 ? "" : "s"}`;
}

/** Returns `once`, `twice` or `3 times`. */
export function timesText(count: number): string {
  return count === 1 ? "once" : count === 2 ? "twice" : `${count} times`;
}

/** Returns the current state of a process, in one or two lines. */
export function nowOf(process: ProcessFacts & { eventLoopLagMs?: number | null; generation?: number }): string[] {
  const { state, pid, attempt, uptimeSeconds, generation, rssBytes, cpuPercent, latencyMs, eventLoopLagMs } = process;
  const first = [
    state === "backoff" ? "backoff: its next start waits" : state,
    ...(pid === null ? [] : [`pid ${pid}`, `up ${formatDuration(uptimeSeconds)}`, `process ${attempt}`]),
    ...(generation === undefined ? [] : [`generation ${generation}`]),
    ...(process.restarts === 0 ? [] : [`restarted ${timesText(process.restarts)}`]),
  ];
  const second = [
    ...(process.requestsPerSecond === null ? [] : [`${rateText(process.requestsPerSecond)} req/s`]),
    ...(process.inFlight === null ? [] : [`${process.inFlight} in flight`]),
    ...(latencyMs.p50 === null ? [] : [`p50 ${msText(latencyMs.p50)}`]),
    ...(latencyMs.p99 === null ? [] : [`p99 ${msText(latencyMs.p99)}`]),
    ...(process.requestsTotal === null || process.errorsTotal === 0
      ? []
      : [`${process.errorsTotal} of ${process.requestsTotal} were 5xx`]),
    ...(rssBytes === null ? [] : [`RSS ${sizeText(rssBytes)}`]),
    ...(cpuPercent === null ? [] : [`CPU ${cpuPercent.toFixed(0)} %`]),
    ...(eventLoopLagMs == null || eventLoopLagMs < 1 ? [] : [`event loop lag ${msText(eventLoopLagMs)}`]),
  ];
  return [first, ...(pid === null || second.length === 0 ? [] : [second])].map((parts) => parts.join(" · "));
}

/** What the rules know of an instance. */
export interface InstanceView {
  instance: InstanceFacts;
  pool: PoolFacts;
  /** The other ready instances of the pool. */
  peers: readonly InstanceFacts[];
  /** The deaths of this instance, newest first. */
  deaths: readonly DeathReport[];
  /** Events about this instance, oldest first. */
  events: readonly EventFacts[];
  /** The requests that it has not finished, oldest first. */
  open: readonly OpenFacts[];
  now: number;
}

/** The result of a rule. */
export type Found = Omit<Finding, "kind" | "about">;
export type InstanceRule = (view: InstanceView) => Found | undefined;

/** The event of a balancer that has found a request to crash its processes. */
export const KILLING = /^lost processes to (.+?): .* exited while running it/s;

export function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
