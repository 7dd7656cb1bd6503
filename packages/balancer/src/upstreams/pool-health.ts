/** Ejects the upstreams of a pool that are worse than the others, readmits them, and increases the share of new ones in steps. */
import type { SnapshotPool } from "@paceline/wire";
import { RETRY_BUDGET } from "@paceline/wire/limits";
import { EjectionBook, findFault, maxEjected } from "./ejection.js";
import { OutOfTurn } from "./out-of-turn.js";
import { moveAfterMs, UsualTime } from "./pace.js";
import type { Pool } from "./pool.js";
import type { Upstream } from "./upstream.js";
import { PoolVitals, Vitals } from "./vitals.js";

/** How often failure rates are compared, in milliseconds. */
const COMPARE_EVERY_MS = 1000;
/** Up to this multiple of the rule's failures, each further failure is examined. */
const CLOSE_LOOKS = 4;
/** The minimum time between two reports of an exhausted retry budget, in milliseconds. */
const REPORT_EVERY_MS = 60_000;
/** The steps of a slow start: the policy is rebuilt at each. */
const START_STEPS = 10;

interface HealthOptions {
  /** An upstream from which nothing arrives for this long counts as stalled, in milliseconds. */
  stallAfterMs: number;
  /** The clock of the data path. */
  clock: { readonly now: number; readonly current: number };
  /** Called when an upstream was ejected or readmitted. */
  onChange(): void;
  /** Receives a line for the operator. */
  onNotice(message: string): void;
}

/** The reasons to be out of turn that this file decides. */
export const HEALTH_REASONS = OutOfTurn.UNHEALTHY | OutOfTurn.FAILS_CHECKS;
/** A pool without automatic ejection can still have upstreams whose checks fail. */
const DEFAULT_PERCENT = { maxEjectedPercent: 50 };

/**
 * Whether the upstream is out of turn, whether or not others are. A backup does not count as out of turn, because it serves when the others
 * are out.
 */
function isOutAnyway({ reasons }: Upstream): boolean {
  return (reasons & ~(OutOfTurn.UNHEALTHY | OutOfTurn.BACKUP)) !== 0;
}

