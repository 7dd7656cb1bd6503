/** How many requests of an upstream have failed lately. Cheap enough for every response. */
import type { Counts, Seen } from "./health.js";
import type { UsualTime } from "./pace.js";
import type { UpstreamLoss } from "./upstream-client.js";

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

/** What the upstreams of a pool have done together, for the comparison of one with the others. */
export class PoolVitals {
  requests = 0;
  failures = 0;
  /** Those that have failed since their last success. */
  readonly failing: Vitals[] = [];

  decay(kept: number): void {
    this.requests *= kept;
    this.failures *= kept;
  }
}

export class Vitals implements Seen {
  requests = 0;
  failures = 0;
  row = 0;
  readonly besideRow: Counts = { requests: 0, failures: 0 };
  /** The others since the first failure of the row, until now. `besideRow` ends with the last failure. */
  private readonly since: Counts = { requests: 0, failures: 0 };
  private rowBegan = 0;
  /** What its pool had done when this one started to count. */
  private readonly before: Counts = { requests: 0, failures: 0 };
  /** An ejected one fails no longer beside the others. */
  private isOut = false;
  private lostAt = Number.NEGATIVE_INFINITY;

  /** @param times those of its pool; @param onRow called at each failure after the first in a row, with their number */
  constructor(
    private readonly clock: { readonly now: number; readonly current: number },
    private readonly times: UsualTime,
    private readonly pool: PoolVitals,
    private readonly onRow: (row: number) => void,
  ) {
    setCounts(this.before, pool);
  }

  /** Returns the others' requests since this one started to count. */
  get beside(): Counts {
    const { pool, before } = this;
    return {
      requests: Math.max(0, pool.requests - before.requests - this.requests),
      failures: Math.max(0, pool.failures - before.failures - this.failures),
    };
  }

  /** Counts a finished response. */
  countResponse(status: number, milliseconds: number): void {
    // An upgraded connection lasts as long as its client wants.
    if (status !== 101) this.times.add(milliseconds);
    this.count(status >= 500, milliseconds);
  }

  /** Counts a request without a complete response. */
  lost(loss: UpstreamLoss): void {
    if (!IS_FAILURE[loss]) return;
    const { now } = this.clock;
    if (now - this.lostAt < TOGETHER_MS) return;
    this.lostAt = now;
    this.count(true, 0);
  }

  private count(isFailure: boolean, milliseconds: number): void {
    const { pool } = this;
    this.requests++;
    pool.requests++;
    if (pool.failing.length > 0 && !this.isOut) this.countBeside(isFailure, milliseconds);
    if (isFailure) this.failed();
    else if (this.row > 0) this.endRow();
  }

  /** Counts it for the others that fail. A success counts if it began after their first failure: it shows that only they fail. */
  private countBeside(isFailure: boolean, milliseconds: number): void {
    const began = isFailure ? Number.POSITIVE_INFINITY : this.clock.current - milliseconds;
    for (const each of this.pool.failing) {
      if (each === this || began <= each.rowBegan) continue;
      each.since.requests++;
      if (isFailure) each.since.failures++;
    }
  }

  private failed(): void {
    const { pool } = this;
    this.failures++;
    pool.failures++;
    if (++this.row > 1) {
      setCounts(this.besideRow, this.since);
      this.onRow(this.row);
    } else if (!this.isOut) {
      this.rowBegan = this.clock.current;
      pool.failing.push(this);
    }
  }

  private endRow(): void {
    const { failing } = this.pool;
    const at = failing.indexOf(this);
    if (at >= 0) failing.splice(at, 1);
    this.row = 0;
    setCounts(this.since, NOTHING);
    setCounts(this.besideRow, NOTHING);
  }

  /** It is ejected or has left: it is not compared until it starts again. */
  end(): void {
    this.endRow();
    this.isOut = true;
  }

  /** Starts again. */
  reset(): void {
    this.endRow();
    this.requests = this.failures = 0;
    setCounts(this.before, this.pool);
    this.isOut = false;
  }

  /** Forgets a part of what it knows. @param kept the part that stays, from 0 to 1 */
  decay(kept: number): void {
    this.requests *= kept;
    this.failures *= kept;
    for (const counts of [this.since, this.besideRow, this.before]) {
      counts.requests *= kept;
      counts.failures *= kept;
    }
  }
}

const NOTHING: Counts = { requests: 0, failures: 0 };

function setCounts(to: Counts, { requests, failures }: Counts): void {
  to.requests = requests;
  to.failures = failures;
}
