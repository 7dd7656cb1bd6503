/** One client connection that speaks HTTP/1: reads its requests one after the other, and sends it their responses. */
import { leaveToCollector } from "@paceline/wire";
import { Exchange } from "../exchange/exchange.js";
import type { Relay } from "../exchange/relay.js";
import { BODY_MALFORMED, BODY_TOO_LARGE, BodyReader, type BodySink } from "../http1/body-framing.js";
import type { Peer } from "../http1/forwarded.js";
import { HEAD_INCOMPLETE, HEAD_REFUSED } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type Connection, type ConnectionOwner, DRAIN_ABOVE_BYTES } from "../transport/transport.js";
import type { Downstream, LocalStatus } from "./downstream.js";
import { Http1Response } from "./http1-response.js";
import { ClientMemory, Input, MAX_AHEAD_BYTES } from "./input.js";
import { ClientTurn, Pause, Reading } from "./reading.js";
import { CHUNK_UNITS, MAX_TURN_REQUESTS, REQUEST_UNITS } from "./turn-share.js";

type State =
  /** Between requests, or in the middle of a head. */
  | "head"
  /** A request is under way. */
  | "exchange"
  /** The last response was sent and FIN with it; what the client still sends is read and dropped, lest a reset takes the response away. */
  | "lingering"
  /** Done with, but for what the client has not taken yet: it counts until its descriptor is closed. */
  | "closing"
  | "closed";

/** How long a client may go on sending after its last response, in milliseconds. */
const LINGER_MS = 2000;

