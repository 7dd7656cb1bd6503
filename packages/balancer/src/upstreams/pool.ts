/** A pool's upstreams, the policy that picks among them, how much may wait at one of them, the queue of requests for which all are full, and the watch for upstreams that stall. */
import type { PolicyName } from "@paceline/wire";
import type { ErrorPages } from "../downstream/local-response.js";
import { takeTurns } from "./out-of-turn.js";
import { type PoolWaiter, RequestQueue } from "./request-queue.js";
import { RetryBudget } from "./retry-budget.js";
import type { Binding, Stickiness } from "./sticky.js";
import type { Upstream } from "./upstream.js";
import { WorkMeter } from "./work-meter.js";

/** Picks among candidates. A `Candidate` only needs a name that survives changes of membership. */
export interface Policy<Candidate extends { readonly name: string }> {
  /** The members have changed; not called on the request path. */
  rebuild(candidates: readonly Candidate[]): void;
  /** Returns the next candidate that may be picked, or undefined. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
  /** Whether it decides alone. Default: slow requests go to the upstream with the fewest in flight. */
  readonly decidesAlone?: true;
}

export class Pool {
  readonly requestQueue: RequestQueue<PoolWaiter>;
  /** Whether its upstreams have limited concurrency and must not wait for slow clients. */
  isLimited = false;
  /** Whether it also gets TRACE, and absolute targets unchanged. */
  takesAllRequests = false;
  /** Whether its responses may name files of internal pools. */
  sendsFiles = false;
  /** Its name in the registry. */
  policyName: PolicyName = "round-robin";
  /** Whether requests go strictly in turn, however busy an instance is. */
  isExact = false;
  /** What its requests cost its instances, as these report. */
  readonly work = new WorkMeter();
  /** How many of its requests may be sent again. */
  readonly retries = new RetryBudget();
  /** Requests whose body is being collected. */
  receiving = 0;
  /** Spooled responses whose upstream has finished. */
  sending = 0;
  /** Undefined: the balancer's own responses are a line of text. */
  errorPages: ErrorPages | undefined;
  /** How long its upstreams may go without sending response data. */
  responseTimeoutMs = Number.POSITIVE_INFINITY;
  /** Set if clients keep to a slot. */
  sticky: Stickiness<Upstream> | undefined;
  /** For how many ticks a stalled upstream keeps its sticky clients. */
  patienceTicks = 0;
  private upstreams: readonly Upstream[] = [];
  /** Those that may get new requests. */
  private inTurn: readonly Upstream[] = [];
  /** Sums over the ticks since the last report. */
  private load = { ticks: 0, inFlight: 0, waiting: 0, finished: 0 };
  /** Whether an upstream is expected soon, if there is none. */
  private isAwaited = false;
  private tried: readonly Upstream[] | undefined;
  private isIdempotent = true;
  /** How many requests may wait at an upstream for this pick. */
  private window = Number.POSITIVE_INFINITY;
  private readonly isFree = (upstream: Upstream): boolean =>
    upstream.isAvailable(this.isIdempotent) &&
    upstream.pending < this.window &&
    (this.tried === undefined || !this.tried.includes(upstream));
  private readonly mayServeHome = (upstream: Upstream): boolean =>
    !upstream.isStalledLong && (this.tried === undefined || !this.tried.includes(upstream));
  private readonly endsSoon = (upstream: Upstream): boolean =>
    upstream.endsSoon && (this.tried === undefined || !this.tried.includes(upstream));
  private readonly isFreeAndHeard = (upstream: Upstream): boolean => !upstream.isStalled && this.isFree(upstream);
  /** The fewest requests in flight at an upstream that may be picked, by its weight. */
  private fewest = 0;
  private readonly isLeastBusy = (upstream: Upstream): boolean =>
    upstream.inFlight / upstream.weight <= this.fewest && this.isFreeAndHeard(upstream);
  /** During a reload a slot has two processes, of which all its clients use the same; a canary has its own. */
  private readonly isFreeInSlot = (upstream: Upstream): boolean =>
    this.isFreeAndHeard(upstream) && this.sticky?.processOf(upstream.home, this.mayServeHome) === upstream;
  /** The number of stalled upstreams. */
  private stalled = 0;
  private isRelieving = false;
  /** Whether its upstreams are programs, which do not report what requests cost them. */
  private isForeign = false;
  /** Whether a canary gets its share, also if it is idle and the others are not. */
  private isWeighted = false;

