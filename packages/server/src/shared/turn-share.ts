/**
 * Limits two kinds of work to a share of each turn of the event loop, so that other clients are served: bodies whose next block is always
 * ready, and WebSockets with many frames per read.
 */

import { leaveToCollector, TurnRest } from "@paceline/wire";

/** The number of blocks per turn, for all bodies and WebSockets together, because clients decide how many there are. */
const MAX_TURN_BLOCKS = 128;

/** The garbage of a block in addition to its bytes. */
const GARBAGE_BYTES = 512;

let left = MAX_TURN_BLOCKS;
const rest = new TurnRest();
const waiting: (() => void)[] = [];

/** Counts a block or a frame. If it returns true, the caller must await `nextShare` before the next one. */
export function isTurnOver(): boolean {
  return --left <= 0;
}

export function nextShare(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length === 1 && !rest.take(goOn)) setImmediate(goOn);
  });
}

function goOn(): void {
  left = MAX_TURN_BLOCKS;
  leaveToCollector(MAX_TURN_BLOCKS * GARBAGE_BYTES);
  for (const resolve of waiting.splice(0)) resolve();
}
