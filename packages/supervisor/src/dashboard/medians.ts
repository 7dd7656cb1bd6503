/** Which figures of an instance stand out beside the others of its pool. Pure. */
import type { PoolStatus, Status } from "../control/api.js";
import { figureOf } from "../core/figures.js";
import { differs, type Latencies } from "../core/slowness.js";
import { median } from "./history.js";
import type { Style } from "./text.js";

/** From so many times the median on a figure is marked. */
const WARN = 1.5;
const BAD = 2;
/** Beside fewer others there is no usual value. */
const LEAST_PROCESSES = 3;

/** The figures that are compared, and the value below which a difference does not matter. */
const COMPARED: Record<string, number> = {
  "latencyMs.p50": 2,
  "latencyMs.p99": 5,
  errorsPerMinute: 3,
  cpuPercent: 10,
  rssBytes: 5e6,
  inFlight: 6,
};

/** A share of 5xx that is marked where there is nothing to compare with. */
const ERROR_SHARES = { warn: 0.01, bad: 0.05 };

/** By pool: the median of each figure that is compared. */
export type Medians = ReadonlyMap<string, ReadonlyMap<string, number>>;

const NONE: Medians = new Map();
const known = new WeakMap<Status, Medians>();

export function mediansOf(status: Status | null): Medians {
  if (status === null) return NONE;
  const before = known.get(status);
  if (before !== undefined) return before;
  const medians = computed(status);
  known.set(status, medians);
  return medians;
}

function computed(status: Status): Medians {
  return new Map(status.pools.map((pool) => [pool.name, mediansOfPool(pool)]));
}

function mediansOfPool({ instances }: PoolStatus): ReadonlyMap<string, number> {
  const ready = instances.filter(({ state }) => state === "ready");
  const medians = new Map<string, number>();
  if (ready.length < LEAST_PROCESSES) return medians;
  for (const key of Object.keys(COMPARED)) {
    const values = ready.flatMap((instance) => {
      const value = figureOf({ key }, instance);
      return typeof value === "number" ? [value] : [];
    });
    if (values.length >= LEAST_PROCESSES) medians.set(key, lowerMedian(values));
  }
  return medians;
}

/** Of two middle values the lower: in a pool of four, two sick ones still stand out. */
function lowerMedian(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length % 2 === 1 ? median(sorted) : (sorted[sorted.length / 2 - 1] as number);
}

/** Returns how many times the median a figure is, if that is worth a mark; else undefined. */
export function timesMedian(medians: Medians, pool: string, key: string, value: number): number | undefined {
  const usual = medians.get(pool)?.get(key);
  const least = COMPARED[key];
  if (usual === undefined || least === undefined || value < least) return undefined;
  const times = usual <= 0 ? Number.POSITIVE_INFINITY : value / usual;
  return times >= WARN ? times : undefined;
}

export function styleBeside(medians: Medians, pool: string, key: string, process: object, of?: PoolStatus): Style {
  const value = figureOf({ key }, process);
  if (typeof value !== "number") return "plain";
  const by = key === "latencyMs.p99" ? "p99" : key === "latencyMs.p50" ? "p50" : null;
  if (by !== null && of !== undefined && !differs(process as Latencies, of, by)) return "plain";
  const times = timesMedian(medians, pool, key, value);
  if (times !== undefined) return times >= BAD ? "bad" : "warn";
  return key === "errorsPerMinute" ? styleOfErrors(value, process) : "plain";
}

/** The style of a number of 5xx a minute by its share of the requests. */
export function styleOfErrors(errorsPerMinute: number, process: object): Style {
  if (errorsPerMinute === 0) return "plain";
  const perSecond = figureOf({ key: "requestsPerSecond" }, process);
  const share = typeof perSecond === "number" ? errorsPerMinute / Math.max(1, 60 * perSecond) : 1;
  return share >= ERROR_SHARES.bad ? "bad" : share >= ERROR_SHARES.warn ? "warn" : "plain";
}
