/**
 * Explains why an instance is slow, full, skipped or failing, by comparing its figures with those of the others: one rule for each
 * cause. Pure.
 */
import {
  type InstanceRule,
  type InstanceView,
  median,
  msText,
  type PoolFacts,
  rateText,
  shareText,
  sizeText,
} from "./explain-model.js";
import { FULL_WEIGHT } from "./fleet.js";
import { LEAST_REQUESTS, responsesIn, slownessOf } from "./slowness.js";
import { formatDuration } from "./words.js";

/** From these factors, bytes and milliseconds on, an instance differs from the others, or from what is usual. */
const LARGE_TIMES = 1.5;
const LARGE_BYTES = 50e6;
const FEW_TIMES = 4;
const LAG_MS = 100;
/** Percent of one core. */
export const FULL_CPU = 90;
/** 5xx responses are reported if they reach this share of the responses and their number reaches `BAD_COUNT`. */
export const BAD_SHARE = 0.01;
export const BAD_COUNT = 5;
/** An instance with more than this share of its pool's 5xx responses is their cause. */
const MOST_ERRORS = 0.7;

export const FIGURE_RULES: Readonly<Record<string, InstanceRule>> = {
  "slow-start": (view) => {
    const leftMs = slowStartLeftMs(view);
    const { instance, peers, pool } = view;
    // Instances that have started together get equal shares.
    const hasOlder = peers.some(({ uptimeSeconds }) => 1000 * uptimeSeconds > (pool.slowStartMs ?? 0));
    if (leftMs === undefined || !hasOlder) return undefined;
    return {
      severity: "note",
      what: `${instance.name} is new: it gets a growing share of the requests for ${formatDuration(leftMs / 1000)} more (slowStartMs)`,
      evidence: [],
      todo: "",
    };
  },

  weight: ({ instance }) => {
    const { weight, name } = instance;
    if (weight === null || weight === FULL_WEIGHT) return undefined;
    return {
      severity: "note",
      what: `${name} has the weight ${weight}: it gets ${shareText(weight / FULL_WEIGHT)} of what another instance gets`,
      evidence: [],
      todo: `The normal share: paceline weight ${name} ${FULL_WEIGHT}`,
    };
  },

  blocked: ({ instance }) => {
    const { eventLoopLagMs: lag, name, stalledMs } = instance;
    if (lag === null || lag < LAG_MS || stalledMs !== null || instance.pid === null) return undefined;
    return {
      severity: "warning",
      what: `${name} blocks: its event loop was blocked for ${msText(lag)} in the last second or so`,
      evidence: [],
      todo: `To see what uses the time: paceline dump ${name} --cpu 10. Move long work into a worker thread or a pool of its own`,
    };
  },

  slow: ({ instance, pool }) => {
    const found = slownessOf(instance, pool);
    if (found === undefined) return undefined;
    const lag = instance.eventLoopLagMs ?? 0;
    const cpu = instance.cpuPercent ?? 0;
    const cause =
      cpu >= FULL_CPU
        ? "It uses a whole core"
        : lag >= LAG_MS
          ? "Its event loop is blocked"
          : "It does not compute, so it waits for something, such as a database or a lock";
    return {
      severity: "warning",
      what: `${instance.name} is slow: ${found.by} ${msText(found.ms)}, the pool's median is ${msText(found.usual)}`,
      evidence: [`CPU ${cpu.toFixed(0)} %, event loop lag ${msText(lag)}`],
      todo: `${cause}: paceline dump ${instance.name} ${cpu >= FULL_CPU || lag >= LAG_MS ? "--cpu 10" : "--stack"}; as a stopgap: paceline restart ${instance.name}`,
    };
  },

  full: ({ instance, peers }) => {
    if ((instance.cpuPercent ?? 0) < FULL_CPU) return undefined;
    const others = median(peers.map(({ cpuPercent }) => cpuPercent));
    // A rule of the pool reports it for all instances.
    if (others !== null && others >= FULL_CPU) return undefined;
    return {
      severity: "warning",
      what: `${instance.name} is full: it uses ${instance.cpuPercent?.toFixed(0)} % of a core`,
      evidence: others === null ? [] : [`the other instances use ${others.toFixed(0)} % (median)`],
      todo: `To see what it computes: paceline dump ${instance.name} --cpu 10`,
    };
  },

  "passed-over": (view) => {
    const { instance, peers } = view;
    if (slowStartLeftMs(view) !== undefined) return undefined;
    const { requestsPerSecond: own, outOfTurn, weight, uptimeSeconds } = instance;
    const usual = median(peers.map(({ requestsPerSecond }) => requestsPerSecond));
    if (instance.state !== "ready" || outOfTurn !== null || weight !== FULL_WEIGHT || instance.stalledMs !== null)
      return undefined;
    if (own === null || usual === null || usual < 1 || own * FEW_TIMES > usual || uptimeSeconds < 10) return undefined;
    // A rate covers one second. If there are few requests, other instances may have got all requests of that second.
    const responses = median(peers.map(({ latencyShape }) => responsesIn(latencyShape))) ?? 0;
    if (responses < LEAST_REQUESTS || responsesIn(instance.latencyShape) * FEW_TIMES > responses) return undefined;
    return {
      severity: "warning",
      what: `${instance.name} is passed over: it gets ${rateText(own)} req/s, the pool's median is ${rateText(usual)}`,
      evidence: [
        `${instance.inFlight ?? 0} in flight; a balancer sends an instance fewer requests while it is slow or its requests wait`,
      ],
      todo: `See why it is slower: paceline explain ${instance.name}; in a pool with clients that stay (sticky, WebSockets) this is normal`,
    };
  },

  errors: ({ instance, peers }) => {
    const { name, errorsPerMinute } = instance;
    const todo = `Its errors: paceline logs ${name}. If only this one fails: paceline restart ${name}`;
    if (failsNow(instance)) {
      const others = median(peers.map((peer) => peer.errorsPerMinute ?? null));
      if (others !== null && (errorsPerMinute ?? 0) < 2 * others) return undefined;
      return {
        severity: "warning",
        what: `${name} fails: ${errorsPerMinute} of its responses in the last minute were 5xx`,
        evidence: others === null ? [] : [`the other instances: ${Math.round(others)} (median)`],
        todo,
      };
    }
    const own = shareOfErrors(instance);
    const usual = median(peers.map(shareOfErrors));
    if (own === null || own < BAD_SHARE || instance.errorsTotal < BAD_COUNT) return undefined;
    if (usual !== null && own < 2 * usual) return undefined;
    return {
      severity: "warning",
      what: `${name} fails: ${shareText(own)} of its responses were 5xx (${instance.errorsTotal} of ${instance.requestsTotal})`,
      evidence: usual === null ? [] : [`the other instances: ${shareText(usual)} (median)`],
      todo,
    };
  },

  leak: ({ instance }) => {
    const { memoryLimitInSeconds: left, memoryBytesPerHour: growth } = instance.recycle ?? {};
    if (left == null) return undefined;
    return {
      severity: "warning",
      what: `${instance.name} leaks: its memory reaches maxMemoryMb in ${formatDuration(left)}`,
      evidence: [
        `${growth == null ? "it grows" : `${sizeText(growth)} an hour more`}${instance.rssBytes === null ? "" : `, RSS ${sizeText(instance.rssBytes)} now`}; it is replaced in time`,
      ],
      todo: `To see what grows, compare two heap snapshots taken some minutes apart: paceline dump ${instance.name} --heap`,
    };
  },

  grows: ({ instance }) => {
    const { growthBytesPerMinute: growth = null, recycle, rssBytes, name } = instance;
    if (growth === null || recycle?.memoryLimitInSeconds != null) return undefined;
    return {
      severity: "warning",
      what: `the memory of ${name} grows by ${sizeText(growth)} a minute`,
      evidence:
        rssBytes === null
          ? []
          : [`RSS ${sizeText(rssBytes)} now; it has run for ${formatDuration(instance.uptimeSeconds)}`],
      todo: `To see what grows, compare two heap snapshots taken some minutes apart: paceline dump ${name} --heap. maxMemoryMb replaces it in time`,
    };
  },

  large: ({ instance, peers }) => {
    const usual = median(peers.map(({ rssBytes }) => rssBytes));
    const { rssBytes: own, recycle, growthBytesPerMinute: growth = null } = instance;
    if (own === null || usual === null || recycle?.memoryLimitInSeconds != null || growth !== null) return undefined;
    if (own < LARGE_TIMES * usual || own - usual < LARGE_BYTES) return undefined;
    return {
      severity: "warning",
      what: `${instance.name} uses more memory than the others: RSS ${sizeText(own)}, the pool's median is ${sizeText(usual)}`,
      evidence: [`it has run for ${formatDuration(instance.uptimeSeconds)}`],
      todo: `To see what is in it: paceline dump ${instance.name} --heap. maxMemoryMb replaces instances that grow too large`,
    };
  },
};

