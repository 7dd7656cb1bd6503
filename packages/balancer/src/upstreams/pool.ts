/** A pool's upstreams, the policy that picks among them, and the queue of those for whom all are full. */
import { type PoolWaiter, RequestQueue } from "./request-queue.js";
import type { Upstream } from "./upstream.js";

/** Picks among candidates; `Candidate` needs no more than a name that outlives a change of membership. */
export interface Policy<Candidate extends { readonly name: string }> {
  /** The membership changed; called off the request path. */
  rebuild(candidates: readonly Candidate[]): void;
  /** The next candidate that may be picked, or undefined when none may. */
  pick(mayBePicked: (candidate: Candidate) => boolean): Candidate | undefined;
}

export class Pool {
  readonly requestQueue: RequestQueue<PoolWaiter>;
  /** Its upstreams take few requests at once: none is to be kept waiting by a slow client. */
  isLimited = false;
  /** It gets TRACE too, and absolute targets as they came. */
  takesAllRequests = false;
  /** Its responses may name files of internal pools. */
  sendsFiles = false;
  /** Requests whose body is awaited before an upstream is asked. */
  receiving = 0;
  /** Responses of which an upstream is done, and which wait in the spool for their clients. */
  sending = 0;
  /** How long an upstream of it may send nothing of a response that it owes. */
  responseTimeoutMs = Number.POSITIVE_INFINITY;
  private upstreams: readonly Upstream[] = [];
  /** While there is none, one is expected soon. */
  private isAwaited = false;
  private tried: readonly Upstream[] | undefined;
  private isIdempotent = true;
  private readonly isFree = (upstream: Upstream): boolean =>
    upstream.isAvailable(this.isIdempotent) && (this.tried === undefined || !this.tried.includes(upstream));
  private readonly isFreeAndHeard = (upstream: Upstream): boolean => !upstream.isStalled && this.isFree(upstream);
  /** How many are stalled. */
  private stalled = 0;

  constructor(
    readonly name: string,
    private readonly policy: Policy<Upstream>,
    maxQueue: number,
  ) {
    this.requestQueue = new RequestQueue<PoolWaiter>(maxQueue);
  }

  /** There is no upstream, and none to wait for. */
  get isDown(): boolean {
    return this.upstreams.length === 0 && !this.isAwaited;
  }

  /** @param isAwaited there is none, and one is expected soon. */
  setMembers(upstreams: readonly Upstream[], isAwaited = false): void {
    this.upstreams = upstreams;
    this.isAwaited = isAwaited;
    this.policy.rebuild(upstreams);
    if (!this.isDown) return this.serveQueue();
    this.requestQueue.serve((waiter) => () => waiter.onPoolDown());
  }

  /** The next in turn that is available and did not fail this request already, which may be what ended another process. */
  pick(
    tried: readonly Upstream[] | undefined,
    isIdempotent: boolean,
    mayHaveStartedElsewhere = false,
  ): Upstream | undefined {
    if (mayHaveStartedElsewhere) {
      // Apart from others that may be it too: then it is known which one it was.
      const others = this.upstreams.filter(({ retriedStarts }) => retriedStarts > 0);
      const apart = this.pick(tried === undefined ? others : [...tried, ...others], isIdempotent);
      if (apart !== undefined) return apart;
    }
    this.tried = tried;
    this.isIdempotent = isIdempotent;
    return this.policy.pick(this.stalled === 0 ? this.isFree : this.isFreeAndHeard);
  }

  /**
   * Upstreams that are silent for that many ticks while others answer are passed over, and give back what they have not
   * begun. False when no work is under way and none is stalled: whether it still is has to be looked at.
   * @param weight what silence in this tick counts: 1, or less when the tick came late.
   */
  judge(stallTicks: number, weight: number): boolean {
    const { upstreams } = this;
    let isBusy = false;
    let silent = 0;
    for (const upstream of upstreams) {
      if (upstream.countStall(weight) >= stallTicks) silent++;
      if (upstream.inFlight > 0) isBusy = true;
    }
    const fresh: Upstream[] = [];
    this.stalled = 0;
    for (const upstream of upstreams) {
      const isStalled = silent < upstreams.length && upstream.stallCount >= stallTicks;
      if (isStalled && !upstream.isStalled) fresh.push(upstream);
      upstream.isStalled = isStalled;
      if (isStalled) this.stalled++;
    }
    // All are known before the first gives anything back: it must not go to the next.
    for (const upstream of fresh) upstream.reassign();
    return isBusy || this.stalled > 0;
  }

  /** Serves those that wait, in their order, as long as an upstream is free for the first. */
  serveQueue(): void {
    if (this.requestQueue.length === 0) return;
    this.requestQueue.serve((waiter) => {
      const upstream = this.pick(waiter.tried, waiter.isIdempotent);
      return upstream === undefined ? undefined : () => waiter.onUpstreamFree(upstream);
    });
  }
}
