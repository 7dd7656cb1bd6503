/** The balancers' counts of pools under judgement, by process: also of processes that have ended meanwhile. */
import { Histogram, type JudgedStats, type LostRequests, routeClassNames, type SparseHistogram } from "@paceline/wire";
import type { Durations } from "../core/quantiles.js";
import type { Arm } from "../core/verdict-model.js";

/**
 * Caches are empty and code is not compiled yet: the durations of a young process do not count for so long after its first requests.
 * One that takes longer is slow beside those of its age, which the verdict looks at.
 */
const SETTLE_MS = 2000;
/** A process that is older when a judgement begins has settled. */
const YOUNG_MS = 60_000;
/** The most processes of a pool whose counts are kept; a process that crashes again and again adds one each time. */
const MAX_PROCESSES = 4096;

const EDGES_MS = Array.from({ length: Histogram.bucketCount + 1 }, (_, at) => Histogram.lowerBoundUs(at) / 1000);

/** A process as the counts know it. */
interface JudgedProcess {
  /** Such as `web.3#7`. */
  readonly id: string;
  /** The slot, such as `web.3`. */
  readonly name: string;
  readonly pool: string;
  /** Undefined if it could not be started. */
  readonly spawnedAt?: number | undefined;
}

/** A balancer's report on a process. */
interface Report {
  readonly at: number;
  readonly inFlight: number;
  /** All responses and lost requests until then. */
  readonly finished: number;
  /** Those of them that took longer than `SLOW_MS`. */
  readonly slow: number;
}

/** A balancer reports each second; its reports are kept for so many seconds, and count for so long. */
const MAX_REPORTS = 600;
const FRESH_MS = 5000;
/** After so long nothing but a slow response can be to a request that was open before. */
const SLOW_MS = 1000;
const SLOW_BUCKET = Histogram.bucketOf(SLOW_MS * 1000);

interface Counts {
  readonly process: JudgedProcess;
  /** The totals of each balancer process. */
  readonly totals: Map<string, { requests: number; errors: number; lost: number }>;
  /** What each balancer process has reported, the oldest first. */
  readonly reports: Map<string, Report[]>;
  /** By number of the route class. */
  readonly latencies: Map<number, Float64Array>;
  /** How long requests were open that were abandoned before their response, by number of the route class. */
  readonly abandoned: Map<number, Float64Array>;
  crashes: number;
  /** Whether it had a client's request, also one without a response. */
  hadRequest: boolean;
  /** When durations begin to count; null before its first requests. */
  settledAt: number | null;
}

export class JudgedCounts {
  private readonly pools = new Map<string, Map<string, Counts>>();

  /** Begins to count for a pool, with nothing. */
  begin(pool: string): void {
    this.pools.set(pool, new Map());
  }

  end(pool: string): void {
    this.pools.delete(pool);
  }

  isJudged(pool: string): boolean {
    return this.pools.has(pool);
  }

  /** From now on what is reported of this process counts, also after it has ended. */
  know(process: JudgedProcess): void {
    this.countsOf(process);
  }

  /** @param process undefined if it has ended: its last requests may be reported after that */
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

  /** A process has ended although nobody wanted it to. */
  crashed(process: JudgedProcess): void {
    const counts = this.countsOf(process);
    if (counts !== undefined) counts.crashes++;
  }

  /** A balancer has lost requests at a process, which has probably ended; those that it had not begun do not count. */
  lost({ upstream, requests, omitted }: LostRequests): void {
    const counts = this.find(upstream);
    if (counts !== undefined && (omitted > 0 || requests.some(({ state }) => state !== "notStarted")))
      counts.hadRequest = true;
  }

  /** Whether a client's request has been sent to this process. */
  hadRequest(pool: string, id: string): boolean {
    return this.pools.get(pool)?.get(id)?.hadRequest === true;
  }

  /** Returns the sum over processes of a pool, with the requests that are open for that long; durations by the names of the route classes. */
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
  // Pairs of a bucket and its count.
  for (const { latency, failed = [] } of classes)
    for (const each of [latency, failed])
      for (let at = 0; at < each.length; at += 2)
        if ((each[at] as number) >= SLOW_BUCKET) slow += each[at + 1] as number;
  reports.push({ ...now, slow });
  if (reports.length > MAX_REPORTS) reports.shift();
  all.set(balancer, reports);
}

/**
 * Returns how many requests are open for that long at least: those that were in flight then, without all that have finished since
 * and may have been among them. A request whose client has gone is in flight no longer.
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

/** Returns the buckets from the first to the last one that has counts, of responses or of abandoned requests. */
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
