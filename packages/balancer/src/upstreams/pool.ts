/** A pool's upstreams, the policy that picks among them, how much may wait at one of them, and the queue of requests for which all are full. */
import type { PolicyName } from "@paceline/wire";
import type { Compression } from "../coding/compression.js";
import type { ErrorPages } from "../downstream/local-response.js";
import { turns } from "../turn.js";
import { FreeLoops, LOOK_AGAIN_LATE_MS, LOOK_AGAIN_MS } from "./free-loops.js";
import { Handful, processors } from "./handful.js";
import type { Hedging } from "./hedging.js";
import { takeTurns } from "./out-of-turn.js";
import { type Pace, Paces } from "./pace.js";
import { type PoolWaiter, RequestQueue } from "./request-queue.js";
import { RetryBudget } from "./retry-budget.js";
import { Heed, leavesRoom, patienceMs } from "./shared-counts.js";
import { markStalled } from "./stall-watch.js";
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
  /** Picks the candidate of the last pick once more, if it may be picked. */
  pickAgain?(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
}

export class Pool {
  readonly requestQueue: RequestQueue<PoolWaiter>;
  /** Whether its upstreams have limited concurrency and must not wait for slow clients. */
  isLimited = false;
  /** Whether it gets whole connections, and no requests. */
  isTcp = false;
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
  /** Set if late requests are sent to a second upstream, too. */
  hedging: Hedging | undefined;
  /** How long its upstreams take, and which take many times as long as the others. */
  private readonly paces = new Paces();
  private paceOf: readonly Pace[] = [];
  private readonly loops = new FreeLoops();
  private isLookDue = false;
  /** Whether all upstreams report that handlers have returned, and get several requests in one write. */
  private isBatched = false;
  /** Set if its upstreams may get several requests in a row. */
  private handful: Handful | undefined;
  /** Set while balancers share counts; `isComplete`: all of them do. */
  shared: { readonly isComplete: boolean } | undefined;
  /** Which requests of other balancers keep the request to pick for from an upstream, and for how long it has waited in the queue. */
  private heed: Heed = Heed.NONE;
  private waitedMs = 0;
  /** Requests whose body is being collected. */
  receiving = 0;
  /** Spooled responses whose upstream has finished. */
  sending = 0;
  /** Undefined: the balancer's own responses are a line of text. */
  errorPages: ErrorPages | undefined;
  /** Undefined: its responses stay as they are. */
  compression: Compression | undefined;
  /** How long its upstreams may go without sending response data. */
  responseTimeoutMs = Number.POSITIVE_INFINITY;
  /** How long one of them may take for an abandoned request before the supervisor ends its process. */
  requestTimeoutMs = Number.POSITIVE_INFINITY;
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
    (this.heed === Heed.NONE || leavesRoom(this.heed, upstream, this.window)) &&
    (this.tried === undefined || !this.tried.includes(upstream));
  private readonly mayServeHome = (upstream: Upstream): boolean =>
    !upstream.isStalledLong && (this.tried === undefined || !this.tried.includes(upstream));
  private readonly endsSoon = (upstream: Upstream): boolean =>
    upstream.endsSoon &&
    leavesRoom(this.heed, upstream, this.window) &&
    (this.tried === undefined || !this.tried.includes(upstream));
  /** Whether outliers may be picked like others. */
  private takesOutliers = true;
  private readonly isFreeAndHeard = (upstream: Upstream): boolean =>
    !upstream.isStalled &&
    (this.takesOutliers || !upstream.pace.isOutlier || upstream.pace.trials > 0) &&
    this.isFree(upstream);
  /** The requests in flight at the upstream to pick, by its weight. */
  private fewest = 0;
  private readonly isLeastBusy = (upstream: Upstream): boolean =>
    upstream.load / upstream.weight === this.fewest && this.isFreeAndHeard(upstream);
  private readonly isLeastBusyAndFree = (upstream: Upstream): boolean =>
    this.isLeastBusy(upstream) && this.loops.isFree(upstream);
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
    /** After a change `setMembers` follows. */
    public policy: Policy<Upstream>,
    maxQueue: number,
    /** How many instances can run at once. Default: as many as there are processors. */
    private readonly runsAtOnce?: number,
  ) {
    this.requestQueue = new RequestQueue<PoolWaiter>(maxQueue);
  }

  /** Whether there is no upstream that may get requests, and none is expected soon. */
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
    const { inTurn, requestQueue, sticky } = this;
    this.isWeighted =
      inTurn.some(({ weight }) => weight !== inTurn[0]?.weight) && inTurn.some(({ isCanary }) => isCanary);
    this.policy.rebuild(inTurn);
    // Clients of a slot that is out of turn move to another slot, as they do when its process has ended.
    sticky?.rebuild(inTurn);
    // So that one slot's clients leave room for the others.
    requestQueue.maxAtHome = Math.ceil(requestQueue.maxPending / Math.max(1, sticky?.size ?? 1));
    this.releaseHomes();
    if (!this.isDown) return this.serveQueue();
    requestQueue.serve((waiter) => () => waiter.onPoolDown());
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
    this.heed = Heed.NONE;
    if (this.sticky !== undefined) return this.pickSticky(this.sticky, binding);
    const isStrict = this.isExact || this.isWeighted;
    this.window = isStrict || this.isRelieving ? Number.POSITIVE_INFINITY : this.work.window;
    if (this.shared !== undefined && !isStrict) this.lookAtOthers();
    const { outliers } = this.paces;
    this.takesOutliers = outliers === 0 || isStrict || this.isRelieving;
    const free = outliers === 0 ? this.pickFree(isStrict) : this.pickWithOutliers(isStrict);
    const picked = free ?? (this.isLimited ? this.policy.pick(this.endsSoon) : undefined);
    // Nothing reports that a request of another balancer has ended.
    if (picked === undefined && this.heed !== Heed.NONE)
      this.lookAgainIn(this.heed === Heed.ALL ? LOOK_AGAIN_MS : LOOK_AGAIN_LATE_MS);
    return picked;
  }

  /** Reads what other balancers have at the upstreams, if it matters for this pick. */
  private lookAtOthers(): void {
    if (!this.isLimited && !this.isByLoad && this.policy.decidesAlone !== true) return;
    for (const { others } of this.inTurn) others?.look();
    if (this.isRelieving) return;
    this.heed = this.waitedMs < patienceMs(this.paces.typicalMicros) ? Heed.ALL : Heed.HELD;
  }

  /** Reassigns requests that wait behind long ones of other balancers, while another upstream is free. */
  reassignHeld(): void {
    for (const upstream of this.inTurn)
      if (upstream.waitsBehindHeld && this.pick([upstream], true) !== undefined) upstream.reassignWaiting();
  }

  /** Picks another upstream for a request that is late at `first`. Returns undefined if none has room, or requests wait for it. */
  pickBeside(first: Upstream): Upstream | undefined {
    if (this.requestQueue.length > 0 || this.sticky !== undefined) return undefined;
    return this.pick([first, ...this.inTurn.filter(({ pace }) => pace.isOutlier)], true);
  }

  /** Outliers only get requests to try them, unless no other upstream is available. */
  private pickWithOutliers(isStrict: boolean): Upstream | undefined {
    let picked = this.pickFree(isStrict);
    if (picked === undefined && !this.takesOutliers) {
      const isOther = (upstream: Upstream) =>
        !upstream.pace.isOutlier && !upstream.isStalled && this.tried?.includes(upstream) !== true;
      this.takesOutliers = !this.inTurn.some((each) => isOther(each) && each.isAvailable(this.isIdempotent));
      if (this.takesOutliers) picked = this.pickFree(isStrict);
    }
    if (picked?.pace.isOutlier === true) picked.pace.trials = 0;
    return picked;
  }

  private pickFree(isStrict: boolean): Upstream | undefined {
    if (!isStrict && this.isByLoad) return this.pickByLoad();
    const mayBePicked = this.stalled === 0 && this.takesOutliers ? this.isFree : this.isFreeAndHeard;
    const { handful } = this;
    if (handful === undefined || isStrict || !this.work.isKnown) return this.policy.pick(mayBePicked);
    if (handful.take(turns.count)) {
      const again = this.policy.pickAgain?.(mayBePicked);
      if (again !== undefined) return again;
      handful.pass();
    }
    return this.policy.pick(mayBePicked);
  }

  /** Whether requests go to the upstream with the fewest. */
  private get isByLoad(): boolean {
    return this.policy.decidesAlone !== true && (this.work.isSlow || this.isForeign);
  }

  /**
   * Picks the upstream with the fewest requests; among equals the next in turn. Requests that take long go to one whose event loop
   * is free, if any, and wait for one if they mostly compute: where nothing reports that a handler has returned, or where other
   * balancers send requests of which nothing is known.
   */
  private pickByLoad(): Upstream | undefined {
    const { loops, paces, work } = this;
    this.fewest = -1;
    const isShared = work.balancers > 1 && this.shared?.isComplete !== true;
    if (work.isLong && !this.isForeign && (isShared || !this.isBatched)) {
      loops.begin(performance.now(), isShared);
      let isAny = false;
      for (; this.findNextFewest(); isAny = true) {
        const picked = this.policy.pick(this.isLeastBusyAndFree);
        if (picked !== undefined) return loops.picked(picked);
      }
      if (!isAny) return undefined;
      const { typicalMicros } = paces;
      if (!this.isRelieving && typicalMicros !== undefined && work.isMostOf(typicalMicros)) {
        this.lookAgainIn(LOOK_AGAIN_MS);
        return undefined;
      }
      this.fewest = -1;
    }
    return this.findNextFewest() ? this.policy.pick(this.isLeastBusy) : undefined;
  }

  /** Sets `fewest` to the next larger number of requests at an upstream that may be picked. Returns false if there is none. */
  private findNextFewest(): boolean {
    let next = Number.POSITIVE_INFINITY;
    for (const upstream of this.inTurn) {
      const load = upstream.load / upstream.weight;
      if (load > this.fewest && load < next && this.isFreeAndHeard(upstream)) next = load;
    }
    this.fewest = next;
    return next !== Number.POSITIVE_INFINITY;
  }

  /** Nothing reports that an event loop is free. */
  private lookAgainIn(milliseconds: number): void {
    if (this.isLookDue) return;
    this.isLookDue = true;
    setTimeout(() => {
      this.isLookDue = false;
      this.serveQueue();
    }, milliseconds);
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
    const patienceTicks = Math.max(stallTicks, this.patienceTicks);
    const inTurn = this.inTurn.length;
    const { isBusy, stalled, fresh } = markStalled(this.upstreams, { stallTicks, patienceTicks, weight, inTurn });
    this.stalled = stalled;
    // All stalled ones are known first, so that a request is not reassigned to another of them.
    for (const upstream of fresh) upstream.reassign();
    if (fresh.length > 0 && this.sticky !== undefined) this.releaseHomes();
    return isBusy || this.stalled > 0;
  }

  /** Counts the requests that are here at a tick, and judges how long they take. */
  countLoad(): void {
    const { load } = this;
    let waiting = this.requestQueue.length;
    let inFlight = waiting;
    let finished = 0;
    for (const upstream of this.upstreams) {
      inFlight += upstream.inFlight;
      waiting += upstream.notStarted;
      finished += upstream.takeAnswered();
    }
    this.paces.judge(this.paceOf, finished, performance.now());
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

  /** Serves queued requests in order, as long as an upstream is available for the first. */
  serveQueue(): void {
    const { requestQueue } = this;
    if (requestQueue.length === 0) return;
    const now = this.shared === undefined ? 0 : requestQueue.clock();
    requestQueue.serve((waiter) => {
      this.waitedMs = now - (waiter.since ?? now);
      const upstream = waiter.home === 0 ? this.pick(waiter.tried, waiter.isIdempotent) : this.pickAtHome(waiter);
      this.waitedMs = 0;
      return upstream === undefined ? undefined : () => waiter.onUpstreamFree(upstream);
    });
  }

  private pickAtHome({ home, tried, isIdempotent }: PoolWaiter): Upstream | undefined {
    this.tried = tried;
    const upstream = this.sticky?.processOf(home, this.mayServeHome);
    return upstream?.isAvailable(isIdempotent) === true ? upstream : undefined;
  }
}
