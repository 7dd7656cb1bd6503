/**
 * Explains why a pool is slow, down or full: one rule for each cause. explain-fleet.ts has the rules about balancers and the whole fleet.
 * Pure.
 */
import type { DeathReport } from "./deaths.js";
import { killersOf } from "./deaths.js";
import { BAD_COUNT, BAD_SHARE, FULL_CPU, failsNow, isOneToBlame, shareOfErrors } from "./explain-figures.js";
import {
  currentDeaths,
  deathsOfRelease,
  findingsOfInstance,
  recentOf,
  reportOf,
  viewOf,
  wordOf,
} from "./explain-instance.js";
import {
  agoText,
  type Facts,
  type Finding,
  type Found,
  firstLine,
  KILLING,
  median,
  msText,
  type PoolFacts,
  type RequestFacts,
  rateText,
  shareText,
  timesText,
} from "./explain-model.js";
import { hasEnoughResponses, SLOW_ROUTE_MS, slowRoutes } from "./slowness.js";
import { formatDuration } from "./words.js";

/** What the rules know of a pool. */
export interface PoolView {
  pool: PoolFacts;
  /** The deaths of its instances, newest first. */
  deaths: readonly DeathReport[];
  /** The deaths of the release in service, also those before a reload, newest first. */
  ofRelease: readonly DeathReport[];
  requests: readonly RequestFacts[];
  /** The request that a balancer has found to crash its processes, for example `GET /report`; null: none. */
  killing: string | null;
  now: number;
}

