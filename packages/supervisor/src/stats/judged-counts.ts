/** The balancers' counts of pools under judgement, by process; also the counts of processes that have exited in the meantime. */
import { Histogram, type JudgedStats, type LostRequests, routeClassNames, type SparseHistogram } from "@paceline/wire";
import type { Durations } from "../core/quantiles.js";
import type { Arm } from "../core/verdict-model.js";

/**
 * For this long after the first requests of a young process, its durations do not count, because its caches are empty and its code is not
 * compiled yet. A process that takes longer to settle is slow compared with other processes of its age, which the verdict considers.
 */
const SETTLE_MS = 2000;
/** A process that is older when a judgement begins has settled. */
const YOUNG_MS = 60_000;
/** The maximum number of processes of a pool whose counts are kept. A process that crashes again and again adds one process each time. */
const MAX_PROCESSES = 4096;

const EDGES_MS = Array.from({ length: Histogram.bucketCount + 1 }, (_, at) => Histogram.lowerBoundUs(at) / 1000);

/** The facts about a process that the counts need. */
interface JudgedProcess {
  /** For example `web.3#7`. */
  readonly id: string;
  /** The slot, for example `web.3`. */
  readonly name: string;
  readonly pool: string;
  /** Undefined if the process could not be started. */
  readonly spawnedAt?: number | undefined;
}

/** A balancer's report about a process. */
interface Report {
  readonly at: number;
  readonly inFlight: number;
  /** All responses and lost requests until then. */
  readonly finished: number;
  /** Those of them that took longer than `SLOW_MS`. */
  readonly slow: number;
}

/** The maximum number of kept reports of a balancer. It sends one per second, so this is also the time in seconds for which they count. */
const MAX_REPORTS = 600;
const FRESH_MS = 5000;
/** If a request has been open for this long, a response to it can only be a slow one. */
const SLOW_MS = 1000;
const SLOW_BUCKET = Histogram.bucketOf(SLOW_MS * 1000);

interface Counts {
  readonly process: JudgedProcess;
  /** The totals of each balancer process. */
  readonly totals: Map<string, { requests: number; errors: number; lost: number }>;
  /** The reports of each balancer process, oldest first. */
  readonly reports: Map<string, Report[]>;
  /** By the number of the route class. */
  readonly latencies: Map<number, Float64Array>;
  /** How long abandoned requests were open before the client gave up, by the number of the route class. */
  readonly abandoned: Map<number, Float64Array>;
  crashes: number;
  /** Whether the process had a client's request, even one without a response. */
  hadRequest: boolean;
  /** When durations begin to count; null before the first requests. */
  settledAt: number | null;
}

export class JudgedCounts {
  private readonly pools = new Map<string, Map<string, Counts>>();

  /** Starts counting for a pool, from zero. */
  begin(pool: string): void {
    this.pools.set(pool, new Map());
  }

  end(pool: string): void {
    this.pools.delete(pool);
  }

  isJudged(pool: string): boolean {
    return this.pools.has(pool);
  }

  /** From now on reports about this process count, even after it has exited. */
  know(process: JudgedProcess): void {
    this.countsOf(process);
  }

  /** @param process undefined if it has exited: reports about its last requests may arrive after that */
  record(
    id: string,
    process: JudgedProcess | undefined,
    balancer: string,
    judged: JudgedStats,
    now: number,
    inFlight = 0,
  ): void {
    const counts = process === undefined ? this.find(id) : this.countsOf(process);
    if (counts === undefined) return;
    const sum = (key: "requests" | "errors") => judged.classes.reduce((all, each) => all + each[key], 0);
    const requests = sum("requests");
    const wasAbandoned = judged.classes.some(({ abandoned }) => abandoned !== undefined);
    if (requests + judged.lost + inFlight > 0 || wasAbandoned) counts.hadRequest = true;
    counts.totals.set(balancer, { requests, errors: sum("errors"), lost: judged.lost });
    noteReport(counts.reports, balancer, judged, { at: now, inFlight, finished: requests + judged.lost });
    if (counts.settledAt === null && (requests > 0 || wasAbandoned)) {
      const isYoung = now - (counts.process.spawnedAt ?? 0) < YOUNG_MS;
      counts.settledAt = isYoung ? now + SETTLE_MS : now;
    }
    if (counts.settledAt === null || now < counts.settledAt) return;
    for (const { routeClass, latency, abandoned } of judged.classes) {
      merge(counts.latencies, routeClass, latency);
      if (abandoned !== undefined) merge(counts.abandoned, routeClass, abandoned);
    }
  }

  /** Called when a process exited unexpectedly. */
  crashed(process: JudgedProcess): void {
    const counts = this.countsOf(process);
    if (counts !== undefined) counts.crashes++;
  }

  /**
   * Called when a balancer has lost requests at a process, which has probably exited. Requests that had not started there do not count.
   */
  lost({ upstream, requests, omitted }: LostRequests): void {
    const counts = this.find(upstream);
    if (counts !== undefined && (omitted > 0 || requests.some(({ state }) => state !== "notStarted")))
      counts.hadRequest = true;
  }

