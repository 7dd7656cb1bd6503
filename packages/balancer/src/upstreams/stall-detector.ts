/** Finds upstreams of which nothing is heard while others of their pool answer. */
import type { Pool } from "./pool.js";

/** How often silence is looked at while work is under way, in milliseconds. */
export const STALL_TICK_MS = 16;

/** A tick that comes later than this after the one before is late, in milliseconds. */
const LATE_AFTER_MS = 1.5 * STALL_TICK_MS;
/** What silence counts in a late tick: whoever keeps us from our turn keeps the instances from theirs as well. */
const LATE_WEIGHT = 1 / 8;

/**
 * Counts silence in ticks of its own and not in time: between two ticks lies a pass in which everything that had come was
 * read, so a balancer that was itself off the CPU does not take its own absence for theirs.
 */
export class StallWatch {
  private timer: NodeJS.Timeout | undefined;
  private tickedAtMs = 0;
  private readonly stallTicks: number;

  /** @param stallAfterMs milliseconds of silence; @param pools asked at each tick. */
  constructor(
    stallAfterMs: number,
    private readonly pools: () => Iterable<Pool>,
  ) {
    this.stallTicks = Math.max(2, Math.ceil(stallAfterMs / STALL_TICK_MS));
  }

  /** Work is under way. */
  wake(): void {
    if (this.timer !== undefined) return;
    this.tickedAtMs = performance.now();
    this.timer = setInterval(() => this.tick(), STALL_TICK_MS);
  }

  private tick(): void {
    const now = performance.now();
    const weight = now - this.tickedAtMs > LATE_AFTER_MS ? LATE_WEIGHT : 1;
    this.tickedAtMs = now;
    let isBusy = false;
    for (const pool of this.pools()) if (pool.judge(this.stallTicks, weight)) isBusy = true;
    if (isBusy) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
