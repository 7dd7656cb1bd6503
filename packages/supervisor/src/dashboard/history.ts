/**
 * The figures of the last minutes or hours, as the supervisor recorded them. Each response of the control socket adds samples. Pure.
 */
import type { FigureHistory, HistoryFigure, HistoryMark } from "../control/api.js";

/** The period that the charts show, and which of the supervisor's two records has it. */
export interface Zoom {
  title: string;
  /** The period of the graphs above the table, and of the charts in its rows. In samples. */
  graph: number;
  row: number;
  from: "seconds" | "minutes";
  rowTitle: string;
}

export const ZOOMS: readonly Zoom[] = [
  { title: "1 min", graph: 60, row: 60, from: "seconds", rowTitle: "1 MINUTE" },
  { title: "5 min", graph: 300, row: 120, from: "seconds", rowTitle: "2 MINUTES" },
  { title: "1 h", graph: 60, row: 60, from: "minutes", rowTitle: "1 HOUR" },
  { title: "6 h", graph: 360, row: 360, from: "minutes", rowTitle: "6 HOURS" },
  { title: "24 h", graph: 1440, row: 1440, from: "minutes", rowTitle: "24 HOURS" },
];
export const FIRST_ZOOM = 1;

const FIGURES: readonly HistoryFigure[] = ["requests", "errors5xx", "p50", "p99", "inFlight", "rssBytes", "cpuPercent"];
const KEPT = { seconds: 300, minutes: 1440 } as const;

/** The figures of one record. Its arrays are never changed. */
export interface FigureRecord {
  /** The number of the newest sample: the Unix time in units of the record. */
  newest: number;
  everyMs: number;
  /** By name: all samples of the first figure, oldest first, then those of the next. Unknown ones are NaN. */
  series: ReadonlyMap<string, Float32Array>;
  marks: readonly HistoryMark[];
}

/**
 * Returns the record with the figures of a response added. A response may begin anywhere, because it has only the new figures, or all of
 * them.
 */
export function merged(
  before: FigureRecord | null,
  { now, everyMs, length, series, marks }: FigureHistory,
): FigureRecord {
  const kept = everyMs === 1000 ? KEPT.seconds : KEPT.minutes;
  const newest = Math.round(now / everyMs);
  // A response without samples does not change the old ones.
  const shift = before === null ? kept : Math.max(0, newest - before.newest);
  const after = new Map<string, Float32Array>();
  for (const [name, values] of Object.entries(series)) {
    const array = new Float32Array(kept * FIGURES.length).fill(Number.NaN);
    const old = before?.series.get(name);
    for (const [at, figure] of FIGURES.entries()) {
      const from = at * kept;
      if (old !== undefined && shift < kept) array.set(old.subarray(from + shift, from + kept), from);
      const fresh = values[figure] ?? [];
      const first = kept - Math.min(length, fresh.length, kept);
      for (let index = first; index < kept; index++)
        array[from + index] = fresh[fresh.length - kept + index] ?? Number.NaN;
    }
    after.set(name, array);
  }
  const since = now - kept * everyMs;
  const known = new Map(
    [...(before?.marks ?? []), ...marks].map((mark) => [`${mark.at} ${mark.kind} ${mark.name}`, mark]),
  );
  return { newest, everyMs, series: after, marks: [...known.values()].filter(({ at }) => at >= since) };
}

const NOTHING = new Float32Array(0);

/** Returns the last `count` samples of a figure, oldest first; empty if the name is unknown. */
export function samplesOf(
  record: FigureRecord | null,
  name: string,
  figure: HistoryFigure,
  count: number,
): Float32Array {
  const array = record?.series.get(name);
  if (record === null || array === undefined) return NOTHING;
  const kept = array.length / FIGURES.length;
  const end = (FIGURES.indexOf(figure) + 1) * kept;
  return array.subarray(end - Math.min(count, kept), end);
}

/** Returns the sum of samples of several names. A sample is unknown if it is unknown for all of them. */
export function summed(all: readonly Float32Array[]): Float32Array {
  const length = all.reduce((most, each) => Math.max(most, each.length), 0);
  const sum = new Float32Array(length).fill(Number.NaN);
  for (const each of all)
    for (let at = 0; at < each.length; at++) {
      const value = each[at] as number;
      const to = length - each.length + at;
      if (!Number.isNaN(value)) sum[to] = (Number.isNaN(sum[to] as number) ? 0 : (sum[to] as number)) + value;
    }
  return sum;
}

/** Returns the numbers of the samples at which a process with this name died. */
export function deathsOf(record: FigureRecord | null, name: string): number[] {
  if (record === null) return [];
  return record.marks.flatMap((mark) =>
    mark.kind === "death" && mark.name === name ? [Math.round(mark.at / record.everyMs)] : [],
  );
}

export function highest(samples: Float32Array): number {
  let most = 0;
  // An iterator would cost much more than an index until the runtime has compiled this function, which takes minutes at a frame a second.
  for (let at = 0; at < samples.length; at++) if ((samples[at] as number) > most) most = samples[at] as number;
  return most;
}

/** Returns the median of the known samples; 0 if there are none. */
export function median(samples: Float32Array | readonly number[]): number {
  const known = new Float64Array(samples.length);
  let count = 0;
  for (let at = 0; at < samples.length; at++)
    if (!Number.isNaN(samples[at] as number)) known[count++] = samples[at] as number;
  return known.subarray(0, count).sort()[Math.floor(count / 2)] ?? 0;
}

/**
 * Distributes samples over `count` columns, the newest in the last. A column has the highest of its samples, and is NaN if none is known.
 * Columns are fixed parts of time, not of the window. So the samples that share a column stay the same as time passes.
 * @param newest the number of the newest sample
 */
export function squeezed(samples: Float32Array, newest: number, window: number, count: number): Float32Array {
  const columns = new Float32Array(Math.max(0, count)).fill(Number.NaN);
  const places = placesOf(samples.length, newest, window, count);
  for (let at = 0; at < samples.length; at++) {
    const value = samples[at] as number;
    const column = places[at] as number;
    if (Number.isNaN(value) || column < 0) continue;
    const before = columns[column] as number;
    if (Number.isNaN(before) || value > before) columns[column] = value;
    // If there are fewer samples than columns, each fills the columns up to the next one.
    for (let more = column + 1; more < (places[at + 1] as number); more++) columns[more] = value;
  }
  return columns;
}

interface Places {
  key: string;
  places: Int16Array;
}

/** Charts of the same width in a frame place their samples alike, so the last placements are cached. */
let lastPlaces: readonly Places[] = [];
const MAX_PLACES = 6;

/** Returns the column of each sample, and the number of columns after the last. */
function placesOf(length: number, newest: number, window: number, count: number): Int16Array {
  const key = `${length} ${newest} ${window} ${count}`;
  const found = lastPlaces.find((each) => each.key === key);
  if (found !== undefined) return found.places;
  const places = new Int16Array(length + 1);
  const first = newest - length + 1;
  const last = count - 1 - Math.floor((newest * count) / window);
  for (let at = 0; at < length; at++) places[at] = last + Math.floor(((first + at) * count) / window);
  places[length] = count;
  lastPlaces = [{ key, places }, ...lastPlaces.slice(0, MAX_PLACES - 1)];
  return places;
}

/** Returns the column of a sample; negative if it is too old. */
export function columnOf(sample: number, newest: number, window: number, count: number): number {
  const part = (time: number) => Math.floor((time * count) / window);
  return count - 1 - (part(newest) - part(sample));
}
