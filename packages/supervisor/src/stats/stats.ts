/** What the children count, put together: rates, latencies of the last seconds, and totals that outlive a process. */
import { Histogram, type SparseHistogram, type Stats, type UpstreamStats } from "@paceline/wire";
import type { LatencyMs } from "../control/api.js";

/** Latencies are told over about this long: ten reports of a second each, for an idle process reports none. */
const LATENCY_REPORTS = 10;
/** A rate is reported each second while it is not 0; without a report for this long it says nothing any more. */
const STALE_AFTER_MS = 3500;

/** Of the balancer processes that counted for a process, so many are told apart. */
const MAX_COUNTERS = 64;

/** What the balancers counted of a process that counts nothing itself. */
export interface RelayedCounts {
  role: "relayed";
  requestsTotal: number;
  errorsTotal: number;
  inFlight: number;
}

/** What one balancer process counted. */
interface Counter {
  requestsTotal: number;
  errorsTotal: number;
  inFlight: number;
  rate: number;
  at: number;
}

/** The counters of one process. */
export class ProcessStats {
  last: Stats | RelayedCounts | null = null;
  private own = { rate: 0, at: 0 };
  private readonly counters = new Map<string, Counter>();
  private readonly latencies: { at: number; histogram: SparseHistogram }[] = [];

  /** Takes a report that arrived at `now`, in milliseconds. */
  record(stats: Stats, now: number): void {
    const before = this.last?.requestsTotal ?? 0;
    this.own = { rate: newRate(this.own.rate, stats.requestsTotal - before, stats.periodMs), at: now };
    this.last = stats;
    this.keepLatencies(stats.latency, now);
  }

  /** It reported itself, at least so many milliseconds later than at `time`, that no request is under way. */
  hasReportedIdle(time: number, laterMs: number): boolean {
    return this.last?.inFlight === 0 && this.own.at >= time + laterMs;
  }

  /** Takes what a balancer counted of it. */
  recordRelayed(balancer: string, upstream: UpstreamStats, periodMs: number, now: number): void {
    const { requestsTotal, errorsTotal = 0, inFlight, latency = [] } = upstream;
    const before = this.counters.get(balancer);
    const rate = newRate(before?.rate ?? 0, requestsTotal - (before?.requestsTotal ?? 0), periodMs);
    this.counters.set(balancer, { requestsTotal, errorsTotal, inFlight, rate, at: now });
    if (this.counters.size > MAX_COUNTERS) this.counters.delete(this.counters.keys().next().value as string);
    const sum = (of: (counter: Counter) => number) => [...this.counters.values()].reduce((all, c) => all + of(c), 0);
    this.last = {
      role: "relayed",
      requestsTotal: sum((counter) => counter.requestsTotal),
      errorsTotal: sum((counter) => counter.errorsTotal),
      inFlight: sum((counter) => counter.inFlight),
    };
    this.keepLatencies(latency, now);
  }

  /** A balancer process ended: what it had under way is over. */
  balancerEnded(balancer: string): void {
    const counter = this.counters.get(balancer);
    if (counter === undefined || this.last === null) return;
    this.last = { ...this.last, inFlight: this.last.inFlight - counter.inFlight };
    counter.inFlight = counter.rate = 0;
  }

  requestsPerSecond(now: number): number {
    const rates = [this.own, ...this.counters.values()].map(({ rate, at }) => (now - at > STALE_AFTER_MS ? 0 : rate));
    return Math.round(rates.reduce((sum, rate) => sum + rate) * 10) / 10;
  }

  latencyMs(now: number): LatencyMs {
    const recent = this.latencies.filter(({ at }) => now - at <= (LATENCY_REPORTS + 1) * 1000);
    const merged = Histogram.merge(recent.map(({ histogram }) => histogram));
    return { p50: quantileMs(merged, 0.5), p99: quantileMs(merged, 0.99) };
  }

  private keepLatencies(histogram: SparseHistogram, now: number): void {
    this.latencies.push({ at: now, histogram });
    if (this.latencies.length > LATENCY_REPORTS * Math.max(1, this.counters.size)) this.latencies.shift();
  }
}

/** Not by the time between two reports: a process to which nothing happens makes none. */
function newRate(before: number, requests: number, periodMs: number): number {
  // Two reports close together, as at the end of a process, would make a wild rate.
  return periodMs >= 200 ? (requests * 1000) / periodMs : before;
}

export interface Totals {
  requestsTotal: number;
  errorsTotal: number;
  requestsPerSecond: number;
}

/** The counters of all processes, by pool. */
export class StatsBook {
  private readonly processes = new Map<string, { pool: string; stats: ProcessStats }>();
  /** What the processes that ended had counted. */
  private readonly ended = new Map<string, { requestsTotal: number; errorsTotal: number }>();

  /** Opens the account of a process. */
  open(id: string, pool: string): ProcessStats {
    const stats = new ProcessStats();
    this.processes.set(id, { pool, stats });
    return stats;
  }

  /** Closes the account of a process that ended; its counts stay in the pool's totals. */
  close(id: string): void {
    const entry = this.processes.get(id);
    if (entry === undefined || !this.processes.delete(id)) return;
    const sum = this.ended.get(entry.pool) ?? { requestsTotal: 0, errorsTotal: 0 };
    sum.requestsTotal += entry.stats.last?.requestsTotal ?? 0;
    sum.errorsTotal += entry.stats.last?.errorsTotal ?? 0;
    this.ended.set(entry.pool, sum);
  }

  /** Forgets a pool that is gone. */
  forget(pool: string): void {
    this.ended.delete(pool);
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

function quantileMs(counts: Float64Array, q: number): number | null {
  const us = Histogram.quantile(counts, q);
  return us === null ? null : Math.round(us) / 1000;
}
