/** One client connection that speaks HTTP/1: reads its requests one after the other, and sends it their answers. */
import { leaveToCollector, SlowReader } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import { Exchange } from "../exchange/exchange.js";
import { type LocalStatus, localAnswer, localBodyBytes } from "../exchange/local-response.js";
import type { Relay } from "../exchange/relay.js";
import { BODY_MALFORMED, BODY_TOO_LARGE, BodyReader } from "../http1/body-framing.js";
import type { Peer } from "../http1/forwarded.js";
import { HEAD_INCOMPLETE, HEAD_REFUSED } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type Connection, type ConnectionOwner, DRAIN_ABOVE_BYTES } from "../transport/transport.js";
import type { ClientLink } from "./downstream.js";
import { Http1Answer } from "./http1-response.js";
import { Input } from "./input.js";
import { Pause, Reading } from "./reading.js";
import { CHUNK_UNITS, REQUEST_UNITS, type Sharer } from "./turn-share.js";

type State =
  /** Between requests, or in the middle of a head. */
  | "head"
  /** A request is under way. */
  | "exchange"
  /** The last answer was sent and FIN with it; what the client still sends is read and dropped, lest a reset takes the answer away. */
  | "lingering"
  /** Done with, but for what the client has not taken yet: it counts until its descriptor is closed. */
  | "closing"
  | "closed";

/** How long a client may go on sending after its last answer, in milliseconds. */
const LINGER_MS = 2000;

/** What a client may send ahead of its answer before it is read no more, in bytes. */
const MAX_AHEAD_BYTES = 16_384;

/** Reads come whole: what one brings ahead beyond this counts in the budget for slow clients, in bytes. */
const FREE_AHEAD_BYTES = MAX_AHEAD_BYTES;

/** With more than this waiting for the client no next request is begun, in bytes. */
const MAX_UNREAD_BYTES = DRAIN_ABOVE_BYTES;

/** So many requests of a connection are begun in one turn of the event loop; then the others have theirs. */
const MAX_TURN_REQUESTS = 64;

/** A body that came whole and is no more work than this is not counted, in units of a turn's share. */
const FREE_TURN_UNITS = 16_384;

/** Told when a connection is gone and its descriptor closed, so that a drain knows when all are. */
export type OnGone = (link: Http1ClientLink) => void;

