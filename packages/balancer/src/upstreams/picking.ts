/**
 * Picks an upstream of a pool for a request: decides which upstreams may be picked and how many requests may wait at each; then the policy
 * picks one.
 */
import { turns } from "../loop-turn.js";
import { FreeLoops, LOOK_AGAIN_LATE_MS, LOOK_AGAIN_MS } from "./free-loops.js";
import type { Handful } from "./handful.js";
import { Paces } from "./pace.js";
import { Heed, leavesRoom, patienceMs } from "./shared-counts.js";
import type { Binding, Stickiness } from "./sticky.js";
import type { Upstream } from "./upstream.js";
import { WorkMeter } from "./work-meter.js";

/** Picks one of the candidates. A `Candidate` only needs a name that survives changes of the members. */
export interface Policy<Candidate extends { readonly name: string }> {
  /** Called when the members have changed; never on the request path. */
  rebuild(candidates: readonly Candidate[]): void;
  /** Returns the next candidate that may be picked, or undefined. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
  /** Whether the policy decides alone. Default: slow requests go to the upstream with the fewest in flight. */
  readonly decidesAlone?: true;
  /**
   * Set if several requests in a row may go to one candidate. Picks the candidate that was given the fewest requests, so that all get
   * equally many.
   */
  pickFewest?(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
  /** Picks the candidate of the last pick once more, if it may be picked and is not too far ahead of the others. */
  pickAgain?(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
  /** Forgets how many requests each candidate was given, so that a candidate that got fewer before does not catch up. */
  forget?(): void;
}

/** From this share of busy upstreams on, no request waits for an idle one. */
const BUSY_SHARE = 0.5;
/**
 * From this share of busy upstreams on, no request waits for a free event loop. While a request waits, its handler cannot start what the
 * request itself waits for, such as a query.
 */
const MOSTLY_BUSY_SHARE = 0.7;

export abstract class Picking {
  /** Whether its upstreams have limited concurrency and must not wait for slow clients. */
  isLimited = false;
  /** Whether requests go strictly in turn, however busy an instance is. */
  isExact = false;
  /** The CPU cost of its requests, as reported by its instances. */
  readonly work = new WorkMeter();
  /** How long requests take at its upstreams, and which upstreams take many times as long as the others. */
  protected readonly paces = new Paces();
  private readonly loops = new FreeLoops();
  private isLookDue = false;
  /** Whether all upstreams report that handlers have returned, and get several requests in one write. */
  protected isBatched = false;
  /** Set if its upstreams may get several requests in a row. */
  protected handful: Handful | undefined;
  /** Set while balancers share counts. `isComplete`: whether the counts of all balancers that may have requests are known. */
  shared: { readonly isComplete: boolean; read(): void } | undefined;
  /** Which requests of other balancers block an upstream for the current request, depending on its time in the queue. */
  private heed: Heed = Heed.NONE;
  protected waitedMs = 0;
  /** The share of its upstreams that had requests in the last second or so. */
  protected busyShare = 0;
  abstract readonly requestQueue: { readonly length: number; readonly standing: { readonly targetMs: number } };
  /** Set if clients stick to a slot. */
  sticky: Stickiness<Upstream> | undefined;
  protected upstreams: readonly Upstream[] = [];
  /** The upstreams that may get new requests. */
  protected inTurn: readonly Upstream[] = [];
  protected tried: readonly Upstream[] | undefined;
  private isIdempotent = true;
  /** How many requests may wait at an upstream for this pick. */
  private window = Number.POSITIVE_INFINITY;
  private readonly isFree = (upstream: Upstream): boolean =>
    upstream.isAvailable(this.isIdempotent) &&
    upstream.pending < this.window &&
    (this.heed === Heed.NONE || leavesRoom(this.heed, upstream, this.window)) &&
    (this.tried === undefined || !this.tried.includes(upstream));
  protected readonly mayServeHome = (upstream: Upstream): boolean =>
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
  /** The requests in flight at the upstream to pick, relative to its weight. */
  private fewest = 0;
  private readonly isLeastBusy = (upstream: Upstream): boolean =>
    upstream.load / upstream.weight === this.fewest && this.isFreeAndHeard(upstream);
  /** Whether the request may still wait for an upstream that has no other request. */
  private waitsForIdle = false;
  private readonly isLeastBusyAndFree = (upstream: Upstream): boolean =>
    (upstream.isIdle || !this.waitsForIdle) && this.isLeastBusy(upstream) && this.loops.isFree(upstream);
  /** During a reload, a slot has two processes, and all clients of the slot use the same one. A canary has separate clients. */
  private readonly isFreeInSlot = (upstream: Upstream): boolean =>
    this.isFreeAndHeard(upstream) && this.sticky?.processOf(upstream.home, this.mayServeHome) === upstream;
  /** An upstream in turn that was not idle when `isQuiet` last looked; undefined if there was none, or the turns have changed. */
  protected busy: Upstream | undefined;
  /** The number of stalled upstreams. */
  protected stalled = 0;
  protected isRelieving = false;
  /** Whether its upstreams are programs, which do not report the cost of requests. */
  protected isForeign = false;
  /** Whether a canary gets exactly its share, even if it is idle while the others are busy. */
  protected isWeighted = false;

  /** @param policy its `rebuild` must follow a change */
  constructor(public policy: Policy<Upstream>) {}

  /** Serves queued requests in order, as long as an upstream is available for the first one. */
  abstract serveQueue(): void;

  /**
   * Picks the next available upstream that has not failed this request.
   * @param binding the slot of a sticky client. Its `home` is changed if another upstream is picked
   */
  pick(
    tried: readonly Upstream[] | undefined,
    isIdempotent: boolean,
    mayHaveStartedElsewhere = false,
    binding?: Binding,
  ): Upstream | undefined {
    if (mayHaveStartedElsewhere) {
      // Suspicious requests are kept apart, so that it is clear which one crashes a process.
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
    // The end of another balancer's request is not reported, so this is checked at intervals.
    if (picked === undefined && this.heed !== Heed.NONE)
      this.lookAgainIn(this.heed === Heed.ALL || this.isEndExpected ? LOOK_AGAIN_MS : LOOK_AGAIN_LATE_MS);
    return picked;
  }

  /** Reads the counts of other balancers at the upstreams, if they matter for this pick. */
  private lookAtOthers(): void {
    if (!this.isLimited && !this.isByLoad && this.policy.decidesAlone !== true) return;
    this.shared?.read();
    for (const { others } of this.inTurn) others?.look();
    if (this.isRelieving) return;
    this.heed = this.waitedMs < patienceMs(this.paces.typicalMicros) ? Heed.ALL : Heed.HELD;
  }

  /** Whether a request of another balancer that takes up the limit of an upstream may end soon. */
  private get isEndExpected(): boolean {
    return (
      this.isLimited && this.inTurn.some(({ others }) => others !== undefined && others.inFlight > 0 && !others.isHeld)
    );
  }

  /** Outliers get only trial requests, unless no other upstream is available. */
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
    const { handful, policy } = this;
    if (handful === undefined || isStrict || !this.work.isKnown || policy.pickFewest === undefined)
      return policy.pick(mayBePicked);
    if (handful.take(turns.count, this.work.perWake)) {
      const again = policy.pickAgain?.(mayBePicked);
      if (again !== undefined) return again;
      handful.pass();
    } else if (this.isQuiet) return policy.pick(mayBePicked);
    return policy.pickFewest(mayBePicked);
  }

  /** Whether no upstream owes a response, apart from long-lasting requests. Single requests then go strictly in turn. */
  private get isQuiet(): boolean {
    // Under load, one look is enough.
    if (this.busy?.isIdle === false) return false;
    this.busy = this.inTurn.find((upstream) => !upstream.isIdle);
    return this.busy === undefined;
  }

  /** Whether requests go to the upstream with the fewest requests. */
  private get isByLoad(): boolean {
    return this.policy.decidesAlone !== true && (this.work.isSlow || this.isForeign);
  }

  /**
   * Picks the upstream with the fewest requests. Among equals, picks the next in turn. Long requests go to an upstream whose event loop is
   * free (see free-loops.ts). If they mostly compute, they wait for such an upstream. If they do little else than compute, they first wait
   * for an upstream that has no request.
   */
  private pickByLoad(): Upstream | undefined {
    const { loops, work } = this;
    this.fewest = -1;
    if (work.isLong && !this.isForeign) {
      loops.begin(performance.now(), work.balancers > 1 && this.shared?.isComplete !== true);
      this.waitsForIdle = this.waitedMs < this.idleWaitMs;
      let isAny = false;
      for (; this.findNextFewest(); isAny = true) {
        const picked = this.policy.pick(this.isLeastBusyAndFree);
        if (picked !== undefined) return loops.picked(picked);
      }
      if (!isAny) return undefined;
      if (this.waitsForIdle || this.waitsForLoop) {
        this.lookAgainIn(LOOK_AGAIN_MS);
        return undefined;
      }
      this.fewest = -1;
    }
    return this.findNextFewest() ? this.policy.pick(this.isLeastBusy) : undefined;
  }

  /** Whether the request waits until an event loop is free. */
  private get waitsForLoop(): boolean {
    const { typicalMicros } = this.paces;
    if (this.isRelieving || this.busyShare >= MOSTLY_BUSY_SHARE || typicalMicros === undefined) return false;
    return this.work.isMostOf(typicalMicros);
  }

  /**
   * How long the request waits for an upstream that has no other request, in milliseconds. Returns 0 if the request has failed at an
   * upstream. Also returns 0 if upstreams are busy most of the time or many requests wait, because the wait would cost the other requests
   * more time than it saves this one.
   */
  private get idleWaitMs(): number {
    const { requestQueue, paces, work } = this;
    if (this.isRelieving || this.tried !== undefined) return 0;
    if (this.busyShare >= BUSY_SHARE || requestQueue.length > this.inTurn.length) return 0;
    return Math.min(work.idleWaitMs(paces.typicalMicros), requestQueue.standing.targetMs);
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

  /** Serves the queue again after this time, because a free event loop is not reported. */
  private lookAgainIn(milliseconds: number): void {
    if (this.isLookDue) return;
    this.isLookDue = true;
    setTimeout(() => {
      this.isLookDue = false;
      this.serveQueue();
    }, milliseconds);
  }

  /** Picks the process of the client's slot. If the request must wait for it, returns undefined and keeps the binding's `home`. */
  private pickSticky(sticky: Stickiness<Upstream>, binding: Binding | undefined): Upstream | undefined {
    for (; binding !== undefined && binding.home !== 0; sticky.leave(binding)) {
      const upstream = sticky.processOf(binding.home, this.mayServeHome);
      if (upstream?.isAvailable(this.isIdempotent) === true) return upstream;
      if (upstream !== undefined && binding.mayWait) return undefined;
    }
    return this.policy.pick(this.isFreeInSlot);
  }
}
