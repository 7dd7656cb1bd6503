/** Counts how many requests of an upstream have failed recently, at little cost for each response. */
import type { Counts, Seen } from "./ejection.js";
import type { UsualTime } from "./pace.js";
import type { UpstreamLoss } from "./upstream-client.js";

/** Requests that are lost within this time, in milliseconds, were probably lost together with one connection. */
const TOGETHER_MS = 100;

/** Whether a loss is the upstream's fault, as opposed to a choice of the balancer or a coincidence. */
const IS_FAILURE: Record<UpstreamLoss, boolean> = {
  refused: true,
  closed: true,
  fatal: true,
  bystander: true,
  behindAbandoned: true,
  broken: true,
  notStarted: false,
  staleConnection: false,
  stalled: false,
  behindStalled: false,
};

/** The counts of all upstreams of a pool, to compare one upstream with the others. */
export class PoolVitals {
  requests = 0;
  failures = 0;
  /** The upstreams that have failed since their last success. */
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
  /** The counts of the others since the first of its consecutive failures, until now. `besideRow` ends with the last failure. */
  private readonly since: Counts = { requests: 0, failures: 0 };
  private rowBegan = 0;
  /** The counts of the pool when this upstream started to count. */
  private readonly before: Counts = { requests: 0, failures: 0 };
  /** An ejected upstream is not counted among those that fail. */
  private isOut = false;
  private lostAt = Number.NEGATIVE_INFINITY;

  /**
   * @param times the response times of its pool
   * @param onRow called at each consecutive failure after the first one, with their number
   */
  constructor(
    private readonly clock: { readonly now: number; readonly current: number },
    private readonly times: UsualTime,
    private readonly pool: PoolVitals,
    private readonly onRow: (row: number) => void,
  ) {
    setCounts(this.before, pool);
  }

  /** Returns the other upstreams' requests since this upstream started to count. */
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

  /**
   * Counts a request in the comparison with the other upstreams that fail. A success counts if it started after their first failure,
   * because it shows that only they fail.
   */
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

  /** Called when it is ejected or has left: it is not compared until it starts again. */
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

  /**
   * Forgets a part of the counts.
   * @param kept the part that stays, from 0 to 1
   */
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
