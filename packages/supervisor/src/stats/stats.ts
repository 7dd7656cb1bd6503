/** The combined statistics of the child processes: rates, recent latencies, and totals that include exited processes. */
import {
  Histogram,
  type PoolLoadStats,
  type SparseHistogram,
  STATUS_CLASSES,
  type Stats,
  type UpstreamStats,
} from "@paceline/wire";
import type { LatencyMs } from "../control/api.js";
import { SHAPE_BOUNDS_MS } from "../core/slowness.js";
import { LatencyTotals, quantileMs } from "./totals.js";

/** Recent latencies cover about this many reports, one per second; idle processes do not report. */
const LATENCY_REPORTS = 10;
/** While its rate is above 0, a process reports each second. If there was no report for this long, the rate is outdated. */
const STALE_AFTER_MS = 3500;

/** The age of reports that count for the last second, because a report may come a little late. */
const THIS_SECOND_MS = 1500;

const SHAPE_OF = new Uint8Array(Histogram.bucketCount);
for (let index = 0; index < Histogram.bucketCount; index++) {
  const middleMs = (Histogram.lowerBoundUs(index) + Histogram.lowerBoundUs(index + 1) - 1) / 2000;
  const bucket = SHAPE_BOUNDS_MS.findIndex((bound) => middleMs <= bound);
  SHAPE_OF[index] = bucket < 0 ? SHAPE_BOUNDS_MS.length : bucket;
}

/** Figures about the latencies of some responses. */
interface Latencies {
  latencyMs: LatencyMs;
  /** The number of responses up to each bound of SHAPE_BOUNDS_MS, and of the rest; all 0 without a response. */
  latencyShape: number[];
}

/** Returns the latencies of several reports, combined as if they came from one process. */
export function latenciesOf(reports: readonly SparseHistogram[]): Latencies {
  const latencyShape = new Array<number>(SHAPE_BOUNDS_MS.length + 1).fill(0);
  if (reports.length === 0) return { latencyMs: { p50: null, p99: null }, latencyShape };
  const merged = Histogram.merge(reports);
  for (let index = 0; index < merged.length; index++) {
    const count = merged[index] as number;
    if (count === 0) continue;
    const bucket = SHAPE_OF[index] as number;
    latencyShape[bucket] = (latencyShape[bucket] as number) + count;
  }
  return { latencyMs: { p50: quantileMs(merged, 0.5), p99: quantileMs(merged, 0.99) }, latencyShape };
}

/** The status class that counts as an error, and the one of requests without a response. */
const ERRORS = STATUS_CLASSES.indexOf("5xx");
const ABANDONED = STATUS_CLASSES.indexOf("abandoned");

/** The maximum number of balancer processes whose counts for one process are kept separately. */
const MAX_COUNTERS = 64;
/** The entry that combines the counts of earlier balancer processes. */
const EARLIER = "";
/** The time of counts that an earlier supervisor saved. */
const SAVED = 0;

/** The balancers' counts for a process that does not report its own. */
interface RelayedCounts {
  role: "relayed";
  requestsTotal: number;
  errorsTotal: number;
  inFlight: number;
}

interface SavedCounts {
  requestsTotal: number;
  errorsTotal: number;
  relayed: { balancer: string; requestsTotal: number; errorsTotal: number }[];
  /** Responses by STATUS_CLASSES: the sum, and the last counts of each balancer. An older supervisor saves none. */
  statuses?: readonly number[];
  statusesOf?: readonly (readonly [balancer: string, counts: readonly number[]])[];
}

/** The counts of one balancer process. */
interface Counter {
  requestsTotal: number;
  errorsTotal: number;
  inFlight: number;
  rate: number;
  at: number;
}

/** The counts of one process. */
export class ProcessStats {
  last: Stats | RelayedCounts | null = null;
  /** Whether `last` was saved by an earlier supervisor, maybe hours ago: what was counted since then did not happen just now. */
  private isSaved = false;
  readonly latencyTotals = new LatencyTotals();
  /** When the process last reported a further request, a value of performance.now(); undefined if it has had none. */
  servedAt: number | undefined;
  private own = { rate: 0, at: 0 };
  /** Its responses by STATUS_CLASSES, from the balancers' counts; undefined before the first. */
  statuses: number[] | undefined;
  private readonly statusesOf = new Map<string, readonly number[]>();
  private sampledErrors = 0;
  private readonly counters = new Map<string, Counter>();
  private readonly latencies: { at: number; histogram: SparseHistogram }[] = [];

