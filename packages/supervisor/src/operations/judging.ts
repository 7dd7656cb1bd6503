/** Collects the counts of a deploy's canaries and of the version in service since the trial started, and judges it. */
import { routeClassNames } from "@paceline/wire";
import { unendedRequests } from "../core/deploy.js";
import { LOOKS, type MemoryReading } from "../core/memory-slope.js";
import { P99, QuantileComparison } from "../core/quantiles.js";
import { judge } from "../core/verdict.js";
import type { Arm, Evidence, VerdictLimits } from "../core/verdict-model.js";
import { differenceText, limitText } from "../core/verdict-model.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { JudgedCounts } from "../stats/judged-counts.js";
import type { UsageSampler } from "../stats/usage.js";
import type { Arms, PoolJudge } from "./canaries.js";

/** The minimum time between two readings of memory, in milliseconds; samples are taken every two seconds. */
const READ_EVERY_MS = 1500;
const MAX_READINGS = LOOKS.at(-1) as number;

const NO_SLACK = { factor: 1, ms: 0 };

interface JudgingOptions {
  counts: JudgedCounts;
  children: { get(id: string): LiveProcess | undefined };
  usage: Pick<UsageSampler, "of">;
  /** The routes of the pool. */
  routesOf(): readonly string[];
}

/** The balancers count from the next snapshot on, until the first one after `close`. */
export function openJudge(pool: string, limits: VerdictLimits, options: JudgingOptions): PoolJudge {
  const { counts, routesOf } = options;
  const routes = routesOf();
  // Processes that have exited still count.
  const members = { canary: new Set<string>(), old: new Set<string>(), fresh: new Set<string>() };
  const memory: MemoryReading[] = [];
  counts.begin(pool);
  return {
    look(arms) {
      for (const arm of ["canary", "old", "fresh"] as const) for (const id of arms[arm]) members[arm].add(id);
      readMemory(memory, arms, options);
      const open = { longerThanMs: openAfterMs(counts.armOf(pool, routes, members.old)), now: performance.now() };
      const armOf = (ids: ReadonlySet<string>) => counts.armOf(pool, routes, ids, open);
      const evidence: Evidence = {
        canary: armOf(members.canary),
        control: armOf(members.old),
        fresh: members.fresh.size === 0 ? null : armOf(members.fresh),
        memory,
        classes: routeClassNames(routes),
      };
      const { verdict, tests, isDoubtful, isClear } = judge(evidence, limits);
      return {
        ...{ verdict, isDoubtful, isClear },
        undecided: tests.flatMap((test) => (test.verdict === "wait" && test.isRequired ? test.name : [])),
        canaryRequests: evidence.canary.requests,
        controlRequests: evidence.control.requests,
        failedPercent: failedPercentOf(evidence.canary),
        unended: unendedRequests(evidence.canary, evidence.control, open.longerThanMs / LATE_PART),
        isAlone: arms.old.length === 0 && evidence.control.requests === 0,
        tests: tests.map((test) => {
          const { name, verdict, interval, limit: most } = test;
          return { name, verdict, difference: differenceText(test), limit: limitText(test), interval, most };
        }),
      };
    },
    close: () => counts.end(pool),
  };
}

function failedPercentOf({ errors, resets, requests }: Arm): number {
  return requests === 0 ? 0 : (100 * (errors + resets)) / requests;
}

/** The minimum time after which a request counts as open, in milliseconds, and as a multiple of the control's p99. */
const OPEN_MS = 5000;
const OPEN_FACTOR = 10;
/** A client that waited for at least 1/LATE_PART of that time did not leave early. */
const LATE_PART = 5;

/** Returns how long a request may take before it counts as open: far longer than requests of the slowest route class. */
function openAfterMs({ durations }: Arm): number {
  const all = Object.values(durations).map((each) => new QuantileComparison(each, each, P99, NO_SLACK).controlMs ?? 0);
  return Math.max(OPEN_MS, OPEN_FACTOR * Math.max(0, ...all));
}

function readMemory(readings: MemoryReading[], { canary, fresh }: Arms, options: JudgingOptions): void {
  if (readings.length >= MAX_READINGS) return;
  const [ofCanary, ofControl] = [meanOf(canary, options), meanOf(fresh, options)];
  if (ofCanary === null || ofControl === null) return;
  const atMs = Math.min(ofCanary.at, ofControl.at);
  if (atMs >= (readings.at(-1)?.atMs ?? Number.NEGATIVE_INFINITY) + READ_EVERY_MS)
    readings.push({ atMs, canaryBytes: ofCanary.bytes, controlBytes: ofControl.bytes });
}

/** Returns the mean memory of processes, and when the oldest of their samples was taken; null unless all processes have one. */
function meanOf(ids: readonly string[], { children, usage }: JudgingOptions): { bytes: number; at: number } | null {
  const samples = ids.flatMap((id) => {
    const pid = children.get(id)?.pid;
    return pid == null ? [] : (usage.of(pid) ?? []);
  });
  if (samples.length === 0 || samples.length < ids.length) return null;
  const bytes = samples.reduce((sum, { rssBytes }) => sum + rssBytes, 0) / samples.length;
  return { bytes, at: Math.min(...samples.map(({ at }) => at)) };
}
