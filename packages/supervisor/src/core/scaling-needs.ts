/** Computes how many instances a measured load needs, for growing and for shrinking, and whether added instances help. Pure. */

export type ScalingMetric = "queueMs" | "cpuPercent" | "inFlight";

/** What autoscaling keeps constant in a pool: one figure for each instance, or the waiting time of a request. */
export interface ScalingTarget {
  metric: ScalingMetric;
  value: number;
}

/** The load of a pool in one period. */
export interface PoolLoad {
  /** The number of instances that serve requests. */
  readonly ready: number;
  /** The number of finished requests per second. */
  readonly throughput: number;
  /** The average number of requests in the pool, including pending ones. */
  readonly inFlight: number;
  /** The number of these requests that wait in the request queue, or at an instance for their turn. */
  readonly waiting: number;
  /** The delay of the instances' event loops in milliseconds, on average; 0 if unknown. */
  readonly lagMs: number;
  /** The CPU time of all instances, in percent of one CPU; null if unknown. */
  readonly cpuPercent: number | null;
  /** How busy all CPUs of the machine are, 0 to 100; null if unknown. */
  readonly boxPercent: number | null;
  /** The number of CPUs. */
  readonly cores: number;
  /** The maximum number of requests that one instance handles at once; null: no limit. */
  readonly perInstance: number | null;
}

/** From this percentage on, the machine counts as busy. */
const BUSY_BOX_PERCENT = 90;
/** If the instances use less than this percentage of what they could use, other programs make the machine busy. */
const OWN_PERCENT = 50;
/** From this percentage on, a single-threaded process counts as saturated. */
const SATURATED_PERCENT = 90;
/** Growth because of a saturated CPU at least doubles the pool, because the figure does not show how much more is needed. */
const LEAST_SATURATED_FACTOR = 2;
/** The pool shrinks to a size at which its figure would be at most this share of the target. */
const SHRINK_SHARE = 0.95;
/** A predicted waiting time may be at most this share of the target. */
const SHRINK_WAIT_SHARE = 0.5;
/** Waiting times are limited to this, in milliseconds, because a queue that nobody serves would never end. */
const MAX_WAIT_MS = 3_600_000;

/** Whether the pool's own work makes the machine busy, at least for a large part. */
export function isCpuLimited(load: PoolLoad): boolean {
  const { ready, cores, cpuPercent } = load;
  return isBoxBusy(load) && cpuPercent !== null && cpuPercent >= OWN_PERCENT * Math.min(ready, cores);
}

function isBoxBusy({ boxPercent }: Pick<PoolLoad, "boxPercent">): boolean {
  return boxPercent !== null && boxPercent >= BUSY_BOX_PERCENT;
}

/** Returns how long a request waits until its instance starts it, by Little's law, in milliseconds. */
export function waitMs({ waiting, throughput, lagMs, perInstance }: PoolLoad): number {
  const queued =
    waiting <= 0 ? 0 : throughput <= 0 ? MAX_WAIT_MS : Math.min(MAX_WAIT_MS, (1000 * waiting) / throughput);
  // An instance with limited concurrency blocks its event loop with the request that it runs, which is not waiting.
  return perInstance === null ? Math.max(queued, lagMs) : queued;
}

/** Returns the figure that is compared with the target; null if unknown. */
export function metricOf(load: PoolLoad, { metric }: ScalingTarget): number | null {
  if (load.ready === 0) return null;
  switch (metric) {
    case "queueMs":
      return waitMs(load);
    case "cpuPercent":
      return load.cpuPercent === null ? null : load.cpuPercent / load.ready;
    case "inFlight":
      return load.inFlight / load.ready;
    default:
      return metric satisfies never;
  }
}

/**
 * Returns how many instances would bring the figure to its target, if the load is limited by the instances.
 * @param before the load one period earlier. Requests that have arrived faster than others finished since then are in flight
 * @param seconds the length of the period
 */
export function neededInstances(
  load: PoolLoad,
  before: PoolLoad | undefined,
  seconds: number,
  target: ScalingTarget,
): number {
  const { ready, throughput, inFlight } = load;
  const piledUp = before === undefined || seconds <= 0 ? 0 : Math.max(0, inFlight - before.inFlight) / seconds;
  const arriving = throughput + piledUp;
  const figure = metricOf(load, target) ?? 0;
  switch (target.metric) {
    case "inFlight":
      return inFlight / target.value;
    case "cpuPercent": {
      if (figure < SATURATED_PERCENT) return (ready * figure) / target.value;
      const factor = throughput > 0 ? arriving / throughput : 1;
      return ready * Math.max(LEAST_SATURATED_FACTOR, (factor * 100) / target.value);
    }
    case "queueMs": {
      if (figure <= target.value) return ready;
      const proportional = (ready * figure) / target.value;
      if (throughput <= 0) return proportional;
      const serviceMs = (1000 * ready) / throughput;
      // New requests must be served, and waiting ones must not wait too long.
      const forArrivals = (arriving * serviceMs) / 1000;
      const forBacklog = inFlight / (1 + target.value / serviceMs);
      return Math.min(proportional, Math.max(ready + 1, forArrivals, forBacklog));
    }
    default:
      return target.metric satisfies never;
  }
}

