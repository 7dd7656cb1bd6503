/** One request over HTTP/2 and its response: the client of an exchange. Belongs to a connection, which reuses it. */
import { giveBack, type OpenRequest } from "@paceline/wire";
import type { CodedBody } from "../coding/compression.js";
import type { Downstream, LocalStatus } from "../exchange/downstream.js";
import { Exchange } from "../exchange/exchange.js";
import type { Relay } from "../exchange/relay.js";
import type { Peer } from "../http1/forwarded.js";
import { HEAD_REFUSED } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { ErrorCode } from "../http2/protocol.js";
import type { RequestText } from "../http2/request-text.js";
import { streamWindow } from "../http2/windows.js";
import { type OwnResponse, ownResponse } from "../routing/local-response.js";
import { findRoute } from "../routing/route.js";
import { type LegibleHead, legibleHead } from "../stats/access-log.js";
import type { Ends } from "../transport/transport.js";
import { Http2Response, type ResponseHost } from "./http2-response.js";
import type { ResponseScratch } from "./http2-scratch.js";
import { endLasting, type LastingClient } from "./lasting-response.js";

/** What a stream needs of its connection. */
export interface StreamHost {
  readonly output: ResponseHost;
  readonly ends: Ends | undefined;
  readonly isLeaving: boolean;
  /** The https port to which every request is redirected; undefined if none is. */
  readonly redirectPort: number | undefined;
  /** Called when bytes of bodies were used, so that the client may send as many more. */
  useBody(bytes: number): void;
  /** Counts a stream that is reset because of an error of the client. */
  countFault(): void;
  /**
   * Called when the stream has ended.
   * @param isReset whether the balancer has reset it, so that further frames for it may arrive
   */
  release(stream: Http2Stream, isReset: boolean): void;
}

type State =
  | "free"
  /** Its request is in progress. */
  | "exchange"
  /** The request has ended, and the client has not received the whole response. */
  | "sending";

const FIRST_HEAD_BYTES = 512;
/** Larger buffers for heads are not kept. */
const MAX_KEPT_HEAD_BYTES = 4096;

const NOTHING = new Uint8Array(0);

export class Http2Stream implements Downstream, LastingClient {
  deadlineAt = Number.POSITIVE_INFINITY;
  deadlineIndex = -1;
  id = 0;
  readonly response: Http2Response;
  readonly exchange: Exchange;
  /** Whether the client has ended its request. */
  isRemoteEnded = false;
  private state: State = "free";
  private headBytes: Uint8Array = NOTHING;
  private readonly window = streamWindow();
  /** Received bytes of the body that are not used yet, because the upstream cannot take more. */
  private heldBytes = 0;
  private isPaused = false;
  private hasBody = false;
  private bodyBytes = 0;
  /** The length of the body by its Content-Length; -1 if unknown. */
  private declaredBytes = -1;

  constructor(
    private readonly relay: Relay,
    private host: StreamHost,
    private peer: Peer,
    scratch: ResponseScratch,
  ) {
    this.exchange = new Exchange(relay, this, peer);
    this.response = new Http2Response(relay, host.output, scratch, this);
    this.response.isSecure = peer.secure !== undefined;
    const { identity, logged } = this.exchange.request;
    if (logged !== undefined) logged.isHttp2 = true;
    if (identity?.isInResponse === true) this.response.identity = identity;
  }

  /** Gives a stream of a closed connection to another connection. */
  moveTo(host: StreamHost, peer: Peer): this {
    this.host = host;
    this.peer = peer;
    this.response.moveTo(host.output, peer.secure !== undefined);
    this.exchange.moveTo(peer);
    return this;
  }

  get staysOpen(): boolean {
    return !this.host.isLeaving;
  }

  get ends(): Ends | undefined {
    return this.host.ends;
  }

  /** Returns the request if an instance has not finished it; else undefined. */
  openRequest(): OpenRequest | undefined {
    return this.exchange.outcome.openRequest();
  }

  // Called by the connection:

