/** One coarse clock for every deadline of the data path: no timer per connection, none per request. */

/** How often deadlines are looked at, in milliseconds; each is met that much late at most. */
export const TICK_MS = 100;

/** A tick that comes later than this comes after a pause of this process, or of the machine, in milliseconds. */
const LATE_MS = 1000;

/** Something that must leave its state at an instant. */
interface DeadlineEntry {
  /** In milliseconds of `Deadlines.now`; Infinity for none. */
  deadlineAt: number;
  /** Where the list keeps it; -1 when it is not in the list. The list's own. */
  deadlineIndex: number;
  onDeadline(): void;
}

/**
 * Holds the entries, and looks through them once a tick. A pause, in which this process did not run, is no time: what came meanwhile has
 * not been read, and no peer is to blame.
 */
export class Deadlines {
  /** Milliseconds that passed while this process ran, as of the last tick. */
  now: number;
  private readonly entries: DeadlineEntry[] = [];

  /** @param tickedAt when time was counted last, by the monotonic clock */
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

  /** Counts the time since the last tick, which was to be `everyMs` ago; false: it is one after a pause. */
  count(at: number, everyMs: number): boolean {
    const passedMs = at - this.tickedAt;
    this.tickedAt = at;
    const isLate = passedMs > everyMs + LATE_MS;
    this.now += isLate ? everyMs : passedMs;
    return !isLate;
  }

  /** Tells every entry whose instant has passed; an entry may remove itself and others meanwhile. After a pause the next tick does. */
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
