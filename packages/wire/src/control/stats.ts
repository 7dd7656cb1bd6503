/** The reports of a child, and their check. */
import {
  type Check,
  type Fields,
  fieldsOf,
  isAmount,
  isFlag,
  isList,
  isText,
  listOf,
  oneOf,
  optional,
} from "./checks.js";
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
  /**
   * In direct mode, where no balancer sees the requests: among those that have overrun their time, the one that has gone without response
   * data for longest.
   */
  overdue?: OverdueRequest;
  latency: SparseHistogram;
  /** The period of the new counts in milliseconds. It is a second even after an idle period, which is not reported. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
  heapBytes: number;
}

/** A balancer's figures for one upstream. */
export interface UpstreamStats {
  /** The process, for example `web.3#7`. */
  id: string;
  inFlight: number;
  /** The number of requests sent to it since the balancer process has known it. */
  requestsTotal: number;
  /** The number of its responses since then, by STATUS_CLASSES; missing before the first response. */
  statuses?: number[];
  /** For programs: the number of responses with status 500 and above, and the latencies from the request's head to the response's end. */
  errorsTotal?: number;
  latency?: SparseHistogram;
  /** The request that a stalled upstream is running, for example `GET /report`, if known. */
  running?: string;
  /**
   * With limited concurrency: among the requests whose client got an error or disconnected, the one that has been running longest since.
   */
  overdue?: OverdueRequest;
  /** Set while it gets no new requests of this balancer: the reason, the number of this ejection, and how much longer it lasts. */
  ejected?: { reason: string; number: number; forMs: number };
  /** Whether it is ejected or fails its checks but still gets requests, because too many upstreams of its pool do. Default: false. */
  servesAnyway?: boolean;
  /** While a release of its pool is being judged: its counts since the judging started. */
  judged?: JudgedStats;
}

/** A balancer's counts for one upstream of a pool whose release is being judged. */
export interface JudgedStats {
  /** Requests without a complete response, because the process or its connection was lost. */
  lost: number;
  /** Only route classes that had requests. */
  classes: JudgedClass[];
}

interface JudgedClass {
  /** Its number; see route-classes.ts. */
  routeClass: number;
  /** The number of responses. */
  requests: number;
  /** The number of responses with status 500 and above. */
  errors: number;
  /** The latencies of all other responses, from the request's head to the response's end, since the last report. */
  latency: SparseHistogram;
  /** The same for errors, whose latencies do not show how fast a version is. Default: none. */
  failed?: SparseHistogram;
  /** The same for requests that were abandoned before their response, from the head until the client left. Default: none. */
  abandoned?: SparseHistogram;
}

/** A request that is still running although its client has left or its time is over. */
export interface OverdueRequest {
  /** For example `GET /report`. */
  request: string;
  /** The time since it last sent response data, or since its client left, in milliseconds. */
  forMs: number;
}

/** The bodies that a balancer buffers for slow clients of a pool with limited concurrency. */
export interface HeldStats {
  pool: string;
  /** The number of requests whose body is being collected. */
  receiving: number;
  /** The number of spooled responses whose instances have finished them. */
  sending: number;
}

/** The requests of one pool at a balancer, on average since its last report. */
export interface PoolLoadStats {
  pool: string;
  /** Requests at its instances and in the request queue. */
  inFlight: number;
  /** Requests in the request queue, and at instances on the lane before their handler is called. */
  waiting: number;
  /** The number of responses since the last report. An instance also counts requests that were reassigned or abandoned. */
  finished?: number;
}

