/** Named timers, each set at most once. */

import { MAX_TIMER_MS } from "@paceline/wire/limits";

export class Timers {
  private readonly alarms = new Map<string, NodeJS.Timeout>();

  /** Calls `ring` at `at` by the monotonic clock. Replaces a timer of the same name. */
  set(name: string, at: number, ring: () => void): void {
    this.clear(name);
    const wait = () => {
      const left = at - performance.now();
      if (left > 0) {
        // A timer may fire slightly before or after the monotonic clock reaches its time.
        this.alarms.set(name, setTimeout(wait, Math.min(left, MAX_TIMER_MS)));
        return;
      }
      this.alarms.delete(name);
      ring();
    };
    this.alarms.set(name, setTimeout(wait, Math.min(Math.max(at - performance.now(), 0), MAX_TIMER_MS)));
  }

  clear(name: string): void {
    clearTimeout(this.alarms.get(name));
    this.alarms.delete(name);
  }

  clearAll(): void {
    for (const name of [...this.alarms.keys()]) this.clear(name);
  }
}
