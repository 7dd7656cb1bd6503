/** One connection to an upstream. Sends a request (request-sender.ts), reads its response, and is reused if the framing allows it. */
import type { OverdueRequest } from "@paceline/wire";
import { BODY_MALFORMED, BodyReader } from "../http1/body-framing.js";
import { proxyHeader } from "../http1/proxy-header.js";
import { HEAD_INCOMPLETE } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { CHUNK_UNITS, Pause } from "../transport/reading.js";
import type { Connection, ConnectionOwner, Connector } from "../transport/transport.js";
import type {
  KeptConnection,
  KeptConnections,
  ResponseReceiver,
  UpstreamLoss,
  UpstreamStream,
} from "../upstreams/upstream-client.js";
import { AbandonedRequest, DONE_BYTES } from "./after-work.js";
import type { UpstreamConnections } from "./request-sender.js";
import { RequestSender } from "./request-sender.js";

type State =
  /** Not connected yet. */
  | "connecting"
  /** The stream of a request exists; no response head has arrived. */
  | "head"
  /** The response's body is arriving. */
  | "body"
  /** After a 101: bytes pass unchanged in both directions. */
  | "tunnel"
  /** Kept for the next request. */
  | "idle"
  /** The response is complete. The instance continues to work until it reports that it is done, or closes. */
  | "working"
  /** The request was abandoned and FIN sent; the upstream may still be working on it. */
  | "abandoned"
  | "closed";

/** One per process: a head is used before the next one is parsed. */
const head = new ResponseHead();