  /** Whether a client's request has been sent to this process. */
  hadRequest(pool: string, id: string): boolean {
    return this.pools.get(pool)?.get(id)?.hadRequest === true;
  }

  /**
   * Returns the sum over processes of a pool. The durations are listed by the names of the route classes.
   * @param open for how long the requests that are counted as open must have been open
   */
  armOf(pool: string, routes: readonly string[], ids: ReadonlySet<string>, open?: OpenFor): Arm {
    const members = [...(this.pools.get(pool)?.values() ?? [])].filter(({ process }) => ids.has(process.id));
    const totals = members.flatMap((counts) => [...counts.totals.values()]);
    const sum = (values: number[]) => values.reduce((all, value) => all + value, 0);
    const resets = sum(totals.map(({ lost }) => lost));
    const durations = routeClassNames(routes).map((name, routeClass) => {
      const all = (key: "latencies" | "abandoned") => members.flatMap((counts) => counts[key].get(routeClass) ?? []);
      return [name, durationsOf(Histogram.merge(all("latencies")), all("abandoned"))] as const;
    });
    return {
      processes: new Set(members.map(({ process }) => process.name)).size,
      requests: sum(totals.map(({ requests }) => requests)) + resets,
      errors: sum(totals.map(({ errors }) => errors)),
      resets,
      open:
        open === undefined
          ? 0
          : sum(members.flatMap(({ reports }) => [...reports.values()].map((each) => openOf(each, open)))),
      crashes: sum(members.map(({ crashes }) => crashes)),
      durations: Object.fromEntries(durations),
    };
  }

  private find(id: string): Counts | undefined {
    for (const processes of this.pools.values()) {
      const counts = processes.get(id);
      if (counts !== undefined) return counts;
    }
    return undefined;
  }

  private countsOf(process: JudgedProcess): Counts | undefined {
    const processes = this.pools.get(process.pool);
    const known = processes?.get(process.id);
    if (known !== undefined || processes === undefined || processes.size >= MAX_PROCESSES) return known;
    const { id, name, pool, spawnedAt } = process;
    const counts: Counts = {
      process: { id, name, pool, spawnedAt },
      ...{
        totals: new Map(),
        reports: new Map(),
        latencies: new Map(),
        abandoned: new Map(),
        crashes: 0,
        hadRequest: false,
        settledAt: null,
      },
    };
    processes.set(id, counts);
    return counts;
  }
}

function merge(all: Map<number, Float64Array>, routeClass: number, more: SparseHistogram): void {
  const before = all.get(routeClass);
  all.set(routeClass, Histogram.merge(before === undefined ? [more] : [before, more]));
}

/** How long a request must be open to count, and the present time. */
interface OpenFor {
  readonly longerThanMs: number;
  readonly now: number;
}

function noteReport(
  all: Counts["reports"],
  balancer: string,
  { classes }: JudgedStats,
  now: Omit<Report, "slow">,
): void {
  const reports = all.get(balancer) ?? [];
  let slow = reports.at(-1)?.slow ?? 0;
  // `latency` and `failed` are flat lists of pairs: a bucket and its count.
  for (const { latency, failed = [] } of classes)
    for (const each of [latency, failed])
      for (let at = 0; at < each.length; at += 2)
        if ((each[at] as number) >= SLOW_BUCKET) slow += each[at + 1] as number;
  reports.push({ ...now, slow });
  if (reports.length > MAX_REPORTS) reports.shift();
  all.set(balancer, reports);
}

/**
 * Returns the minimum number of requests that have been open for this long: the requests that were in flight at that time, minus all that
 * have finished since and may have been among them. A request whose client has left is no longer in flight.
 */
function openOf(reports: readonly Report[], { longerThanMs, now }: OpenFor): number {
  const last = reports.at(-1);
  if (last === undefined || now - last.at > FRESH_MS) return 0;
  const first = reports.findLastIndex(({ at }) => at <= last.at - longerThanMs);
  const then = reports[first];
  if (then === undefined) return 0;
  const later = reports.find(({ at }) => at >= then.at + SLOW_MS) ?? last;
  const ended = later.finished - then.finished + (last.slow - later.slow);
  const least = reports.slice(first).reduce((most, { inFlight }) => Math.min(most, inFlight), then.inFlight);
  return Math.max(0, Math.min(least, then.inFlight - ended));
}

/** Returns the buckets from the first to the last one with a count, either of responses or of abandoned requests. */
function durationsOf(counts: Float64Array, allAbandoned: readonly Float64Array[]): Durations {
  const abandoned = allAbandoned.length === 0 ? undefined : Histogram.merge(allAbandoned);
  const hasCounts = (_: number, at: number) => (counts[at] as number) > 0 || (abandoned?.[at] ?? 0) > 0;
  const first = counts.findIndex(hasCounts);
  if (first === -1) return { edges: [0], counts: [] };
  const last = counts.findLastIndex(hasCounts);
  const part = (of: Float64Array) => [...of.subarray(first, last + 1)];
  return {
    edges: EDGES_MS.slice(first, last + 2),
    counts: part(counts),
    ...(abandoned && { abandoned: part(abandoned) }),
  };
}
