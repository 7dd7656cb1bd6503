/** One connection to an upstream: sends a request, reads its response, and is kept for the next when framing allows. */
import type { OverdueRequest } from "@paceline/wire";
import type { Deadlines } from "../deadlines.js";
import { BODY_MALFORMED, BodyReader } from "../http1/body-framing.js";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { HeadWriter } from "../http1/head-writer.js";
import { type Framing, HEAD_INCOMPLETE, type RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import type { Connection, ConnectionOwner, Connector } from "../transport/transport.js";
import {
  InterimBound,
  type KeptConnection,
  type KeptConnections,
  type ResponseReceiver,
  type UpstreamLoss,
  type UpstreamStream,
} from "../upstreams/upstream-client.js";

/** What a connection needs of all those to its upstream. */
export interface UpstreamConnections {
  readonly deadlines: Deadlines;
  readonly requestWriter: HeadWriter;
  readonly isForeign: boolean;
  /** Whether a request that is given up goes on holding its place until the upstream has let go of it. */
  readonly holdsPlaces: boolean;
  /** Whether an instance may go on with a request after its response, in its place. */
  readonly awaitsWork: boolean;
  /** Its request is given up; the upstream is not done with it. */
  giveUp(connection: Http1UpstreamConnection): void;
  /** It is closed. */
  gone(connection: Http1UpstreamConnection): void;
  /** The upstream is done with a request that was given up. */
  done(connection: Http1UpstreamConnection): void;
  /** It has no request any more: false when it must not be kept. */
  keep(connection: Http1UpstreamConnection, receiver: ResponseReceiver): boolean;
  /** It was closed by the peer while no request was there, or before a response began; false when it should not have been. */
  closedWhileKept(connection: Http1UpstreamConnection): boolean;
}

type State =
  /** No connection yet. */
  | "connecting"
  /** The request's stream is there; no head of a response has come. */
  | "head"
  /** The response's body is coming. */
  | "body"
  /** After a 101: bytes pass as they are, both ways. */
  | "tunnel"
  /** Kept for the next request. */
  | "idle"
  /** The response is whole, and the instance goes on with its request until it says that it is done, or closes. */
  | "working"
  /** The request was given up and the upstream told so by a FIN; it may be at work on it still. */
  | "given up"
  | "closed";

/** A response that nobody waits for is read up to this, in bytes, so that the upstream can end it; then it is cut. */
const MAX_UNWANTED_BYTES = 4 << 20;

/** What an instance says once it is done with a request: an interim response, which whoever does not know that passes over. */
const DONE_BYTES = "HTTP/1.1 100 Continue\r\n\r\n".length;

/** One for the process: a head is used before the next is parsed. */
const head = new ResponseHead();

export class Http1UpstreamConnection implements UpstreamStream, ConnectionOwner, Connector, KeptConnection {
  /** In milliseconds of `Deadlines.now`. */
  idleSince = 0;
  /** The client that it is kept for, while it is idle and serves one alone. */
  keptFor: KeptConnections | undefined;
  private state: State = "connecting";
  private connection: Connection | undefined;
  private receiver: ResponseReceiver | undefined;
  private readonly body = new BodyReader();
  /** The part of a head that has come so far. */
  private partialHead: Buffer | undefined;
  private hasHeard = false;
  /** It was kept from a request before the present one. */
  private isReused = false;
  private isHeadRequest = false;
  private requestFraming: Framing = "none";
  private isRequestSent = false;
  private keepAlive = false;
  private mayWorkOn = false;
  /** What came after a whole response. */
  private laterBytes = 0;
  private readonly interims = new InterimBound();
  private isPaused = false;
  /** What came of a response that nobody waits for. */
  private unwantedBytes = 0;
  /** When the upstream last had something to do for the present request, in milliseconds of `Deadlines.now`. */
  private progressAt: number;
  /** The request that nobody waits for any more, and since when its end is owed. */
  private abandoned: { request: string; owedSince: number } | undefined;

  constructor(
    readonly upstream: UpstreamConnections,
    receiver: ResponseReceiver,
  ) {
    this.receiver = receiver;
    this.progressAt = upstream.deadlines.now;
  }

  /** The request that the upstream is running, as text for people; undefined while there is none. */
  describeRequest(): string | undefined {
    return this.receiver?.describeRequest() ?? this.abandoned?.request;
  }

  /** Its request goes on though nobody waits for its response any more. */
  get overdue(): OverdueRequest | undefined {
    if (this.abandoned === undefined) return undefined;
    const { request, owedSince } = this.abandoned;
    return { request, forMs: this.upstream.deadlines.now - owedSince };
  }

  get isReady(): boolean {
    return this.state !== "connecting";
  }

  get waitingBytes(): number {
    return this.connection?.waitingBytes ?? 0;
  }

  get seesAcknowledgements(): boolean {
    return this.connection?.seesAcknowledgements === true;
  }

  acknowledgedBytes(since: number): number {
    return this.connection?.acknowledgedBytes(since) ?? 0;
  }

  /** Takes the connection out of idleness for another request. */
  begin(receiver: ResponseReceiver): void {
    this.receiver = receiver;
    this.state = "head";
    this.hasHeard = false;
    this.isReused = true;
    this.progressAt = this.upstream.deadlines.now;
  }

  onConnected(connection: Connection): ConnectionOwner {
    this.connection = connection;
    if (this.state === "closed") {
      connection.close();
      return this;
    }
    if (this.receiver === undefined) {
      // Not kept: an instance on Bun closes a connection on which no request came within some ten seconds.
      this.close();
      return this;
    }
    this.state = "head";
    this.receiver.onUpstreamReady();
    return this;
  }

  onConnectFailed(): void {
    if (this.state === "connecting") this.lose("refused");
  }

  sendHead(request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    this.interims.begin();
    this.isHeadRequest = request.isHead;
    this.requestFraming = request.isUpgrade ? "close" : request.framing;
    this.isRequestSent = this.requestFraming === "none";
    if (this.connection === undefined) return;
    this.upstream.requestWriter.request(this.connection, request, forwarded, isTrusted);
  }

  sendBody(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.connection === undefined) return true;
    this.progressAt = this.upstream.deadlines.now;
    const writer = this.upstream.requestWriter;
    return this.requestFraming === "chunked"
      ? writer.chunk(this.connection, bytes, start, end)
      : writer.body(this.connection, bytes, start, end);
  }

  endBody(): void {
    if (this.connection === undefined || this.isRequestSent) return;
    // Until the upstream has taken an upgrade, or declined it, there is nothing to end.
    if (this.requestFraming === "close" && this.state !== "tunnel") return;
    this.isRequestSent = true;
    const writer = this.upstream.requestWriter;
    if (this.requestFraming === "chunked") writer.lastChunk(this.connection);
    if (this.state === "tunnel") {
      writer.flush(this.connection);
      this.connection.end();
    }
  }

  flush(): boolean {
    return this.connection === undefined || this.upstream.requestWriter.flush(this.connection);
  }

  cancel(): void {
    const { receiver } = this;
    this.receiver = undefined;
    // A connection that is still being made is closed when it is there.
    if (this.state === "connecting") return;
    if (this.state === "tunnel" || !this.upstream.holdsPlaces || this.connection === undefined) return this.close(true);
    this.state = "given up";
    // While it was paused for a slow client it owed nothing.
    const owedSince = this.isPaused ? this.upstream.deadlines.now : this.progressAt;
    this.abandoned = { request: receiver?.describeRequest() ?? "", owedSince };
    this.upstream.giveUp(this);
    this.connection.end();
    this.resume();
  }

  pause(): void {
    this.isPaused = true;
    this.connection?.pause();
  }

  resume(): void {
    this.isPaused = false;
    this.connection?.resume();
  }

  /** @param isCancelled nobody waits for the response: what was not sent of the request is not waited for either. */
  close(isCancelled = false): void {
    if (this.state === "closed") return;
    const { connection } = this;
    if (isCancelled && connection !== undefined && connection.waitingBytes > 0) connection.reset();
    else connection?.close();
    this.state = "closed";
    this.upstream.gone(this);
  }

  onData(bytes: Buffer): boolean {
    this.hasHeard = true;
    if (this.state !== "given up") this.progressAt = this.upstream.deadlines.now;
    switch (this.state) {
      case "head":
        this.readHead(bytes);
        break;
      case "body":
        this.readBody(bytes, 0);
        break;
      case "tunnel":
        this.receiver?.onBody(bytes, 0, bytes.length);
        this.receiver?.onResponseBatch();
        break;
      case "idle":
        // A response to no request: whatever it is, the next request must not get it.
        this.close();
        break;
      case "working":
        this.readDone(bytes.length);
        break;
      case "given up":
        // An upstream that heeds no FIN must not go on for ever.
        this.unwantedBytes += bytes.length;
        if (this.unwantedBytes > MAX_UNWANTED_BYTES) this.close();
        return true;
      case "connecting":
      case "closed":
        break;
    }
    return this.partialHead === undefined;
  }

  private readHead(received: Buffer): void {
    const bytes = this.partialHead === undefined ? received : Buffer.concat([this.partialHead, received]);
    this.partialHead = undefined;
    let at = 0;
    for (;;) {
      const afterHead = head.parse(bytes, at, bytes.length, this.isHeadRequest);
      if (afterHead === HEAD_INCOMPLETE) {
        if (at < bytes.length) this.partialHead = bytes.subarray(at);
        this.receiver?.onResponseBatch();
        return;
      }
      if (afterHead < 0) return this.lose("broken");
      const size = afterHead - at;
      at = afterHead;
      if (head.isInterim) {
        if (!this.interims.take(size)) return this.lose("broken");
        this.receiver?.onResponseHead(head);
        continue;
      }
      break;
    }
    if (head.status === 101) {
      if (this.requestFraming !== "close") return this.lose("broken");
      this.state = "tunnel";
      this.receiver?.onResponseHead(head);
      if (at < bytes.length) this.receiver?.onBody(bytes, at, bytes.length);
      this.receiver?.onResponseBatch();
      return;
    }
    // An upgrade that was declined: an ordinary answer to a request without a body.
    if (this.requestFraming === "close") this.isRequestSent = true;
    this.state = "body";
    this.keepAlive =
      head.keepAlive && head.framing !== "close" && !(this.upstream.isForeign && this.mayLeaveBody(head.status));
    this.mayWorkOn = head.mayWorkOn;
    this.body.begin(head.framing, head.contentLength);
    this.receiver?.onResponseHead(head);
    this.readBody(bytes, at);
  }

  /** Strangers send a body where there can be none, or go on with the protocol that they declined. */
  private mayLeaveBody(status: number): boolean {
    return this.isHeadRequest || this.requestFraming === "close" || status === 204 || status === 304;
  }

  private readBody(bytes: Buffer, start: number): void {
    const { receiver } = this;
    if (receiver === undefined) return;
    const after = this.body.read(bytes, start, bytes.length, receiver);
    // The receiver may have cancelled meanwhile.
    if (this.receiver === undefined) return;
    if (after <= BODY_MALFORMED) return this.lose("broken");
    if (!this.body.isComplete) return receiver.onResponseBatch();
    this.finish(receiver, bytes.length - after);
  }

  /** The response is whole; what follows it in the same bytes belongs to nobody. */
  private finish(receiver: ResponseReceiver, laterBytes: number): void {
    this.receiver = undefined;
    const isSent = this.isRequestSent && this.connection?.waitingBytes === 0;
    if (!isSent) this.keepAlive = false;
    if (this.upstream.awaitsWork && (this.mayWorkOn || !this.keepAlive)) this.awaitWork(receiver, laterBytes, isSent);
    else if (this.keepAlive && laterBytes === 0) this.becomeIdle(receiver);
    else this.close();
    receiver.onResponseEnd();
  }

  /** It holds its place until the instance says that it is done, or closes where no other request may follow. */
  private awaitWork(receiver: ResponseReceiver, laterBytes: number, isSent: boolean): void {
    if (this.keepAlive && laterBytes === DONE_BYTES) return this.becomeIdle(receiver);
    this.state = "working";
    this.laterBytes = 0;
    this.abandoned = { request: receiver.describeRequest(), owedSince: this.upstream.deadlines.now };
    this.upstream.giveUp(this);
    if (!isSent) this.connection?.end();
    if (this.isPaused) this.resume();
    if (laterBytes > 0) this.readDone(laterBytes);
  }

  private readDone(count: number): void {
    this.laterBytes += count;
    if (!this.keepAlive || this.laterBytes > DONE_BYTES) return this.close();
    if (this.laterBytes < DONE_BYTES) return;
    this.abandoned = undefined;
    this.state = "idle";
    this.upstream.done(this);
  }

  private becomeIdle(receiver: ResponseReceiver): void {
    if (this.isPaused) this.resume();
    this.state = "idle";
    if (!this.upstream.keep(this, receiver)) this.close();
  }

  onDrain(): void {
    this.receiver?.onUpstreamDrain();
  }

  onEnd(): void {
    const { receiver } = this;
    if (this.state === "given up" || this.state === "working") return this.close();
    const isEnd = this.state === "tunnel" || (this.state === "body" && this.body.endsWithClose);
    if (isEnd && receiver !== undefined) {
      this.receiver = undefined;
      this.close();
      receiver.onResponseEnd();
      return;
    }
    this.lose(this.lossByClose());
  }

  onClose(): void {
    if (this.state === "closed") return;
    this.connection = undefined;
    // A reset is not an end: a body without a length that ends so was cut.
    this.lose(this.lossByClose());
  }

  private lossByClose(): UpstreamLoss {
    const isKept = this.state === "idle" || (this.isReused && !this.hasHeard);
    if (isKept && this.upstream.closedWhileKept(this)) return "stale";
    return this.hasHeard ? "broken" : "lost";
  }

  private lose(loss: UpstreamLoss): void {
    const { receiver } = this;
    this.receiver = undefined;
    this.close();
    receiver?.onUpstreamLost(loss);
  }
}