/** Returns how much longer an instance gets fewer requests than the others because it is new; undefined if it does not. */
function slowStartLeftMs({ instance, pool, events, now }: InstanceView): number | undefined {
  const { state, requestsPerSecond, outOfTurn } = instance;
  if (pool.slowStartMs === undefined || state !== "ready" || requestsPerSecond === null || outOfTurn !== null)
    return undefined;
  const spawnedAt = now - 1000 * instance.uptimeSeconds;
  // A canary beside it has become ready at another time.
  const isOwn = (subject: string) => subject === instance.name || instance.other == null;
  const ready = events.findLast(
    ({ at, subject, message }) => message === "is ready" && at >= spawnedAt && isOwn(subject),
  );
  const readyAt = ready?.at ?? spawnedAt;
  const leftMs = readyAt + pool.slowStartMs - now;
  return leftMs > 0 ? leftMs : undefined;
}

/** Whether enough responses of the last minute were 5xx, in number and share, to be reported. */
export function failsNow({
  errorsPerMinute,
  requestsPerSecond,
}: {
  errorsPerMinute?: number | null;
  requestsPerSecond: number | null;
}): boolean {
  const errors = errorsPerMinute ?? 0;
  return errors >= BAD_COUNT && errors >= BAD_SHARE * 60 * (requestsPerSecond ?? 0);
}

/** Whether one of several instances has nearly all 5xx responses of the last minute. */
export function isOneToBlame({ instances, errorsPerMinute = 0 }: PoolFacts): boolean {
  const isWorst = (each: PoolFacts["instances"][number]) =>
    failsNow(each) && (each.errorsPerMinute ?? 0) > MOST_ERRORS * errorsPerMinute;
  return instances.length > 1 && instances.some(isWorst);
}

export function shareOfErrors({
  requestsTotal,
  errorsTotal,
}: {
  requestsTotal: number | null;
  errorsTotal: number | null;
}): number | null {
  return requestsTotal === null || requestsTotal === 0 || errorsTotal === null ? null : errorsTotal / requestsTotal;
}
