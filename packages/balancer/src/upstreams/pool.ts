/** A pool: its upstreams, from which picking.ts picks one for a request, and the queue of requests that wait while all are full. */
import type { PolicyName } from "@paceline/wire";
import type { Compression } from "../coding/compression.js";
import type { ErrorPages } from "../routing/local-response.js";
import { Handful, processors } from "./handful.js";
import type { Hedging } from "./hedging.js";
import { takeTurns } from "./out-of-turn.js";
import type { Pace } from "./pace.js";
import { Picking, type Policy } from "./picking.js";
import { type PendingRequest, RequestQueue } from "./request-queue.js";
import { RetryBudget } from "./retry-budget.js";
import { markStalled } from "./stall-watch.js";
import type { Upstream } from "./upstream.js";

/** The share of busy upstreams is averaged over about this many ticks. */
const BUSY_OVER_TICKS = 8;

export class Pool extends Picking {
  readonly requestQueue: RequestQueue<PendingRequest>;
  /** Whether the pool gets whole connections instead of requests. */
  isTcp = false;
  /** Whether the pool also gets TRACE requests, and absolute targets unchanged. */
  takesAllRequests = false;
  /** Whether responses of the pool may name files of internal pools. */
  sendsFiles = false;
  /** The name of its policy in the registry. */
  policyName: PolicyName = "round-robin";
  /** How many of its requests may be sent again. */
  readonly retries = new RetryBudget();
  /** Set if late requests are also sent to a second upstream. */
  hedging: Hedging | undefined;
  private paceOf: readonly Pace[] = [];
  /** The number of requests whose body is being collected. */
  receiving = 0;
  /** The number of spooled responses whose upstream has finished. */
  sending = 0;
  /** The error pages of the pool. Undefined: the balancer's own responses are a line of text. */
  errorPages: ErrorPages | undefined;
  /** Undefined: its responses are not compressed. */
  compression: Compression | undefined;
  /** How long its upstreams may go without sending response data, in milliseconds. */
  responseTimeoutMs = Number.POSITIVE_INFINITY;
  /** How long an upstream may take for an abandoned request before the supervisor kills its process, in milliseconds. */
  requestTimeoutMs = Number.POSITIVE_INFINITY;
  /** For how many ticks a stalled upstream keeps its sticky clients. */
  patienceTicks = 0;
  /** Sums over the ticks since the last report. */
  private load = { ticks: 0, inFlight: 0, waiting: 0, finished: 0 };
  /** Whether an upstream is expected soon, if there is none. */
  private isAwaited = false;
  constructor(
    readonly name: string,
    /** The caller calls `setMembers` after a change. */
    policy: Policy<Upstream>,
    maxQueue: number,
    /** How many instances can run at once. Default: the number of CPUs. */
    private readonly runsAtOnce?: number,
  ) {
    super(policy);
    this.requestQueue = new RequestQueue<PendingRequest>(maxQueue);
  }

  /** Whether no upstream may get requests, and none is expected soon. */
  get isDown(): boolean {
    return this.inTurn.length === 0 && !this.isAwaited;
  }

  /** @param isAwaited whether an upstream is expected soon, if there is none */
  setMembers(upstreams: readonly Upstream[], isAwaited = false): void {
    this.upstreams = upstreams;
    this.isAwaited = isAwaited;
    this.paceOf = upstreams.map(({ pace }) => pace);
    this.isForeign = upstreams.some((upstream) => upstream.isForeign);
    this.isBatched = upstreams.every((upstream) => upstream.isBatched);
    this.handful =
      this.isBatched && upstreams.length > 1
        ? (this.handful ?? new Handful(this.runsAtOnce ?? processors()))
        : undefined;
    this.turnsChanged();
  }

  /** Called when the members, their weights or their reasons to be out of turn have changed. */
  turnsChanged(): void {
    this.inTurn = takeTurns(this.upstreams);
    this.busy = undefined;
    const { inTurn, requestQueue, sticky } = this;
    this.isWeighted =
      inTurn.some(({ weight }) => weight !== inTurn[0]?.weight) && inTurn.some(({ isCanary }) => isCanary);
    this.policy.rebuild(inTurn);
    // The clients of a slot that is out of turn move to another slot, as if its process had exited.
    sticky?.rebuild(inTurn);
    // Limits the clients of one slot, so that they leave room for the others.
    requestQueue.maxAtHome = Math.ceil(requestQueue.maxPending / Math.max(1, sticky?.size ?? 1));
    this.releaseHomes();
    if (!this.isDown) return this.serveQueue();
    requestQueue.serve((pending) => () => pending.onPoolDown());
  }

  /** Moves the pending requests of slots without a process to other slots. */
  private releaseHomes(): void {
    this.tried = undefined;
    const lost = this.requestQueue.takeHomes((home) => this.sticky?.processOf(home, this.mayServeHome) !== undefined);
    for (const pending of lost) pending.onHomeLost();
  }

