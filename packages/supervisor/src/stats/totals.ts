/** Totals since the start, as the metrics and the status report them: the latencies of a process, and the responses by route. */
import {
  countedRoutes,
  Histogram,
  NO_ROUTE,
  type RouteStats,
  type SparseHistogram,
  STATUS_CLASSES,
} from "@paceline/wire";
import type { RouteFacts } from "../core/explain-model.js";

/** The upper bounds of the buckets in seconds; one more bucket has no upper bound. */
export const LATENCY_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

/**
 * For each bucket of a report, which is narrower: the index of the first bucket here whose upper bound is at or above the middle of that
 * bucket.
 */
const BUCKET_OF = new Uint8Array(Histogram.bucketCount);
/** The middle of each bucket of a report, in seconds. */
const MIDDLE = new Float64Array(Histogram.bucketCount);
for (let index = 0; index < Histogram.bucketCount; index++) {
  const middle = (Histogram.lowerBoundUs(index) + Histogram.lowerBoundUs(index + 1) - 1) / 2_000_000;
  const bucket = LATENCY_BOUNDS.findIndex((bound) => middle <= bound);
  MIDDLE[index] = middle;
  BUCKET_OF[index] = bucket < 0 ? LATENCY_BOUNDS.length : bucket;
}

/** All latencies of a process since its start, in few buckets. */
export class LatencyTotals {
  /** The number of responses in each bucket. */
  readonly counts: readonly number[];
  private readonly own: number[] = new Array(LATENCY_BOUNDS.length + 1).fill(0);
  /** The sum of all latencies in seconds, accurate to about 2 %, because reports have buckets. */
  sumSeconds = 0;

  constructor() {
    this.counts = this.own;
  }

  /** Adds a report. Its indexes come from another process; indexes out of range are ignored. */
  add(report: SparseHistogram): void {
    for (let at = 0; at + 1 < report.length; at += 2) {
      const index = report[at] as number;
      const count = report[at + 1] as number;
      const bucket = BUCKET_OF[index];
      if (bucket === undefined || !(count > 0)) continue;
      this.own[bucket] = (this.own[bucket] as number) + count;
      this.sumSeconds += (MIDDLE[index] as number) * count;
    }
  }
}

/** The latencies in the status cover this time. */
const RECENT_MS = 30_000;
const MAX_RECENT = 128;
const ACCESSES = ["reads", "writes"] as const;
/** The status class that counts as an error. */
const ERRORS = STATUS_CLASSES.indexOf("5xx");
/** The index of the balancers' own errors in their counts. */
const OWN_ERRORS = STATUS_CLASSES.length;

export interface RouteTotal {
  /** Empty: requests without a route. */
  pool: string;
  route: string;
  access: RouteStats["access"];
  /** By STATUS_CLASSES. */
  readonly counts: Float64Array;
  readonly latency: LatencyTotals;
}

/** The counts of a route that another supervisor continues with: their sum, and the last counts of each balancer process. */
interface SavedRoute {
  pool: string;
  route: string;
  access: RouteStats["access"];
  counts: readonly number[];
  last: readonly (readonly [balancer: string, counts: readonly number[]])[];
}

interface Entry extends RouteTotal {
  /** The last counts of each balancer process. */
  last: Map<string, readonly number[]>;
  /** The balancer processes that have reported to this supervisor. */
  heard: Set<string>;
  recent: { at: number; latency: SparseHistogram }[];
}

/** The responses of all balancers by route and method class. Only routes in the configuration are kept. */
export class RouteTotals {
  private readonly entries = new Map<string, Entry>();

  /**
   * @param routesOf returns the routes of a pool in the configuration; none for an unknown pool
   * @param onOwnErrors receives the number of further responses with status 500 or more that a balancer has generated itself, and whether
   * they are new. Those between the last counts that an earlier supervisor saved and the first report to this one may be hours old
   */
  constructor(
    private readonly routesOf: (pool: string) => readonly string[],
    private readonly onOwnErrors: (pool: string, errors: number, isNew: boolean) => void = () => {},
  ) {}