  /** Records a report that arrived at `now`, in milliseconds. */
  record(stats: Stats, now: number): void {
    const before = this.last?.requestsTotal ?? 0;
    const requests = this.isSaved ? 0 : stats.requestsTotal - before;
    this.own = { rate: newRate(this.own.rate, requests, stats.periodMs), at: now };
    if (stats.requestsTotal > before) this.servedAt = now;
    if (this.isSaved) this.sampledErrors = stats.errorsTotal;
    this.isSaved = false;
    this.last = stats;
    this.keepLatencies(stats.latency, now);
  }

  /** Whether the process itself has reported, at least `laterMs` after `time`, that it has no requests. */
  hasReportedIdle(time: number, laterMs: number): boolean {
    return this.last?.inFlight === 0 && this.own.at >= time + laterMs;
  }

  /** Records a balancer's counts for this process. */
  recordRelayed(balancer: string, upstream: UpstreamStats, periodMs: number, now: number): void {
    const { requestsTotal, errorsTotal = 0, inFlight, latency = [] } = upstream;
    const before = this.counters.get(balancer);
    const isFirst = this.isSaved && (before === undefined || before.at === SAVED);
    const requests = isFirst ? 0 : requestsTotal - (before?.requestsTotal ?? 0);
    const rate = newRate(before?.rate ?? 0, requests, periodMs);
    if (isFirst) this.sampledErrors += errorsTotal - (before?.errorsTotal ?? 0);
    this.counters.set(balancer, { requestsTotal, errorsTotal, inFlight, rate, at: now });
    if (this.counters.size > MAX_COUNTERS) this.joinOldest();
    const sum = (of: (counter: Counter) => number) => [...this.counters.values()].reduce((all, c) => all + of(c), 0);
    this.last = {
      role: "relayed",
      requestsTotal: sum((counter) => counter.requestsTotal),
      errorsTotal: sum((counter) => counter.errorsTotal),
      inFlight: sum((counter) => counter.inFlight),
    };
    this.keepLatencies(latency, now);
  }

  /** Adds the counts of an exited balancer process to those of earlier ones, so that the total never decreases. */
  private joinOldest(): void {
    const known = [...this.counters].filter(([balancer]) => balancer !== EARLIER);
    const [name, counter] = known.reduce((oldest, each) => (each[1].at < oldest[1].at ? each : oldest));
    const { requestsTotal = 0, errorsTotal = 0 } = this.counters.get(EARLIER) ?? {};
    this.counters.delete(name);
    this.counters.set(EARLIER, {
      requestsTotal: requestsTotal + counter.requestsTotal,
      errorsTotal: errorsTotal + counter.errorsTotal,
      ...{ inFlight: 0, rate: 0, at: 0 },
    });
  }

  /** Records how many responses of each status class a balancer has received from this process. */
  recordStatuses(balancer: string, counts: readonly number[]): void {
    const before = this.statusesOf.get(balancer);
    this.statusesOf.set(balancer, counts.slice(0, STATUS_CLASSES.length));
    if (this.statusesOf.size > MAX_COUNTERS) this.statusesOf.delete(this.statusesOf.keys().next().value as string);
    this.statuses = STATUS_CLASSES.map(
      (_, at) => (this.statuses?.[at] ?? 0) + Math.max(0, (counts[at] ?? 0) - (before?.[at] ?? 0)),
    );
  }

  /** Returns the counts that another supervisor continues with. */
  saved(): SavedCounts {
    const { requestsTotal = 0, errorsTotal = 0 } = this.last ?? {};
    const relayed = [...this.counters].map(([balancer, counter]) => {
      return { balancer, requestsTotal: counter.requestsTotal, errorsTotal: counter.errorsTotal };
    });
    const statuses = this.statuses ?? [];
    return { requestsTotal, errorsTotal, relayed, statuses, statusesOf: [...this.statusesOf] };
  }

