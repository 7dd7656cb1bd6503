/** The last minute of a rate, and its picture in a few cells. */

/** A sample comes with each status, about once a second. */
const SAMPLES = 60;
const BLOCKS = "▁▂▃▄▅▆▇█";

export interface History {
  /** The newest last, SAMPLES at most. */
  samples: readonly number[];
  /** How many there have ever been: samples stay in the cell they were shown in while they move on. */
  total: number;
}

export const EMPTY_HISTORY: History = { samples: [], total: 0 };

export function addSample({ samples, total }: History, value: number): History {
  return { samples: [...samples.slice(1 - SAMPLES), value], total: total + 1 };
}

export function peak({ samples }: History): number {
  return samples.reduce((highest, sample) => Math.max(highest, sample), 0);
}

/**
 * At most `width` cells, the newest at the right; `highest` fills a cell. No traffic is a blank, so that some and none can be
 * told apart.
 */
export function sparkline({ samples, total }: History, width: number, highest: number): string {
  if (width <= 0) return "";
  const perCell = Math.max(1, Math.ceil(SAMPLES / width));
  const sums = new Map<number, { sum: number; count: number }>();
  for (const [at, sample] of samples.entries()) {
    const cell = Math.floor((total - samples.length + at) / perCell);
    const entry = sums.get(cell) ?? { sum: 0, count: 0 };
    sums.set(cell, { sum: entry.sum + sample, count: entry.count + 1 });
  }
  return [...sums.values()]
    .slice(-width)
    .map(({ sum, count }) => block(sum / count, highest))
    .join("");
}

function block(value: number, highest: number): string {
  if (value <= 0 || highest <= 0) return " ";
  const level = Math.min(BLOCKS.length - 1, Math.floor((value / highest) * BLOCKS.length));
  return BLOCKS[level] ?? " ";
}
