/** Whether instances that were added to a pool help, judged by the load before and after. Pure. */
import { isBoxBusy, isCpuLimited, metricOf, type PoolLoad, type ScalingTarget } from "./scaling-needs.js";

/** Fewer finished requests are too few to compare. */
const LEAST_REQUESTS = 20;
/** Below this mean, samples of the requests in flight miss most of them. */
const LEAST_IN_FLIGHT = 0.5;
/** A backlog that shrinks to this share was relieved, whatever the throughput. */
const RELIEVED_SHARE = 0.8;
/** Requests that take at most this multiple of their shortest recent time were not slowed down. */
const NOT_SLOWED = 1.25;
/** How much more throughput than the instances before is needed to keep one more: a share of an instance. */
const LEAST_GAIN = 0.25;
/** For large pools: a share of the pool. */
const LEAST_GAIN_SHARE = 0.05;

export interface Growth {
  readonly from: number;
  readonly to: number;
  /** The mean load before it, and since the new instances are ready. */
  readonly before: PoolLoad;
  readonly after: PoolLoad;
  /** How many requests were finished in both periods together. */
  readonly requests: number;
  /** The shortest mean time of a request that was seen recently, in seconds; Infinity if unknown. */
  readonly bestSeconds: number;
}

export type Limit = "cpu" | "elsewhere";

/** Returns how many instances to keep, and what limits the pool if they are fewer than it has. */
export function judgeGrowth(growth: Growth, target: ScalingTarget): { keep: number; limit: Limit | null } {
  const { from, to, before, after, requests, bestSeconds } = growth;
  const all = { keep: to, limit: null };
  if (requests < LEAST_REQUESTS || before.throughput <= 0) return all;
  if (after.inFlight <= RELIEVED_SHARE * before.inFlight) return all;
  const isLimited = isCpuLimited(before) || isCpuLimited(after);
  // The operator wants room, not speed: requests that were never slow cannot become faster.
  if (!isLimited && target.metric === "inFlight" && secondsOf(before) <= NOT_SLOWED * bestSeconds) return all;
  const figure = metricOf(after, target);
  if (!isLimited && target.metric === "cpuPercent" && figure !== null && figure <= target.value) return all;
  const ratio = after.throughput / before.throughput;
  const useful = Math.ceil(from * ratio - Math.max(LEAST_GAIN, LEAST_GAIN_SHARE * from));
  if (useful >= to) return all;
  return { keep: Math.max(from, useful), limit: isBoxBusy(after) ? "cpu" : "elsewhere" };
}

/** Returns the mean time of a request by Little's law, in seconds; Infinity if there are too few to know it. */
export function secondsOf({ inFlight, throughput }: PoolLoad): number {
  return throughput > 0 && inFlight >= LEAST_IN_FLIGHT ? inFlight / throughput : Number.POSITIVE_INFINITY;
}

/** Returns the mean of loads, of which there is at least one; the number of instances is that of the last. */
export function meanLoad(loads: readonly PoolLoad[]): PoolLoad {
  const last = loads.at(-1) as PoolLoad;
  const mean = (of: (load: PoolLoad) => number) => loads.reduce((sum, load) => sum + of(load), 0) / loads.length;
  const known = (of: (load: PoolLoad) => number | null) => {
    const values = loads.map(of).filter((value) => value !== null);
    return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  return {
    ready: last.ready,
    perInstance: last.perInstance,
    cores: last.cores,
    throughput: mean(({ throughput }) => throughput),
    inFlight: mean(({ inFlight }) => inFlight),
    waiting: mean(({ waiting }) => waiting),
    lagMs: mean(({ lagMs }) => lagMs),
    cpuPercent: known(({ cpuPercent }) => cpuPercent),
    boxPercent: known(({ boxPercent }) => boxPercent),
  };
}