  /**
   * Records a balancer's report.
   * @param isAdopted whether an earlier supervisor started the balancer
   */
  record(balancer: string, routes: readonly RouteStats[], now: number, isAdopted = false): void {
    for (const { pool, route, access, counts, latency } of routes) {
      if (!this.isKnown(pool, route)) continue;
      const entry = this.entryOf(pool, route, access);
      const before = entry.last.get(balancer);
      for (let at = 0; at < entry.counts.length; at++)
        entry.counts[at] = (entry.counts[at] as number) + Math.max(0, (counts[at] ?? 0) - (before?.[at] ?? 0));
      const ownErrors = (counts[OWN_ERRORS] ?? 0) - (before?.[OWN_ERRORS] ?? 0);
      if (ownErrors > 0 && pool !== "") this.onOwnErrors(pool, ownErrors, !isAdopted || entry.heard.has(balancer));
      entry.heard.add(balancer);
      entry.last.set(balancer, counts.slice(0, OWN_ERRORS + 1));
      entry.latency.add(latency);
      if (latency.length > 0) entry.recent.push({ at: now, latency });
      while (entry.recent.length > MAX_RECENT || now - (entry.recent[0]?.at ?? now) > RECENT_MS) entry.recent.shift();
    }
  }

  /** Called when a balancer process has exited and reports nothing any more: a later report would add all its counts once more. */
  ended(balancer: string): void {
    for (const { last, heard } of this.entries.values()) {
      last.delete(balancer);
      heard.delete(balancer);
    }
  }

  /** Returns the counts of all routes that have any; latencies are not included. */
  saved(): SavedRoute[] {
    return [...this.entries.values()].flatMap(({ pool, route, access, counts, last }) =>
      counts.every((count) => count === 0) ? [] : [{ pool, route, access, counts: [...counts], last: [...last] }],
    );
  }

  /** Continues with the counts that an earlier supervisor saved. */
  restore(saved: readonly SavedRoute[]): void {
    for (const { pool, route, access, counts, last } of saved) {
      if (!this.isKnown(pool, route) || !ACCESSES.includes(access)) continue;
      const entry = this.entryOf(pool, route, access);
      entry.counts.set(counts.slice(0, entry.counts.length));
      entry.last = new Map(last);
    }
  }

  /**
   * Returns the totals of all routes in the configuration, including those without requests, so that the number of time series does not
   * grow.
   */
  all(pools: readonly string[]): RouteTotal[] {
    for (const [key, { pool, route }] of this.entries) if (!this.isKnown(pool, route)) this.entries.delete(key);
    return [...pools, ""].flatMap((pool) =>
      this.namesOf(pool).flatMap((route) => ACCESSES.map((access) => this.entryOf(pool, route, access))),
    );
  }

  /** Returns what the status shows of a pool's routes: latencies cover the last 30 seconds. */
  of(pool: string, now: number): Required<RouteFacts>[] {
    return [...this.entries.values()].flatMap((entry) => {
      const { route, access, counts, recent } = entry;
      if (entry.pool !== pool || !this.isKnown(pool, route) || counts.every((count) => count === 0)) return [];
      const merged = Histogram.merge(recent.filter(({ at }) => now - at <= RECENT_MS).map(({ latency }) => latency));
      return [
        {
          route: `${access} ${route}`,
          requestsTotal: counts.reduce((sum, count) => sum + count, 0),
          errorsTotal: counts[ERRORS] ?? 0,
          recentRequests: Histogram.total(merged),
          p50Ms: quantileMs(merged, 0.5),
          p99Ms: quantileMs(merged, 0.99),
        },
      ];
    });
  }

  private namesOf(pool: string): string[] {
    return pool === "" ? [NO_ROUTE] : countedRoutes(this.routesOf(pool));
  }

  private isKnown(pool: string, route: string): boolean {
    return this.namesOf(pool).includes(route);
  }

  private entryOf(pool: string, route: string, access: RouteStats["access"]): Entry {
    const key = `${pool} ${route} ${access}`;
    let entry = this.entries.get(key);
    if (entry === undefined) {
      entry = {
        ...{ pool, route, access, counts: new Float64Array(STATUS_CLASSES.length) },
        ...{ latency: new LatencyTotals(), last: new Map(), heard: new Set(), recent: [] },
      };
      this.entries.set(key, entry);
    }
    return entry;
  }
}

export function quantileMs(counts: Float64Array, q: number): number | null {
  const us = Histogram.quantile(counts, q);
  return us === null ? null : Math.round(us) / 1000;
}