  constructor(
    readonly name: string,
    private policy: Policy<Upstream>,
    maxQueue: number,
  ) {
    this.requestQueue = new RequestQueue<PoolWaiter>(maxQueue);
  }

  /** Picks by another policy from now on; `setMembers` follows. */
  usePolicy(policy: Policy<Upstream>): void {
    this.policy = policy;
  }

  /** Whether there is no upstream that may get requests, and none is expected soon. */
  get isDown(): boolean {
    return this.inTurn.length === 0 && !this.isAwaited;
  }

  /** @param isAwaited whether an upstream is expected soon, if there is none */
  setMembers(upstreams: readonly Upstream[], isAwaited = false): void {
    this.upstreams = upstreams;
    this.isAwaited = isAwaited;
    this.isForeign = upstreams.some((upstream) => upstream.isForeign);
    this.turnsChanged();
  }

  /** Called when the members, their weights or their reasons to be out of turn have changed. */
  turnsChanged(): void {
    this.inTurn = takeTurns(this.upstreams);
    const { inTurn } = this;
    this.isWeighted =
      inTurn.some(({ weight }) => weight !== inTurn[0]?.weight) && inTurn.some(({ isCanary }) => isCanary);
    this.policy.rebuild(inTurn);
    this.rebuildSlots();
    if (!this.isDown) return this.serveQueue();
    this.requestQueue.serve((waiter) => () => waiter.onPoolDown());
  }

  private rebuildSlots(): void {
    const { requestQueue, sticky } = this;
    // The clients of a slot that is out of turn move, as those of one that has ended.
    sticky?.rebuild(this.inTurn);
    // So that one slot's clients leave room for the others.
    requestQueue.maxAtHome = Math.ceil(requestQueue.maxPending / Math.max(1, sticky?.size ?? 1));
    this.releaseHomes();
  }

  /** Sends on the pending requests of slots that have no process for them. */
  private releaseHomes(): void {
    this.tried = undefined;
    const lost = this.requestQueue.takeHomes((home) => this.sticky?.processOf(home, this.mayServeHome) !== undefined);
    for (const waiter of lost) waiter.onHomeLost();
  }

  /**
   * Picks the next available upstream that has not failed this request, which may have ended another process.
   * @param binding the slot of a sticky client; its `home` is left if another upstream is picked
   */
  pick(
    tried: readonly Upstream[] | undefined,
    isIdempotent: boolean,
    mayHaveStartedElsewhere = false,
    binding?: Binding,
  ): Upstream | undefined {
    if (mayHaveStartedElsewhere) {
      // Kept apart from other suspicious requests, so that it is clear which one ends a process.
      const others = this.upstreams.filter(({ retriedStarts }) => retriedStarts > 0);
      const apart = this.pick(tried === undefined ? others : [...tried, ...others], isIdempotent);
      if (apart !== undefined) return apart;
    }
    this.tried = tried;
    this.isIdempotent = isIdempotent;
    if (this.sticky !== undefined) return this.pickSticky(this.sticky, binding);
    const isStrict = this.isExact || this.isWeighted;
    this.window = isStrict || this.isRelieving ? Number.POSITIVE_INFINITY : this.work.window;
    const isByLoad = !isStrict && this.policy.decidesAlone !== true && (this.work.isSlow || this.isForeign);
    const free = isByLoad
      ? this.pickLeastBusy()
      : this.policy.pick(this.stalled === 0 ? this.isFree : this.isFreeAndHeard);
    return free ?? (this.isLimited ? this.policy.pick(this.endsSoon) : undefined);
  }