const MAX_NAMED = 5;
export const POOL_RULES: Readonly<Record<string, (view: PoolView) => Found | undefined>> = {
  down: ({ pool }) => {
    if (pool.wanted === 0 || pool.instances.some(serves)) return undefined;
    return {
      severity: "fault",
      what: `no instance of ${pool.name} ${pool.requestsPerSecond === null ? "runs" : "serves requests"}`,
      evidence: pool.instances.slice(0, MAX_NAMED).map((each) => `${each.name} is ${wordOf(each)}${reasonOf(each)}`),
      todo: `See why they do not run: paceline logs ${pool.name}`,
    };
  },

  empty: ({ pool }) =>
    pool.wanted > 0
      ? undefined
      : {
          severity: "fault",
          what: `${pool.name} has no instances: 0 are wanted`,
          evidence: [],
          todo: `paceline scale ${pool.name} 2`,
        },

  short: ({ pool }) => {
    if (pool.ready >= pool.wanted || !pool.instances.some(serves)) return undefined;
    const missing = pool.instances.filter(({ state }) => state !== "ready");
    return {
      severity: pool.rollout === null ? "warning" : "note",
      what: `${pool.ready} of ${pool.wanted} instances of ${pool.name} are ready`,
      evidence: missing.slice(0, MAX_NAMED).map((each) => `${each.name} is ${wordOf(each)}${reasonOf(each)}`),
      todo: missing[0] === undefined ? "" : `paceline explain ${missing[0].name}`,
    };
  },

  killer: (view) => {
    const { now, pool } = view;
    const first = killerIn(view);
    if (first === undefined) return undefined;
    const isSince = first.deaths.some(({ generation }) => generation === pool.generation);
    const count = `${timesText(first.deaths.length)} in the last hour`;
    return {
      severity: isSince ? "fault" : "warning",
      what: isSince
        ? `${first.request} ends the processes that run it: ${count}`
        : `${first.request} ended the processes that ran it: ${count}, but not since the last reload or deploy`,
      evidence: first.deaths
        .slice(0, 3)
        .map(({ process, at, reason }) => `${process}, ${agoText(at, now)}: ${firstLine(reason)}`),
      todo: `Correct its handler; the report has the stack and the last lines: paceline deaths show ${first.deaths[0]?.id}. Until then refuse ${pathOf(first.request)} in front, or give it a pool of its own`,
      ...reportOf(first.deaths[0]),
    };
  },

  full: ({ pool }) => {
    const ready = pool.instances.filter(({ state, cpuPercent }) => state === "ready" && cpuPercent !== null);
    const usual = median(ready.map(({ cpuPercent }) => cpuPercent));
    if (usual === null || usual < FULL_CPU) return undefined;
    const { scaling } = pool;
    const atMost = scaling !== null && pool.wanted >= scaling.max;
    return {
      severity: "warning",
      what: `${pool.name} is full: its instances use ${usual.toFixed(0)} % of a core each (median of ${ready.length})`,
      evidence: atMost ? [`it runs its maximum of ${scaling.max} instances`] : [],
      todo: `If the machine has free cores: ${atMost ? "raise instances.max" : `paceline scale ${pool.name} +1`}. To see what it computes: paceline dump ${ready[0]?.name} --cpu 10`,
    };
  },

  errors: ({ pool }) => {
    const isNow = failsNow(pool);
    // The instance has a finding of its own.
    if (isNow && isOneToBlame(pool)) return undefined;
    const share = shareOfErrors(pool) ?? 0;
    if (!isNow && (share < BAD_SHARE || (pool.errorsTotal ?? 0) < BAD_COUNT)) return undefined;
    const worst = [...(pool.routeClasses ?? [])].sort((a, b) => b.errorsTotal - a.errorsTotal)[0];
    return {
      severity: "warning",
      what: isNow
        ? `${pool.name} fails: ${pool.errorsPerMinute} of its responses in the last minute were 5xx`
        : `${shareText(share)} of the responses of ${pool.name} were 5xx (${pool.errorsTotal} of ${pool.requestsTotal})`,
      evidence:
        worst === undefined || worst.errorsTotal === 0
          ? []
          : // Without its figures: routes count since the start.
            [`most 5xx since the start were of ${worst.route}`],
      todo: `Its errors: paceline logs ${pool.name}`,
    };
  },

  "slow-route": ({ pool }) => {
    const [first] = slowRoutes(pool);
    if (first === undefined) return undefined;
    return {
      severity: "warning",
      what: `${first.route} is slow: p99 ${msText(first.p99Ms ?? 0)}, p50 ${msText(first.p50Ms ?? 0)}`,
      evidence: (pool.routeClasses ?? [])
        .filter((each) => each !== first && hasEnoughResponses(each))
        .slice(0, 3)
        .map(({ route, p99Ms }) => `${route}: p99 ${msText(p99Ms ?? 0)}`),
      todo: `Which of its paths: paceline explain ${pool.name} --watch 10. If its responses are large, clients that read slowly are also a reason`,
    };
  },

  "slow-path": ({ requests }) => {
    const slowest = slowestPaths(requests);
    const [first] = slowest;
    if (first === undefined || first.medianMs < SLOW_ROUTE_MS) return undefined;
    return {
      severity: "warning",
      what: `${first.request} is slow: ${msText(first.medianMs)} (median of ${first.count} requests that were watched)`,
      evidence: slowest.slice(1, 4).map(({ request, medianMs, count }) => `${request}: ${msText(medianMs)} (${count})`),
      todo: "Where the time goes: balancer.accessLog with format json says queue, lane and handler of each request",
    };
  },

  leak: ({ pool }) => {
    const ready = pool.instances.filter(({ state }) => state === "ready");
    const leaking = ready.filter(({ recycle }) => recycle?.memoryLimitInSeconds != null);
    if (leaking.length < 2 || leaking.length * 3 < ready.length * 2) return undefined;
    return {
      severity: "warning",
      what: `${pool.name} leaks: the memory of ${leaking.length} of ${ready.length} instances grows steadily`,
      evidence: leaking
        .slice(0, 3)
        .map(
          ({ name, recycle }) => `${name} reaches maxMemoryMb in ${formatDuration(recycle?.memoryLimitInSeconds ?? 0)}`,
        ),
      todo: `To see what grows, compare two heap snapshots taken some minutes apart: paceline dump ${leaking[0]?.name} --heap`,
    };
  },

  "recycle-failed": ({ pool }) =>
    pool.recyclePauseSeconds === null
      ? undefined
      : {
          severity: "warning",
          what: `an instance of ${pool.name} that reached its limit could not be replaced; the next attempt is in ${formatDuration(pool.recyclePauseSeconds)}`,
          evidence: [],
          todo: `Why the replacement did not become ready: paceline events ${pool.name}`,
        },

  "at-maximum": ({ pool, now }) => {
    const { scaling } = pool;
    if (scaling === null || pool.wanted < scaling.max || scaling.figure === null) return undefined;
    if (scaling.figure <= scaling.target.value) return undefined;
    return {
      severity: "warning",
      what: `${pool.name} runs its maximum of ${scaling.max} instances, and ${scaling.target.metric} is ${rateText(scaling.figure)} (target ${scaling.target.value})`,
      evidence:
        scaling.last === null
          ? []
          : [`${agoText(scaling.last.at, now)}: ${scaling.last.from} → ${scaling.last.to}, ${scaling.last.reason}`],
      todo: "If the machine has room, raise instances.max",
    };
  },

  rollout: ({ pool }) =>
    pool.rollout === null
      ? undefined
      : {
          severity: "note",
          what: `a ${pool.rollout.kind} of ${pool.name} is under way: ${pool.rollout.done} of ${pool.rollout.total} instances are done`,
          evidence: [],
          todo: "",
        },

  "slow-clients": ({ pool }) =>
    pool.receiving + pool.sending === 0
      ? undefined
      : {
          severity: "note",
          what: `the balancers hold bodies of slow clients of ${pool.name}: ${pool.receiving} arrive, ${pool.sending} are being read`,
          evidence: [],
          todo: "",
        },
};

