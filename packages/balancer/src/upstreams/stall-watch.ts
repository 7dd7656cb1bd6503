/** Checks for upstreams that stall, in ticks while work is in progress. */
import type { Upstream } from "./upstream.js";

/** A pool. `markStalled` marks the upstreams that stall, and returns false if no work is in progress and none is stalled. */
interface WatchedPool {
  markStalled(stallTicks: number, weight: number): boolean;
}

/** How often upstreams are checked for stalls while work is in progress, in milliseconds. */
export const STALL_TICK_MS = 16;

/** A tick is late if it comes more than this time after the previous one, in milliseconds. */
const LATE_AFTER_MS = 1.5 * STALL_TICK_MS;
/** The weight of a late tick: a delay of the balancer also affects the instances. */
const LATE_WEIGHT = 1 / 8;

/**
 * If others responded, marks the upstreams of a pool that sent nothing for `stallTicks` ticks as stalled.
 * @param patienceTicks for how many ticks a stalled upstream keeps its sticky clients
 * @param weight the weight of this tick: 1, or less if the tick was late
 * @param inTurn how many of the upstreams are in turn
 */
export function markStalled(
  upstreams: readonly Upstream[],
  { stallTicks, patienceTicks, weight, inTurn }: Record<"stallTicks" | "patienceTicks" | "weight" | "inTurn", number>,
): { isBusy: boolean; stalled: number; fresh: Upstream[] } {
  let isBusy = false;
  let atLimit = 0;
  for (const upstream of upstreams) {
    // An upstream that is out of turn could not take requests of the others.
    if (upstream.countStall(weight) >= stallTicks && !upstream.isOutOfTurn) atLimit++;
    if (upstream.inFlight > 0) isBusy = true;
  }
  const fresh: Upstream[] = [];
  let stalled = 0;
  for (const upstream of upstreams) {
    const isStalled = atLimit < inTurn && upstream.stallCount >= stallTicks;
    const isStalledLong = isStalled && upstream.stallCount >= patienceTicks;
    if ((isStalled && !upstream.isStalled) || (isStalledLong && !upstream.isStalledLong)) fresh.push(upstream);
    upstream.isStalled = isStalled;
    upstream.isStalledLong = isStalledLong;
    if (isStalled) stalled++;
  }
  return { isBusy, stalled, fresh };
}

/**
 * Counts ticks instead of time. All pending input is read between two ticks. So a balancer that got no CPU for a while does not mistake its
 * own pause for a stall.
 */
export class StallWatch {
  private timer: NodeJS.Timeout | undefined;
  private tickedAtMs = 0;
  private readonly stallTicks: number;

  /**
   * @param stallAfterMs milliseconds without a sign of life
   * @param pools returns the pools at each tick
   */
  constructor(
    stallAfterMs: number,
    private readonly pools: () => Iterable<WatchedPool>,
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
    for (const pool of this.pools()) if (pool.markStalled(this.stallTicks, weight)) isBusy = true;
    if (isBusy) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }
}
