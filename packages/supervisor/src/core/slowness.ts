/** Decides whether an instance is slower than the others of its pool, by more than chance and slow routes explain. Pure. */

/** The figures that are compared: those of the running process, over about the last ten seconds. */
export interface Latencies {
  name: string;
  state: string;
  latencyMs: { p50: number | null; p99: number | null };
  latencyShape: readonly number[];
}

export interface PoolLatencies {
  instances: readonly Latencies[];
  routeClasses?: readonly RouteLatencies[];
}

interface RouteLatencies {
  requestsTotal: number;
  /** The number of responses in these latencies. Missing from the supervisor of an earlier version. */
  recentRequests?: number;
  p50Ms: number | null;
  p99Ms: number | null;
}

type Quantile = "p50" | "p99";

/** The upper bounds of the buckets of `latencyShape`, in milliseconds; the last bucket has the rest. */
export const SHAPE_BOUNDS_MS = [0.5, 1, 2, 5, 10, 25, 50, 100, 250] as const;

/** An instance with fewer responses is not judged. */
export const LEAST_REQUESTS = 20;
const SLOW_TIMES = 3;
const SLOW_MS = 20;
/** A difference of more standard deviations than this is not chance. */
const BEYOND_CHANCE = 4;
/** A route class is slow if it exceeds the others by this factor, and if its p99 has at least this value in milliseconds. */
const SLOW_ROUTE_TIMES = 5;
export const SLOW_ROUTE_MS = 100;

/** Returns the figure by which an instance is slow, and the usual value in its pool; undefined if it is not slow. */
export function slownessOf(
  own: Latencies,
  pool: PoolLatencies,
): { by: Quantile; ms: number; usual: number } | undefined {
  for (const by of ["p99", "p50"] as const) {
    const ms = own.latencyMs[by];
    if (ms === null || ms < SLOW_MS || !differs(own, pool, by)) continue;
    const usual = usualOf(own, pool, by) ?? 0;
    if (ms >= Math.max(SLOW_TIMES * usual, usual + SLOW_MS)) return { by, ms, usual };
  }
  return undefined;
}

function othersOf(own: Latencies, pool: PoolLatencies): Latencies[] {
  return pool.instances.filter(({ name, state }) => name !== own.name && state === "ready");
}

function usualOf(own: Latencies, pool: PoolLatencies, by: Quantile): number | null {
  return middleOf(othersOf(own, pool).map(({ latencyMs }) => latencyMs[by]));
}

/**
 * Whether the instance causes a latency above that of the others. It does if it has had enough responses, if more of them were slow than
 * chance explains, and if no slow route takes about as long everywhere.
 */
export function differs(own: Latencies, pool: PoolLatencies, by: Quantile): boolean {
  const ms = own.latencyMs[by] ?? 0;
  const all = responsesIn(own.latencyShape);
  const others = othersOf(own, pool).map(({ latencyShape }) => latencyShape);
  const allOthers = responsesIn(others.flat());
  if (all < LEAST_REQUESTS || allOthers < LEAST_REQUESTS) return false;
  const usual = usualOf(own, pool, by) ?? 0;
  // A response is slow if it takes longer than the bucket of the usual figure. Beyond the last bound, this cannot be decided.
  const found = SHAPE_BOUNDS_MS.findIndex((bound) => usual <= bound);
  const from = found + 1 || SHAPE_BOUNDS_MS.length + 1;
  const slow = responsesIn(own.latencyShape.slice(from));
  const slowOthers = responsesIn(others.flatMap((shape) => shape.slice(from)));
  const share = (slow + slowOthers) / (all + allOthers);
  const deviation = Math.sqrt(share * (1 - share) * (1 / all + 1 / allOthers));
  const isChance = slow / all - slowOthers / allOthers <= BEYOND_CHANCE * deviation;
  if (isChance && (by === "p99" || from <= SHAPE_BOUNDS_MS.length)) return false;
  return !slowRoutes(pool).some(({ p50Ms }) => ms <= 2 * (p50Ms ?? 0) && 2 * ms >= (p50Ms ?? 0));
}

/** Returns the number of responses in a `latencyShape` of the last ten seconds, or in a part of one. */
export function responsesIn(shape: readonly number[]): number {
  return shape.reduce((all, count) => all + count, 0);
}

/** Whether the latencies of a route are of enough requests; earlier requests do not count. */
export function hasEnoughResponses({ requestsTotal, recentRequests = requestsTotal, p99Ms }: RouteLatencies): boolean {
  return recentRequests >= LEAST_REQUESTS && p99Ms !== null;
}

/** Returns the routes that are slow compared with the others, slowest first. Without others, returns none. */
export function slowRoutes<Route extends RouteLatencies>({
  routeClasses = [],
}: {
  routeClasses?: readonly Route[];
}): Route[] {
  const known = routeClasses.filter(hasEnoughResponses);
  return known
    .filter((route) => {
      const usual = middleOf(known.map((each) => (each === route ? null : each.p50Ms)));
      return usual !== null && (route.p99Ms ?? 0) >= Math.max(SLOW_ROUTE_MS, SLOW_ROUTE_TIMES * usual);
    })
    .sort((a, b) => (b.p99Ms ?? 0) - (a.p99Ms ?? 0));
}

/** Returns the middle one of the known values; of two middle values, the lower one. */
function middleOf(values: readonly (number | null)[]): number | null {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known[(known.length - 1) >> 1] ?? null;
}
