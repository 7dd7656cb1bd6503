/** The end of a turn of the event loop: when all that it brought has been read, and what it produced leaves together. */

/** Something that has collected bytes. */
export interface Flushable {
  flushTurn(): void;
}

const due: Flushable[] = [];
let isArmed = false;

/** Has it flushed once when this turn ends; whoever calls it keeps track of having done so. */
export function atTurnEnd(flushable: Flushable): void {
  due.push(flushable);
  if (isArmed) return;
  isArmed = true;
  setImmediate(flushAll);
}

function flushAll(): void {
  isArmed = false;
  for (const flushable of due.splice(0)) flushable.flushTurn();
}
