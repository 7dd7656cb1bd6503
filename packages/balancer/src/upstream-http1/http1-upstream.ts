/** The HTTP/1.1 link to an upstream: kept connections, one request at a time on each. */
import type { OverdueRequest, SocketAddress } from "@paceline/wire";
import { type Deadlines, TICK_MS } from "../deadlines.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Counters } from "../stats/counters.js";
import type { Transport } from "../transport/transport.js";
import type { ControlLane } from "../upstream-lane/lane-connection.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import { Http1UpstreamConnection, type UpstreamConnections } from "./http1-connection.js";

interface Http1ClientServices {
  transport: Transport;
  deadlines: Deadlines;
  requestWriter: HeadWriter;
  counters: Counters;
}

interface Http1ClientOptions {
  maxConnections: number;
  /** It is no server of ours, and may close an idle connection while a request is on its way there. */
  isForeign: boolean;
  /** It may send more than its response, or stands for one that may: a connection is used again for the same client alone. */
  isPerClient: boolean;
  /**
   * Given for an upstream that has few requests at once, since more would wait within it: one that is given up holds its
   * place until the upstream is done with it. It is called when there is room again, though no exchange ended.
   */
  onRoom: (() => void) | undefined;
}

/** An upstream that closes a connection so soon after a response keeps none. */
const AT_ONCE_MS = 2 * TICK_MS;

export class Http1UpstreamClient implements UpstreamClient, UpstreamConnections {
  /** Idle connections, the one used last on top, so that a quiet hour leaves the others to be closed. */
  private readonly idle: Http1UpstreamConnection[] = [];
  private open_ = 0;
  private onEmpty: (() => void) | undefined;
  /** The connection that got a request last. */
  private latest: Http1UpstreamConnection | undefined;
  /** Connections whose request nobody waits for any more, and with which the upstream is not done. */
  private readonly givenUp = new Set<Http1UpstreamConnection>();
  /** It closes its connections after each response without saying so, as uWSGI does. */
  private keepsNone = false;

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

  get isForeign(): boolean {
    return this.options.isForeign;
  }

  /** Whether a request that is given up goes on holding its place until the upstream has let go of it. */
  get holdsPlaces(): boolean {
    return this.options.onRoom !== undefined;
  }

  /** Whether an instance may go on with a request after its response, in its place. */
  get awaitsWork(): boolean {
    return this.holdsPlaces && !this.options.isForeign;
  }

  get connections(): number {
    return this.open_;
  }

  /** Requests are under way. */
  get isBusy(): boolean {
    return this.open_ > this.idle.length;
  }

