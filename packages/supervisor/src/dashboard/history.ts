/** The last minute of a rate, and its chart in a few cells. */

/** A sample is taken from each status, about once a second. */
const SAMPLES = 60;
const BLOCKS = "▁▂▃▄▅▆▇█";

/** The newest sample is last; at most SAMPLES. */
export type History = readonly number[];

export function addSample(history: History, value: number): History {
  return [...history.slice(1 - SAMPLES), value];
}

export function peak(history: History): number {
  return history.reduce((highest, sample) => Math.max(highest, sample), 0);
}

/** Returns the widest chart of a whole minute in at most `width` cells, where each cell stands for the same number of seconds. */
export function sparklineWidth(width: number): number {
  return Math.ceil(SAMPLES / Math.max(1, Math.ceil(SAMPLES / Math.max(1, width))));
}

/**
 * Draws a chart of exactly `width` cells, with the newest at the right; `highest` fills a cell. `ticks` counts all samples ever
 * taken, so that a sample stays in its cell and the charts of all processes align in time. No traffic is blank, to tell it apart
 * from a little.
 */
export function sparkline(history: History, ticks: number, width: number, highest: number): string {
  const perCell = Math.max(1, Math.ceil(SAMPLES / Math.max(1, width)));
  const newest = Math.floor((ticks - 1) / perCell);
  const sums = new Float64Array(Math.max(0, width));
  const counts = new Uint8Array(sums.length);
  for (let at = 0; at < history.length; at++) {
    const cell = sums.length - 1 - (newest - Math.floor((ticks - history.length + at) / perCell));
    if (cell < 0) continue;
    sums[cell] = (sums[cell] ?? 0) + (history[at] ?? 0);
    counts[cell] = (counts[cell] ?? 0) + 1;
  }
  let picture = "";
  for (let cell = 0; cell < sums.length; cell++) {
    picture += block((sums[cell] ?? 0) / Math.max(1, counts[cell] ?? 0), highest);
  }
  return picture;
}

function block(value: number, highest: number): string {
  if (value <= 0 || highest <= 0) return " ";
  const level = Math.min(BLOCKS.length - 1, Math.floor((value / highest) * BLOCKS.length));
  return BLOCKS[level] ?? " ";
}