export class Http1UpstreamConnection
  extends RequestSender<Http1UpstreamConnection>
  implements UpstreamStream, ConnectionOwner, Connector, KeptConnection
{
  /** In milliseconds of `Deadlines.now`. */
  idleSince = 0;
  /** The client for whose next request the connection is kept, if it is idle and serves only one client. */
  keptFor: KeptConnections | undefined;
  private state: State = "connecting";
  private receiver: ResponseReceiver | undefined;
  private readonly body = new BodyReader();
  /** The received part of an incomplete head. */
  private partialHead: Buffer | undefined;
  private hasHeard = false;
  /** Whether the connection was used for an earlier request. */
  private isReused = false;
  private keepAlive = false;
  private mayWorkOn = false;
  /**
   * Whether the request was sent while the instance was still working on the previous request. The report about that one may precede the
   * response.
   */
  private followsWork = false;
  /** Whether the report that the instance is done was read at once. */
  private isDoneRead = true;
  private abandoned: AbandonedRequest | undefined;

  constructor(upstream: UpstreamConnections<Http1UpstreamConnection>, receiver: ResponseReceiver) {
    super(upstream);
    this.receiver = receiver;
    this.body.dropsLargeTrailers = true;
  }

  /** Returns the request that the upstream is running, for display; undefined if there is none. */
  describeRequest(): string | undefined {
    return this.receiver?.request.describe() ?? this.abandoned?.describe();
  }

  /** The request that is still running although it was abandoned. */
  get overdue(): OverdueRequest | undefined {
    return this.abandoned?.overdue(this.upstream.deadlines.now);
  }

  /** How long the end of that request has been due, in milliseconds; 0 without such a request. */
  get overdueMs(): number {
    return this.abandoned?.owedFor(this.upstream.deadlines.now) ?? 0;
  }

  get isReady(): boolean {
    return this.state !== "connecting";
  }

  get sendsMuch(): boolean {
    return this.upstream.isLocal;
  }

  protected get isTunnel(): boolean {
    return this.state === "tunnel";
  }

  /** Whether the instance is finishing a request, and the next one may be sent before its report. */
  get mayFollow(): boolean {
    return this.state === "working" && this.keepAlive && this.abandoned?.hasReceivedNothing === true;
  }

  /** Starts another request on an idle connection, or on one that `mayFollow`. */
  begin(receiver: ResponseReceiver): void {
    this.followsWork = this.state === "working";
    this.abandoned = undefined;
    this.reading.resume(Pause.DONE);
    this.receiver = receiver;
    this.state = "head";
    this.hasHeard = false;
    this.isReused = true;
    this.progressAt = this.upstream.deadlines.now;
  }

  onConnected(connection: Connection): ConnectionOwner {
    this.reading.connection = connection;
    if (this.state === "closed") {
      connection.close();
      return this;
    }
    if (this.receiver === undefined) {
      // The connection is not kept, because an instance on Bun closes a connection without a request after about ten seconds.
      this.close();
      return this;
    }
    this.state = "head";
    const { sendProxy } = this.upstream;
    if (sendProxy !== undefined) connection.write(proxyHeader(sendProxy, this.receiver.clientEnds));
    this.receiver.onUpstreamReady();
    return this;
  }

  onConnectFailed(): void {
    if (this.state === "connecting") this.lose("refused");
  }

  cancel(): void {
    const { receiver } = this;
    this.receiver = undefined;
    // A connection that is still being established is closed as soon as it is established.
    if (this.state === "connecting") return;
    if (this.state === "tunnel" || !this.upstream.countsAbandoned || this.connection === undefined) {
      if (this.state === "head") this.upstream.noteLeft(receiver?.request.describe());
      return this.close(true);
    }
    const hasResponse = this.state === "body" || !this.isRequestSent;
    this.state = "abandoned";
    // While the connection was paused for a slow client, nothing was due.
    const owedSince = this.reading.isPaused ? this.upstream.deadlines.now : this.progressAt;
    this.abandoned = new AbandonedRequest(
      receiver?.request.describeLater() ?? (() => ""),
      owedSince,
      receiver?.readyAt,
    );
    this.upstream.keepAbandoned(this);
    // Many servers close the connection at a FIN while the request is still running. Their process, which is about to be killed for that
    // request, would seem idle.
    if (hasResponse || !this.upstream.isLate(this.overdueMs)) this.connection.end();
    this.reading.leaveTurn();
    this.resume();
  }

  /** Sends FIN for the abandoned request, because the supervisor did not kill the process for it. */
  endAbandoned(): void {
    if (this.state === "abandoned") this.connection?.end();
  }

  pause(): void {
    this.reading.pause(Pause.UNREAD);
  }

  resume(): void {
    this.reading.resume(Pause.UNREAD);
  }

  /** Counts a read of a body or a tunnel: an upstream that sends endlessly gets only its share of each turn, as clients do. */
  private countRead(bytes: number, chunks: number, isWhole: boolean): void {
    if (!isWhole || this.reading.hasShared) this.reading.countBody(bytes + chunks * CHUNK_UNITS, isWhole);
  }

  /** @param isCancelled whether the response is unwanted, so that unsent parts of the request are dropped */
  close(isCancelled = false): void {
    if (this.state === "closed") return;
    this.reading.leaveTurn();
    this.reading.endResponse(false);
    const { connection } = this;
    if (isCancelled && connection !== undefined && connection.waitingBytes > 0) connection.reset();
    else connection?.close();
    this.state = "closed";
    this.upstream.gone(this);
  }

  onData(bytes: Buffer): boolean {
    this.hasHeard = true;
    if (this.state !== "abandoned") this.progressAt = this.upstream.deadlines.now;
    switch (this.state) {
      case "head":
        this.readHead(bytes);
        break;
      case "body":
        this.readBody(bytes, 0);
        break;
      case "tunnel":
        this.countRead(bytes.length, 0, false);
        this.receiver?.onBody(bytes, 0, bytes.length);
        this.receiver?.onResponseBatch();
        this.noteRead(bytes.length);
        break;
      case "idle":
        // The next request must not get a response that was not requested.
        this.close();
        break;
      case "working":
        this.readDone(bytes.length);
        break;
      case "abandoned":
        if (this.abandoned?.takeUnwanted(bytes.length) !== true) this.close();
        else this.connection?.end();
        return true;
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
        if (this.followsWork && head.status === 100) {
          // The bytes belong to the previous request.
          this.followsWork = false;
          this.hasHeard = at < bytes.length;
          continue;
        }
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
    // The upgrade was refused with an ordinary response, so the request has no body.
    if (this.requestFraming === "close") this.isRequestSent = true;
    this.state = "body";
    this.keepAlive =
      head.keepAlive && head.framing !== "close" && !(this.upstream.isForeign && this.mayLeaveBody(head.status));
    this.mayWorkOn = head.mayWorkOn;
    this.body.keepsTrailers = this.receiver?.takesTrailers === true;
    this.body.begin(head.framing, head.contentLength);
    this.receiver?.onResponseHead(head);
    this.readBody(bytes, at);
  }

  /** Whether a body may follow although none is allowed: some programs send one, or continue with a refused protocol. */
  private mayLeaveBody(status: number): boolean {
    return this.isHeadRequest || this.requestFraming === "close" || status === 204 || status === 304;
  }

  private readBody(bytes: Buffer, start: number): void {
    const { receiver } = this;
    if (receiver === undefined) return;
    const { chunks } = this.body;
    const after = this.body.read(bytes, start, bytes.length, receiver);
    // The receiver may have cancelled meanwhile.
    if (this.receiver === undefined) return;
    this.countRead(bytes.length - start, this.body.chunks - chunks, this.body.isComplete);
    if (after <= BODY_MALFORMED) return this.lose("broken");
    if (!this.body.isComplete) {
      receiver.onResponseBatch();
      return this.noteRead(bytes.length);
    }
    this.finish(receiver, bytes.length - after);
  }

  private noteRead(bytes: number): void {
    // The receiver may have cancelled.
    if (this.receiver !== undefined) this.reading.noteRead(bytes);
  }

  /** Completes the response. Further bytes in the same read belong to no request. */
  private finish(receiver: ResponseReceiver, laterBytes: number): void {
    this.receiver = undefined;
    this.reading.endResponse(true);
    const isSent = this.isRequestSent && this.connection?.waitingBytes === 0;
    if (!isSent) this.keepAlive = false;
    if (this.upstream.awaitsWork && (this.mayWorkOn || !this.keepAlive)) this.awaitWork(receiver, laterBytes, isSent);
    else if (this.keepAlive && laterBytes === 0) this.becomeIdle(receiver);
    else this.close();
    const trailers = this.body.takeTrailers();
    if (trailers !== undefined) receiver.onTrailers?.(trailers);
    receiver.onResponseEnd();
  }

  /** Keeps the instance occupied until it reports that it is done, or closes a connection that cannot be reused. */
  private awaitWork(receiver: ResponseReceiver, laterBytes: number, isSent: boolean): void {
    if (this.keepAlive && laterBytes === DONE_BYTES) return this.becomeIdle(receiver);
    this.state = "working";
    this.abandoned = new AbandonedRequest(receiver.request.describeLater(), this.upstream.deadlines.now);
    this.upstream.keepAbandoned(this);
    if (!isSent) this.connection?.end();
    this.resume();
    this.isDoneRead = true;
    if (laterBytes > 0) this.readDone(laterBytes);
    // To read the report at once, this process would have to wake up once more for each request.
    else if (this.keepAlive && this.upstream.readsDoneLater) this.reading.pause(Pause.DONE);
  }

  /** Reassigns a request without any byte of a response, if it may run twice. The upstream keeps it as an abandoned one. */
  reassign(): void {
    const { receiver } = this;
    if (this.state !== "head" || this.hasHeard || !this.isRequestSent || receiver?.canRunAgain !== true) return;
    this.cancel();
    receiver.onUpstreamLost("stalled");
  }

  /** Whether the report that the instance is done may have arrived unread. */
  get isDoneUnread(): boolean {
    return this.reading.isPausedFor(Pause.DONE);
  }

  /** Reads whether the instance is done. Returns false if that was already being read. */
  readDoneNow(): boolean {
    if (!this.reading.isPausedFor(Pause.DONE)) return false;
    this.isDoneRead = false;
    this.reading.resume(Pause.DONE);
    return true;
  }

  private readDone(count: number): void {
    const result = this.abandoned?.takeDone(count);
    if (!this.keepAlive || result === "unexpected") return this.close();
    if (result === "partial") return;
    this.abandoned = undefined;
    this.state = "idle";
    this.upstream.done(this, this.isDoneRead);
  }

  private becomeIdle(receiver: ResponseReceiver): void {
    this.resume();
    this.state = "idle";
    if (!this.upstream.keep(this, receiver)) this.close();
  }

  onDrain(): void {
    this.receiver?.onUpstreamDrain();
  }

  onEnd(): void {
    const { receiver } = this;
    if (this.state === "abandoned" || this.state === "working") return this.close();
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
    this.reading.connection = undefined;
    // A reset is not a proper end: a body without a length was cut off.
    this.lose(this.lossByClose());
  }

  private lossByClose(): UpstreamLoss {
    const isKept = this.state === "idle" || (this.isReused && !this.hasHeard);
    if (isKept && this.upstream.closedWhileKept(this)) return "staleConnection";
    if (this.hasHeard) return "broken";
    return this.followsWork || this.upstream.leftAtWork !== undefined ? "behindAbandoned" : "closed";
  }

  private lose(loss: UpstreamLoss): void {
    const { receiver } = this;
    this.receiver = undefined;
    this.close();
    receiver?.onUpstreamLost(loss);
  }
}
