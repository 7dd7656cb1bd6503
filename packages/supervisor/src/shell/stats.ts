/** What the children count, put together: rates, latencies of the last seconds, and totals that outlive a process. */
import { Histogram, type SparseHistogram, type Stats } from "@paceline/link";
import type { LatencyMs } from "../control/api.js";

/** Latencies are told over about this long: ten reports of a second each, for an idle process reports none. */
const LATENCY_REPORTS = 10;
/** A rate is reported each second while it is not 0; without a report for this long it says nothing any more. */
const STALE_AFTER_MS = 3500;

/** The counters of one process. */
export class ProcessStats {
  last: Stats | null = null;
  private lastAt = 0;
  private rate = 0;
  private readonly latencies: { at: number; histogram: SparseHistogram }[] = [];

  /** Takes a report that arrived at `now`, in milliseconds. */
  record(stats: Stats, now: number): void {
    const before = this.last?.requestsTotal ?? 0;
    // Not the time between two reports: a process to which nothing happens makes none. Two reports close together, as at
    // the end of a process, would make a wild rate.
    if (stats.periodMs >= 200) this.rate = ((stats.requestsTotal - before) * 1000) / stats.periodMs;
    this.last = stats;
    this.lastAt = now;
    this.latencies.push({ at: now, histogram: stats.latency });
    if (this.latencies.length > LATENCY_REPORTS) this.latencies.shift();
  }

  requestsPerSecond(now: number): number {
    return now - this.lastAt > STALE_AFTER_MS ? 0 : Math.round(this.rate * 10) / 10;
  }

  latencyMs(now: number): LatencyMs {
    const recent = this.latencies.filter(({ at }) => now - at <= (LATENCY_REPORTS + 1) * 1000);
    const merged = Histogram.merge(recent.map(({ histogram }) => histogram));
    return { p50: quantileMs(merged, 0.5), p99: quantileMs(merged, 0.99) };
  }
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