/** The responses of a balancer for one route, by method class. */
export interface RouteStats {
  /** Empty for requests without a route. */
  pool: string;
  /** The route as in the configuration, or the name for all other routes. */
  route: string;
  access: "reads" | "writes";
  /**
   * The counts since the balancer process has known the route: by STATUS_CLASSES, then the number of responses with status 500 or more that
   * the balancer generated itself. No instance counts these. An earlier version does not send that number.
   */
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
  /** The number of requests that were sent to another upstream. */
  retriesTotal: number;
  /** The number of requests sent to two upstreams, and how many of them the second one served. Missing from earlier versions. */
  hedgesTotal?: number;
  hedgesWonTotal?: number;
  inFlight: number;
  latency: SparseHistogram;
  periodMs: number;
  eventLoopLagMs: number;
  heapBytes: number;
  upstreams: UpstreamStats[];
  /** Disk space in use for bodies of slow clients; absent: none. */
  spoolBytes?: number;
  /**
   * The number of connections that were reset because their peers read nothing and others needed the memory. Missing from earlier versions.
   */
  unreadEndedTotal?: number;
  /** The number of requests that were refused or cut off because memory or disk space was short. Missing from earlier versions. */
  noRoomTotal?: number;
  /** Only pools that have something buffered. */
  held?: HeldStats[];
  /** Only pools that had requests. */
  loads?: PoolLoadStats[];
  /** Only routes that had responses since the last report. */
  routes?: RouteStats[];
}

export type Stats = InstanceStats | BalancerStats;

const isOverdue = fieldsOf<OverdueRequest>({ request: isText, forMs: isAmount });

const COUNTS = {
  ...{ requestsTotal: isAmount, errorsTotal: isAmount, inFlight: isAmount },
  ...{ periodMs: isAmount, eventLoopLagMs: isAmount, heapBytes: isAmount, latency: isList },
};

const isInstanceStats = fieldsOf<InstanceStats>({
  ...COUNTS,
  deferred: optional(fieldsOf<DeferredStats>({ jobs: isAmount, oldestMs: isAmount })),
  overdue: optional(isOverdue),
});

const isJudgedClass = fieldsOf<JudgedClass>({
  ...{ routeClass: isAmount, requests: isAmount, errors: isAmount },
  ...{ latency: isList, failed: optional(isList), abandoned: optional(isList) },
});

const isUpstream = fieldsOf<UpstreamStats>({
  ...{ id: isText, inFlight: isAmount, requestsTotal: isAmount, errorsTotal: optional(isAmount) },
  statuses: optional(listOf(isAmount)),
  latency: optional(isList),
  running: optional(isText),
  overdue: optional(isOverdue),
  ejected: optional(
    fieldsOf<NonNullable<UpstreamStats["ejected"]>>({ reason: isText, number: isAmount, forMs: isAmount }),
  ),
  servesAnyway: optional(isFlag),
  judged: optional(fieldsOf<JudgedStats>({ lost: isAmount, classes: listOf(isJudgedClass) })),
});

const isBalancerStats = fieldsOf<BalancerStats>({
  ...COUNTS,
  ...{ connections: isAmount, connectionsTotal: isAmount, retriesTotal: isAmount },
  upstreams: listOf(isUpstream),
  ...{ hedgesTotal: optional(isAmount), hedgesWonTotal: optional(isAmount) },
  ...{ spoolBytes: optional(isAmount), unreadEndedTotal: optional(isAmount), noRoomTotal: optional(isAmount) },
  held: optional(listOf(fieldsOf<HeldStats>({ pool: isText, receiving: isAmount, sending: isAmount }))),
  loads: optional(
    listOf(
      fieldsOf<PoolLoadStats>({ pool: isText, inFlight: isAmount, waiting: isAmount, finished: optional(isAmount) }),
    ),
  ),
  routes: optional(
    listOf(
      fieldsOf<RouteStats>({
        ...{ pool: isText, route: isText, access: oneOf("reads", "writes") },
        ...{ counts: listOf(isAmount), latency: isList },
      }),
    ),
  ),
});

/** Whether a message has the fields of a report, by its role. */
export const areStats: Check = (message) =>
  ((message as Fields).role === "balancer" ? isBalancerStats : isInstanceStats)(message);
