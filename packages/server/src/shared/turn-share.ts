/**
 * Limits bodies whose next block is always ready, and WebSockets with many frames per read, to a share of each turn of the event
 * loop, so that others are served.
 */

import { leaveToCollector } from "@paceline/wire";

/** The number per turn, for all bodies and WebSockets together: clients decide how many there are. */
const MAX_TURN_BLOCKS = 128;
/** After this many turns whose share was used up, the process rests, so that the balancer and other instances get the processor. */
const TURNS_BEFORE_REST = 8;
const REST_MS = 1;

/** The garbage of a block beside its bytes. */
const GARBAGE_BYTES = 512;

let left = MAX_TURN_BLOCKS;
let turns = 0;
const waiting: (() => void)[] = [];

/** Counts a block or a frame; if it returns true, await `nextShare` before the next one. */
export function isTurnOver(): boolean {
  return --left <= 0;
}

export function nextShare(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    if (waiting.length > 1) return;
    if (++turns % TURNS_BEFORE_REST === 0) setTimeout(goOn, REST_MS);
    else setImmediate(goOn);
  });
}

function goOn(): void {
  left = MAX_TURN_BLOCKS;
  leaveToCollector(MAX_TURN_BLOCKS * GARBAGE_BYTES);
  for (const resolve of waiting.splice(0)) resolve();
}
