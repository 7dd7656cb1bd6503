/** The time in which this process runs: a clock without its pauses, and rests for other processes. */

/** If a count is late by more than this, in milliseconds, this process or the machine was paused. */
const LATE_MS = 1000;

/** A clock that stops during pauses of this process (a signal, a suspended machine, a debugger), so that no peer is blamed for them. */
export class RunningTime {
  /** Milliseconds that this process has been running, as of the last count. */
  now: number;

  /** @param countedAt when time was last counted, by the monotonic clock */
  constructor(private countedAt = performance.now()) {
    this.now = countedAt;
  }

  /** Starts again after a period in which no time was counted. */
  restart(at = performance.now()): void {
    this.countedAt = at;
  }

  /** The current time, for waits that start between two counts. */
  get current(): number {
    return this.now + Math.min(LATE_MS, performance.now() - this.countedAt);
  }

  /**
   * Counts the time since the last count, which was planned for `everyMs` ago. Returns false after a pause: pending input has not been read
   * yet.
   */
  count(at: number, everyMs: number): boolean {
    const passedMs = at - this.countedAt;
    this.countedAt = at;
    const isLate = passedMs > everyMs + LATE_MS;
    this.now += isLate ? everyMs : passedMs;
    return !isLate;
  }
}

/** The process rests after this many turns of the event loop in which the share was used up. */
const TURNS_BEFORE_REST = 8;
const REST_MS = 1;

/** Makes a process with endless work for a few peers rest. A process that never slept would take the CPUs from other processes. */
export class TurnRest {
  private turns = 0;

  /** Called when the share of a turn was used up. Returns true if a rest is due; it calls `goOn` afterwards. */
  take(goOn: () => void): boolean {
    if (++this.turns % TURNS_BEFORE_REST !== 0) return false;
    setTimeout(goOn, REST_MS);
    return true;
  }
}
