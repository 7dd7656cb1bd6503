/** One HTTP/1 client connection: reads its requests one after another and sends the responses. http1-ending.ts handles its end. */
import { leaveToCollector, type OpenRequest } from "@paceline/wire";
import type { CodedBody } from "../coding/compression.js";
import type { LocalStatus } from "../exchange/downstream.js";
import type { Relay } from "../exchange/relay.js";
import { BODY_MALFORMED, BODY_TOO_LARGE, BodyReader, type BodySink } from "../http1/body-framing.js";
import type { Peer } from "../http1/forwarded.js";
import { HEAD_INCOMPLETE, HEAD_REFUSED, type RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { type OwnResponse, ownResponse } from "../routing/local-response.js";
import { findRoute } from "../routing/route.js";
import { type LegibleHead, legibleHead } from "../stats/access-log.js";
import { CHUNK_UNITS, MAX_TURN_REQUESTS, Pause, REQUEST_UNITS } from "../transport/reading.js";
import { type Connection, type ConnectionOwner, type Ends, MUCH_UNREAD_BYTES } from "../transport/transport.js";
import { Http1Ending, type State } from "./http1-ending.js";
import { MAX_AHEAD_BYTES } from "./input.js";

function keepingReader(): BodyReader {
  const reader = new BodyReader();
  reader.keepsTrailers = true;
  return reader;
}

/** The first line of HTTP/2's preface. To the parser it is a request with an unsupported version. */
const HTTP2_LINE = Buffer.from("PRI * HTTP/2.0\r\n");

function beginsHttp2(bytes: Buffer, start: number, end: number): boolean {
  return end - start >= HTTP2_LINE.length && bytes.subarray(start, start + HTTP2_LINE.length).equals(HTTP2_LINE);
}

/** For a client with too many connections. */
const RETRY_SOON = "Retry-After: 1\r\n";

export class Http1Downstream extends Http1Ending implements ConnectionOwner, BodySink {
  /** Reads bodies; created for the first one. */
  private reader: BodyReader | undefined;
  /** The addresses from a PROXY header in front of the client's requests; null if there was none. */
  proxyEnds: Ends | undefined | null = null;
  /** The https port to which every request is redirected; undefined if none is. */
  redirectPort: number | undefined;
  private isBusy = false;
  /** Set while a piece of a body is being forwarded and not yet consumed. */
  private isInBody = false;
  /** In the state "head": whether earlier responses are unsent. If so, the deadline is the one for sending. */
  private isSending = false;
  private wasServed = false;
  /** Whether the connection's reads are small, because memory was scarce while the client sent a body. */
  private readsLittle = false;

  constructor(
    relay: Relay,
    connection: Connection,
    peer: Peer,
    /** Called when the descriptor is closed, so that a drain notices when the last one is closed. */
    private readonly onGone: (gone: Http1Downstream) => void,
    /** Called if the first bytes are those of HTTP/2. If undefined, clients of HTTP/2 are refused. */
    private readonly onHttp2?: (client: Http1Downstream, connection: Connection, received: Buffer) => void,
  ) {
    super(relay, connection, peer);
    const { identity } = this.exchange.request;
    if (identity?.isInResponse === true) this.response.identity = identity;
    this.response.isSecure = peer.secure !== undefined;
    relay.deadlines.add(this);
    this.deadlineAt = relay.deadlines.now + relay.limits.headTimeoutMs;
  }

  get ends(): Ends | undefined {
    return this.proxyEnds === null ? this.connection.ends : this.proxyEnds;
  }

  /** Responds to input outside an exchange, such as an invalid head, and ends the connection. */
  refuse(status: LocalStatus, isLogged = true, legible?: LegibleHead): void {
    this.relay.counters.countResponse(status, 0);
    this.staysOpen = false;
    if (this.state === "head") {
      this.response.isHead = false;
      this.response.minorVersion = 1;
      // Otherwise the response would have the ids of an earlier request.
      this.response.identity = undefined;
    }
    if (isLogged) this.relay.accessLog?.refused(this.peer, status, this.response.localBodyBytes(status), legible);
    this.respond(status, status === 429 ? RETRY_SOON : undefined);
  }

  /** Since when the client owes a request or the rest of a head, in milliseconds of `Deadlines.now`; Infinity if it owes nothing. */
  get owesRequestSince(): number {
    if (this.state !== "head" || this.isSending) return Number.POSITIVE_INFINITY;
    const { headTimeoutMs, keepAliveTimeoutMs } = this.relay.limits;
    return this.deadlineAt - (this.isKept ? keepAliveTimeoutMs : headTimeoutMs);
  }

  /** Whether the client has had a response and has not begun a further request. */
  get isKept(): boolean {
    return this.wasServed && this.input.length === 0;
  }

  /** Returns the current request if an instance has not finished it; else undefined. */
  openRequest(): OpenRequest | undefined {
    return this.exchange.outcome.openRequest();
  }

  // Called by the connection:

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
        this.reading.countBody(bytes.length, false);
        break;
    }
    if (this.memory.isAheadCounted) this.countAhead();
    this.input.freeSpent(this.exchange, bytes);
    return this.input.bytes !== bytes && !this.exchange.holds(bytes);
  }

  private get isBodyComplete(): boolean {
    return this.reader === undefined || this.reader.isComplete;
  }

  /** Handles pending requests as long as each request completes at once, within the share of this turn. */
  private readRequests(): void {
    if (this.isBusy || this.reading.isSharing) return;
    this.isBusy = true;
    let left = MAX_TURN_REQUESTS;
    while (this.state === "head" && this.input.length > 0 && !this.pausesUnread() && this.readHead()) {
      this.readBody();
      this.exchange.onRequestBatch();
      if (this.state !== "head" || this.input.length === 0) break;
      if (!this.relay.turnShare.take(REQUEST_UNITS) || --left === 0) {
        if (this.input.length > MAX_AHEAD_BYTES) this.reading.noteAhead();
        this.reading.waitForTurn();
        break;
      }
    }
    this.isBusy = false;
  }

  onTurn(): void {
    if (this.state === "exchange") this.reading.joinTurn();
    else if (this.state === "head") this.readRequests();
    this.input.freeSpent(this.exchange);
  }

  /** Pauses a client until it reads its responses. Counts both its unread responses and its early input. */
  private pausesUnread(): boolean {
    if (this.connection.waitingBytes <= MUCH_UNREAD_BYTES) return false;
    this.reading.pause(Pause.UNREAD);
    this.reading.noteAhead();
    this.input.compact();
    // `compact` has dropped buffers of about this size. Bun frees them late unless they are counted as garbage.
    leaveToCollector(MUCH_UNREAD_BYTES);
    this.memory.countUnread();
    this.countAhead();
    return true;
  }

  /** Reads one head and starts its exchange. Returns false if it is incomplete or refused. */
  private readHead(): boolean {
    const { input, relay } = this;
    if (!input.mayHoldHead(relay.limits.maxHeadBytes)) return false;
    const head = relay.requestHead;
    const { bytes, start, end } = input;
    const after = head.parse(bytes, start, end);
    if (after === HEAD_INCOMPLETE) {
      // The time for a head starts with its first byte.
      if (!input.isPartial) this.deadlineAt = this.relay.deadlines.now + relay.limits.headTimeoutMs;
      input.isPartial = true;
      this.isSending = false;
      // The rest of this head has to be read, however many bytes were sent ahead. A head has a limit of its own.
      this.reading.resume(Pause.AHEAD);
      return false;
    }
    if (after === HEAD_REFUSED) {
      if (head.refusal === 505 && this.isHttp2(bytes, start, end)) return false;
      if (head.refusal === 413) this.response.page = findRoute(relay.router, head)?.target.errorPages?.of(413);
      this.refuse(head.refusal, true, legibleHead(head, start, false));
      return false;
    }
    this.consume(after);
    // The client sent too much ahead and was closed. A request started now would never end.
    if ((this.state as State) === "closed") return false;
    this.state = "exchange";
    this.response.minorVersion = head.minorVersion;
    this.response.isHead = head.isHead;
    this.response.takesTrailers = head.takesTrailers;
    this.staysOpen = head.keepAlive && !relay.isDraining && !head.isTrace;
    this.beginBody(head);
    const { challenges } = relay;
    if (challenges !== undefined || this.redirectPort !== undefined) {
      const own = ownResponse(head, challenges, this.redirectPort);
      if (own !== undefined) return this.respondOwn(own);
    }
    this.exchange.request.identity?.begin(head, this.peer.isTrusted);
    this.exchange.begin(head, bytes, start, after);
    return true;
  }

  private respondOwn({ status, page, fields }: OwnResponse): true {
    this.response.page = page;
    this.relay.counters.countResponse(status, 0);
    this.respond(status, fields);
    return true;
  }

  /** Hands over a client that begins with the HTTP/2 preface, with its input so far. Returns false for other clients. */
  private isHttp2(bytes: Buffer, start: number, end: number): boolean {
    const { onHttp2 } = this;
    if (onHttp2 === undefined || this.wasServed || !beginsHttp2(bytes, start, end)) return false;
    const received = Buffer.from(bytes.subarray(start, end));
    this.handOver();
    onHttp2(this, this.connection, received);
    return true;
  }

  private beginBody({ isUpgrade, framing, contentLength }: RequestHead): void {
    const hasBody = framing !== "none" && !isUpgrade;
    if (hasBody) this.reader ??= keepingReader();
    this.reader?.begin(hasBody ? framing : "none", contentLength, this.relay.limits.maxBodyBytes);
  }

  private readBody(): void {
    const { input, exchange, reader } = this;
    if (this.state !== "exchange") return;
    if (exchange.isTunnel) {
      this.reading.countBody(input.length, false);
      input.lend();
      exchange.onRequestBody(input.bytes, input.start, input.end);
      this.consume(input.end);
      return exchange.onRequestBatch();
    }
    if (reader?.isComplete === false) {
      if (input.length === 0) return;
      input.lend();
      this.isInBody = true;
      const { chunks } = reader;
      const after = reader.read(input.bytes, input.start, input.end, this);
      this.isInBody = false;
      // A piece of the body was refused.
      if (this.state !== "exchange") return;
      if (after === BODY_MALFORMED || after === BODY_TOO_LARGE)
        return this.refuseBody(after === BODY_TOO_LARGE ? 413 : 400);
      const isWhole = this.isBodyComplete;
      this.reading.countBody(after - input.start + (reader.chunks - chunks) * CHUNK_UNITS, isWhole);
      this.consume(after);
      if (isWhole) exchange.onRequestEnd(reader.takeTrailers());
      else input.trailerBytes = reader.trailerBytes;
      exchange.onRequestBatch();
      // If the instance does not read, the piece left here is a whole read.
      const isScarce = !isWhole && this.relay.budget.isScarce;
      if (isScarce !== this.readsLittle) this.limitReads(isScarce);
    }
    // From here on, more of the next requests has arrived than a client may send ahead of its response.
    if (!this.isBodyComplete || input.length <= MAX_AHEAD_BYTES) return;
    this.reading.noteAhead();
    this.reading.pause(Pause.AHEAD);
  }

  private limitReads(isLimited: boolean): void {
    this.readsLittle = isLimited;
    this.connection.limitReads?.(isLimited);
  }

  private consume(position: number): void {
    this.input.consume(position);
    if (this.memory.hasAhead) this.countAhead();
    if (this.input.length <= MAX_AHEAD_BYTES) this.reading.resume(Pause.AHEAD);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    this.exchange.onRequestBody(bytes, start, end);
  }

  /** Cancels a request whose body is malformed or too large, and sends an error unless the response has started. */
  private refuseBody(status: 400 | 413): void {
    const { hasResponse, pool, outcome } = this.exchange;
    this.response.page = pool?.errorPages?.of(status);
    if (!hasResponse) outcome.bodyBytes = this.response.localBodyBytes(status);
    this.exchange.onClientGone(status);
    if (hasResponse) return this.abort();
    this.refuse(status, false);
  }

  onDrain(): void {
    this.memory.giveBackWaiting();
    this.reading.resume(Pause.UNREAD);
    if (this.state !== "head") return this.exchange.onClientDrain();
    if (this.isSending) this.awaitRequest();
    this.readRequests();
    this.input.freeSpent(this.exchange);
  }

  onDeadline(): void {
    this.meetDeadline();
    this.input.freeSpent(this.exchange);
  }

  private meetDeadline(): void {
    switch (this.state) {
      case "head":
        if (this.isSending) return this.onSendDeadline();
        // A client that has begun a request gets an error; an idle one is just closed.
        return this.input.length > 0 ? this.refuse(408) : this.close();
      case "exchange":
        return this.exchange.onDeadline();
      case "lingering":
        return this.close();
      case "closing":
        return this.onClosingDeadline();
    }
  }

  private onSendDeadline(): void {
    if (this.connection.waitingBytes === 0) return this.awaitRequest();
    this.deadlineAt = this.response.lookAtReading();
    if (this.deadlineAt === 0) this.abort();
  }

  // Called by the exchange:

  sendHead(head: ResponseHead, coded?: CodedBody): void {
    const mayKeep = this.staysOpen && this.exchange.body.isWhole && !this.relay.isDraining;
    this.staysOpen = this.response.head(head, mayKeep, coded);
    if (head.status !== 101) return;
    this.clientMaySend = true;
    // Bytes that were sent before the 101 belong to the tunnel.
    if (this.input.length > 0) this.readBody();
  }

  endResponse(): void {
    this.response.end(!this.staysOpen);
    this.finish();
  }

  respond(status: LocalStatus, fields?: string): void {
    // After a refused head or an incomplete body, the start of the next request is unknown.
    const isWhole = this.state === "exchange" && this.isBodyComplete && !this.isInBody;
    const mayKeep = isWhole && !this.relay.isDraining && status !== 408;
    this.staysOpen = mayKeep && this.staysOpen;
    this.response.local(status, this.staysOpen, fields);
    this.finish();
  }

  /** Continues with the next request after a response, or ends the connection. */
  private finish(): void {
    const wasWhole = this.state === "exchange" && this.isBodyComplete;
    this.reading.leaveTurn();
    if (this.staysOpen) {
      this.state = "head";
      this.wasServed = true;
      this.awaitRequest();
      this.input.isPartial = false;
      this.resumeBody();
      return this.readRequests();
    }
    if (wasWhole && this.input.length === 0 && !this.clientMaySend) return this.close();
    this.linger();
  }

  /** Waits for a request. The time limit starts once the client has read the responses. */
  private awaitRequest(): void {
    this.isSending = this.connection.waitingBytes > 0;
    if (this.isSending) this.memory.countUnread();
    this.deadlineAt = this.isSending ? this.response.beginSlowReading() : this.response.nextRequestBy();
  }

  protected onLeft(): void {
    this.onGone(this);
  }

  pauseBody(): void {
    this.reading.pause(Pause.UPSTREAM);
  }

  resumeBody(): void {
    this.reading.resume(Pause.UPSTREAM);
  }
}
