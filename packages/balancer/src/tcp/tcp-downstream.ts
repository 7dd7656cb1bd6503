/** A client's connection in tcp mode: waits for an upstream, connects to it or to another one, and is then joined with that connection. */
import type { BalancerLimits } from "@paceline/wire";
import type { Guest } from "../admission/door.js";
import type { Deadlines } from "../deadlines.js";
import type { UnreadBytes } from "../exchange/unread-bytes.js";
import type { Peer } from "../http1/forwarded.js";
import { proxyHeader } from "../http1/proxy-header.js";
import type { Counters } from "../stats/counters.js";
import type { TurnShare } from "../transport/reading.js";
import { type Connection, type ConnectionOwner, type Connector, type Ends, NO_OWNER } from "../transport/transport.js";
import { Rank } from "../upstreams/pending-lines.js";
import type { Pool } from "../upstreams/pool.js";
import { QueueEntry, type Waiting } from "../upstreams/request-queue.js";
import { Binding } from "../upstreams/sticky.js";
import type { Upstream } from "../upstreams/upstream.js";
import { TcpSide } from "./tcp-side.js";

/** The part of `upstreamConnectTimeoutMs` after which a further upstream is tried. */
const TRIES = 3;
/**
 * How often a client gets another connection if its connection to the upstream was reset at once. Some programs refuse a client in this
 * way.
 */
const MAX_RESETS = 3;
/** The status of an upgraded connection: it lasts as long as its client wants. */
const CONNECTED = 101;
const UNAVAILABLE = 503;
/** Connections have no routes. */
const NO_ROUTE = { routeClass: 0 };

export interface TcpServices {
  readonly deadlines: Deadlines;
  readonly counters: Counters;
  readonly limits: BalancerLimits;
  readonly turnShare: TurnShare;
  readonly unread: UnreadBytes;
}

export interface TcpClient {
  readonly connection: Connection;
  readonly peer: Peer;
  /** The addresses from a PROXY header; null without such a header, so that the addresses of the connection itself apply. */
  readonly ends: Ends | undefined | null;
}

type State =
  /** In the pool's queue. */
  | "waiting"
  | "connecting"
  | "joined"
  /** Both peers have sent FIN; the rest of their bytes is being sent. */
  | "ending"
  | "closed";

export class TcpDownstream implements ConnectionOwner, Waiting, Guest {
  deadlineAt: number;
  deadlineIndex = -1;
  tried: Upstream[] | undefined;
  readonly isIdempotent = true;
  private state: State = "waiting";
  /** The bytes that the client sent before it was joined: at most two reads, since it is paused. */
  private readonly early: Buffer[] = [];
  /** Whether the client sent FIN before it was joined. */
  private hasEnded = false;
  private queueEntry: QueueEntry | undefined;
  private attempt: Attempt | undefined;
  private side: TcpSide | undefined;
  private readonly binding: Binding | undefined;
  private readonly waitsUntil: number;
  private readonly startedAt = performance.now();
  private resets = 0;
  /** In state "ending": the number of bytes that the peers had to read at the last check. */
  private unread = 0;

  constructor(
    private readonly services: TcpServices,
    private readonly client: TcpClient,
    /** Undefined if there is no such pool, or no longer. */
    private readonly pool: Pool | undefined,
    /** Called when the client's connection is closed, or is being closed. */
    private readonly onGone: (gone: TcpDownstream) => void,
  ) {
    const { deadlines, limits, counters } = services;
    this.waitsUntil = this.deadlineAt = deadlines.now + limits.upstreamConnectTimeoutMs;
    deadlines.add(this);
    counters.inFlight++;
    client.connection.pause();
    if (pool?.sticky !== undefined) {
      this.binding = new Binding();
      pool.sticky.bindClient(this.binding, client.peer);
    }
  }

  get peer(): Peer {
    return this.client.peer;
  }

  /** The client never owes a request, because the protocol on the connection is unknown. */
  readonly owesRequestSince = Number.POSITIVE_INFINITY;
  readonly isKept = false;

  closeForOthers(): void {
    this.end();
  }

  /** Called at the end of a drain's grace period. A connection lasts until the drain's deadline. */
  closeIfIdle(): void {}

  lookIfLeft(): void {
    if (this.side === undefined) this.client.connection.lookIfReset();
    else this.side.lookIfLeft();
  }

  /** Picks an upstream, or waits for one. */
  find(): void {
    const { pool, tried, binding } = this;
    if (pool === undefined || pool.isDown) return this.refuse();
    const upstream = pool.requestQueue.holds(true) ? undefined : pool.pick(tried, true, false, binding);
    if (upstream !== undefined) return this.connectTo(upstream);
    this.state = "waiting";
    this.deadlineAt = this.waitsUntil;
    // All upstreams have failed once, perhaps because they are too busy to accept. Each of them is tried again, one tick later at the
    // earliest.
    this.tried = undefined;
    this.queueEntry = new QueueEntry(this, 0, Rank.NORMAL, pool.requestQueue.clock());
    if (!pool.requestQueue.add(this.queueEntry)) this.refuse();
  }

  private connectTo(upstream: Upstream): void {
    const { deadlines, limits } = this.services;
    this.queueEntry = undefined;
    this.state = "connecting";
    this.deadlineAt = Math.min(this.waitsUntil, deadlines.now + limits.upstreamConnectTimeoutMs / TRIES);
    this.attempt = new Attempt(upstream, this);
    this.attempt.begin();
  }

  // Called by its attempt:

