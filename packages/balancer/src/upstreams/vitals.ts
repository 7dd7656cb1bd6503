/** How many requests of an upstream have failed lately. Cheap enough for every response. */
import type { Seen } from "./health.js";
import type { UpstreamLoss } from "./upstream-client.js";
import type { UsualTime } from "./usual-time.js";

/** Requests that are lost within this time were probably lost together, with one connection. */
const TOGETHER_MS = 100;

/** Whether a loss is the upstream's fault, and not a choice of the balancer or a coincidence. */
const IS_FAILURE: Record<UpstreamLoss, boolean> = {
  refused: true,
  lost: true,
  fatal: true,
  bystander: true,
  behind: true,
  broken: true,
  notStarted: false,
  stale: false,
  stalled: false,
  freed: false,
};

export class Vitals implements Seen {
  requests = 0;
  failures = 0;
  row = 0;
  private lostAt = Number.NEGATIVE_INFINITY;

  /** @param times those of its pool; @param onRow called at each failure after the first in a row, with their number */
  constructor(
    private readonly clock: { readonly now: number },
    private readonly times: UsualTime,
    private readonly onRow: (row: number) => void,
  ) {}

  /** Counts a finished response. */
  answered(status: number, milliseconds: number): void {
    this.requests++;
    // An upgraded connection lasts as long as its client wants.
    if (status !== 101) this.times.add(milliseconds);
    if (status < 500) this.row = 0;
    else this.failed();
  }

  /** Counts a request without a complete response. */
  lost(loss: UpstreamLoss): void {
    if (!IS_FAILURE[loss]) return;
    const { now } = this.clock;
    if (now - this.lostAt < TOGETHER_MS) return;
    this.lostAt = now;
    this.requests++;
    this.failed();
  }

  private failed(): void {
    this.failures++;
    if (++this.row > 1) this.onRow(this.row);
  }

  /** Starts again. */
  reset(): void {
    this.requests = this.failures = this.row = 0;
  }

  /** Forgets a part of what it knows. @param kept the part that stays, from 0 to 1 */
  decay(kept: number): void {
    this.requests *= kept;
    this.failures *= kept;
  }
}
