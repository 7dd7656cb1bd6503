/** Finds upstreams of which nothing is heard while others of their pool answer. */
import type { Pool } from "../pool.js";

/** How often silence is looked at while work is under way, in milliseconds. */
export const STALL_TICK_MS = 16;

/**
 * Counts silence in ticks of its own and not in time: between two ticks lies a pass in which everything that had come was
 * read, so a balancer that was itself off the CPU does not take its own absence for theirs.
 */
export class StallWatch {
  private timer: NodeJS.Timeout | undefined;
  private readonly silentTicks: number;

  /** @param stallAfterMs milliseconds of silence; @param pools asked at each tick. */
  constructor(
    stallAfterMs: number,
    private readonly pools: () => Iterable<Pool>,
  ) {
    this.silentTicks = Math.max(2, Math.ceil(stallAfterMs / STALL_TICK_MS));
  }

  /** Work is under way. */
  wake(): void {
    this.timer ??= setInterval(() => this.tick(), STALL_TICK_MS);
  }

  private tick(): void {
    let isBusy = false;
    for (const pool of this.pools()) if (pool.judge(this.silentTicks)) isBusy = true;
    if (isBusy) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
