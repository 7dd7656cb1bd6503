/** Watches for upstreams that stall, in ticks while work is in progress. */
import type { Pool } from "./pool.js";

/** How often silence is checked while work is in progress, in milliseconds. */
export const STALL_TICK_MS = 16;

/** A tick that comes later than this after the previous one is late, in milliseconds. */
const LATE_AFTER_MS = 1.5 * STALL_TICK_MS;
/** The weight of a late tick: what delays the balancer also delays the instances. */
const LATE_WEIGHT = 1 / 8;

/**
 * Counts silence in its own ticks rather than in time: between two ticks all pending input was read, so a balancer that was off
 * the CPU does not mistake its own pause for silence.
 */
export class StallWatch {
  private timer: NodeJS.Timeout | undefined;
  private tickedAtMs = 0;
  private readonly stallTicks: number;

  /** @param stallAfterMs milliseconds of silence; @param pools returns the pools at each tick. */
  constructor(
    stallAfterMs: number,
    private readonly pools: () => Iterable<Pool>,
  ) {
    this.stallTicks = Math.max(2, Math.ceil(stallAfterMs / STALL_TICK_MS));
  }

  /** Called when work is in progress. */
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