export class Http1ClientLink implements ClientLink, ConnectionOwner, Sharer {
  deadlineAt = Number.POSITIVE_INFINITY;
  deadlineIndex = -1;
  private state: State = "head";
  private readonly input = new Input();
  private readonly body = new BodyReader();
  private readonly framed: Http1Answer;
  private readonly exchange: Exchange;
  private readonly deadlines: Deadlines;
  private keepAlive = true;
  private isHeadRequest = false;
  private readonly reading: Reading;
  private isBusy = false;
  /** A piece of a body is being given, and has not been consumed. */
  private isInBody = false;
  /** It has a part in the share of turns. */
  private isSharing = false;
  /** In state "head": answers wait for the client, and the deadline is that of sending. */
  private isSending = false;
  /** The client of a tunnel has not sent FIN. */
  private maySend = false;
  /** It was not read when that was looked at last. */
  private wasPaused = false;
  /** Once it has not read as fast as it was sent. */
  private slowReader: SlowReader | undefined;
  /** Its share of the budget for slow clients. */
  private heldBytes = 0;
  /** The same for what it sent ahead. */
  private aheadBytes = 0;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    private readonly peer: Peer,
    private readonly onGone: OnGone,
  ) {
    this.exchange = new Exchange(relay, this, peer);
    this.framed = new Http1Answer(relay.answerWriter, connection);
    this.reading = new Reading(connection);
    this.deadlines = relay.deadlines;
    this.deadlines.add(this);
    this.deadlineAt = this.deadlines.now + relay.limits.headTimeoutMs;
  }

  /** No request is under way and no byte of the next has come. */
  get isIdle(): boolean {
    return this.state === "head" && this.input.length === 0;
  }

  /** Answers what belongs to no exchange, and ends the connection: a head that was refused, say. */
  refuse(status: LocalStatus, isLogged = true): void {
    this.relay.counters.answered(status, 0);
    this.keepAlive = false;
    if (this.state === "head") {
      this.isHeadRequest = false;
      this.framed.minorVersion = 1;
    }
    if (isLogged) this.relay.accessLog?.refused(this.peer, status, this.localBodyBytes(status));
    this.answer(status);
  }

  private get isGone(): boolean {
    return this.state === "closed";
  }

  /** Closes a connection that is idle; called at the end of a drain's grace. */
  closeIfIdle(): void {
    if (this.isIdle) this.close();
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
    if (this.input.heldBytes > FREE_AHEAD_BYTES || this.aheadBytes > 0 || this.heldBytes > 0) this.countAhead();
    this.input.freeSpent(this.exchange, bytes);
    return this.input.bytes !== bytes && !this.exchange.holds(bytes);
  }

  private forgetInput(): void {
    this.input.clear();
    if (this.aheadBytes > 0) this.countAhead();
  }

  /** Many clients may send much ahead, and not read: all together have a bound. */
  private countAhead(): void {
    // Whoever does not read either has nothing free.
    const ahead = Math.max(0, this.input.heldBytes - (this.heldBytes > 0 ? 0 : FREE_AHEAD_BYTES));
    const more = ahead - this.aheadBytes;
    if (more > 0 && !this.relay.budget.take(more)) {
      this.exchange.onClientGone();
      return this.abort();
    }
    if (more < 0) this.relay.budget.give(-more);
    this.aheadBytes = ahead;
  }

  /** Reads as many requests as have come and can be answered at once; the others wait for their turn. */
  private readRequests(): void {
    if (this.isBusy || this.isSharing) return;
    this.isBusy = true;
    let left = MAX_TURN_REQUESTS;
    while (this.state === "head" && this.input.length > 0 && !this.pausesUnread() && this.readHead()) {
      this.readBody();
      this.exchange.onRequestBatch();
      if (this.state !== "head" || this.input.length === 0) break;
      if (!this.relay.turnShare.take(REQUEST_UNITS) || --left === 0) {
        this.isSharing = true;
        this.relay.turnShare.wait(this);
        break;
      }
    }
    this.isBusy = false;
  }

  onTurnOver(): void {
    this.reading.pause(Pause.TURN);
  }

  onTurn(): void {
    this.isSharing = false;
    if (this.state === "exchange") this.share();
    this.reading.resume(Pause.TURN);
    if (this.state === "head") this.readRequests();
    this.input.freeSpent(this.exchange);
  }

  /** Its body is bounded work in each turn, as far as it is to come yet. */
  private share(): void {
    this.isSharing = true;
    this.relay.turnShare.join(this);
  }

  private leaveShare(): void {
    if (!this.isSharing) return;
    this.isSharing = false;
    this.relay.turnShare.leave(this);
    this.reading.resume(Pause.TURN);
  }

  private countWork(units: number): void {
    const isWhole = this.body.isComplete && !this.exchange.isTunnel;
    if (!isWhole) this.share();
    if (!isWhole || units >= FREE_TURN_UNITS) this.relay.turnShare.take(units);
    if (isWhole) this.leaveShare();
  }

  /** A client that does not read its answers is not read either until it has; what both sides hold of it counts. */
  private pausesUnread(): boolean {
    if (this.connection.waitingBytes <= MAX_UNREAD_BYTES) return false;
    this.reading.pause(Pause.UNREAD);
    this.input.compact();
    // As much was made for it, and is needed no more.
    leaveToCollector(MAX_UNREAD_BYTES);
    if (this.takeWaiting()) this.countAhead();
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
      if (!input.isPartial) this.deadlineAt = this.deadlines.now + relay.limits.headTimeoutMs;
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
    if (this.isGone) return false;
    this.state = "exchange";
    this.framed.minorVersion = head.minorVersion;
    this.isHeadRequest = head.isHead;
    this.keepAlive = head.keepAlive && !relay.isDraining && !head.isTrace;
    this.body.begin(head.isUpgrade ? "none" : head.framing, head.contentLength, relay.limits.maxBodyBytes);
    this.exchange.begin(head, bytes, start, after);
    return true;
  }

  private readBody(): void {
    const { input, exchange, body } = this;
    if (this.state !== "exchange") return;
    if (exchange.isTunnel) {
      this.countWork(input.length);
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
      const after = body.read(input.bytes, input.start, input.end, this.bodySink);
      this.isInBody = false;
      // It was refused by one of its pieces.
      if (this.state !== "exchange") return;
      if (after === BODY_MALFORMED || after === BODY_TOO_LARGE) return this.refuseBody(after === BODY_TOO_LARGE);
      this.countWork(after - input.start + (body.chunks - chunks) * CHUNK_UNITS);
      this.consume(after);
      if (body.isComplete) exchange.onRequestEnd();
      exchange.onRequestBatch();
    }
    // The next request came before this one's answer.
    if (body.isComplete && input.length > MAX_AHEAD_BYTES) this.reading.pause(Pause.AHEAD);
  }

  private consume(position: number): void {
    this.input.consume(position);
    if (this.aheadBytes > 0) this.countAhead();
    if (this.input.length <= MAX_AHEAD_BYTES) this.reading.resume(Pause.AHEAD);
  }

  private readonly bodySink = {
    onBody: (bytes: Uint8Array, start: number, end: number): void => {
      this.exchange.onRequestBody(bytes, start, end);
    },
  };

  /** What was sent as a body is none: the upstream is told, and the client, if it has no answer yet. */
  private refuseBody(isTooLarge: boolean): void {
    const hasAnswer = this.exchange.hasAnswer;
    const status = isTooLarge ? 413 : 400;
    this.exchange.onClientGone(status);
    if (hasAnswer) this.abort();
    else this.refuse(status, false);
  }

  onDrain(): void {
    this.giveBack();
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

  /** Called each second: a client that is not read leaves unseen. The end of a tunnel comes behind what it still sends. */
  lookIfLeft(): void {
    const isUnseen = this.reading.isPaused && this.state === "exchange" && !this.exchange.isTunnel;
    if (isUnseen && this.wasPaused && this.connection.hasPeerLeft) return this.onEnd();
    this.wasPaused = isUnseen;
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
    this.deadlineAt = this.slowReader?.lookAtPace(this.deadlines.now) ?? 0;
    if (this.deadlineAt > 0) return;
    this.leave();
    this.connection.reset();
  }

  private onSendDeadline(): void {
    if (this.connection.waitingBytes === 0) return this.awaitRequest();
    this.deadlineAt = this.lookAtReading();
    if (this.deadlineAt === 0) this.abort();
  }

  // From the exchange.

  get staysOpen(): boolean {
    return this.keepAlive;
  }

  setDeadline(atMs: number): void {
    this.deadlineAt = atMs;
  }

  sendInterim(head: ResponseHead): boolean {
    return this.framed.interim(head);
  }

  sendContinue(): void {
    this.framed.continue();
  }

  sendHead(head: ResponseHead): void {
    const mayKeep = this.keepAlive && this.exchange.body.isWhole && !this.relay.isDraining;
    this.keepAlive = this.framed.head(head, mayKeep);
    if (head.status !== 101) return;
    this.maySend = true;
    // What the client sent ahead of the 101 is the tunnel's first.
    if (this.input.length > 0) this.readBody();
  }

  sendBody(bytes: Uint8Array, start: number, end: number): boolean {
    return this.framed.body(bytes, start, end);
  }

  flush(): boolean {
    return this.framed.flush();
  }

  takeBack(): boolean {
    return this.framed.takeBack();
  }

  endAnswer(): void {
    this.framed.end();
    this.finish();
  }

  answer(status: LocalStatus): void {
    // A refused head or a body that did not come whole leaves no place where a next request could begin.
    const isWhole = this.state === "exchange" && this.body.isComplete && !this.isInBody;
    const mayKeep = isWhole && !this.relay.isDraining && status !== 408;
    this.keepAlive = mayKeep && this.keepAlive;
    this.connection.write(
      localAnswer(status, {
        keepAlive: this.keepAlive,
        clientMinorVersion: this.framed.minorVersion,
        isHead: this.isHeadRequest,
      }),
    );
    this.finish();
  }

  localBodyBytes(status: LocalStatus): number {
    return localBodyBytes(status, this.isHeadRequest);
  }

  /** An answer was sent: the next request, or the end. */
  private finish(): void {
    const wasWhole = this.state === "exchange" && this.body.isComplete;
    this.leaveShare();
    if (this.keepAlive) {
      this.state = "head";
      this.awaitRequest();
      this.input.isPartial = false;
      this.resumeBody();
      return this.readRequests();
    }
    if (wasWhole && this.input.length === 0 && !this.maySend) return this.close();
    this.state = "lingering";
    this.forgetInput();
    this.deadlineAt = this.deadlines.now + LINGER_MS;
    this.reading.resume(Pause.AHEAD | Pause.UPSTREAM | Pause.UNREAD);
    this.connection.end();
  }

  /** The answers were given; the time until the next request begins when the client has taken them. */
  private awaitRequest(): void {
    const { limits, isDraining } = this.relay;
    this.isSending = this.connection.waitingBytes > 0;
    if (this.isSending) this.deadlineAt = this.beginSlowReading();
    else this.deadlineAt = this.deadlines.now + (isDraining ? limits.idleDrainMs : limits.keepAliveTimeoutMs);
  }

  abort(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.leave();
    this.connection.reset();
  }

  private close(): void {
    if (this.state === "closed" || this.state === "closing") return;
    this.state = "closing";
    this.leaveShare();
    this.forgetInput();
    this.exchange.leave();
    this.deadlineAt = this.connection.waitingBytes > 0 ? this.beginSlowReading() : Number.POSITIVE_INFINITY;
    this.connection.close(true);
  }

  /** The descriptor is closed. */
  private leave(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.leaveShare();
    this.forgetInput();
    this.exchange.leave();
    this.giveBack();
    this.deadlines.remove(this);
    this.onGone(this);
  }

  mayHold(maxBytes: number): boolean {
    return this.connection.waitingBytes <= maxBytes && this.takeWaiting();
  }

  /** Counts what waits for the client in the budget; false when there is not so much left. */
  private takeWaiting(): boolean {
    const more = this.connection.waitingBytes - this.heldBytes;
    if (more > 0 && !this.relay.budget.take(more)) return false;
    this.heldBytes += Math.max(0, more);
    return true;
  }

  get isBehind(): boolean {
    return this.connection.waitingBytes > DRAIN_ABOVE_BYTES;
  }

  private giveBack(): void {
    if (this.heldBytes > 0) this.relay.budget.give(this.heldBytes);
    this.heldBytes = 0;
  }

  beginSlowReading(): number {
    this.slowReader ??= new SlowReader(this.connection, this.relay.limits.sendTimeoutMs);
    return this.slowReader.begin(this.deadlines.now);
  }

  lookAtReading(): number {
    return this.slowReader?.look(this.deadlines.now) ?? 0;
  }

  pauseBody(): void {
    this.reading.pause(Pause.UPSTREAM);
  }

  resumeBody(): void {
    this.reading.resume(Pause.UPSTREAM);
  }
}
