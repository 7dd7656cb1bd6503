/** Lets a process with endless work for a few peers rest: one that never sleeps takes the processors from those beside it. */

/** After this many turns of the event loop whose share was used up there is a rest. */
const TURNS_BEFORE_REST = 8;
const REST_MS = 1;

export class TurnRest {
  private turns = 0;

  /** Called when the share of a turn was used up. Returns true if a rest is due, after which it calls `goOn`. */
  take(goOn: () => void): boolean {
    if (++this.turns % TURNS_BEFORE_REST !== 0) return false;
    setTimeout(goOn, REST_MS);
    return true;
  }
}
