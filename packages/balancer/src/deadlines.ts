/** One coarse clock for all deadlines of the data path, without timers per connection or request. */
import { RunningTime } from "@paceline/wire";

/** How often deadlines are checked, in milliseconds; the maximum delay of a deadline. */
export const TICK_MS = 100;

/** Something with a deadline. */
interface DeadlineEntry {
  /** In milliseconds of `Deadlines.now`; Infinity: none. */
  deadlineAt: number;
  /** The entry's position in the list, which the list maintains; -1 if the entry is not in it. */
  deadlineIndex: number;
  onDeadline(): void;
}

/**
 * Holds entries and checks their deadlines on each tick. A pause of this process does not count as time, so that pending input is read
 * first and no peer is blamed for the pause.
 */
export class Deadlines extends RunningTime {
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

  /** Calls `onDeadline` of entries that are due, which may remove themselves and others. After a pause, waits for the next tick. */
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
