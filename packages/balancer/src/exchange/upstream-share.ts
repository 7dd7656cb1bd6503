/** Counts what has come of a request's body and waits for an upstream that does not take it: reads come whole, however little is wanted. */
import type { BufferBudget } from "./buffer-budget.js";

/** Never refused, in bytes: any upstream may be late by so much. */
const FREE_BYTES = 16_384;

export class UpstreamShare {
  private taken = 0;

  constructor(private readonly budget: BufferBudget) {}

  /** So much waits now; false: all clients together have too much waiting. */
  count(waitingBytes: number): boolean {
    const more = Math.max(0, waitingBytes - FREE_BYTES) - this.taken;
    if (more < 0) this.budget.give(-more);
    else if (more > 0 && !this.budget.take(more)) return false;
    this.taken += more;
    return true;
  }
}
