/** Finds an upstream for a request, at once or in the pool's queue, and another one when that fails. */
import type { Downstream } from "../downstream/downstream.js";
import type { RequestHead } from "../http1/request-head.js";
import type { Pool } from "../upstreams/pool.js";
import { PendingRequest, type Waiting } from "../upstreams/request-queue.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import type { Relay } from "./relay.js";
import { LostStarts, MAX_SENDS, mayTryElsewhere } from "./retry.js";

export interface AttemptsOwner {
  /** The request's method and path, for people. */
  describeRequest(): string;
  /** It waits in the pool's queue. */
  onQueued(): void;
  /** @param head as it was parsed just now; undefined when it has to be parsed anew */
  onUpstreamFound(upstream: Upstream, head: RequestHead | undefined): void;
  /** None takes it. */
  respond(status: 502 | 503): void;
}

export class Attempts implements Waiting {
  /** Upstreams that failed this request already; they are passed over. */
  tried: Upstream[] | undefined;
  isIdempotent = false;
  private pool: Pool | undefined;
  private place: PendingRequest | undefined;
  /** How often the request was written to an upstream. */
  private sends = 0;
  private readonly lostStarts: LostStarts;
  /** Until when it waits for a connection to an upstream; 0 while it does not. */
  private waitsUntil = 0;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: AttemptsOwner,
  ) {
    this.lostStarts = new LostStarts(relay);
  }

  begin(isIdempotent: boolean): void {
    this.isIdempotent = isIdempotent;
    this.tried = undefined;
    this.sends = this.waitsUntil = 0;
    this.lostStarts.reset();
  }

  /** Whether it may have started at an upstream that ended or fell silent. */
  get mayHaveStartedElsewhere(): boolean {
    return this.lostStarts.count > 0;
  }

  /** Whether it may be sent again if it has not started. */
  get maySend(): boolean {
    return this.sends < MAX_SENDS;
  }

  /** Whether it may be sent again though it may have started. */
  get mayRepeat(): boolean {
    return this.isIdempotent && this.lostStarts.count === 0 && !this.isPoison;
  }

  private get isPoison(): boolean {
    return this.lostStarts.isPoison(this.poolName, this.owner.describeRequest());
  }

  private get poolName(): string {
    return (this.pool as Pool).name;
  }

  /** Asks the next upstream in turn, or queues behind those that came before. */
  find(pool: Pool, head: RequestHead | undefined): void {
    this.pool = pool;
    if (pool.isDown) return this.owner.respond(503);
    const mustWait = pool.requestQueue.holds(this.isIdempotent);
    const upstream = mustWait ? undefined : pool.pick(this.tried, this.isIdempotent, this.mayHaveStartedElsewhere);
    if (upstream === undefined) this.enqueue(pool);
    else this.owner.onUpstreamFound(upstream, head);
  }

  private enqueue(pool: Pool): void {
    // All failed it once: they may be no more than too busy to take a connection, so each is asked again in time.
    this.tried = undefined;
    this.owner.onQueued();
    this.place = new PendingRequest(this);
    if (!pool.requestQueue.add(this.place)) return this.owner.respond(503);
    this.wait();
  }

  leaveQueue(): void {
    this.place?.giveUp();
    this.place = undefined;
  }

  /** One deadline for the queue and the connection, however often it goes from one to the other. */
  wait(): void {
    const { deadlines, limits } = this.relay;
    if (this.waitsUntil === 0) this.waitsUntil = deadlines.now + limits.upstreamConnectTimeoutMs;
    this.client.deadlineAt = this.waitsUntil;
  }

  onUpstreamFree(upstream: Upstream): void {
    // While it waited others like it may have ended a second process.
    if (this.mayHaveStartedElsewhere && this.isPoison) return this.owner.respond(502);
    this.owner.onUpstreamFound(upstream, undefined);
  }

  onPoolDown(): void {
    this.owner.respond(503);
  }

  /** Its head is written to an upstream. */
  onSent(): void {
    this.sends++;
    this.waitsUntil = 0;
  }

  /**
   * The upstream that had it failed: undefined when another may have it, else the status for the client.
   * @param startedAt where it may have started
   * @param isOnlyLoss no other request was lost there
   */
  onLost(
    loss: UpstreamLoss,
    upstream: Upstream | undefined,
    { startedAt, isOnlyLoss, wasSent, isBodyBuffered }: LossFacts,
  ): 502 | 503 | undefined {
    const { sends, lostStarts, isIdempotent } = this;
    if (startedAt !== undefined)
      lostStarts.note(loss, startedAt, isOnlyLoss, this.poolName, this.owner.describeRequest());
    const isPoison = startedAt !== undefined && this.isPoison;
    const attempted = { sends, starts: lostStarts.count, wasSent, isIdempotent, isBodyBuffered, isPoison };
    // What has not begun may be asked for again; that is what 503 says.
    if (!mayTryElsewhere(loss, attempted)) return loss === "notStarted" ? 503 : 502;
    this.relay.counters.retriesTotal++;
    // A stale connection says nothing against its upstream.
    if (upstream !== undefined && loss !== "stale") this.tried = [...(this.tried ?? []), upstream];
    return undefined;
  }

  end(): void {
    this.leaveQueue();
    this.tried = undefined;
    this.pool = undefined;
  }
}

interface LossFacts {
  startedAt: Upstream | undefined;
  isOnlyLoss: boolean;
  wasSent: boolean;
  isBodyBuffered: boolean;
}
