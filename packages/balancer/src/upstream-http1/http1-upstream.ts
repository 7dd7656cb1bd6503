/** The HTTP/1.1 client of an upstream: kept connections, each with one request at a time. */
import type { OverdueRequest, ProxyVersion, SocketAddress } from "@paceline/wire";
import { type Deadlines, TICK_MS } from "../deadlines.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Counters } from "../stats/counters.js";
import type { TurnShare } from "../transport/reading.js";
import type { SmallReads } from "../transport/small-reads.js";
import type { Transport } from "../transport/transport.js";
import type { ControlLane } from "../upstream-lane/lane-connection.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import { QuickWork } from "./after-work.js";
import { Http1UpstreamConnection } from "./http1-connection.js";
import type { UpstreamConnections } from "./request-sender.js";

interface Http1ClientServices {
  transport: Transport;
  deadlines: Deadlines;
  requestWriter: HeadWriter;
  turnShare: TurnShare;
  smallReads: SmallReads;
  counters: Counters;
}

interface Http1ClientOptions {
  maxConnections: number;
  /** Whether the upstream is not one of our servers, so that it may close an idle connection while a request is in transit. */
  isForeign: boolean;
  /** The version of the PROXY header at the start of each connection, which then serves only one client. */
  sendProxy: ProxyVersion | undefined;
  /** Whether the upstream may send more than its response, or forwards to such a server. Connections are then kept per client. */
  isPerClient: boolean;
  /**
   * Set for an upstream with limited concurrency, in which further requests would wait. An abandoned request occupies such an upstream
   * until the upstream has finished it. Called when there is room again although no exchange has ended.
   */
  onRoom: (() => void) | undefined;
  /** Its pool. */
  pool: {
    /** How long an abandoned request may run before the supervisor kills the process, in milliseconds. */
    readonly requestTimeoutMs: number;
  };
}

/** If an upstream closes a connection within this time after a response, it never keeps connections. */
const AT_ONCE_MS = 2 * TICK_MS;
/** The accuracy with which the start of an overdue request is known, in milliseconds. */
const OVERDUE_BY_MS = 2 * TICK_MS;
/** How long an upstream waits for its process to be killed, in milliseconds. If this time passes, the process was not killed. */
const DOOM_MS = 5000;

export class Http1UpstreamClient implements UpstreamClient, UpstreamConnections<Http1UpstreamConnection> {
  /** Idle connections. The last used one is on top, so that the others are closed when there is little load. */
  private readonly idle: Http1UpstreamConnection[] = [];
  private openCount = 0;
  private onEmpty: (() => void) | undefined;
  /** The connection of the last request. */
  private latest: Http1UpstreamConnection | undefined;
  /** Connections with an abandoned request that the upstream has not finished. */
  private readonly abandoned = new Set<Http1UpstreamConnection>();
  private readonly work = new QuickWork();
  /** Whether a request has exceeded its time limit, so that the process is about to be killed with all of its requests. */
  private isDoomed = false;
  /** Whether the upstream closes each connection after its response without announcing it, as uWSGI does. */
  private keepsNone = false;
  /**
   * The lane beside the connections. Without a lane, nothing shows that the upstream still runs a request whose client has left, so nothing
   * is noted.
   */
  control: ControlLane | undefined;
  /** A request whose client has left, and which the upstream may be running; empty if it may be any one of several. */
  leftAtWork: string | undefined;

  constructor(
    private readonly services: Http1ClientServices,
    private readonly address: SocketAddress,
    private readonly options: Http1ClientOptions,
  ) {}

  get deadlines(): Deadlines {
    return this.services.deadlines;
  }

  get requestWriter(): HeadWriter {
    return this.services.requestWriter;
  }

  get turnShare(): TurnShare {
    return this.services.turnShare;
  }

  get smallReads(): SmallReads | undefined {
    return this.countsAbandoned ? undefined : this.services.smallReads;
  }

  get isForeign(): boolean {
    return this.options.isForeign;
  }

  get isLocal(): boolean {
    return typeof this.address === "string";
  }

  /** Programs read trailers, as HTTP/1.1 requires. Our own instances announce on their control lane whether they do. */
  get takesTrailers(): boolean {
    return this.control?.takesTrailers ?? this.options.isForeign;
  }

  get sendProxy(): ProxyVersion | undefined {
    return this.options.sendProxy;
  }

  /** Whether an abandoned request occupies the upstream until it has finished it. */
  get countsAbandoned(): boolean {
    return this.options.onRoom !== undefined;
  }

  /** Whether an instance may continue to work on a request after its response, and stays occupied meanwhile. */
  get awaitsWork(): boolean {
    return this.countsAbandoned && !this.options.isForeign;
  }