  onConnected(attempt: Attempt, connection: Connection): ConnectionOwner {
    const { client, services, early } = this;
    const { upstream } = attempt;
    const milliseconds = performance.now() - this.startedAt;
    upstream.requestsTotal++;
    upstream.countResponse(CONNECTED, milliseconds, NO_ROUTE);
    if (this.resets === 0) services.counters.countResponse(CONNECTED, milliseconds);
    this.state = "joined";
    const near = new TcpSide(client.connection, services.turnShare, services.unread, this);
    const far = new TcpSide(connection, services.turnShare, services.unread, this);
    TcpSide.join(near, far);
    this.side = near;
    client.connection.owner = near;
    const { sendProxy } = upstream.tcp ?? {};
    if (sendProxy !== undefined)
      connection.write(proxyHeader(sendProxy, client.ends === null ? client.connection.ends : client.ends));
    this.onProgress();
    client.connection.resume();
    for (const bytes of early.splice(0)) near.onData(bytes);
    if (this.hasEnded) near.onEnd();
    return far;
  }

  onConnectFailed({ upstream }: Attempt): void {
    this.tried = [...(this.tried ?? []), upstream];
    this.services.counters.retriesTotal++;
    this.attempt = undefined;
    this.find();
  }

  // Called by the queue:

  onUpstreamFree(upstream: Upstream): void {
    this.connectTo(upstream);
  }

  onHomeLost(): void {}

  onPoolDown(): void {
    this.refuse();
  }

  onRefused(): void {
    this.refuse();
  }

  // Called by the client's connection until it is joined:

  onData(bytes: Buffer): boolean {
    if (this.state === "closed") return true;
    this.early.push(bytes);
    return false;
  }

  onDrain(): void {}

  onEnd(): void {
    this.hasEnded = true;
  }

  onClose(): void {
    this.finish();
  }

  // Called by the joined connections:

  onProgress(): void {
    this.deadlineAt = this.services.deadlines.now + this.services.limits.tunnelIdleTimeoutMs;
  }

  onEnding(): void {
    this.state = "ending";
    this.look(Number.POSITIVE_INFINITY);
  }

  /**
   * The kernel accepts connections for a program that is being killed, and resets them later. Such a connection counts as failed if no byte
   * was passed on.
   */
  onCut(cut: TcpSide): boolean {
    const { side, attempt, client, services } = this;
    if (side === undefined || attempt === undefined || cut === side || side.hasSent || cut.hasSent) return false;
    if (++this.resets > MAX_RESETS || services.deadlines.now >= this.waitsUntil) return false;
    this.side = undefined;
    this.hasEnded = side.hasEnded;
    client.connection.owner = this;
    client.connection.pause();
    attempt.abandon("refused");
    this.onConnectFailed(attempt);
    return true;
  }

  onOver(): void {
    this.finish();
  }

  onStuck(): void {
    this.end();
  }

  onDeadline(): void {
    const { state, attempt, services } = this;
    switch (state) {
      case "waiting":
        return this.refuse();
      case "connecting":
        if (attempt === undefined || services.deadlines.now >= this.waitsUntil) return this.refuse();
        attempt.abandon("refused");
        return this.onConnectFailed(attempt);
      case "joined":
        return this.end();
      case "ending":
        return this.look(this.unread);
      case "closed":
        return;
      default:
        return state satisfies never;
    }
  }

  /**
   * Cuts off a peer that reads nothing of the rest.
   * @param before the number of bytes that it had to read at the last check
   */
  private look(before: number): void {
    this.unread = this.side?.waitingBytes ?? 0;
    if (this.unread >= before) this.end();
    else this.deadlineAt = this.services.deadlines.now + this.services.limits.sendTimeoutMs;
  }

  /** Resets the client at once, because no upstream takes the connection. */
  private refuse(): void {
    if (this.state === "closed") return;
    this.services.counters.countResponse(UNAVAILABLE, performance.now() - this.startedAt);
    this.end();
  }

  /** Called when this process exits. That sends FIN to both peers, although the bytes that they have received may be incomplete. */
  cutIfPart(): void {
    this.end();
  }

  private end(): void {
    if (this.state === "closed") return;
    if (this.side === undefined) this.client.connection.reset();
    else this.side.cut();
    this.finish();
  }

  private finish(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.early.length = 0;
    this.queueEntry?.stopWaiting();
    this.attempt?.abandon();
    this.services.deadlines.remove(this);
    this.services.counters.inFlight--;
    this.onGone(this);
  }
}

/** One connection to an upstream, from the first step to its end. It may still be established after its client has left. */
class Attempt implements Connector {
  private isOver = false;
  private hasResult = false;

  constructor(
    readonly upstream: Upstream,
    private readonly client: TcpDownstream,
  ) {}

  begin(): void {
    this.upstream.connect(this);
  }

  onConnected(connection: Connection): ConnectionOwner {
    this.hasResult = true;
    if (this.isOver) {
      connection.reset();
      this.upstream.tcp?.closed();
      return NO_OWNER;
    }
    return this.client.onConnected(this, connection);
  }

  onConnectFailed(): void {
    this.hasResult = true;
    const isOver = this.isOver;
    if (!isOver) this.abandon("refused");
    else this.upstream.tcp?.closed();
    if (!isOver) this.client.onConnectFailed(this);
  }

  /**
   * Ends the attempt, because the client does not need it any more.
   * @param loss set if the upstream caused it
   */
  abandon(loss?: "refused"): void {
    if (this.isOver) return;
    this.isOver = true;
    if (this.hasResult) this.upstream.tcp?.closed();
    this.upstream.release(false, loss);
  }
}
