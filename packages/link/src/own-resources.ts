/** What this process takes and may take, asked so that a process without a free descriptor lives on. */
import { readFileSync } from "node:fs";

let lastHeapBytes = 0;
let lastRssBytes = 0;

/** The runtime opens a file for it, and throws when no descriptor is free: then it is the figure before, 0 at first. */
export function heapBytes(): number {
  lastHeapBytes = figureOr(() => process.memoryUsage().heapUsed, lastHeapBytes);
  return lastHeapBytes;
}

/** As `heapBytes`, of all memory. */
export function rssBytes(): number {
  lastRssBytes = figureOr(() => process.memoryUsage.rss(), lastRssBytes);
  return lastRssBytes;
}

/** How many descriptors this process may have open; without /proc it is not known, and infinite. */
export function descriptorLimit(): number {
  const limits = figureOr(() => readFileSync("/proc/self/limits", "latin1"), "");
  const [, soft] = /^Max open files +(\d+) /m.exec(limits) ?? [];
  return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft);
}

function figureOr<T>(ask: () => T, otherwise: T): T {
  try {
    return ask();
  } catch {
    return otherwise;
  }
}