  /** Reassigns requests that wait behind long ones of other balancers while another upstream is free. */
  reassignHeld(): void {
    for (const upstream of this.inTurn)
      if (upstream.waitsBehindHeld && this.pick([upstream], true) !== undefined) upstream.reassignWaiting();
  }

  /**
   * Picks another upstream for a request that is late at `first`. Returns undefined if no upstream has room, or if requests wait for one.
   */
  pickBeside(first: Upstream): Upstream | undefined {
    if (this.requestQueue.length > 0 || this.sticky !== undefined) return undefined;
    return this.pick([first, ...this.inTurn.filter(({ pace }) => pace.isOutlier)], true);
  }

  /**
   * Sends the request that has waited longest to an instance whose window is full. Called when the queue is full too, or when the request's
   * deadline has passed. Returns false if there is no request, or no room for it.
   */
  relieve(): boolean {
    if (this.work.window === Number.POSITIVE_INFINITY) return false;
    let isServed = false;
    this.isRelieving = true;
    this.requestQueue.serve((pending) => {
      const upstream = isServed || pending.home !== 0 ? undefined : this.pick(pending.tried, pending.isIdempotent);
      if (upstream === undefined) return undefined;
      isServed = true;
      return () => pending.onUpstreamFree(upstream);
    });
    this.isRelieving = false;
    return isServed;
  }

  /**
   * If others responded, marks upstreams that sent nothing for `stallTicks` ticks as stalled, and reassigns their requests that have not
   * started. Returns false if no work is in progress and no upstream is stalled.
   * @param weight the weight of this tick: 1, or less if the tick was late
   */
  markStalled(stallTicks: number, weight: number): boolean {
    const patienceTicks = Math.max(stallTicks, this.patienceTicks);
    const inTurn = this.inTurn.length;
    const { isBusy, stalled, fresh } = markStalled(this.upstreams, { stallTicks, patienceTicks, weight, inTurn });
    if (stalled !== this.stalled) this.policy.forget?.();
    this.stalled = stalled;
    // All stalled upstreams are marked first, so that a request is not reassigned to another of them.
    for (const upstream of fresh) upstream.reassign();
    if (fresh.length > 0 && this.sticky !== undefined) this.releaseHomes();
    return isBusy || this.stalled > 0;
  }

  /** Called at a tick: counts the requests in this pool, and finds upstreams that take much longer than the others. */
  countLoad(): void {
    const { load } = this;
    let waiting = this.requestQueue.length;
    let inFlight = waiting;
    let finished = 0;
    let idle = 0;
    const { outliers } = this.paces;
    for (const upstream of this.inTurn) if (upstream.isIdle) idle++;
    this.busyShare += (1 - idle / Math.max(1, this.inTurn.length) - this.busyShare) / BUSY_OVER_TICKS;
    for (const upstream of this.upstreams) {
      inFlight += upstream.inFlight;
      waiting += upstream.notStarted;
      finished += upstream.takeFinished();
      upstream.beginPeriod();
    }
    this.paces.findOutliers(this.paceOf, finished, performance.now());
    const isQuiet = idle === this.inTurn.length && finished === 0;
    if (isQuiet || outliers !== this.paces.outliers) this.policy.forget?.();
    load.finished += finished;
    load.ticks++;
    load.inFlight += inFlight;
    load.waiting += waiting;
  }

  /** Returns the mean load since the last call; undefined if there was none. */
  takeLoad(): { inFlight: number; waiting: number; finished: number } | undefined {
    const { ticks, inFlight, waiting, finished } = this.load;
    this.load = { ticks: 0, inFlight: 0, waiting: 0, finished: 0 };
    if (inFlight === 0 && finished === 0) return undefined;
    const mean = (sum: number) => Math.round((100 * sum) / ticks) / 100;
    return { inFlight: mean(inFlight), waiting: mean(waiting), finished };
  }

  serveQueue(): void {
    const { requestQueue } = this;
    if (requestQueue.length === 0) return;
    const now = requestQueue.clock();
    requestQueue.serve((pending) => {
      this.waitedMs = now - (pending.since ?? now);
      const upstream = pending.home === 0 ? this.pick(pending.tried, pending.isIdempotent) : this.pickAtHome(pending);
      this.waitedMs = 0;
      return upstream === undefined ? undefined : () => pending.onUpstreamFree(upstream);
    });
  }

  private pickAtHome({ home, tried, isIdempotent }: PendingRequest): Upstream | undefined {
    this.tried = tried;
    const upstream = this.sticky?.processOf(home, this.mayServeHome);
    return upstream?.isAvailable(isIdempotent) === true ? upstream : undefined;
  }
}
