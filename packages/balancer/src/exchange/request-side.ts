/**
 * The request's side of an exchange, from a parsed head to an upstream that receives it. attempts.ts finds the upstream, request-body.ts
 * sends the body. exchange.ts has the response's side.
 */
import { admit } from "../admission/admit.js";
import type { BodySink } from "../http1/body-framing.js";
import { passingTrailers } from "../http1/forward-policy.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { FileRedirect } from "../routing/file-redirect.js";
import type { Ends } from "../transport/transport.js";
import type { Hedging } from "../upstreams/hedging.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import { KeptConnections, type UpstreamLoss, type UpstreamStream } from "../upstreams/upstream-client.js";
import { Attempts, type AttemptsOwner } from "./attempts.js";
import { isToBeCollected } from "./collected-body.js";
import type { Downstream } from "./downstream.js";
import { Hedge, type HedgeOwner } from "./hedge.js";
import { type Cut, Outcome } from "./outcome.js";
import type { Relay } from "./relay.js";
import { RequestBody, type RequestBodyOwner } from "./request-body.js";
import { ResponseFlow, type ResponseFlowOwner } from "./response-flow.js";
import { SavedHead } from "./saved-head.js";
import * as State from "./states.js";

/** The statuses of responses that the balancer generates itself. */
export type OwnStatus = 400 | 404 | 408 | 501 | 413 | 429 | 502 | 503 | 504;