  /**
   * Starts with a request.
   * @param isWhole whether no body follows
   */
  begin(id: number, sendWindow: number, text: RequestText, isWhole: boolean): void {
    this.id = id;
    this.isRemoteEnded = isWhole;
    this.isPaused = this.hasBody = false;
    this.heldBytes = this.bodyBytes = 0;
    this.window.restart();
    this.response.begin(id, sendWindow);
    this.relay.deadlines.add(this);
    this.state = "exchange";
    switch (text.state) {
      case "whole":
        return this.start(text, isWhole);
      case "long-target":
        return this.refuse(414);
      case "long":
        return this.refuse(431);
      case "unknown-protocol":
        return this.refuse(501);
      case "malformed":
        return this.refuse(400);
    }
  }

  private start({ bytes, length }: RequestText, isWhole: boolean): void {
    const { id, relay, exchange } = this;
    // In a buffer of its own, because the exchange parses the head again if it has to be sent later.
    if (this.headBytes.length < length)
      this.headBytes = Buffer.allocUnsafeSlow(Math.max(FIRST_HEAD_BYTES, 2 ** Math.ceil(Math.log2(length))));
    this.headBytes.set(bytes.subarray(0, length));
    const head = relay.requestHead;
    const after = head.parse(this.headBytes, 0, length);
    if (after !== length) {
      const status = after === HEAD_REFUSED ? head.refusal : 400;
      this.response.isHead = false;
      if (status === 413) this.response.page = findRoute(relay.router, head)?.target.errorPages?.of(413);
      return this.refuse(status, legibleHead(head, 0, true));
    }
    this.response.isHead = head.isHead;
    this.response.takesTrailers = head.takesTrailers;
    this.hasBody = head.framing !== "none";
    this.declaredBytes = head.framing === "chunked" ? -1 : head.contentLength;
    if (isWhole && this.hasBody) return this.fail(ErrorCode.PROTOCOL_ERROR);
    const { challenges } = relay;
    if (challenges !== undefined || this.host.redirectPort !== undefined) {
      const own = ownResponse(head, challenges, this.host.redirectPort);
      if (own !== undefined) return this.respondOwn(own);
    }
    exchange.request.identity?.begin(head, this.peer.isTrusted);
    exchange.begin(head, this.headBytes, 0, length);
    if (this.id === id) exchange.onRequestBatch();
    if (!exchange.holds(this.headBytes)) this.dropLongHead();
  }

  /** Frees the buffer at once: the garbage collector would let many of them accumulate. */
  private dropLongHead(): void {
    if (this.headBytes.length <= MAX_KEPT_HEAD_BYTES) return;
    giveBack(this.headBytes);
    this.headBytes = NOTHING;
  }

  /** Refuses a head before an exchange starts. Over HTTP/1.1 this would close the connection. */
  private refuse(status: LocalStatus, legible?: LegibleHead): void {
    const { page } = this.response;
    this.relay.accessLog?.refused(this.peer, status, this.response.localBodyBytes(status), legible);
    this.respondOwn({ status, ...(page !== undefined && { page }) });
    this.host.countFault();
  }

  private respondOwn({ status, page, fields }: OwnResponse): void {
    this.relay.counters.countResponse(status, 0);
    // Otherwise the response would have the ids of an earlier request.
    const { identity } = this.response;
    this.response.identity = undefined;
    this.response.page = page;
    this.respond(status, fields);
    this.response.identity = identity;
  }

  /** Counts a frame of the body. Returns false if it exceeds the window. */
  takeBody(bytes: number): boolean {
    return this.window.take(bytes);
  }

  /** Counts bytes of DATA frames that are not kept, such as padding. */
  skipBody(bytes: number): void {
    this.heldBytes += bytes;
    this.useHeld();
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    const { id, exchange } = this;
    const size = end - start;
    if (this.state === "sending") return this.skipBody(size);
    this.heldBytes += size;
    this.bodyBytes += size;
    if (!exchange.isTunnel) {
      // The request declared no body, or its tunnel is not open yet.
      if (!this.hasBody) return this.fail(ErrorCode.PROTOCOL_ERROR);
      if (this.declaredBytes < 0 && this.bodyBytes > this.relay.limits.maxBodyBytes) return this.refuseBody();
      if (this.declaredBytes >= 0 && this.bodyBytes > this.declaredBytes) return this.fail(ErrorCode.PROTOCOL_ERROR);
    }
    exchange.onRequestBody(bytes, start, end);
    if (this.id === id) this.useHeld();
  }

