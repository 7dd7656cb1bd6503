/** Decides which figures of an instance differ clearly from the others of its pool, for the dashboard and the page. Pure. */
import { figureOf } from "./figures.js";
import { differs, type Latencies, type PoolLatencies } from "./slowness.js";

/** How a figure differs. */
export interface Mark {
  /** The factor by which the figure exceeds the median of the pool; null if the median is 0. */
  times: number | null;
  isBad: boolean;
}

/** By the key of a figure. */
export type Marks = Record<string, Mark>;

/** From this multiple of the median on, a figure is marked; from the second one on, it is bad. */
const MARKED_TIMES = 1.5;
const BAD_TIMES = 2;
/** With fewer processes, there is no usual value. */
const LEAST_PROCESSES = 3;

/** The figures that are compared, each with the value below which a difference does not matter. */
const COMPARED: Readonly<Record<string, number>> = {
  "latencyMs.p50": 2,
  "latencyMs.p99": 5,
  errorsPerMinute: 5,
  cpuPercent: 10,
  rssBytes: 5e6,
  inFlight: 6,
};
const KEYS = Object.keys(COMPARED);

/** Returns the median of each compared figure over the ready instances; empty for a small pool. */
export function mediansOf({ instances }: { instances: readonly { state: string }[] }): Record<string, number> {
  const ready = instances.filter(({ state }) => state === "ready");
  const medians: Record<string, number> = {};
  for (const key of KEYS) {
    const values = ready.flatMap((instance) => numberOf(key, instance) ?? []);
    if (values.length >= LEAST_PROCESSES) medians[key] = lowerMedian(values);
  }
  return medians;
}

/** Returns the marks of an instance of this pool. */
export function marksOf(instance: Latencies, pool: PoolLatencies, medians: Readonly<Record<string, number>>): Marks {
  const marks: Marks = {};
  for (const key of KEYS) {
    const value = numberOf(key, instance);
    const usual = medians[key];
    if (value === null || usual === undefined || value < (COMPARED[key] as number)) continue;
    if (value < MARKED_TIMES * usual) continue;
    const by = key === "latencyMs.p99" ? "p99" : key === "latencyMs.p50" ? "p50" : null;
    if (by !== null && !differs(instance, pool, by)) continue;
    const times = usual > 0 ? Math.round((10 * value) / usual) / 10 : null;
    marks[key] = { times, isBad: value >= BAD_TIMES * usual };
  }
  return marks;
}

function numberOf(key: string, instance: object): number | null {
  const value = figureOf({ key }, instance);
  return typeof value === "number" ? value : null;
}

/** Of two middle values, uses the lower one, so that in a pool of four, two bad ones are still marked. */
function lowerMedian(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[(sorted.length - 1) >> 1] as number;
}
