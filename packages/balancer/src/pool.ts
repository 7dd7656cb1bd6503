/** A pool's upstreams, the policy that picks among them, and the queue of those for whom all are full. */
import type { Policy } from "./policies/policy.js";
import { Queue, type Waiter } from "./queue.js";
import type { Upstream } from "./upstream.js";

/** A request that waits for an upstream. */
export interface PoolWaiter extends Waiter {
  /** Upstreams that failed this request already; they are passed over. */
  readonly tried: readonly Upstream[] | undefined;
  onUpstreamFree(upstream: Upstream): void;
  /** The pool lost its last upstream. */
  onPoolEmpty(): void;
}

export class Pool {
  readonly queue: Queue<PoolWaiter>;
  private upstreams: readonly Upstream[] = [];
  private tried: readonly Upstream[] | undefined;
  private readonly mayBePicked = (upstream: Upstream): boolean =>
    upstream.isAvailable && (this.tried === undefined || !this.tried.includes(upstream));

  constructor(
    readonly name: string,
    private readonly policy: Policy<Upstream>,
    maxQueue: number,
  ) {
    this.queue = new Queue<PoolWaiter>(maxQueue);
  }

  get isEmpty(): boolean {
    return this.upstreams.length === 0;
  }

  get members(): readonly Upstream[] {
    return this.upstreams;
  }

  setMembers(upstreams: readonly Upstream[]): void {
    this.upstreams = upstreams;
    this.policy.rebuild(upstreams);
    if (upstreams.length > 0) return this.serveQueue();
    for (let waiter = this.queue.peek(); waiter !== undefined; waiter = this.queue.peek()) {
      this.queue.removeFirst();
      waiter.onPoolEmpty();
    }
  }

  /** The next in turn that is available and did not fail this request already. */
  pick(tried: readonly Upstream[] | undefined): Upstream | undefined {
    this.tried = tried;
    return this.policy.pick(this.mayBePicked);
  }

  /** Serves those that wait, in their order, as long as an upstream is free for the first. */
  serveQueue(): void {
    for (let waiter = this.queue.peek(); waiter !== undefined; waiter = this.queue.peek()) {
      const upstream = this.pick(waiter.tried);
      if (upstream === undefined) return;
      this.queue.removeFirst();
      waiter.onUpstreamFree(upstream);
    }
  }
}
