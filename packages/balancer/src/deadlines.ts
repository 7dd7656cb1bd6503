/** One coarse clock for all deadlines of the data path, without timers per connection or request. */

/** How often deadlines are checked, in milliseconds; the maximum delay of a deadline. */
export const TICK_MS = 100;

/** A tick later than this, in milliseconds, means that this process or the machine was paused. */
const LATE_MS = 1000;

/** Something with a deadline. */
interface DeadlineEntry {
  /** In milliseconds of `Deadlines.now`; Infinity: none. */
  deadlineAt: number;
  /** The position in the list; -1 if not in the list. Maintained by the list. */
  deadlineIndex: number;
  onDeadline(): void;
}

/**
 * Holds entries and checks their deadlines on each tick. A pause of this process does not count as time: pending input is read
 * first, and no peer is to blame.
 */
export class Deadlines {
  /** Milliseconds that this process has been running, as of the last tick. */
  now: number;
  private readonly entries: DeadlineEntry[] = [];

  /** @param tickedAt when time was last counted, by the monotonic clock */
  constructor(private tickedAt = performance.now()) {
    this.now = tickedAt;
  }

  get size(): number {
    return this.entries.length;
  }

  add(entry: DeadlineEntry): void {
    entry.deadlineIndex = this.entries.length;
    this.entries.push(entry);
  }

  remove(entry: DeadlineEntry): void {
    const index = entry.deadlineIndex;
    if (index < 0) return;
    entry.deadlineIndex = -1;
    const last = this.entries.pop() as DeadlineEntry;
    if (last === entry) return;
    this.entries[index] = last;
    last.deadlineIndex = index;
  }

  /** Counts the time since the last tick, `everyMs` ago as planned. Returns false after a pause. */
  count(at: number, everyMs: number): boolean {
    const passedMs = at - this.tickedAt;
    this.tickedAt = at;
    const isLate = passedMs > everyMs + LATE_MS;
    this.now += isLate ? everyMs : passedMs;
    return !isLate;
  }

  /** Calls `onDeadline` of entries that are due; these may remove themselves and others. After a pause the next tick does it. */
  tick(at: number, everyMs = TICK_MS): void {
    if (!this.count(at, everyMs)) return;
    const { now } = this;
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i];
      if (entry === undefined || entry.deadlineAt > now) continue;
      entry.deadlineAt = Number.POSITIVE_INFINITY;
      entry.onDeadline();
    }
  }
}
