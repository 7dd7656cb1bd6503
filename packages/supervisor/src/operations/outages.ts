/** Reports problems that have no other event: a pool that no longer serves, and a log or state that cannot be written. */
import type { LogStatus } from "../control/api.js";
import type { Fleet } from "../core/fleet.js";
import { slotServes, unservedReason } from "../core/serving.js";
import type { EventLog } from "../logs/event-log.js";

interface OutageSources {
  log: Pick<EventLog, "event">;
  fleet(): Fleet;
  /** Whether the fleet has started and is not stopping. */
  isRunning(): boolean;
  getsRequests(pool: string): boolean;
  problem(): string | null;
  logStatus(): LogStatus | null;
}

const LOOK_EVERY_MS = 5_000;

export class Outages {
  /** The pools that are down, and since when, by performance.now(). */
  private readonly down = new Map<string, number>();
  private readonly wasUp = new Set<string>();
  private problem: string | null = null;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly sources: OutageSources) {
    this.timer = setInterval(() => this.lookAtDisk(), LOOK_EVERY_MS);
    this.timer.unref();
  }

  /** Called after each change of the fleet. */
  observe(): void {
    const { sources, down, wasUp } = this;
    if (!sources.isRunning()) return;
    for (const pool of sources.fleet().pools) {
      if (!sources.getsRequests(pool.name)) continue;
      const reason = unservedReason(pool);
      if (reason === undefined) {
        const since = down.get(pool.name);
        down.delete(pool.name);
        // A pool that was scaled to 0 serves nobody, which is what the operator wants.
        if (!pool.slots.some(slotServes)) continue;
        wasUp.add(pool.name);
        if (since === undefined) continue;
        const seconds = Math.round((performance.now() - since) / 100) / 10;
        sources.log.event("info", pool.name, `serves requests again, after ${seconds} s`, "pool-up");
      } else if (wasUp.has(pool.name) && !down.has(pool.name)) {
        down.set(pool.name, performance.now());
        sources.log.event("error", pool.name, reason.slice(pool.name.length + 1), "pool-down");
      }
    }
  }

  private lookAtDisk(): void {
    const { log, logStatus, problem } = this.sources;
    const ofLog = logStatus()?.problem ?? null;
    const now = problem() ?? (ofLog === null ? null : `the log cannot be written: ${ofLog}`);
    if (now === this.problem) return;
    const isNew = this.problem === null;
    this.problem = now;
    if (now !== null && isNew) log.event("error", "paceline", now, "disk");
  }

  close(): void {
    clearInterval(this.timer);
  }
}
