/** Work that is done once in each turn of the event loop, after all input was processed. */

/** An object that has collected bytes to flush. */
interface Flushable {
  flushTurn(): void;
}

const due: Flushable[] = [];
let isArmed = false;

/** The number of turns so far in which something was flushed. */
export const turns = { count: 0 };

/** Flushes the object at the end of this turn, after all input was processed. The caller must not register it twice. */
export function atTurnEnd(flushable: Flushable): void {
  due.push(flushable);
  if (isArmed) return;
  isArmed = true;
  setImmediate(flushAll);
}

function flushAll(): void {
  isArmed = false;
  turns.count++;
  for (const flushable of due.splice(0)) flushable.flushTurn();
}