/** Returns the smallest number of instances at which the figure would stay clearly below its target. */
export function sufficientInstances(load: PoolLoad, target: ScalingTarget): number {
  const { ready, inFlight, cpuPercent } = load;
  switch (target.metric) {
    case "inFlight":
      return Math.max(1, Math.ceil(inFlight / (SHRINK_SHARE * target.value)));
    case "cpuPercent":
      return cpuPercent === null ? ready : Math.max(1, Math.ceil(cpuPercent / (SHRINK_SHARE * target.value)));
    case "queueMs":
      return sufficientForWait(load, target.value);
    default:
      return target.metric satisfies never;
  }
}

function sufficientForWait(load: PoolLoad, targetMs: number): number {
  const { ready, throughput, inFlight, waiting, cpuPercent, perInstance } = load;
  if (waitMs(load) > SHRINK_WAIT_SHARE * targetMs) return ready;
  const busy = perInstance === null ? (cpuPercent === null ? null : cpuPercent / 100) : Math.max(0, inFlight - waiting);
  if (busy === null) return ready;
  if (throughput <= 0 || busy <= 0) return Math.max(1, Math.ceil(busy / (perInstance ?? 1)));
  const serviceMs = (1000 * busy) / throughput;
  for (let instances = 1; instances < ready; instances++) {
    if (predictedWaitMs(busy, serviceMs, instances, perInstance) <= SHRINK_WAIT_SHARE * targetMs) return instances;
  }
  return ready;
}

/**
 * Returns the predicted waiting time: for one queue before all instances (Sakasegawa's approximation of M/M/c), or without a limit for one
 * queue at each instance (M/M/1).
 */
function predictedWaitMs(busy: number, serviceMs: number, instances: number, perInstance: number | null): number {
  const places = instances * (perInstance ?? 1);
  const utilization = busy / places;
  if (utilization >= 1) return Number.POSITIVE_INFINITY;
  if (perInstance === null) return (serviceMs * utilization) / (1 - utilization);
  return ((serviceMs / places) * utilization ** (Math.sqrt(2 * (places + 1)) - 1)) / (1 - utilization);
}

/** With fewer finished requests, no comparison is possible. */
const LEAST_REQUESTS = 20;
/** Below this mean, most requests in flight are missed by the samples. */
const LEAST_IN_FLIGHT = 0.5;
/** If a backlog shrinks to this share, the growth has helped, whatever the throughput. */
const RELIEVED_SHARE = 0.8;
/** Requests that take at most this multiple of their shortest recent time were not slowed down. */
const NOT_SLOWED = 1.25;
/** How much more throughput than before is needed to keep one more instance, as a share of what an instance handles. */
const LEAST_GAIN = 0.25;
/** The same for large pools, as a share of the pool. */
const LEAST_GAIN_SHARE = 0.05;

export interface Growth {
  readonly from: number;
  readonly to: number;
  /** The mean load before the growth, and since the new instances are ready. */
  readonly before: PoolLoad;
  readonly after: PoolLoad;
  /** The number of requests that were finished in both periods together. */
  readonly requests: number;
  /** The shortest mean time of a request that was seen recently, in seconds; Infinity if unknown. */
  readonly bestSeconds: number;
}

export type Limit = "cpu" | "elsewhere";

/** Returns how many instances to keep. If the pool has more, also returns what limits the number. */
export function evaluateGrowth(growth: Growth, target: ScalingTarget): { keep: number; limit: Limit | null } {
  const { from, to, before, after, requests, bestSeconds } = growth;
  const all = { keep: to, limit: null };
  if (requests < LEAST_REQUESTS || before.throughput <= 0) return all;
  if (after.inFlight <= RELIEVED_SHARE * before.inFlight) return all;
  const isLimited = isCpuLimited(before) || isCpuLimited(after);
  // The operator wants spare capacity, not speed: requests that were never slow cannot become faster.
  if (!isLimited && target.metric === "inFlight" && secondsOf(before) <= NOT_SLOWED * bestSeconds) return all;
  const figure = metricOf(after, target);
  if (!isLimited && target.metric === "cpuPercent" && figure !== null && figure <= target.value) return all;
  const ratio = after.throughput / before.throughput;
  const useful = Math.ceil(from * ratio - Math.max(LEAST_GAIN, LEAST_GAIN_SHARE * from));
  if (useful >= to) return all;
  return { keep: Math.max(from, useful), limit: isBoxBusy(after) ? "cpu" : "elsewhere" };
}

/** Returns the mean time of a request by Little's law, in seconds; Infinity if there are too few requests. */
export function secondsOf({ inFlight, throughput }: PoolLoad): number {
  return throughput > 0 && inFlight >= LEAST_IN_FLIGHT ? inFlight / throughput : Number.POSITIVE_INFINITY;
}

/** Returns the mean of at least one load, with the number of instances of the last one. */
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