  get connections(): number {
    return this.openCount;
  }

  /** HTTP/1.1 does not show pending requests. */
  readonly pending = 0;
  readonly notStarted = 0;

  /** Does not count the work after a response if it usually ends soon, because its report is left unread. */
  get lasting(): number {
    let lasting = 0;
    if (this.abandoned.size > 0) for (const { isDoneUnread } of this.abandoned) if (!isDoneUnread) lasting++;
    return lasting;
  }

  /** Whether requests are in flight. */
  get isBusy(): boolean {
    return this.openCount > this.idle.length;
  }

  hasRoom(): boolean {
    if (this.isDoomed) return false;
    if (this.idle.length > 0 || this.openCount < this.options.maxConnections) return true;
    if (!this.work.endsSoon) this.readDone();
    return false;
  }

  get readsDoneLater(): boolean {
    return this.options.maxConnections === 1 && this.work.isUsuallyQuick;
  }

  /** Reads the reports that were left unread, because instances may be done. */
  private readDone(): void {
    if (this.abandoned.size > 0) for (const connection of this.abandoned) connection.readDoneNow();
  }

  /** Searches for a request that has exceeded its time limit. The supervisor kills the process for it, but needs some time. */
  private lookForDoom(): void {
    this.isDoomed = false;
    for (const connection of this.abandoned) {
      if (connection.readDoneNow()) continue;
      const { overdueMs } = connection;
      if (!this.isLate(overdueMs)) continue;
      if (this.isLate(overdueMs - DOOM_MS)) connection.endAbandoned();
      else this.isDoomed = true;
    }
  }

  isLate(overdueMs: number): boolean {
    return overdueMs >= this.options.pool.requestTimeoutMs - OVERDUE_BY_MS;
  }

  get endsSoon(): boolean {
    return !this.isDoomed && this.working !== undefined && this.work.endsSoon;
  }

