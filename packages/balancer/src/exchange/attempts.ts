/** Finds an upstream for a request, at once or through the request queue. If the upstream fails, finds another one. */

import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { findRoute } from "../routing/route.js";
import type { Router } from "../routing/router.js";
import { Rank } from "../upstreams/pending-lines.js";
import type { Pool } from "../upstreams/pool.js";
import { QueueEntry, type Waiting } from "../upstreams/request-queue.js";
import { Binding } from "../upstreams/sticky.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import type { Downstream } from "./downstream.js";
import type { Relay } from "./relay.js";
import { isPoison, LostStarts, MAX_SENDS, mayStartAgain, mayTryElsewhere } from "./retry.js";
import type { SavedHead } from "./saved-head.js";

export interface AttemptsOwner {
  /** Called when the request enters the request queue. */
  onQueued(): void;
  /** @param head the head if it was just parsed; undefined if it must be parsed again */
  onUpstreamFound(upstream: Upstream, head: RequestHead | undefined): void;
  /** Called when no upstream is available. */
  respond(status: 502 | 503): void;
}

export class Attempts implements Waiting {
  /** The upstreams that have failed this request. They are skipped. */
  tried: Upstream[] | undefined;
  isIdempotent = false;
  /** The slot of a sticky client; undefined if the pool has none. */
  binding: Binding | undefined;
  private ownBinding: Binding | undefined;
  private pool: Pool | undefined;
  private queueEntry: QueueEntry | undefined;
  /** How often the request was sent to an upstream. */
  private sends = 0;
  /** Set once the request was lost at an upstream where it may have started. */
  private lostStarts: LostStarts | undefined;
  /** Until when the request waits for a connection to an upstream; 0 if the request is not waiting. */
  private waitsUntil = 0;
  /** Since when the request waits in a queue with a time limit; 0 if it is not in such a queue. */
  private queuedSince = 0;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly savedHead: SavedHead,
    private readonly owner: AttemptsOwner,
  ) {}

  begin(isIdempotent: boolean): void {
    this.isIdempotent = isIdempotent;
    this.tried = undefined;
    this.lostStarts = undefined;
    this.binding = undefined;
    this.sends = this.waitsUntil = this.queuedSince = 0;
  }

  /** Determines the slot for the request of a sticky client. */
  bind({ sticky }: Pool, head: RequestHead, peer: Peer): void {
    if (sticky === undefined) return;
    this.ownBinding ??= new Binding();
    this.binding = this.ownBinding;
    sticky.bind(this.binding, head, this.relay.forwarded, peer);
    if (this.relay.limits.stickyWaitMs === 0) this.binding.mayWait = false;
  }

  /** Adds the cookie for the slot that responds. */
  addCookie(response: ResponseHead, upstream: Upstream | undefined, peer: Peer): void {
    const { forwarded, requestHead } = this.relay;
    this.savedHead.parseOriginal(requestHead);
    const { isHttps } = forwarded.fields(requestHead, peer);
    response.added = upstream && this.pool?.sticky?.cookieLinesFor(response, upstream, isHttps);
  }

  /** Whether a request at this stalled upstream stays there, because its client is bound to that slot. */
  staysAt(upstream: Upstream | undefined): boolean {
    const { binding } = this;
    return binding !== undefined && upstream !== undefined && upstream.home === binding.home && !upstream.isStalledLong;
  }

  /** Whether the request may have started at an upstream that exited or stalled. */
  get mayHaveStartedElsewhere(): boolean {
    return this.lostStarts !== undefined;
  }

  /** Whether the request may be sent again if it has not started. */
  get hasSendsLeft(): boolean {
    return this.sends < MAX_SENDS;
  }

  /** Whether the request may be sent again although it may have started. */
  get mayStartAgain(): boolean {
    const starts = 1 + (this.lostStarts?.count ?? 0);
    return mayStartAgain(this.isIdempotent, starts) && !this.isPoison && this.hasBudget;
  }

  private get isPoison(): boolean {
    return isPoison(this.relay, this.poolName, this.savedHead.describe());
  }

  private get hasBudget(): boolean {
    return this.pool?.retries.isLeft === true;
  }

  private get poolName(): string {
    return (this.pool as Pool).name;
  }

  /** Picks the next upstream in turn, or queues the request behind earlier ones. */
  find(pool: Pool, head: RequestHead | undefined): void {
    this.pool = pool;
    if (pool.isDown) return this.owner.respond(503);
    const { binding, isIdempotent } = this;
    const mustWait = pool.requestQueue.holds(isIdempotent, binding?.mayWait === true ? binding.home : 0);
    const upstream = mustWait ? undefined : pool.pick(this.tried, isIdempotent, this.mayHaveStartedElsewhere, binding);
    if (upstream === undefined) this.enqueue(pool, head);
    else this.found(upstream, head);
  }

  private enqueue(pool: Pool, head: RequestHead | undefined): void {
    const home = this.binding?.home ?? 0;
    // All upstreams have failed once, perhaps only because they are too busy to accept. So all are tried again later.
    if (home === 0) this.tried = undefined;
    this.owner.onQueued();
    const { requestQueue } = pool;
    this.queuedSince ||= requestQueue.clock();
    // Saved before the next line, which may parse another head into `relay.requestHead`.
    if (head !== undefined && head === this.relay.requestHead) this.savedHead.keepParsed(this.relay);
    const rank = rankOf(requestQueue.ranks, this.savedHead, this.relay.requestHead);
    this.queueEntry = new QueueEntry(this, home, rank, this.queuedSince);
    let isQueued = requestQueue.add(this.queueEntry);
    if (!isQueued && home === 0) {
      isQueued = this.mayRelieve && pool.relieve() && requestQueue.add(this.queueEntry);
      if (!isQueued) return this.owner.respond(503);
    }
    this.wait();
    if (!isQueued) return this.leaveHome(pool);
    const { deadlines, limits } = this.relay;
    if (home !== 0) this.client.deadlineAt = Math.min(this.waitsUntil, deadlines.now + limits.stickyWaitMs);
  }

  /**
   * Called at the deadline of a pending request. Sends the request to an instance whose window is full, or a sticky client's request to
   * another slot. Otherwise responds with 503.
   */
  onQueueDeadline(): void {
    const wasQueued = this.isQueued;
    // The requests before this one have waited at least as long.
    while (this.isQueued && this.mayRelieve && this.pool?.relieve() === true);
    if (wasQueued && !this.isQueued) return;
    const home = this.binding?.home ?? 0;
    if (home === 0 || this.queueEntry === undefined || this.relay.deadlines.now >= this.waitsUntil)
      this.owner.respond(503);
    else this.leaveHome(this.pool as Pool);
  }

  /** Whether requests go to a busy instance instead of being refused, as in a pool without a time limit. */
  private get mayRelieve(): boolean {
    return this.pool?.requestQueue.isTimed === false;
  }

  private leaveHome(pool: Pool): void {
    this.leaveQueue();
    const binding = this.binding as Binding;
    binding.mayWait = false;
    if (pool.sticky === undefined) binding.home = 0;
    else pool.sticky.leave(binding);
    this.find(pool, undefined);
  }

  onHomeLost(): void {
    this.leaveQueue();
    this.find(this.pool as Pool, undefined);
  }

  private get isQueued(): boolean {
    return this.queueEntry !== undefined;
  }

  leaveQueue(): void {
    this.queueEntry?.stopWaiting();
    this.queueEntry = undefined;
  }

  /** Starts one deadline for both the queue and the connection attempt. */
  wait(): void {
    const { deadlines, limits } = this.relay;
    if (this.waitsUntil === 0) this.waitsUntil = deadlines.now + limits.upstreamConnectTimeoutMs;
    this.client.deadlineAt = this.waitsUntil;
  }

  onUpstreamFree(upstream: Upstream): void {
    // Meanwhile, similar requests may have crashed a second process.
    if (this.mayHaveStartedElsewhere && this.isPoison) return this.owner.respond(502);
    this.found(upstream, undefined);
  }

  private found(upstream: Upstream, head: RequestHead | undefined): void {
    this.leaveQueue();
    this.owner.onUpstreamFound(upstream, head);
  }

  onPoolDown(): void {
    this.owner.respond(503);
  }

  onRefused(): void {
    this.owner.respond(503);
  }

  /** Whether the request was sent only once, to one upstream. */
  get isFirst(): boolean {
    return this.sends === 1;
  }

  /** Called when the request is also sent to a second upstream. */
  onHedged(): void {
    this.sends++;
  }

  /** Called when its head is sent to an upstream. */
  onSent(): void {
    this.sends++;
    this.waitsUntil = this.queuedSince = 0;
  }

  /**
   * Handles a failed upstream. Returns undefined if the request may go to another upstream; otherwise the status for the client.
   * @param startedAt the upstream where the request may have started
   * @param isOnlyLoss whether no other request was lost there
   */
  onLost(
    loss: UpstreamLoss,
    upstream: Upstream | undefined,
    { startedAt, isOnlyLoss, wasSent, isBodyBuffered }: LossFacts,
  ): 502 | 503 | undefined {
    const { sends, isIdempotent } = this;
    this.noteLoss(loss, startedAt, isOnlyLoss);
    const isPoison = startedAt !== undefined && this.isPoison;
    const attempted = { sends, starts: this.lostStarts?.count ?? 0, wasSent, isIdempotent, isBodyBuffered, isPoison };
    // 503 invites a retry, which is safe if the request has not started.
    if (!mayTryElsewhere(loss, attempted)) return loss === "notStarted" ? 503 : 502;
    // A request that has not started costs as much elsewhere as it would have cost here, so it does not use up a retry token.
    if (startedAt !== undefined && this.pool?.retries.take() !== true) return 502;
    this.relay.counters.retriesTotal++;
    // A stale connection does not count against its upstream.
    if (upstream !== undefined && loss !== "staleConnection") this.tried = [...(this.tried ?? []), upstream];
    // A stalled process still has the sessions of its clients. After any other loss, the sessions are gone.
    const { binding } = this;
    if (binding !== undefined && upstream?.home === binding.home && !isStall(loss)) binding.needsCookie = true;
    return undefined;
  }

  /** @param startedAt the upstream where it may have started */
  noteLoss(loss: UpstreamLoss, startedAt: Upstream | undefined, isOnlyLoss: boolean): void {
    if (startedAt === undefined) return;
    this.lostStarts ??= new LostStarts(this.relay);
    this.lostStarts.note(loss, startedAt, isOnlyLoss, this.poolName, this.savedHead.describe());
  }

  end(): void {
    this.leaveQueue();
    this.tried = undefined;
    this.pool = undefined;
  }
}

/** Whether the process of the upstream may continue later. */
function isStall(loss: UpstreamLoss): boolean {
  return loss === "stalled" || loss === "behindStalled" || loss === "staleConnection";
}

interface LossFacts {
  startedAt: Upstream | undefined;
  isOnlyLoss: boolean;
  wasSent: boolean;
  isBodyBuffered: boolean;
}

/**
 * Returns the class of a request that has to wait.
 * @param head overwritten if there are classes
 */
function rankOf(ranks: Router<Rank> | undefined, kept: SavedHead, head: RequestHead): Rank {
  if (ranks === undefined || kept.parseOriginal(head) < 0) return Rank.NORMAL;
  return findRoute(ranks, head)?.target ?? Rank.NORMAL;
}