  /** Picks the upstream with the fewest requests; among equals the next in turn. */
  private pickLeastBusy(): Upstream | undefined {
    this.fewest = Number.POSITIVE_INFINITY;
    for (const upstream of this.inTurn) {
      const load = upstream.inFlight / upstream.weight;
      if (load < this.fewest && this.isFreeAndHeard(upstream)) this.fewest = load;
    }
    return this.fewest === Number.POSITIVE_INFINITY ? undefined : this.policy.pick(this.isLeastBusy);
  }

  /**
   * Sends the request that has waited longest to an instance whose window is full: the queue is, too, or its deadline has passed.
   * Returns false if there is no request or no room for it.
   */
  relieve(): boolean {
    if (this.work.window === Number.POSITIVE_INFINITY) return false;
    let isServed = false;
    this.isRelieving = true;
    this.requestQueue.serve((waiter) => {
      const upstream = isServed || waiter.home !== 0 ? undefined : this.pick(waiter.tried, waiter.isIdempotent);
      if (upstream === undefined) return undefined;
      isServed = true;
      return () => waiter.onUpstreamFree(upstream);
    });
    this.isRelieving = false;
    return isServed;
  }

  /** Picks the process of the client's slot. If that must be waited for, returns undefined and keeps the binding's `home`. */
  private pickSticky(sticky: Stickiness<Upstream>, binding: Binding | undefined): Upstream | undefined {
    for (; binding !== undefined && binding.home !== 0; sticky.leave(binding)) {
      const upstream = sticky.processOf(binding.home, this.mayServeHome);
      if (upstream?.isAvailable(this.isIdempotent) === true) return upstream;
      if (upstream !== undefined && binding.mayWait) return undefined;
    }
    return this.policy.pick(this.isFreeInSlot);
  }

  /**
   * Marks upstreams as stalled that were silent for that many ticks while others responded, and reassigns their requests that
   * have not started. Returns false if no work is in progress and none is stalled.
   * @param weight the weight of this tick: 1, or less if it was late
   */
  judge(stallTicks: number, weight: number): boolean {
    const { upstreams, inTurn } = this;
    let isBusy = false;
    let silent = 0;
    for (const upstream of upstreams) {
      // One that is out of turn could not take over from the others.
      if (upstream.countStall(weight) >= stallTicks && !upstream.isOutOfTurn) silent++;
      if (upstream.inFlight > 0) isBusy = true;
    }
    const fresh: Upstream[] = [];
    const patience = Math.max(stallTicks, this.patienceTicks);
    this.stalled = 0;
    for (const upstream of upstreams) {
      const isStalled = silent < inTurn.length && upstream.stallCount >= stallTicks;
      const isStalledLong = isStalled && upstream.stallCount >= patience;
      if ((isStalled && !upstream.isStalled) || (isStalledLong && !upstream.isStalledLong)) fresh.push(upstream);
      upstream.isStalled = isStalled;
      upstream.isStalledLong = isStalledLong;
      if (isStalled) this.stalled++;
    }
    // All stalled ones are known first, so that a request is not reassigned to another of them.
    for (const upstream of fresh) upstream.reassign();
    if (fresh.length > 0 && this.sticky !== undefined) this.releaseHomes();
    return isBusy || this.stalled > 0;
  }

  /** Counts the requests that are here at a tick. */
  countLoad(): void {
    const { load } = this;
    let waiting = this.requestQueue.length;
    let inFlight = waiting;
    for (const upstream of this.upstreams) {
      inFlight += upstream.inFlight;
      waiting += upstream.notStarted;
      load.finished += upstream.takeAnswered();
    }
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

  /** Serves queued requests in order, as long as an upstream is available for the first. */
  serveQueue(): void {
    if (this.requestQueue.length === 0) return;
    this.requestQueue.serve((waiter) => {
      const upstream = waiter.home === 0 ? this.pick(waiter.tried, waiter.isIdempotent) : this.pickAtHome(waiter);
      return upstream === undefined ? undefined : () => waiter.onUpstreamFree(upstream);
    });
  }

  private pickAtHome({ home, tried, isIdempotent }: PoolWaiter): Upstream | undefined {
    this.tried = tried;
    const upstream = this.sticky?.processOf(home, this.mayServeHome);
    return upstream?.isAvailable(isIdempotent) === true ? upstream : undefined;
  }
}

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
