/** The last minutes of every process and pool in the page: filled from the fleet's history, then second by second. Pure. */
import type { FigureHistory, HistoryFigure, HistoryMark } from "../control/api.js";

export type Values = readonly (number | null)[];
export type Zoom = "seconds" | "minutes";

export const SECONDS = 300;
export const MINUTES = 1440;

/** Samples end at `now`, a Unix time in milliseconds; the newest is last. */
export interface Series {
  now: number;
  everyMs: number;
  length: number;
  series: Record<string, Record<HistoryFigure, Values>>;
  marks: readonly HistoryMark[];
}

export const NO_SERIES: Series = { now: 0, everyMs: 1000, length: SECONDS, series: {}, marks: [] };

/** Returns a history with every array at full length; values from before the fleet was started are unknown. */
export function full(history: FigureHistory, length: number): Series {
  const blank = length - history.length;
  const series = Object.fromEntries(
    Object.entries(history.series).map(([name, figures]) => [
      name,
      mapFigures(figures, (values) => padded(values, blank)),
    ]),
  );
  return { ...history, length, series };
}

function padded(values: Values, blank: number): Values {
  return blank > 0 ? [...new Array<null>(blank).fill(null), ...values] : values.slice(-blank);
}

function mapFigures(
  figures: Record<HistoryFigure, Values>,
  change: (values: Values, figure: HistoryFigure) => Values,
): Record<HistoryFigure, Values> {
  const entries = Object.entries(figures) as [HistoryFigure, Values][];
  return Object.fromEntries(entries.map(([figure, values]) => [figure, change(values, figure)])) as Record<
    HistoryFigure,
    Values
  >;
}

/**
 * Returns the series with the newest samples of the same fleet added. They replace known samples. Seconds that were missed stay unknown.
 * Names that no longer have samples are dropped.
 */
export function advance(before: Series, recent: FigureHistory): Series {
  const { length, everyMs } = before;
  const shift = Math.round((recent.now - before.now) / everyMs);
  if (shift < 0 || shift >= length) return full(recent, length);
  const series = Object.fromEntries(
    Object.entries(recent.series).map(([name, figures]) => {
      const known = before.series[name];
      return [name, mapFigures(figures, (values, figure) => joined(known?.[figure], values, shift, length))];
    }),
  );
  const since = recent.now - length * everyMs;
  const marks = new Map(
    [...before.marks, ...recent.marks].map((mark) => [`${mark.kind} ${mark.name} ${mark.at}`, mark]),
  );
  return { now: recent.now, everyMs, length, series, marks: [...marks.values()].filter(({ at }) => at >= since) };
}

function joined(known: Values | undefined, recent: Values, shift: number, length: number): Values {
  const moved = known === undefined ? [] : [...known.slice(shift), ...new Array<null>(shift).fill(null)];
  const all = padded(moved, length - moved.length);
  return [...all.slice(0, length - recent.length), ...recent.slice(-length)];
}

/** Returns the values of a name; all unknown if the name is unknown. */
export function valuesOf({ series, length }: Series, name: string, figure: HistoryFigure): Values {
  return series[name]?.[figure] ?? new Array<null>(length).fill(null);
}

/** Returns the sum of several series; unknown where all of them are. */
export function sumOf(all: Series, names: readonly string[], figure: HistoryFigure): Values {
  const values = names.map((name) => valuesOf(all, name, figure));
  return combine(values, all.length, (known) => known.reduce((sum, value) => sum + value, 0));
}

/** Returns the median of several series at each moment. */
export function medianOf(all: Series, names: readonly string[], figure: HistoryFigure): Values {
  return combine(
    names.map((name) => valuesOf(all, name, figure)),
    all.length,
    median,
  );
}

function combine(values: readonly Values[], length: number, of: (known: number[]) => number): Values {
  return Array.from({ length }, (_, at) => {
    const known = values.flatMap((each) => each[at] ?? []);
    return known.length === 0 ? null : of(known);
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Returns fewer values, each the highest of its part, so that no peak is lost. */
export function squeezed(values: Values, length: number): Values {
  if (values.length <= length) return values;
  return Array.from({ length }, (_, at) => {
    const part = values.slice(
      Math.floor((at * values.length) / length),
      Math.floor(((at + 1) * values.length) / length),
    );
    return part.reduce((highest, value) => (value === null ? highest : Math.max(highest ?? value, value)), null);
  });
}