export abstract class RequestSide
  implements BodySink, State.ExchangeContext, AttemptsOwner, RequestBodyOwner, ResponseFlowOwner, HedgeOwner
{
  protected state: State.ExchangeState = State.IDLE;
  pool: Pool | undefined;
  protected upstream: Upstream | undefined;
  stream: UpstreamStream | undefined;
  protected expectsContinue = false;
  readonly request: SavedHead;
  readonly attempts: Attempts;
  readonly body: RequestBody;
  readonly flow: ResponseFlow;
  readonly outcome: Outcome;
  private connections: KeptConnections | undefined;
  /** Whether the upstream received this request although a similar one may have crashed another process. */
  protected isRetriedStart = false;
  /** Created for the client's first request to a pool with `hedge`. */
  protected hedge: Hedge | undefined;
  /** Set if the response named a file, which is sent instead of the response's body. */
  protected redirect: FileRedirect | undefined;

  constructor(
    readonly relay: Relay,
    readonly client: Downstream,
    protected peer: Peer,
  ) {
    this.request = new SavedHead(relay.identities, relay.accessLog !== undefined, relay.budget);
    this.attempts = new Attempts(relay, client, this.request, this);
    this.flow = new ResponseFlow(relay, client, this);
    this.body = new RequestBody(relay, client, this.flow, this);
    this.outcome = new Outcome(relay, this.request, peer);
  }

  // Implemented in exchange.ts:
  abstract onResponseHead(head: ResponseHead): void;
  abstract onBody(bytes: Uint8Array, start: number, end: number): void;
  abstract onResponseBatch(): void;
  abstract onResponseEnd(): void;
  abstract onTrailers(trailers: Uint8Array): void;
  abstract onUpstreamLost(loss: UpstreamLoss): void;
  abstract onOvertaken(upstream: Upstream, stream: UpstreamStream, sentAtMs: number): void;
  abstract onHedgeEnd(upstream: Upstream, loss?: UpstreamLoss): void;
  abstract onSpoolSent(): void;
  abstract respond(status: OwnStatus): void;
  abstract abort(cut: Cut): void;

  get canRunAgain(): boolean {
    return this.canReassign && this.attempts.mayStartAgain;
  }

  get mayHaveStartedElsewhere(): boolean {
    return this.attempts.mayHaveStartedElsewhere;
  }

  get canReassign(): boolean {
    const { attempts } = this;
    return (
      this.state.awaitsResponse && this.body.isBuffered && attempts.hasSendsLeft && !attempts.staysAt(this.upstream)
    );
  }

  get isTunnel(): boolean {
    return this.state === State.TUNNEL;
  }

  /** Undefined if the client disconnects after this response, or is a trusted proxy, which forwards the requests of many clients. */
  get keptConnections(): KeptConnections | undefined {
    if (!this.client.staysOpen || this.peer.isTrusted) return undefined;
    this.connections ??= new KeptConnections();
    return this.connections;
  }

  get takesTrailers(): boolean {
    return this.client.response.takesTrailers;
  }

  get clientEnds(): Ends | undefined {
    return this.client.ends;
  }

  /** Reuses this exchange for another client. */
  moveTo(peer: Peer): void {
    this.peer = peer;
    this.outcome.peer = peer;
  }

  /** Called when the client's connection has closed. */
  leave(): void {
    this.connections?.closeAll();
  }

  /** Whether the response's head was sent to the client. */
  get hasResponse(): boolean {
    return this.state.hasResponse;
  }

  get responseTimeoutMs(): number {
    return (this.pool as Pool).responseTimeoutMs;
  }

  /** Whether these bytes, or a piece of a body in them, are kept to be sent later or again. */
  holds(bytes: Uint8Array): boolean {
    return this.request.isIn(bytes) || this.body.isIn(bytes);
  }

  /** Starts a request. Its head was just parsed from these bytes, which are kept. */
  begin(head: RequestHead, bytes: Uint8Array, start: number, end: number): void {
    const probe = this.relay.probes?.statusOf(head) ?? 0;
    // A probe is not a request to the app, so it is neither counted nor logged.
    if (probe !== 0) return this.client.respond(probe);
    this.outcome.begin();
    const isOmitted = this.relay.accessLog?.omits(head) === true;
    const isKept = this.request.keep(bytes, start, end, isOmitted ? undefined : head);
    this.attempts.begin(head.isIdempotent);
    this.expectsContinue = head.expectsContinue;
    this.body.begin(head.framing === "none");
    this.flow.isClientBlocked = false;
    if (!isKept) {
      this.outcome.noteNoRoom();
      return this.respond(503);
    }
    const route = admit(this.relay, head, this.peer);
    if (typeof route === "number") return this.respond(route);
    // Clients such as botocore wait for the 100 even if the body is empty, and no instance would send one.
    if (this.expectsContinue && head.framing === "none") this.continue();
    this.state = State.QUEUED;
    this.request.routed(route, head);
    this.pool = route.target;
    this.attempts.bind(this.pool, head, this.peer);
    if (this.pool.isLimited && isToBeCollected(head, this.relay)) return this.collect(head);
    this.attempts.find(this.pool, head);
  }

  /** Collects the body first, so that an instance with limited concurrency does not wait for a slow client. */
  private collect({ contentLength }: RequestHead): void {
    this.state = State.COLLECTING;
    (this.pool as Pool).receiving++;
    this.request.shrink();
    if (!this.body.collect(contentLength)) return;
    if (this.expectsContinue) this.continue();
  }

  /** Sends 100 Continue, because that of the instance would come too late. */
  private continue(): void {
    this.client.response.continue();
    this.expectsContinue = false;
  }

  onCollected(): void {
    (this.pool as Pool).receiving--;
    this.outcome.collected();
    this.state = State.QUEUED;
    this.attempts.find(this.pool as Pool, undefined);
  }

  onBodyFailed(status: 408 | 413 | 503): void {
    if (status === 503) this.outcome.noteNoRoom();
    if (this.hasResponse) this.abort(status === 503 ? "balancer" : "client-late");
    else this.respond(status);
  }

  onQueued(): void {
    this.state = State.QUEUED;
  }

  onUpstreamFound(upstream: Upstream, head: RequestHead | undefined): void {
    this.upstream = this.outcome.found(upstream, head === undefined);
    this.isRetriedStart = this.mayHaveStartedElsewhere;
    const stream = upstream.open(this, this.attempts.isIdempotent);
    this.stream = stream;
    if (!stream.isReady) {
      this.state = State.CONNECTING;
      return this.attempts.wait();
    }
    if (head === undefined) return this.onUpstreamReady();
    // The client connection flushes after it has forwarded the bytes that arrived with the head.
    this.sendHead(stream, head);
  }

  onUpstreamReady(): void {
    this.sendHead(this.stream as UpstreamStream, this.request.parse(this.relay));
    this.onRequestBatch();
  }

  private sendHead(stream: UpstreamStream, head: RequestHead): void {
    this.outcome.sent(this.upstream as Upstream);
    this.attempts.onSent();
    this.state = State.SENT;
    this.writeHead(stream, head);
    this.setDeadlineIn(this.requestTimeoutMs());
    const { hedging } = this.pool as Pool;
    if (hedging !== undefined && this.attempts.isFirst && Hedge.mayBegin(head)) this.hedgeWith(hedging);
    this.body.sendTo(stream);
  }

  private writeHead(stream: UpstreamStream, head: RequestHead): void {
    if (!(this.pool as Pool).takesAllRequests) head.scheme = undefined;
    stream.sendHead(head, this.relay.forwarded.fields(head, this.peer), this.peer.isTrusted);
  }

  private hedgeWith(hedging: Hedging): void {
    this.hedge ??= new Hedge(this);
    this.hedge.begin(this.pool as Pool, hedging, this.upstream as Upstream);
  }

  onHedged(upstream: Upstream): void {
    this.outcome.hedged(upstream);
    this.attempts.onHedged();
  }

  sendAgain(stream: UpstreamStream): void {
    this.writeHead(stream, this.request.parse(this.relay));
    stream.flush();
  }

  /** Sets a deadline other than a check of the upstream. */
  setDeadlineIn(timeoutMs: number): void {
    this.body.stopWatchingUpstream();
    this.client.deadlineAt = this.relay.deadlines.now + timeoutMs;
  }

  // Called by the client connection:

  onRequestBody(bytes: Uint8Array, start: number, end: number): void {
    this.outcome.requestBytes += end - start;
    // An app that named a file gets no more of the body.
    if (this.redirect === undefined) this.state.onRequestBody(this, bytes, start, end);
  }

  /** @param trailers as received; undefined if there are none */
  onRequestEnd(trailers?: Uint8Array): void {
    this.body.isWhole = true;
    if (trailers !== undefined && !this.body.keepTrailers(passingTrailers(trailers))) return;
    if (this.redirect === undefined) this.state.onRequestEnd(this);
  }

  /** Sends everything that this turn has produced for the upstream. */
  onRequestBatch(): void {
    this.body.flush();
  }

  // Called by the upstream:

  onUpstreamDrain(): void {
    this.body.unblock();
    const isWaiting = this.state === State.SENT || this.state === State.RESPONDING;
    if (isWaiting && !this.flow.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.body.resume();
  }

  /** Returns the upstream's time limit if the upstream has the whole body, or cannot take more; otherwise the client's. */
  requestTimeoutMs(): number {
    const { limits } = this.relay;
    if (this.state === State.TUNNEL) return limits.tunnelIdleTimeoutMs;
    return this.body.isWhole || this.body.isUpstreamBlocked ? this.responseTimeoutMs : limits.bodyTimeoutMs;
  }
}