  hasRoom(): boolean {
    return this.idle.length > 0 || this.open_ < this.options.maxConnections;
  }

  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    // On a new connection it is sure that the upstream was there when the request came.
    const mayReuse = isIdempotent && !receiver.mayHaveStartedElsewhere;
    const kept = this.options.isPerClient ? this.takeKept(receiver, mayReuse) : this.idle.pop();
    if (kept !== undefined) {
      kept.begin(receiver);
      this.latest = kept;
      return kept;
    }
    // Room was there for it, if only in the place of an idle one.
    if (this.open_ >= this.options.maxConnections) this.idle[0]?.close();
    this.open_++;
    const connection = new Http1UpstreamConnection(this, receiver);
    this.latest = connection;
    this.services.transport.connect(this.address, connection);
    return connection;
  }

  /** HTTP/1.1 does not tell which one is running: it is known where there is one alone. */
  runningRequest(): string | undefined {
    return this.open_ - this.idle.length === 1 ? this.latest?.describeRequest() : undefined;
  }

  overdue(): OverdueRequest | undefined {
    let first: OverdueRequest | undefined;
    for (const connection of this.givenUp) {
      const overdue = connection.overdue;
      if (overdue !== undefined && (first === undefined || overdue.forMs > first.forMs)) first = overdue;
    }
    return first;
  }

  /** The connection that is kept for this client. */
  private takeKept({ keptConnections }: ResponseReceiver, mayReuse: boolean): Http1UpstreamConnection | undefined {
    if (this.options.isForeign && !mayReuse) return undefined;
    const connection = keptConnections?.find(this) as Http1UpstreamConnection | undefined;
    if (connection !== undefined) this.forget(connection);
    return connection;
  }

  /** It is idle no more. */
  private forget(connection: Http1UpstreamConnection): void {
    const index = this.idle.indexOf(connection);
    if (index >= 0) this.idle.splice(index, 1);
    connection.keptFor?.remove(connection);
    connection.keptFor = undefined;
  }

  /** A connection without a response may wait for a slow handler: there is no telling. */
  countStall(): number {
    return 0;
  }

  reassign(): void {}

  closeIdleSince(atMs: number): void {
    // The oldest lie at the bottom.
    while (this.idle.length > 0 && (this.idle[0] as Http1UpstreamConnection).idleSince < atMs) {
      (this.idle.shift() as Http1UpstreamConnection).close();
    }
  }

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    for (const connection of [...this.idle.splice(0), ...this.givenUp]) connection.close();
    if (this.open_ === 0) onEmpty();
  }

  /** A connection has no request any more: false when it must not be kept. */
  keep(connection: Http1UpstreamConnection, receiver: ResponseReceiver | undefined): boolean {
    if (this.onEmpty !== undefined || this.keepsNone) return false;
    if (this.options.isPerClient) {
      const keptConnections = receiver?.keptConnections;
      if (keptConnections === undefined) return false;
      // One that a request went past, since it must not be sent twice, makes room.
      keptConnections.find(this)?.close();
      keptConnections.add(connection);
      connection.keptFor = keptConnections;
    }
    connection.idleSince = this.services.deadlines.now;
    this.idle.push(connection);
    return true;
  }

  /** Nobody waits for its request any more: its place is free when the upstream is done with it, or ends the connection. */
  giveUp(connection: Http1UpstreamConnection): void {
    this.givenUp.add(connection);
    this.services.counters.abandoned++;
  }

  /** The upstream is done with what it went on with after its response. */
  done(connection: Http1UpstreamConnection): void {
    this.givenUp.delete(connection);
    this.services.counters.abandoned--;
    if (!this.keep(connection, undefined)) connection.close();
    if (this.onEmpty === undefined) this.options.onRoom?.();
  }

  /** It was closed by the peer while no request was there, or before a response began; false when it should not have been. */
  closedWhileKept({ idleSince }: Http1UpstreamConnection): boolean {
    if (!this.options.isForeign) return false;
    if (!this.keepsNone && this.services.deadlines.now - idleSince <= AT_ONCE_MS) {
      this.keepsNone = true;
      for (const connection of this.idle.splice(0)) connection.close();
    }
    return true;
  }

  /** A connection is gone. */
  gone(connection: Http1UpstreamConnection): void {
    this.forget(connection);
    this.open_--;
    const wasGivenUp = this.givenUp.delete(connection);
    if (wasGivenUp) this.services.counters.abandoned--;
    if (this.latest === connection) this.latest = undefined;
    if (this.open_ === 0) this.onEmpty?.();
    if (wasGivenUp && this.onEmpty === undefined) this.options.onRoom?.();
  }
}

/** The same with a lane for control beside the connections, which tells of silence and of leaving. */
export class WatchedHttp1Client implements UpstreamClient {
  constructor(
    private readonly http1: Http1UpstreamClient,
    private readonly control: ControlLane,
    /** Work is under way: silence counts from here. */
    private readonly onBusy: () => void,
  ) {}

  get connections(): number {
    return this.http1.connections;
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
    return this.control.countStall(weight, this.http1.isBusy);
  }

  /** HTTP/1.1 does not tell what has begun: what was sent stays. */
  reassign(): void {}

  runningRequest(): string | undefined {
    return this.http1.runningRequest();
  }

  overdue(): undefined {
    return undefined;
  }
}
