/** What a child reports, and when: each second by default while there is activity, and rarely otherwise to save resources. */
import { LoopLag } from "../proc/own-process.js";
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
  /** The same of the errors, which say nothing of how fast a version is. Default: none. */
  failed?: SparseHistogram;
  /** Of requests that were abandoned before their response: from the head until the client left, since the last report. Default: none. */
  abandoned?: SparseHistogram;
}

/** A request that still runs although nobody waits for its response, or should wait any more. */
export interface OverdueRequest {
  /** Such as `GET /report`. */
  request: string;
  /** Since it last sent response data, or since its client left, in milliseconds. */
  forMs: number;
}

/** What a balancer buffers for slow clients of a pool with limited concurrency. */
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

const LOOK_EVERY_MS = 1000;
/** An idle process reports every this many checks, because its memory may change. */
const QUIET_LOOKS = 10;
/** How often a sleeping process checks and reports. */
const ASLEEP_LOOK_EVERY_MS = 60_000;
/** A delay of the event loop that is worth a report. */
const LAG_WORTH_REPORTING_MS = 50;

/** The reporter's own measurements. */
export interface Measured {
  /** The longest period that the new counts can cover, in milliseconds. */
  periodMs: number;
  /** The longest delay of the event loop since the last report, in milliseconds. */
  eventLoopLagMs: number;
}

export interface ReporterOptions {
  /** A number that changes with everything worth a report while nothing is in flight. */
  activity(): number;
  /** The number of requests in flight; while there are any, each second is reported. */
  inFlight(): number;
  /** Calls `wake` once at the next activity. Lets an idle process sleep until then. */
  onNext?(wake: () => void): void;
  /** Sends a report. Returns false if it could not be sent; the next one then includes it. */
  report(measured: Measured): boolean;
  /** The time between two checks, in milliseconds. Default: 1,000. */
  everyMs?: number | undefined;
}

/**
 * Checks each second. After the last second with activity it sends one more report, which says that the activity has ended. The
 * event loop is monitored closely only during activity; otherwise a late check shows a delay, underestimated by at most one
 * interval.
 */
export class Reporter {
  private timer: NodeJS.Timeout | undefined;
  private readonly awakeMs: number;
  private everyMs: number;
  private lag: LoopLag | undefined;
  private lastActivity = 0;
  /** Whether the last report had news. */
  private hadNews = true;
  private quietLooks = 0;
  private lookedAtMs = 0;
  private sinceMs = 0;
  private worstLagMs = 0;

  constructor(private readonly options: ReporterOptions) {
    this.awakeMs = this.everyMs = options.everyMs ?? LOOK_EVERY_MS;
  }

  /** Starts reporting. */
  start(): void {
    this.lookEvery(this.awakeMs);
  }

  /** Reports now, for example before an exit. */
  reportNow(): void {
    this.send(performance.now(), this.options.activity());
  }

  stop(): void {
    clearInterval(this.timer);
    this.watchLag(false);
  }

  private lookEvery(ms: number): void {
    clearInterval(this.timer);
    this.everyMs = ms;
    this.lookedAtMs = this.sinceMs = performance.now();
    this.timer = setInterval(() => this.look(), ms);
    this.timer.unref();
  }

  private sleep(): void {
    this.lookEvery(ASLEEP_LOOK_EVERY_MS);
    this.options.onNext?.(() => {
      this.lookEvery(this.awakeMs);
      this.watchLag(true);
    });
  }

  /** The only work of an idle process, so it is kept small: frequent code is compiled, which takes memory. */
  private look(): void {
    const now = performance.now();
    const lateMs = now - this.lookedAtMs - this.everyMs;
    this.lookedAtMs = now;
    const activity = this.options.activity();
    const quiet = !this.hadNews && activity === this.lastActivity && lateMs < LAG_WORTH_REPORTING_MS;
    if (quiet && this.everyMs === this.awakeMs && ++this.quietLooks < QUIET_LOOKS) this.sinceMs = now;
    else this.lookClosely(now, lateMs, activity);
  }

  private lookClosely(now: number, lateMs: number, activity: number): void {
    this.worstLagMs = Math.max(this.worstLagMs, this.lag?.takeMs() ?? 0, Math.round(lateMs * 10) / 10);
    const busy = activity !== this.lastActivity || this.options.inFlight() > 0;
    this.watchLag(busy);
    const news = busy || this.worstLagMs >= LAG_WORTH_REPORTING_MS;
    if (!this.send(now, activity)) return;
    this.hadNews = news;
    if (!news && this.options.onNext !== undefined && this.everyMs === this.awakeMs) this.sleep();
  }

  private send(now: number, activity: number): boolean {
    const sent = this.options.report({ periodMs: Math.round(now - this.sinceMs), eventLoopLagMs: this.worstLagMs });
    // Unsent news remain news.
    if (!sent) return false;
    this.lastActivity = activity;
    this.sinceMs = now;
    this.worstLagMs = 0;
    this.quietLooks = 0;
    return true;
  }

  private watchLag(wanted: boolean): void {
    if (wanted === (this.lag !== undefined)) return;
    this.lag?.stop();
    this.lag = wanted ? new LoopLag() : undefined;
  }
}