export class Http1Downstream implements Downstream, ConnectionOwner, BodySink {
  deadlineAt = Number.POSITIVE_INFINITY;
  deadlineIndex = -1;
  private state: State = "head";
  private readonly input = new Input();
  private readonly body = new BodyReader();
  readonly response: Http1Response;
  private readonly exchange: Exchange;
  /** Another request may come after the present one. */
  staysOpen = true;
  private readonly reading: Reading;
  private readonly turn: ClientTurn;
  private readonly memory: ClientMemory;
  private isBusy = false;
  /** A piece of a body is being given, and has not been consumed. */
  private isInBody = false;
  /** In state "head": answers wait for the client, and the deadline is that of sending. */
  private isSending = false;
  /** The client of a tunnel has not sent FIN. */
  private maySend = false;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    private readonly peer: Peer,
    /** Called when its descriptor is closed, so that a drain knows when all are. */
    private readonly onGone: (gone: Http1Downstream) => void,
  ) {
    this.exchange = new Exchange(relay, this, peer);
    this.memory = new ClientMemory(relay.budget, connection, this.input);
    this.reading = new Reading(connection, relay.budget);
    this.turn = new ClientTurn(relay.turnShare, this.reading, this);
    this.response = new Http1Response(relay, connection, this.memory);
    relay.deadlines.add(this);
    this.deadlineAt = relay.deadlines.now + relay.limits.headTimeoutMs;
  }

  /** Answers what belongs to no exchange, and ends the connection: a head that was refused, say. */
  refuse(status: LocalStatus, isLogged = true): void {
    this.relay.counters.answered(status, 0);
    this.staysOpen = false;
    if (this.state === "head") {
      this.response.isHead = false;
      this.response.minorVersion = 1;
    }
    if (isLogged) this.relay.accessLog?.refused(this.peer, status, this.response.localBodyBytes(status));
    this.respond(status);
  }

  /** Closes a connection on which no request is under way or has begun to come; called at the end of a drain's grace. */
  closeIfIdle(): void {
    if (this.state === "head" && this.input.length === 0) this.close();
  }

  // From the connection.

  onData(bytes: Buffer): boolean {
    switch (this.state) {
      case "head":
        this.input.push(bytes);
        this.readRequests();
        break;
      case "exchange":
        this.input.push(bytes);
        this.readBody();
        break;
      case "lingering":
      case "closing":
      case "closed":
        break;
    }
    if (this.memory.isAheadCounted) this.countAhead();
    this.input.freeSpent(this.exchange, bytes);
    return this.input.bytes !== bytes && !this.exchange.holds(bytes);
  }

  private forgetInput(): void {
    this.input.clear();
    if (this.memory.hasAhead) this.countAhead();
  }

  private countAhead(): void {
    if (this.memory.countAhead()) return;
    this.exchange.onClientGone();
    this.abort();
  }

  /** Reads as many requests as have come and can be answered at once; the others wait for their turn. */
  private readRequests(): void {
    if (this.isBusy || this.turn.isSharing) return;
    this.isBusy = true;
    let left = MAX_TURN_REQUESTS;
    while (this.state === "head" && this.input.length > 0 && !this.pausesUnread() && this.readHead()) {
      this.readBody();
      this.exchange.onRequestBatch();
      if (this.state !== "head" || this.input.length === 0) break;
      if (!this.turn.take(REQUEST_UNITS) || --left === 0) {
        if (this.input.length > MAX_AHEAD_BYTES) this.reading.noteAhead();
        this.turn.wait();
        break;
      }
    }
    this.isBusy = false;
  }

  onTurn(): void {
    if (this.state === "exchange") this.turn.join();
    else if (this.state === "head") this.readRequests();
    // It may wait again already.
    if (!this.turn.isWaiting) this.reading.resume(Pause.TURN);
    this.input.freeSpent(this.exchange);
  }

  /** A client that does not read its responses is not read either until it has; what both sides hold of it counts. */
  private pausesUnread(): boolean {
    if (this.connection.waitingBytes <= DRAIN_ABOVE_BYTES) return false;
    this.reading.pause(Pause.UNREAD);
    this.reading.noteAhead();
    this.input.compact();
    // As much was made for it, and is needed no more.
    leaveToCollector(DRAIN_ABOVE_BYTES);
    if (this.memory.countWaiting()) this.countAhead();
    else this.abort();
    return true;
  }

  /** Reads one head and begins its exchange; false when there is none yet or it was refused. */
  private readHead(): boolean {
    const { input, relay } = this;
    if (!input.mayHoldHead(relay.limits.maxHeadBytes)) return false;
    const head = relay.requestHead;
    const { bytes, start, end } = input;
    const after = head.parse(bytes, start, end);
    if (after === HEAD_INCOMPLETE) {
      // The first byte of a head begins its time, and no later one prolongs it.
      if (!input.isPartial) this.deadlineAt = this.relay.deadlines.now + relay.limits.headTimeoutMs;
      input.isPartial = true;
      this.isSending = false;
      // The rest of this head is awaited, however much came ahead; its own limit bounds it.
      this.reading.resume(Pause.AHEAD);
      return false;
    }
    if (after === HEAD_REFUSED) {
      this.refuse(head.refusal);
      return false;
    }
    this.consume(after);
    // What it sent ahead was too much: nobody would end a request that begins now.
    if ((this.state as State) === "closed") return false;
    this.state = "exchange";
    this.response.minorVersion = head.minorVersion;
    this.response.isHead = head.isHead;
    this.staysOpen = head.keepAlive && !relay.isDraining && !head.isTrace;
    this.body.begin(head.isUpgrade ? "none" : head.framing, head.contentLength, relay.limits.maxBodyBytes);
    this.exchange.begin(head, bytes, start, after);
    return true;
  }

  private readBody(): void {
    const { input, exchange, body } = this;
    if (this.state !== "exchange") return;
    if (exchange.isTunnel) {
      this.turn.countBody(input.length, false);
      input.lend();
      exchange.onRequestBody(input.bytes, input.start, input.end);
      this.consume(input.end);
      return exchange.onRequestBatch();
    }
    if (!body.isComplete) {
      if (input.length === 0) return;
      input.lend();
      this.isInBody = true;
      const { chunks } = body;
      const after = body.read(input.bytes, input.start, input.end, this);
      this.isInBody = false;
      // It was refused by one of its pieces.
      if (this.state !== "exchange") return;
      if (after === BODY_MALFORMED || after === BODY_TOO_LARGE) return this.refuseBody(after === BODY_TOO_LARGE);
      this.turn.countBody(after - input.start + (body.chunks - chunks) * CHUNK_UNITS, body.isComplete);
      this.consume(after);
      if (body.isComplete) exchange.onRequestEnd();
      exchange.onRequestBatch();
    }
    // The next request came before this one's response.
    if (!body.isComplete || input.length <= MAX_AHEAD_BYTES) return;
    this.reading.noteAhead();
    this.reading.pause(Pause.AHEAD);
  }

  private consume(position: number): void {
    this.input.consume(position);
    if (this.memory.hasAhead) this.countAhead();
    if (this.input.length <= MAX_AHEAD_BYTES) this.reading.resume(Pause.AHEAD);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    this.exchange.onRequestBody(bytes, start, end);
  }

  /** The body is malformed or too large: cancels the request at its upstream, and tells the client why unless its response has begun. */
  private refuseBody(isTooLarge: boolean): void {
    const hasResponse = this.exchange.hasResponse;
    const status = isTooLarge ? 413 : 400;
    this.exchange.onClientGone(status);
    if (hasResponse) this.abort();
    else this.refuse(status, false);
  }

  onDrain(): void {
    this.memory.giveBackWaiting();
    this.reading.resume(Pause.UNREAD);
    if (this.state !== "head") return this.exchange.onClientDrain();
    if (this.isSending) this.awaitRequest();
    this.readRequests();
    this.input.freeSpent(this.exchange);
  }

  onEnd(): void {
    switch (this.state) {
      case "exchange":
        this.maySend = false;
        if (this.exchange.isTunnel) return this.exchange.onRequestEnd();
        this.exchange.onClientGone();
        return this.close();
      case "head":
      case "lingering":
        return this.close();
      case "closing":
      case "closed":
        return;
    }
  }

  onClose(): void {
    if (this.state === "closed") return;
    this.exchange.onClientGone();
    this.leave();
    this.input.freeSpent(this.exchange);
  }

  /** Called each second: a client that is not read leaves unseen. The FIN of a tunnel comes behind what it still sends. */
  lookIfLeft(): void {
    const isOwed = this.state === "exchange";
    if (isOwed && this.exchange.isTunnel) this.reading.lookIfReset();
    else if (this.reading.hasPeerLeft(isOwed)) this.onEnd();
  }

  onDeadline(): void {
    switch (this.state) {
      case "head":
        if (this.isSending) return this.onSendDeadline();
        // A client that began a request learns why it is cut off; an idle one is simply closed.
        return this.input.length > 0 ? this.refuse(408) : this.close();
      case "exchange":
        return this.exchange.onDeadline();
      case "lingering":
        return this.close();
      case "closing":
        return this.onClosingDeadline();
      case "closed":
        return;
    }
  }

  /** What waits for the end of its connection has to be taken at a pace, so that this ends. */
  private onClosingDeadline(): void {
    this.deadlineAt = this.response.lookAtPace();
    if (this.deadlineAt > 0) return;
    this.leave();
    this.connection.reset();
  }

  private onSendDeadline(): void {
    if (this.connection.waitingBytes === 0) return this.awaitRequest();
    this.deadlineAt = this.response.lookAtReading();
    if (this.deadlineAt === 0) this.abort();
  }

  // From the exchange.

  sendHead(head: ResponseHead): void {
    const mayKeep = this.staysOpen && this.exchange.body.isWhole && !this.relay.isDraining;
    this.staysOpen = this.response.head(head, mayKeep);
    if (head.status !== 101) return;
    this.maySend = true;
    // What the client sent ahead of the 101 is the tunnel's first.
    if (this.input.length > 0) this.readBody();
  }

  endResponse(): void {
    this.response.end();
    this.finish();
  }

  respond(status: LocalStatus): void {
    // A refused head or a body that did not come whole leaves no place where a next request could begin.
    const isWhole = this.state === "exchange" && this.body.isComplete && !this.isInBody;
    const mayKeep = isWhole && !this.relay.isDraining && status !== 408;
    this.staysOpen = mayKeep && this.staysOpen;
    this.response.local(status, this.staysOpen);
    this.finish();
  }

  /** A response was sent: the next request, or the end. */
  private finish(): void {
    const wasWhole = this.state === "exchange" && this.body.isComplete;
    this.turn.leave();
    if (this.staysOpen) {
      this.state = "head";
      this.awaitRequest();
      this.input.isPartial = false;
      this.resumeBody();
      return this.readRequests();
    }
    if (wasWhole && this.input.length === 0 && !this.maySend) return this.close();
    this.state = "lingering";
    this.forgetInput();
    this.reading.leave();
    this.deadlineAt = this.relay.deadlines.now + LINGER_MS;
    this.reading.resume(Pause.AHEAD | Pause.UPSTREAM | Pause.UNREAD);
    this.connection.end();
  }

  /** The responses were given; the time until the next request begins when the client has taken them. */
  private awaitRequest(): void {
    this.isSending = this.connection.waitingBytes > 0;
    this.deadlineAt = this.isSending ? this.response.beginSlowReading() : this.response.nextRequestBy();
  }

  abort(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.leave();
    this.connection.reset();
  }

  private close(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.state = "closing";
    this.letGo();
    this.deadlineAt = this.connection.waitingBytes > 0 ? this.response.beginSlowReading() : Number.POSITIVE_INFINITY;
    this.connection.close(true);
  }

  /** The descriptor is closed. */
  private leave(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.letGo();
    this.memory.giveBackWaiting();
    this.relay.deadlines.remove(this);
    this.onGone(this);
  }

  private letGo(): void {
    this.turn.leave();
    this.reading.leave();
    this.forgetInput();
    this.exchange.leave();
  }

  pauseBody(): void {
    this.reading.pause(Pause.UPSTREAM);
  }

  resumeBody(): void {
    this.reading.resume(Pause.UPSTREAM);
  }
}
