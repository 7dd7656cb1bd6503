/** The reports of a child, and their check. */
import { areAmounts, type Fields, isAmount, isFields, isList, isOptional, isText } from "./checks.js";
import type { SparseHistogram } from "./protocol.js";

/** The jobs that an instance's app has deferred. */
export interface DeferredStats {
  /** Jobs that are running or queued. */
  jobs: number;
  /** The age of the oldest job in milliseconds; 0 if there is none. */
  oldestMs: number;
}

/** The report of an instance: each second while there is activity, rarely otherwise, and before it exits. */
export interface InstanceStats {
  type: "stats";
  role: "instance";
  /** Requests finished since the process started. */
  requestsTotal: number;
  /** How many of them had a status of 500 or above, or a handler that threw. */
  errorsTotal: number;
  inFlight: number;
  /** Absent if the app has never deferred a job. */
  deferred?: DeferredStats;
  /** In direct mode, where no balancer sees it: the request that has been without response data for longest, if it overran its time. */
  overdue?: OverdueRequest;
  latency: SparseHistogram;
  /** The period of the new counts in milliseconds; a second even after an idle period, which is not reported. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
  heapBytes: number;
}

/** A balancer's figures for one upstream. */
export interface UpstreamStats {
  /** The process, such as `web.3#7`. */
  id: string;
  inFlight: number;
  /** Requests sent to it since the balancer process has known it. */
  requestsTotal: number;
  /** Responses that clients got of it since then, by STATUS_CLASSES; missing before the first one. */
  statuses?: number[];
  /** For programs: responses with status 500 and above, and latencies from the request's head to the response's end. */
  errorsTotal?: number;
  latency?: SparseHistogram;
  /** The request that a silent upstream is running, such as `GET /report`, if known. */
  running?: string;
  /** With limited concurrency: the request that has been running longest after its client got an error or disconnected. */
  overdue?: OverdueRequest;
  /** It gets no new requests of this balancer: why, the number of this ejection, and for how much longer. */
  ejected?: { reason: string; number: number; forMs: number };
  /** It is ejected or fails its checks, but gets requests, because too many of its pool do. Default: false. */
  servesAnyway?: boolean;
  /** In a pool under judgement: its counts since the judgement began. */
  judged?: JudgedStats;
}

/** A balancer's counts for one upstream of a pool under judgement. */
export interface JudgedStats {
  /** Requests without a complete response, because the process or its connection was lost. */
  lost: number;
  /** Only route classes that had requests. */
  classes: JudgedClass[];
}

export interface JudgedClass {
  /** Its number; see route-classes.ts. */
  routeClass: number;
  /** Responses. */
  requests: number;
  /** Those with status 500 and above. */
  errors: number;
  /** Of the others: from the request's head to the response's end, since the last report. */
  latency: SparseHistogram;
  /** The same for errors, which do not show how fast a version is. Default: none. */
  failed?: SparseHistogram;
  /** Of requests that were abandoned before their response: from the head until the client left, since the last report. Default: none. */
  abandoned?: SparseHistogram;
}

/** A request that still runs although its client has left or its time is over. */
export interface OverdueRequest {
  /** Such as `GET /report`. */
  request: string;
  /** Since it last sent response data, or since its client left, in milliseconds. */
  forMs: number;
}

/** The bodies that a balancer buffers for slow clients of a pool with limited concurrency. */
export interface HeldStats {
  pool: string;
  /** Requests whose body is being collected. */
  receiving: number;
  /** Spooled responses whose instances have finished them. */
  sending: number;
}

/** The requests of one pool at a balancer, on average since its last report. */
export interface PoolLoadStats {
  pool: string;
  /** At its instances and in the request queue. */
  inFlight: number;
  /** In the request queue, and at instances on the lane before their handler is called. */
  waiting: number;
  /** Responses since the last report. An instance also counts those that were reassigned or that nobody waits for. */
  finished?: number;
}

/** The responses of a balancer for one route, by its method class. */
export interface RouteStats {
  /** Empty: requests without a route. */
  pool: string;
  /** As in the configuration, or that of all others. */
  route: string;
  access: "reads" | "writes";
  /** Since the balancer process has known the route, by STATUS_CLASSES. */
  counts: number[];
  /** From the request's head to the response's end, since the last report. */
  latency: SparseHistogram;
}

/** The report of a balancer, as often as an instance's. */
export interface BalancerStats {
  type: "stats";
  role: "balancer";
  /** The number of open client connections. */
  connections: number;
  /** Client connections accepted since the process started. */
  connectionsTotal: number;
  /** Responses sent to clients since the process started, including the balancer's own. */
  requestsTotal: number;
  /** How many of them had a status of 500 or above. */
  errorsTotal: number;
  /** Requests that were sent to another upstream. */
  retriesTotal: number;
  /** Requests that were sent to two upstreams, and those that the second one served. Missing from earlier versions. */
  hedgesTotal?: number;
  hedgesWonTotal?: number;
  inFlight: number;
  latency: SparseHistogram;
  periodMs: number;
  eventLoopLagMs: number;
  heapBytes: number;
  upstreams: UpstreamStats[];
  /** Disk space for bodies of slow clients; absent: none. */
  spoolBytes?: number;
  /** Connections that were reset because their peers read nothing and others needed the memory. Missing from earlier versions. */
  unreadEndedTotal?: number;
  /** Only pools that have something buffered. */
  held?: HeldStats[];
  /** Only pools that had requests. */
  loads?: PoolLoadStats[];
  /** Only routes that had responses since the last report. */
  routes?: RouteStats[];
}

export type Stats = InstanceStats | BalancerStats;

const INSTANCE_AMOUNTS = ["requestsTotal", "errorsTotal", "inFlight", "periodMs", "eventLoopLagMs", "heapBytes"];
const BALANCER_AMOUNTS = [...INSTANCE_AMOUNTS, "connections", "connectionsTotal", "retriesTotal"];

/** Whether a message has the fields of a report, by its role. */
export function areStats(message: Fields): boolean {
  const isBalancer = message.role === "balancer";
  return (
    areAmounts(message, isBalancer ? BALANCER_AMOUNTS : INSTANCE_AMOUNTS) &&
    isList(message.latency) &&
    isOptional(message.deferred, (it) => isFields(it) && areAmounts(it, ["jobs", "oldestMs"])) &&
    isOptional(message.overdue, isOverdue) &&
    (!isBalancer || areOfBalancer(message))
  );
}

function areOfBalancer(message: Fields): boolean {
  return (
    isList(message.upstreams, isUpstream) &&
    isOptional(message.hedgesTotal, isAmount) &&
    isOptional(message.hedgesWonTotal, isAmount) &&
    isOptional(message.spoolBytes, isAmount) &&
    isOptional(message.unreadEndedTotal, isAmount) &&
    isOptional(message.held, (held) => isList(held, isHeld)) &&
    isOptional(message.loads, (loads) => isList(loads, isLoad)) &&
    isOptional(message.routes, (routes) => isList(routes, isRouteStats))
  );
}

function isUpstream(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.id) &&
    areAmounts(value, ["inFlight", "requestsTotal"]) &&
    isOptional(value.statuses, (it) => isList(it, isAmount)) &&
    isOptional(value.errorsTotal, isAmount) &&
    isOptional(value.running, isText) &&
    isOptional(value.overdue, isOverdue) &&
    isOptional(value.latency, isList) &&
    isOptional(value.ejected, (it) => isFields(it) && isText(it.reason) && areAmounts(it, ["number", "forMs"])) &&
    isOptional(value.servesAnyway, (it) => typeof it === "boolean") &&
    isOptional(value.judged, (it) => isFields(it) && isAmount(it.lost) && isList(it.classes, isJudgedClass))
  );
}

function isOverdue(value: unknown): boolean {
  return isFields(value) && isText(value.request) && isAmount(value.forMs);
}

function isJudgedClass(value: unknown): boolean {
  return (
    isFields(value) &&
    areAmounts(value, ["routeClass", "requests", "errors"]) &&
    isList(value.latency) &&
    isOptional(value.failed, isList) &&
    isOptional(value.abandoned, isList)
  );
}

function isHeld(value: unknown): boolean {
  return isFields(value) && isText(value.pool) && areAmounts(value, ["receiving", "sending"]);
}

function isLoad(value: unknown): boolean {
  return (
    isFields(value) &&
    isText(value.pool) &&
    areAmounts(value, ["inFlight", "waiting"]) &&
    isOptional(value.finished, isAmount)
  );
}

function isRouteStats(value: unknown): boolean {
  return (
    isFields(value) &&
    typeof value.pool === "string" &&
    isText(value.route) &&
    (value.access === "reads" || value.access === "writes") &&
    isList(value.counts, isAmount) &&
    isList(value.latency)
  );
}
