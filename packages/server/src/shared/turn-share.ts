/**
 * Holds bodies that always have their next block ready, and WebSockets with many frames in one read, to a share of each turn of the
 * event loop: else nobody else would have one.
 */

import { leaveToCollector } from "@paceline/wire";

/** So many blocks and frames, of all bodies and WebSockets together: clients decide how many there are. */
const MAX_TURN_BLOCKS = 128;

/** What a block leaves to the collector, beside its bytes. */
const GARBAGE_BYTES = 512;

let left = MAX_TURN_BLOCKS;
const waiting: (() => void)[] = [];

/** Counts a block or a frame; true: `nextTurn` is to be awaited before another. */
export function isTurnOver(): boolean {
  return --left <= 0;
}

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1) setImmediate(goOn);
  });
}

function goOn(): void {
  left = MAX_TURN_BLOCKS;
  leaveToCollector(MAX_TURN_BLOCKS * GARBAGE_BYTES);
  for (const resolve of waiting.splice(0)) resolve();
}
