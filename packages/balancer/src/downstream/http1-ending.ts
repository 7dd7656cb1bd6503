/**
 * Decides how an HTTP/1 client's connection ends: after its last response, by its client, to make room for another, in a drain, or at once.
 */

import type { Downstream, LocalStatus } from "../exchange/downstream.js";
import { Exchange } from "../exchange/exchange.js";
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import { ClientReading, Pause } from "../transport/reading.js";
import type { Connection, Ends } from "../transport/transport.js";
import { Http1Response } from "./http1-response.js";
import { ClientMemory, Input } from "./input.js";
import { endLasting, type LastingClient } from "./lasting-response.js";

export type State =
  /** Between requests, or while a head arrives. */
  | "head"
  /** A request is in progress. */
  | "exchange"
  /** The last response and FIN were sent. Further input is dropped, because a reset could destroy the response. */
  | "lingering"
  /** Finished, except for bytes that the client has not read. Counts as a connection until the descriptor is closed. */
  | "closing"
  | "closed";

/** How long a client may keep sending after its last response, in milliseconds. */
const LINGER_MS = 2000;

export abstract class Http1Ending implements Downstream, LastingClient {
  deadlineAt = Number.POSITIVE_INFINITY;
  deadlineIndex = -1;
  protected state: State = "head";
  protected readonly input = new Input();
  readonly response: Http1Response;
  readonly exchange: Exchange;
  /** Whether another request may follow the current one. */
  staysOpen = true;
  protected readonly reading: ClientReading;
  protected readonly memory: ClientMemory;
  /** Whether the client of a tunnel may still send: it has not sent FIN. */
  protected clientMaySend = false;

  constructor(
    protected readonly relay: Relay,
    protected readonly connection: Connection,
    readonly peer: Peer,
  ) {
    this.exchange = new Exchange(relay, this, peer);
    this.memory = new ClientMemory(relay, connection, this.input, this);
    this.reading = new ClientReading(connection, relay.turnShare, relay.budget, this);
    this.response = new Http1Response(relay, connection, this.memory);
  }

  abstract readonly ends: Ends | undefined;
  abstract onTurn(): void;
  abstract onDeadline(): void;
  abstract sendHead(head: ResponseHead): void;
  abstract endResponse(): void;
  abstract respond(status: LocalStatus, fields?: string): void;
  abstract pauseBody(): void;
  abstract resumeBody(): void;
  /** Called when the descriptor is closed. */
  protected abstract onLeft(): void;

  /** Closes the connection of a client that owes a request, to make room for another client. */
  closeForOthers(): void {
    if (this.input.length > 0) this.abort();
    else this.close();
  }

  /** Closes the connection if no request is in progress or arriving. Called at the end of a drain's grace period. */
  closeIfIdle(): void {
    if (this.state === "head" && this.input.length === 0) this.close();
  }

  /** Resets a client that reads nothing, because others need the memory of its responses. */
  resetForMemory(): void {
    if (this.state === "exchange") this.exchange.onClientEnded("no-room");
    this.cut();
    this.input.freeSpent(this.exchange);
  }

  // Called by the connection:

  onEnd(): void {
    switch (this.state) {
      case "exchange":
        this.clientMaySend = false;
        if (this.exchange.isTunnel) {
          this.connection.keepAsking();
          return this.exchange.onRequestEnd();
        }
        this.exchange.onClientGone();
        // After a FIN, a response of unknown length would look complete.
        return this.response.endsWithConnection ? this.cut() : this.close();
      case "head":
      case "lingering":
        return this.close();
    }
  }

  onClose(): void {
    if (this.state === "closed") return;
    this.exchange.onClientGone();
    this.leave();
    this.input.freeSpent(this.exchange);
  }

  /** Called each second, because a paused client can disconnect unnoticed. In a tunnel, its FIN comes after its remaining bytes. */
  lookIfLeft(): void {
    const isOwed = this.state === "exchange";
    if (isOwed && this.exchange.isTunnel) this.reading.lookIfReset(!this.clientMaySend);
    else if (this.reading.hasPeerLeft(isOwed)) this.onEnd();
  }

  /** Called when this process exits, which sends FIN. An incomplete response must not look complete. */
  cutIfPart(): void {
    const isPart = this.state === "exchange" || this.connection.waitingBytes > 0;
    if (isPart && (this.exchange.isTunnel || this.response.endsWithConnection)) this.connection.reset();
  }

  // Long-lived responses:

  /** Ends a long-lived response in a drain, between two frames or events. Returns whether it did. */
  endEarly(): boolean {
    return endLasting(this, this.relay);
  }

  endResponseEarly(): void {
    this.staysOpen = this.staysOpen && !this.relay.isDraining;
    this.endResponse();
  }

  // The end of the connection:

  /** Sends FIN after the last response, while the client may still be sending. */
  protected linger(): void {
    this.state = "lingering";
    this.memory.countUnread();
    this.forgetInput();
    this.reading.leave();
    this.deadlineAt = this.relay.deadlines.now + LINGER_MS;
    this.reading.resume(Pause.AHEAD | Pause.UPSTREAM | Pause.UNREAD);
    this.connection.end();
  }

  protected close(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.state = "closing";
    this.letGo();
    this.memory.countUnread();
    this.deadlineAt = this.connection.waitingBytes > 0 ? this.response.beginSlowReading() : Number.POSITIVE_INFINITY;
    this.connection.close(true);
  }

  /** Requires a minimum rate of reading on a closing connection, so that it ends. */
  protected onClosingDeadline(): void {
    this.deadlineAt = this.response.lookAtPace();
    if (this.deadlineAt === 0) this.cut();
  }

  abort(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.cut();
  }

  private cut(): void {
    if (this.state === "closed") return;
    this.leave();
    this.connection.reset();
  }

  /** Handles the closed descriptor. */
  private leave(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.letGo();
    this.memory.giveBackWaiting();
    this.relay.deadlines.remove(this);
    this.onLeft();
  }

  /** Hands the connection over to HTTP/2. */
  protected handOver(): void {
    this.state = "closed";
    this.letGo();
    this.relay.deadlines.remove(this);
  }

  private letGo(): void {
    this.reading.leave();
    this.forgetInput();
    this.exchange.leave();
  }

  private forgetInput(): void {
    this.input.clear();
    if (this.memory.hasAhead) this.countAhead();
  }

  /** Counts bytes that the client has sent ahead of the response. If there is no room for them, ends the connection. */
  protected countAhead(): void {
    if (this.memory.countAhead()) return;
    this.exchange.onClientEnded("no-room");
    this.abort();
  }
}
