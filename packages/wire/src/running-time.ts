/** The time in which this process runs: a clock without its pauses, and rests. */

/** A count later than this, in milliseconds, means that this process or the machine was paused. */
const LATE_MS = 1000;

/** A clock that pauses of this process (a signal, a suspended machine, a debugger) stop, so that no peer is blamed for them. */
export class RunningTime {
  /** Milliseconds that this process has been running, as of the last count. */
  now: number;

  /** @param countedAt when time was last counted, by the monotonic clock */
  constructor(private countedAt = performance.now()) {
    this.now = countedAt;
  }

  /** Starts again after a time in which nothing was counted. */
  restart(at = performance.now()): void {
    this.countedAt = at;
  }

  /** The present time, for waits that start between two counts. */
  get current(): number {
    return this.now + Math.min(LATE_MS, performance.now() - this.countedAt);
  }

  /** Counts the time since the last count, `everyMs` ago as planned. Returns false after a pause: pending input has not been read yet. */
  count(at: number, everyMs: number): boolean {
    const passedMs = at - this.countedAt;
    this.countedAt = at;
    const isLate = passedMs > everyMs + LATE_MS;
    this.now += isLate ? everyMs : passedMs;
    return !isLate;
  }
}

/** After this many turns of the event loop whose share was used up there is a rest. */
const TURNS_BEFORE_REST = 8;
const REST_MS = 1;

/** Lets a process with endless work for a few peers rest: one that never sleeps takes the processors from those beside it. */
export class TurnRest {
  private turns = 0;

  /** Called when the share of a turn was used up. Returns true if a rest is due, after which it calls `goOn`. */
  take(goOn: () => void): boolean {
    if (++this.turns % TURNS_BEFORE_REST !== 0) return false;
    setTimeout(goOn, REST_MS);
    return true;
  }
}