export class PoolHealth {
  private upstreams: readonly Upstream[] = [];
  private readonly times = new UsualTime();
  private readonly vitals = new PoolVitals();
  private book: EjectionBook<Upstream> | undefined;
  private slowStartMs = 0;
  /** When the shares of upstreams in a slow start began to grow. */
  private readonly starts = new Map<Upstream, number>();
  /** Whether ejection is suspended for a deploy, which compares the upstreams itself and needs their requests. */
  private isSuspended = false;
  private isLookDue = false;
  private comparedAt: number;
  /** The sum of the upstreams' `requestsTotal` at `comparedAt`. */
  private sent = 0;
  /** The number of requests that the retry budget has refused since the last report. */
  private refused = 0;
  /** The number of ejections so far. */
  private ejections = 0;
  private reportedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly pool: Pool,
    private readonly options: HealthOptions,
  ) {
    this.comparedAt = options.clock.now;
  }

  /** Follows a snapshot, before the pool does. */
  follow(
    { ejection, slowStartMs = 0, retryBudget, judged = false, upstreams: described }: SnapshotPool,
    upstreams: readonly Upstream[],
  ): void {
    const former = this.upstreams;
    this.upstreams = upstreams;
    this.isSuspended = judged;
    this.slowStartMs = slowStartMs;
    this.pool.retries.follow(retryBudget ?? RETRY_BUDGET);
    this.sent = this.sentInAll();
    if (ejection === undefined) this.forgetAll();
    else {
      this.book ??= new EjectionBook<Upstream>(ejection, isOutAnyway);
      this.book.rule = ejection;
      this.book.follow(upstreams);
      for (const upstream of upstreams) upstream.vitals ??= this.vitalsOf(upstream);
    }
    this.readmitWanted(described, upstreams);
    this.applyChecks();
    // If many checks fail, some of these upstreams still get requests. How many fail their checks decides which ones.
    if (upstreams.some(({ failsChecks }) => failsChecks)) this.options.onChange();
    for (const upstream of former) if (!upstreams.includes(upstream)) upstream.vitals?.end();
    for (const upstream of this.starts.keys()) if (!upstreams.includes(upstream)) this.starts.delete(upstream);
    for (const upstream of upstreams) {
      if (former.includes(upstream)) continue;
      upstream.vitals?.reset();
      this.begin(upstream);
    }
    this.step();
  }

  /**
   * Applies an operator's `readmit`: ends the ejection of each upstream whose counter of readmits has grown since the last snapshot.
   * @param described in the order of the upstreams
   */
  private readmitWanted(described: SnapshotPool["upstreams"], upstreams: readonly Upstream[]): void {
    let hasChanged = false;
    for (const [at, { readmits = 0 }] of described.entries()) {
      const upstream = upstreams[at] as Upstream;
      if (readmits > upstream.readmits && this.book?.end(upstream, this.options.clock.now) === true) {
        this.putBack(upstream);
        this.begin(upstream);
        hasChanged = true;
      }
      upstream.readmits = readmits;
    }
    if (hasChanged) this.options.onChange();
  }

  private forgetAll(): void {
    this.book = undefined;
    this.pool.work.moveAfterMs = Number.POSITIVE_INFINITY;
    for (const upstream of this.upstreams) {
      upstream.vitals?.end();
      upstream.vitals = undefined;
      if (upstream.ejection !== undefined) this.putBack(upstream);
    }
  }

  private vitalsOf(upstream: Upstream): Vitals {
    return new Vitals(this.options.clock, this.times, this.vitals, (row) => {
      const { failures = 0 } = this.book?.rule ?? {};
      // If every request fails, not every failure is compared: a comparison runs every second anyway.
      if (failures === 0 || row < failures || (row > CLOSE_LOOKS * failures && row % failures !== 0)) return;
      if (upstream.ejection !== undefined || this.isLookDue) return;
      this.isLookDue = true;
      // Deferred, because other requests may then start, which must not happen within the request that failed.
      setImmediate(() => {
        this.isLookDue = false;
        if (this.compare()) this.changed();
      });
    });
  }

  /** Called at each tick. */
  tick(): void {
    const { now } = this.options.clock;
    let hasChanged = false;
    for (const upstream of this.book?.readmit(now) ?? []) {
      this.putBack(upstream);
      this.begin(upstream);
      hasChanged = true;
    }
    // After a readmission, another upstream may be taken out.
    if (this.applyChecks()) hasChanged = true;
    const hasStepped = this.step();
    const passedMs = now - this.comparedAt;
    if (passedMs >= COMPARE_EVERY_MS) {
      this.comparedAt = now;
      const sent = this.sentInAll();
      this.pool.retries.earn(Math.max(0, sent - this.sent), passedMs / 1000);
      this.pool.hedging?.earn(sent - this.sent, passedMs / 1000);
      this.sent = sent;
      this.reportBudget();
      if (this.compare()) hasChanged = true;
      this.decay(passedMs);
    }
    if (hasChanged) this.changed();
    else if (hasStepped) this.pool.turnsChanged();
  }

  private changed(): void {
    this.pool.turnsChanged();
    this.options.onChange();
  }

  private reportBudget(): void {
    this.refused += this.pool.retries.takeRefused();
    const { now } = this.options.clock;
    if (this.refused === 0 || now < this.reportedAt + REPORT_EVERY_MS) return;
    this.options.onNotice(
      `the retry budget of ${this.pool.name} is used up: ${this.refused} requests that failed at an instance got 502 and were not sent to another instance; if more follow, an event in a minute has their number`,
    );
    this.reportedAt = now;
    this.refused = 0;
  }

  private sentInAll(): number {
    let sent = 0;
    for (const { requestsTotal } of this.upstreams) sent += requestsTotal;
    return sent;
  }

  private decay(passedMs: number): void {
    if (this.book === undefined) return;
    const kept = Math.exp(-passedMs / Math.max(1, this.book.rule.windowMs));
    for (const { vitals } of this.upstreams) vitals?.decay(kept);
    this.vitals.decay(kept);
    const { pool, times } = this;
    // With an exact order, or without another upstream, the upstream stays in turn.
    const hasOthers = !pool.isExact && this.upstreams.some(({ isOutOfTurn }, at) => at > 0 && !isOutOfTurn);
    pool.work.moveAfterMs = hasOthers ? moveAfterMs(times.p95Ms, this.options.stallAfterMs) : Number.POSITIVE_INFINITY;
    times.decay(kept);
  }

  /** Ejects the upstreams that are worse than the others. Returns whether there were any. */
  private compare(): boolean {
    const { book, isSuspended } = this;
    if (book === undefined || isSuspended || maxEjected(this.upstreams.length, book.rule) === 0) return false;
    const { now } = this.options.clock;
    let inTurn = this.upstreams.flatMap((upstream) =>
      upstream.reasons === 0 && upstream.vitals !== undefined ? [{ upstream, seen: upstream.vitals }] : [],
    );
    let hasChanged = false;
    for (const each of inTurn) {
      const others = inTurn.filter((other) => other !== each).map(({ seen }) => seen);
      const reason = findFault(each.seen, others, book.rule);
      const forMs = reason === undefined ? 0 : book.eject(each.upstream, now);
      if (reason === undefined || forMs === 0) continue;
      each.upstream.ejection = { reason, number: ++this.ejections, until: now + forMs };
      each.upstream.putOut(OutOfTurn.UNHEALTHY);
      each.upstream.vitals?.end();
      this.starts.delete(each.upstream);
      inTurn = inTurn.filter((other) => other !== each);
      hasChanged = true;
    }
    return hasChanged;
  }

  /** Takes upstreams whose checks fail out of turn, unless too many are out. Returns whether something has changed. */
  private applyChecks(): boolean {
    const { upstreams, book } = this;
    const most = maxEjected(upstreams.length, book?.rule ?? DEFAULT_PERCENT);
    let out = 0;
    for (const { reasons } of upstreams) if ((reasons & ~(OutOfTurn.FAILS_CHECKS | OutOfTurn.BACKUP)) !== 0) out++;
    let hasChanged = false;
    for (const upstream of upstreams) {
      const { failsChecks, reasons } = upstream;
      const isOut = (reasons & ~(OutOfTurn.FAILS_CHECKS | OutOfTurn.BACKUP)) !== 0;
      if (!failsChecks && (reasons & OutOfTurn.FAILS_CHECKS) !== 0) this.begin(upstream);
      const mayBeOut = failsChecks && (isOut || out++ < most);
      if (mayBeOut ? upstream.putOut(OutOfTurn.FAILS_CHECKS) : upstream.putBack(OutOfTurn.FAILS_CHECKS))
        hasChanged = true;
    }
    return hasChanged;
  }

  private putBack(upstream: Upstream): void {
    upstream.ejection = undefined;
    upstream.putBack(OutOfTurn.UNHEALTHY);
    upstream.vitals?.reset();
  }

  /** Starts to increase the share of an upstream. */
  private begin(upstream: Upstream): void {
    if (this.slowStartMs > 0) this.starts.set(upstream, this.options.clock.now);
  }

  /** Advances the growing shares. Returns whether one has changed. */
  private step(): boolean {
    const { slowStartMs, starts } = this;
    let hasChanged = false;
    for (const [upstream, since] of starts) {
      const passed = slowStartMs === 0 ? 1 : (this.options.clock.now - since) / slowStartMs;
      const step = Math.min(START_STEPS, Math.max(1, Math.floor(passed * START_STEPS)));
      const before = upstream.weight;
      upstream.setStartFactor(step / START_STEPS);
      if (upstream.weight !== before) hasChanged = true;
      if (step === START_STEPS) starts.delete(upstream);
    }
    return hasChanged;
  }
}