  /** Continues with the counts that an earlier supervisor saved, until the process reports. */
  restore({ requestsTotal, errorsTotal, relayed, statuses = [], statusesOf = [] }: SavedCounts): void {
    if (statuses.length > 0) this.statuses = [...statuses];
    for (const [balancer, counts] of statusesOf) this.statusesOf.set(balancer, counts);
    for (const { balancer, ...counts } of relayed)
      this.counters.set(balancer, { ...counts, inFlight: 0, rate: 0, at: SAVED });
    this.last = { role: "relayed", requestsTotal, errorsTotal, inFlight: 0 };
    this.isSaved = true;
    this.sampledErrors = errorsTotal;
  }

  /**
   * The counts that the process has reported, or the responses that the balancers have received from it. The latter are more if the process
   * was killed before its next report.
   */
  get counted(): Counted {
    const { requestsTotal = 0, errorsTotal = 0 } = this.last ?? {};
    const { statuses = [] } = this;
    const responses = statuses.reduce((sum, count, at) => (at === ABANDONED ? sum : sum + count), 0);
    return {
      requestsTotal: Math.max(requestsTotal, responses),
      errorsTotal: Math.max(errorsTotal, statuses[ERRORS] ?? 0),
    };
  }

  /** Called when a balancer process exited: the requests that it had in flight are gone. */
  balancerEnded(balancer: string): void {
    const counter = this.counters.get(balancer);
    if (counter === undefined || this.last === null) return;
    this.last = { ...this.last, inFlight: this.last.inFlight - counter.inFlight };
    counter.inFlight = counter.rate = 0;
    counter.at = Number.NEGATIVE_INFINITY;
  }

  /** Returns the mean load of a pool at this balancer, from its last report; undefined if it is idle or reports no loads. */
  relayedLoad(pool: string, now: number): (PoolLoadStats & { perSecond: number | null }) | undefined {
    if (this.last?.role !== "balancer" || now - this.own.at > STALE_AFTER_MS) return undefined;
    const load = this.last.loads?.find((each) => each.pool === pool);
    if (load === undefined) return undefined;
    const perSecond = load.finished === undefined ? null : (1000 * load.finished) / Math.max(1, this.last.periodMs);
    return { ...load, perSecond };
  }

  requestsPerSecond(now: number): number {
    const rates = [this.own, ...this.counters.values()].map(({ rate, at }) => (now - at > STALE_AFTER_MS ? 0 : rate));
    return Math.round(rates.reduce((sum, rate) => sum + rate) * 10) / 10;
  }

  /** Returns the reported latencies of about the last ten seconds. */
  recentLatencies(now: number, forMs = (LATENCY_REPORTS + 1) * 1000): SparseHistogram[] {
    return this.latencies.flatMap(({ at, histogram }) => (now - at <= forMs ? [histogram] : []));
  }

  /** Returns what happened since the last call; called once per second. */
  takeSample(now: number): { errors: number; latency: SparseHistogram[] } {
    const errorsTotal = this.last?.errorsTotal ?? 0;
    const errors = Math.max(0, errorsTotal - this.sampledErrors);
    this.sampledErrors = errorsTotal;
    return { errors, latency: this.recentLatencies(now, THIS_SECOND_MS) };
  }

  private keepLatencies(histogram: SparseHistogram, now: number): void {
    this.latencyTotals.add(histogram);
    this.latencies.push({ at: now, histogram });
    if (this.latencies.length > LATENCY_REPORTS * Math.max(1, this.counters.size)) this.latencies.shift();
  }
}

/** Uses the period that the report states, because an idle process sends no reports and the time between two reports may be longer. */
function newRate(before: number, requests: number, periodMs: number): number {
  // A very short period, for example at the exit of a process, would distort the rate.
  return periodMs >= 200 ? (requests * 1000) / periodMs : before;
}

interface Totals {
  requestsTotal: number;
  errorsTotal: number;
  requestsPerSecond: number;
}

interface Counted {
  requestsTotal: number;
  errorsTotal: number;
}

/** The maximum number of exited processes whose last errors wait to be sampled. */
const MAX_ENDED = 1024;
/** The maximum number of exited processes whose counts the balancers may still raise. */
const MAX_LATE = 256;