  /** @param trailers as lines; undefined if there are none */
  onBodyEnd(trailers?: Uint8Array): void {
    this.isRemoteEnded = true;
    if (this.state !== "exchange") return;
    const { exchange } = this;
    if (exchange.isTunnel) return exchange.onRequestEnd();
    if (this.declaredBytes >= 0 && this.bodyBytes !== this.declaredBytes) return this.fail(ErrorCode.PROTOCOL_ERROR);
    if (this.hasBody) exchange.onRequestEnd(trailers);
  }

  /** Cancels a request whose body is too large. */
  private refuseBody(): void {
    const { hasResponse, pool, outcome } = this.exchange;
    this.response.page = pool?.errorPages?.of(413);
    if (!hasResponse) outcome.bodyBytes = this.response.localBodyBytes(413);
    this.exchange.onClientGone(413);
    if (hasResponse) return this.abort();
    this.relay.counters.countResponse(413, 0);
    this.respond(413);
  }

  private useHeld(): void {
    if (this.isPaused || this.heldBytes === 0) return;
    const { heldBytes, host, window } = this;
    this.heldBytes = 0;
    host.useBody(heldBytes);
    window.use(heldBytes);
    if (this.isRemoteEnded) return;
    const granted = window.grant();
    if (granted === 0) return;
    host.output.frames.window(this.id, granted);
    host.output.flushSoon();
  }

  /** Called when everything received in this read was forwarded. */
  flushBody(): void {
    if (this.state === "exchange") this.exchange.onRequestBatch();
  }

  /** Called when the client has reset the stream or disconnected. */
  onGone(): void {
    this.exchange.onClientGone();
    this.release(false);
  }

  /** Called when the balancer ends the connection. */
  onEnded(cut: "refused" | "no-room"): void {
    this.exchange.onClientEnded(cut);
    this.release(false);
  }

  /** Resets the stream because of an error of the client. */
  fail(error: number): void {
    const { exchange, host } = this;
    if (this.state === "exchange" && !exchange.hasResponse) this.relay.counters.countResponse(400, 0);
    if (exchange.isTunnel) exchange.onClientGone();
    else exchange.onClientGone(400);
    this.reset(error);
    host.countFault();
  }

  onDeadline(): void {
    switch (this.state) {
      case "exchange":
        return this.exchange.onDeadline();
      case "sending":
        this.deadlineAt = this.response.lookAtReading();
        if (this.deadlineAt === 0) this.reset(ErrorCode.CANCEL);
    }
  }

  /** Ends a long-lived response in a drain, between two frames or events. Returns whether it did. */
  endEarly(): boolean {
    return endLasting(this, this.relay);
  }

  endResponseEarly(): void {
    this.endResponse();
  }

  // Called by the exchange:

  sendHead(head: ResponseHead, coded?: CodedBody): void {
    this.response.head(head, coded);
  }

  endResponse(): void {
    if (this.response.end()) return this.finish();
    this.state = "sending";
    this.isPaused = false;
    this.useHeld();
    this.deadlineAt = this.response.beginSlowReading();
  }

  respond(status: LocalStatus, fields?: string): void {
    this.response.local(status, fields);
    this.endResponse();
  }

  /** Called when the response was sent. If the client is still sending its request, RST_STREAM with NO_ERROR stops it (RFC 9113 §8.1). */
  private finish(): void {
    const { isRemoteEnded } = this;
    if (!isRemoteEnded) this.host.output.frames.reset(this.id, ErrorCode.NO_ERROR);
    this.release(!isRemoteEnded);
  }

  abort(): void {
    this.reset(ErrorCode.INTERNAL_ERROR);
  }

  private reset(error: number): void {
    if (this.state === "free") return;
    const { output } = this.host;
    output.frames.reset(this.id, error);
    output.flushSoon();
    this.release(true);
  }

  private release(isReset: boolean): void {
    if (this.state === "free") return;
    const { heldBytes, host } = this;
    this.state = "free";
    this.relay.deadlines.remove(this);
    this.deadlineAt = Number.POSITIVE_INFINITY;
    this.response.clear();
    this.heldBytes = 0;
    if (heldBytes > 0) host.useBody(heldBytes);
    this.dropLongHead();
    host.release(this, isReset);
    this.id = 0;
  }

  pauseBody(): void {
    this.isPaused = true;
  }

  resumeBody(): void {
    this.isPaused = false;
    this.useHeld();
  }

  // Called by the response:

  onSent(): void {
    if (this.state === "sending") this.endResponse();
    else this.exchange.onClientDrain();
  }
}
