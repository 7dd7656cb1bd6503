/** The HTTP/1.1 link to an upstream: kept connections, one request at a time on each. */
import type { Deadlines } from "../deadlines.js";
import type { HeadWriter } from "../http1/head-writer.js";
import type { Transport } from "../transport/transport.js";
import { Http1UpstreamConnection } from "./http1-connection.js";
import type { AnswerReceiver, UpstreamLink, UpstreamStream } from "./link.js";

export interface Http1LinkServices {
  transport: Transport;
  deadlines: Deadlines;
  requestWriter: HeadWriter;
}

/** Of an upstream that has few requests at once, since more would wait within it. */
export interface Http1Bound {
  /** Is to be called when the link can take more, though no exchange ended. */
  onRoom(): void;
}

export class Http1UpstreamLink implements UpstreamLink {
  /** Idle connections, the one used last on top, so that a quiet hour leaves the others to be closed. */
  private readonly idle: Http1UpstreamConnection[] = [];
  private open_ = 0;
  private onEmpty: (() => void) | undefined;
  /** Connections whose request was given up, and with which the upstream is not done. */
  private readonly givenUp = new Set<Http1UpstreamConnection>();

  constructor(
    readonly services: Http1LinkServices,
    private readonly path: string,
    private readonly maxConnections: number,
    /** Absent where the upstream takes as many connections as come. */
    private readonly bounded?: Http1Bound,
  ) {}

  /** Whether a request that is given up goes on holding its place until the upstream has let go of it. */
  get holdsPlaces(): boolean {
    return this.bounded !== undefined;
  }

  get connections(): number {
    return this.open_;
  }

  /** Requests are under way. */
  get isBusy(): boolean {
    return this.open_ > this.idle.length;
  }

  hasRoom(): boolean {
    return this.idle.length > 0 || this.open_ < this.maxConnections;
  }

  open(receiver: AnswerReceiver): UpstreamStream {
    const kept = this.idle.pop();
    if (kept !== undefined) {
      kept.begin(receiver);
      return kept;
    }
    this.open_++;
    const connection = new Http1UpstreamConnection(this, receiver);
    this.services.transport.connect(this.path, connection);
    return connection;
  }

  /** A connection that answers nothing may wait for a slow handler: there is no telling. */
  countSilence(): number {
    return 0;
  }

  shed(): void {}

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
  keep(connection: Http1UpstreamConnection): boolean {
    if (this.onEmpty !== undefined) return false;
    connection.idleSince = this.services.deadlines.now;
    this.idle.push(connection);
    return true;
  }

  /** Its request was given up: its place is free when the upstream ends the connection. */
  giveUp(connection: Http1UpstreamConnection): void {
    this.givenUp.add(connection);
  }

  /** A connection is gone. */
  gone(connection: Http1UpstreamConnection): void {
    const index = this.idle.indexOf(connection);
    if (index >= 0) this.idle.splice(index, 1);
    this.open_--;
    const wasGivenUp = this.givenUp.delete(connection);
    if (this.open_ === 0) this.onEmpty?.();
    if (wasGivenUp && this.onEmpty === undefined) this.bounded?.onRoom();
  }
}
