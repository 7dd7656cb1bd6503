/** One wait in a pool's queue; an exchange serves many requests, and each wait must end with its own. */
import type { PoolWaiter } from "./pool.js";
import type { Upstream } from "./upstream.js";

/** Who waits. */
export interface Waiting {
  readonly tried: readonly Upstream[] | undefined;
  readonly isIdempotent: boolean;
  onUpstreamFree(upstream: Upstream): void;
  onPoolDown(): void;
}

export class PendingRequest implements PoolWaiter {
  isWaiting = true;
  order = 0;

  constructor(private readonly waiting: Waiting) {}

  get tried(): readonly Upstream[] | undefined {
    return this.waiting.tried;
  }

  get isIdempotent(): boolean {
    return this.waiting.isIdempotent;
  }

  /** The wait is over, however it ended; the queue passes over this place. */
  giveUp(): void {
    this.isWaiting = false;
  }

  onUpstreamFree(upstream: Upstream): void {
    this.waiting.onUpstreamFree(upstream);
  }

  onPoolDown(): void {
    this.waiting.onPoolDown();
  }
}