  /** The only connection, if its instance is finishing a request. */
  private get working(): Http1UpstreamConnection | undefined {
    if (this.abandoned.size === 0 || this.options.maxConnections > 1) return undefined;
    for (const connection of this.abandoned) if (connection.mayFollow) return connection;
    return undefined;
  }

  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    // A new connection proves that the upstream was running when the request arrived.
    const mayReuse = isIdempotent && !receiver.mayHaveStartedElsewhere;
    const kept = this.options.isPerClient ? this.takeKept(receiver, mayReuse) : (this.idle.pop() ?? this.takeWorking());
    if (kept !== undefined) {
      kept.begin(receiver);
      this.latest = kept;
      return kept;
    }
    // Makes room for a connection, if necessary in place of an idle one.
    if (this.openCount >= this.options.maxConnections) this.idle[0]?.close();
    this.openCount++;
    const connection = new Http1UpstreamConnection(this, receiver);
    this.latest = connection;
    this.services.transport.connect(this.address, connection);
    return connection;
  }

  private takeWorking(): Http1UpstreamConnection | undefined {
    const { working } = this;
    if (working === undefined) return undefined;
    this.work.follow();
    this.abandoned.delete(working);
    this.services.counters.abandoned--;
    return working;
  }

  /** HTTP/1.1 does not show which request is running, so it is known only if there is just one. */
  runningRequest(): string | undefined {
    if (this.leftAtWork !== undefined) return this.leftAtWork || undefined;
    return this.openCount - this.idle.length === 1 ? this.latest?.describeRequest() : undefined;
  }

  overdue(): OverdueRequest | undefined {
    let first: OverdueRequest | undefined;
    for (const connection of this.abandoned) {
      if (connection.readDoneNow()) continue;
      const overdue = connection.overdue;
      if (overdue !== undefined && (first === undefined || overdue.forMs > first.forMs)) first = overdue;
    }
    return first;
  }

  /** Returns the connection kept for this client. */
  private takeKept({ keptConnections }: ResponseReceiver, mayReuse: boolean): Http1UpstreamConnection | undefined {
    if (this.options.isForeign && !mayReuse) return undefined;
    const connection = keptConnections?.find(this) as Http1UpstreamConnection | undefined;
    if (connection !== undefined) this.forget(connection);
    return connection;
  }

  /** Removes a connection from the idle ones. */
  private forget(connection: Http1UpstreamConnection): void {
    const index = this.idle.indexOf(connection);
    if (index >= 0) this.idle.splice(index, 1);
    connection.keptFor?.remove(connection);
    connection.keptFor = undefined;
  }

  /** A connection without a response may be waiting for a slow handler, so stalls cannot be detected. */
  countStall(): number {
    return 0;
  }

  reassign(): void {}

  reassignWaiting(): void {
    this.latest?.reassign();
  }

  closeIdleSince(atMs: number): void {
    if (this.abandoned.size > 0 || this.isDoomed) this.lookForDoom();
    // The oldest ones are at the bottom.
    while (this.idle.length > 0 && (this.idle[0] as Http1UpstreamConnection).idleSince < atMs) {
      (this.idle.shift() as Http1UpstreamConnection).close();
    }
  }

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    for (const connection of [...this.idle.splice(0), ...this.abandoned]) connection.close();
    if (this.openCount === 0) onEmpty();
  }

  /** Called when a connection has no request any more. Returns false if it must not be kept. */
  keep(connection: Http1UpstreamConnection, receiver: ResponseReceiver | undefined): boolean {
    if (this.onEmpty !== undefined || this.keepsNone) return false;
    if (this.options.isPerClient) {
      const keptConnections = receiver?.keptConnections;
      if (keptConnections === undefined) return false;
      // Replaces a kept connection that a request could not use. The request must not be sent twice.
      keptConnections.find(this)?.close();
      keptConnections.add(connection);
      connection.keptFor = keptConnections;
    }
    connection.idleSince = this.services.deadlines.now;
    this.idle.push(connection);
    return true;
  }

  /**
   * Called when a connection's request was abandoned, or when its instance continues to work after the response. The upstream is free again
   * when it has finished the request, or closes the connection.
   */
  keepAbandoned(connection: Http1UpstreamConnection): void {
    this.abandoned.add(connection);
    this.work.start();
    this.services.counters.abandoned++;
    if (connection.overdueMs > 0) this.lookForDoom();
  }

  /** Called when a request was abandoned and its connection is about to be closed. This does not end the work on the request. */
  noteLeft(request: string | undefined): void {
    if (this.control === undefined || this.leftAtWork !== undefined || request === undefined) return;
    this.leftAtWork = this.openCount - this.idle.length === 1 ? request : "";
    this.control.ask();
  }

  /** Called when the upstream has finished the work after a response. */
  done(connection: Http1UpstreamConnection, wasRead: boolean): void {
    if (wasRead) this.work.finish();
    this.abandoned.delete(connection);
    this.services.counters.abandoned--;
    if (!this.keep(connection, undefined)) connection.close();
    if (this.onEmpty === undefined) this.options.onRoom?.();
  }

  /** Called when the peer closed an idle connection, or one without a response yet. Returns false if that was unexpected. */
  closedWhileKept({ idleSince }: Http1UpstreamConnection): boolean {
    if (!this.options.isForeign) return false;
    if (!this.keepsNone && this.services.deadlines.now - idleSince <= AT_ONCE_MS) {
      this.keepsNone = true;
      for (const connection of this.idle.splice(0)) connection.close();
    }
    return true;
  }

  /** Removes a closed connection. */
  gone(connection: Http1UpstreamConnection): void {
    this.forget(connection);
    this.openCount--;
    const wasAbandoned = this.abandoned.delete(connection);
    if (wasAbandoned) this.services.counters.abandoned--;
    if (this.latest === connection) this.latest = undefined;
    if (this.openCount === 0) this.onEmpty?.();
    if (wasAbandoned && this.onEmpty === undefined) this.options.onRoom?.();
  }
}

/** HTTP/1.1 connections plus a control lane, which reports stalls and draining. */
export class WatchedHttp1Client implements UpstreamClient {
  constructor(
    private readonly http1: Http1UpstreamClient,
    private readonly control: ControlLane,
    /** Called when work is in progress, which starts the detection of stalls. */
    private readonly onBusy: () => void,
  ) {
    http1.control = control;
  }

  get connections(): number {
    return this.http1.connections;
  }

  readonly pending = 0;
  readonly notStarted = 0;

  get isLoopRunning(): boolean {
    return this.control.isLoopRunning;
  }

  hasRoom(): boolean {
    return !this.control.isGoingAway && this.http1.hasRoom();
  }

  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    this.onBusy();
    return this.http1.open(receiver, isIdempotent);
  }

  closeIdleSince(atMs: number): void {
    this.http1.closeIdleSince(atMs);
  }

  leave(onEmpty: () => void): void {
    this.http1.leave(() => {
      this.control.close();
      onEmpty();
    });
  }

  countStall(weight: number): number {
    const ticks = this.control.countStall(weight, this.http1.isBusy);
    if (!this.control.isAwaiting) this.http1.leftAtWork = undefined;
    return ticks;
  }

  /** HTTP/1.1 does not show which requests have started, so none are reassigned. */
  reassign(): void {}

  runningRequest(): string | undefined {
    return this.http1.runningRequest();
  }

  overdue(): undefined {
    return undefined;
  }
}