/** Returns the findings of a pool and, unless `isAlone`, of its instances. */
export function findingsOfPool(pool: PoolFacts, facts: Facts, isAlone = false): Finding[] {
  const view: PoolView = {
    pool,
    deaths: currentDeaths(pool, facts),
    ofRelease: deathsOfRelease(pool, facts),
    requests: facts.requests,
    killing: killingRequest(pool.name, facts),
    now: facts.now,
  };
  const own = Object.entries(POOL_RULES).flatMap(([kind, rule]) => {
    const found = rule(view);
    return found === undefined ? [] : [{ kind, about: pool.name, ...found }];
  });
  if (isAlone) return own;
  const known = new Set(own.map(({ kind }) => kind));
  const killed = new Set(killerIn(view)?.deaths);
  const others = new Set(recentOf(view.deaths, view.now).flatMap((death) => (killed.has(death) ? [] : [death.name])));
  // A finding of the pool is not repeated for each instance.
  const isSaid = ({ kind, about }: Finding) =>
    kind === "leak" || kind === "errors"
      ? known.has(kind)
      : (kind === "died" || kind === "crash-loop") && !others.has(about);
  const ofInstances = pool.instances.flatMap((instance) => findingsOfInstance(viewOf(instance, pool, facts)));
  return [...own, ...ofInstances.filter((finding) => !isSaid(finding))];
}

/** Returns the request that crashes most processes, with their deaths. */
function killerIn({ ofRelease, killing, now }: PoolView) {
  const own = recentOf(ofRelease, now);
  // A new supervisor has the reports, but not the event of the balancer.
  const known = killing ?? killersOf(own, soleRequestAt).find((each) => isOnlySuspect(each, own))?.request ?? null;
  return killersOf(own, (death) => runningAt(death, known))[0];
}

/** Kinds of death that are not caused by requests. */
const NOT_OF_REQUESTS: ReadonlySet<string> = new Set([
  "perhapsOutOfMemory",
  "unhealthy",
  "memory",
  "notReady",
  "slow",
  "notStarted",
  "template",
]);

/**
 * Returns the request that a process was running when it died; if unknown, the only request that it had and may have started, or the only
 * one of these that no other instance got.
 */
function soleRequestAt(death: DeathReport): Set<string> {
  const running = runningAt(death, null);
  const isSent = death.kind === "signal" && (death.signal === "SIGKILL" || death.signal === "SIGTERM");
  if (running.size > 0 || isSent || NOT_OF_REQUESTS.has(death.kind) || death.requestsOmitted > 0) return running;
  const begun = begunAt(death);
  return begun.size === 1 ? begun : lostAt(death).size === 1 ? lostAt(death) : running;
}

function begunAt({ requests }: DeathReport): Set<string> {
  return new Set(requests.filter(({ state }) => state !== "notStarted").map(({ request }) => request));
}

function lostAt({ requests, ...death }: DeathReport): Set<string> {
  return begunAt({ ...death, requests: requests.filter(({ outcome }) => outcome !== "reassigned") });
}

/** Whether no other request was at all of these deaths, reassigned, and was lost at another death. */
function isOnlySuspect({ request, deaths }: { request: string; deaths: DeathReport[] }, all: readonly DeathReport[]) {
  const others = new Set(all.flatMap((death) => [...lostAt(death)]));
  others.delete(request);
  return ![...others].some((other) => deaths.every((death) => begunAt(death).has(other)));
}

/** Returns the last request that a balancer has found to crash processes of the pool. */
function killingRequest(pool: string, { events }: Pick<Facts, "events">): string | null {
  const said = events.findLast(({ subject, message }) => subject === pool && KILLING.test(message));
  return KILLING.exec(said?.message ?? "")?.[1] ?? null;
}

/**
 * Returns the requests that a process was running when it died. Not every kind of instance reports which requests have started, so for
 * `killing` it is enough that the process had it.
 */
function runningAt({ running, requests }: DeathReport, killing: string | null): Set<string> {
  const known = requests
    .filter(({ state, request }) => state === "running" || (state !== "notStarted" && request === killing))
    .map(({ request }) => request);
  return new Set(running === null ? known : [running, ...known]);
}

/** Returns the watched paths by their median time, slowest first. Paths with only one request come last. */
function slowestPaths(requests: readonly RequestFacts[]): { request: string; count: number; medianMs: number }[] {
  const byPath = new Map<string, number[]>();
  for (const { method, path, ms } of requests) {
    const key = `${method} ${path.replace(/\?.*/s, "")}`;
    byPath.set(key, [...(byPath.get(key) ?? []), ms]);
  }
  return [...byPath]
    .map(([request, times]) => ({ request, count: times.length, medianMs: median(times) ?? 0 }))
    .sort((a, b) => b.medianMs - a.medianMs);
}

function serves({ state, outOfTurn }: PoolFacts["instances"][number]): boolean {
  return state === "ready" && outOfTurn !== "drained";
}

function reasonOf({ lastExit, state }: PoolFacts["instances"][number]): string {
  return lastExit === null || state === "ready" ? "" : `: ${firstLine(lastExit.reason)}`;
}

function pathOf(request: string): string {
  return request.split(" ")[1] ?? request;
}