/** The counts of all processes, by pool. */
export class StatsBook {
  private readonly processes = new Map<string, { pool: string; stats: ProcessStats }>();
  /** The counts of exited processes, and the errors that the balancers generated themselves. */
  private readonly ended = new Map<string, Counted>();
  /** The processes that have exited last, with their counts in `ended`. */
  private readonly late = new Map<string, { pool: string; stats: ProcessStats; counted: Counted }>();
  private readonly endedErrors: { name: string; pool: string; errors: number }[] = [];

  /** Starts counting for a process. */
  open(id: string, pool: string): ProcessStats {
    const stats = new ProcessStats();
    this.processes.set(id, { pool, stats });
    return stats;
  }

  /** Stops counting for an exited process; its counts stay in the pool's totals. */
  close(id: string): void {
    const entry = this.processes.get(id);
    if (entry === undefined || !this.processes.delete(id)) return;
    const { counted } = entry.stats;
    this.add(entry.pool, counted);
    this.late.set(id, { ...entry, counted });
    if (this.late.size > MAX_LATE) this.late.delete(this.late.keys().next().value as string);
    const { errors } = entry.stats.takeSample(0);
    if (errors > 0 && this.endedErrors.length < MAX_ENDED)
      this.endedErrors.push({ name: id.slice(0, id.indexOf("#")), pool: entry.pool, errors });
  }

  /**
   * Records the responses that a balancer has received from a process that has exited: it may have been killed before it could report them,
   * or while no supervisor was running.
   */
  recordLate(id: string, balancer: string, statuses: readonly number[]): void {
    const entry = this.late.get(id);
    if (entry === undefined) return;
    const before = entry.counted;
    entry.stats.recordStatuses(balancer, statuses);
    entry.counted = entry.stats.counted;
    this.add(entry.pool, {
      requestsTotal: entry.counted.requestsTotal - before.requestsTotal,
      errorsTotal: entry.counted.errorsTotal - before.errorsTotal,
    });
  }

  private add(pool: string, more: Counted): void {
    const { requestsTotal, errorsTotal } = this.ended.get(pool) ?? { requestsTotal: 0, errorsTotal: 0 };
    this.ended.set(pool, {
      requestsTotal: requestsTotal + more.requestsTotal,
      errorsTotal: errorsTotal + more.errorsTotal,
    });
  }

  /**
   * Counts requests of a pool that no process responded to: the balancer itself responded with status 500 or more.
   * @param isNew false if they may have happened long ago
   */
  addOwnErrors(pool: string, errors: number, isNew = true): void {
    this.add(pool, { requestsTotal: errors, errorsTotal: errors });
    if (isNew && this.endedErrors.length < MAX_ENDED) this.endedErrors.push({ name: "", pool, errors });
  }

  /** Returns the 5xx responses since the last call: of exited processes by slot, and of the balancers themselves with an empty name. */
  takeEndedErrors(): { name: string; pool: string; errors: number }[] {
    return this.endedErrors.splice(0);
  }

  /** Returns the counts of all exited processes. */
  endedTotals(): { pool: string; requestsTotal: number; errorsTotal: number }[] {
    return [...this.ended].map(([pool, counts]) => ({ pool, ...counts }));
  }

  /** Continues with the counts that an earlier supervisor saved. */
  restoreEnded(totals: readonly { pool: string; requestsTotal: number; errorsTotal: number }[]): void {
    for (const { pool, requestsTotal, errorsTotal } of totals) this.ended.set(pool, { requestsTotal, errorsTotal });
  }

  /** Forgets a removed pool. */
  forget(pool: string): void {
    this.ended.delete(pool);
    for (const [id, { pool: owner }] of this.late) if (owner === pool) this.late.delete(id);
  }

  totals(pool: string, now: number): Totals {
    const totals = { requestsTotal: 0, errorsTotal: 0, ...this.ended.get(pool), requestsPerSecond: 0 };
    for (const { pool: owner, stats } of this.processes.values()) {
      if (owner !== pool) continue;
      totals.requestsTotal += stats.last?.requestsTotal ?? 0;
      totals.errorsTotal += stats.last?.errorsTotal ?? 0;
      totals.requestsPerSecond += stats.requestsPerSecond(now);
    }
    totals.requestsPerSecond = Math.round(totals.requestsPerSecond * 10) / 10;
    return totals;
  }
}
