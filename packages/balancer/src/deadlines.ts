/** One coarse clock for every deadline of the data path: no timer per connection, none per request. */

/** How often deadlines are looked at, in milliseconds; each is met that much late at most. */
export const TICK_MS = 100;

/** Something that must leave its state at an instant. */
export interface DeadlineEntry {
  /** In milliseconds of `Deadlines.now`; Infinity for none. */
  deadlineAt: number;
  /** Where the list keeps it; -1 when it is not in the list. The list's own. */
  deadlineIndex: number;
  onDeadline(): void;
}

/** Holds the entries, and looks through them once a tick. */
export class Deadlines {
  /** Milliseconds since the process started, as of the last tick. */
  now = performance.now();
  private readonly entries: DeadlineEntry[] = [];

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

  /** Tells every entry whose instant has passed; an entry may remove itself and others meanwhile. */
  tick(now: number): void {
    this.now = now;
    for (let i = this.entries.length - 1; i >= 0; i--) {
      const entry = this.entries[i];
      if (entry === undefined || entry.deadlineAt > now) continue;
      entry.deadlineAt = Number.POSITIVE_INFINITY;
      entry.onDeadline();
    }
  }
}
