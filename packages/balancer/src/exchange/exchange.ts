/**
 * One request and its response: the states from a parsed head to the end of the response, and what a failure means. attempts.ts
 * finds an upstream, request-body.ts and response-flow.ts carry the bodies, states.ts has each state's behaviour.
 */

import { admit } from "../admission/admit.js";
import type { Downstream } from "../downstream/downstream.js";
import type { BodySink } from "../http1/body-framing.js";
import { passingTrailers } from "../http1/forward-policy.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { FileRedirect, takeNamedFile } from "../routing/file-redirect.js";
import type { Ends } from "../transport/transport.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import {
  KeptConnections,
  type ResponseReceiver,
  type UpstreamLoss,
  type UpstreamStream,
} from "../upstreams/upstream-client.js";
import { Attempts, type AttemptsOwner } from "./attempts.js";
import { isToBeCollected } from "./collected-body.js";
import { CLIENT_CLOSED_REQUEST, Outcome } from "./outcome.js";
import type { Relay } from "./relay.js";
import { RequestBody, type RequestBodyOwner } from "./request-body.js";
import { ResponseFlow, type ResponseFlowOwner } from "./response-flow.js";
import { mayHaveStarted } from "./retry.js";
import { SavedHead } from "./saved-head.js";
import * as State from "./states.js";

/** Belongs to a client connection and is reused for each of its requests. */
export class Exchange
  implements ResponseReceiver, BodySink, State.ExchangeContext, AttemptsOwner, RequestBodyOwner, ResponseFlowOwner
{
  private state: State.State = State.IDLE;
  pool: Pool | undefined;
  private upstream: Upstream | undefined;
  stream: UpstreamStream | undefined;
  private expectsContinue = false;
  readonly request: SavedHead;
  readonly attempts: Attempts;
  readonly body: RequestBody;
  readonly flow: ResponseFlow;
  readonly outcome: Outcome;
  private connections: KeptConnections | undefined;
  /** Set if the response named a file, which is sent instead. */
  private redirect: FileRedirect | undefined;

  constructor(
    readonly relay: Relay,
    readonly client: Downstream,
    private readonly peer: Peer,
  ) {
    this.request = new SavedHead(relay.identities, relay.accessLog !== undefined);
    this.attempts = new Attempts(relay, client, this.request, this);
    this.flow = new ResponseFlow(relay, client, this);
    this.body = new RequestBody(relay, client, this.flow, this);
    this.outcome = new Outcome(relay, this.request, peer);
  }

  get canRepeat(): boolean {
    return this.canMove && this.attempts.mayRepeat;
  }

  get mayHaveStartedElsewhere(): boolean {
    return this.attempts.mayHaveStartedElsewhere;
  }

  get canMove(): boolean {
    const { attempts } = this;
    return this.state.mayMove && this.body.canRepeat && attempts.maySend && !attempts.staysAt(this.upstream);
  }

  get isTunnel(): boolean {
    return this.state === State.TUNNEL;
  }

  /** None if the client disconnects after this response, or is a trusted proxy, which carries the requests of many clients. */
  get keptConnections(): KeptConnections | undefined {
    if (!this.client.staysOpen || this.peer.isTrusted) return undefined;
    this.connections ??= new KeptConnections();
    return this.connections;
  }

  get takesTrailers(): boolean {
    return this.client.response.takesTrailers;
  }

  onTrailers(trailers: Uint8Array): void {
    if (this.state === State.RESPONDING) this.client.response.trailers = passingTrailers(trailers);
  }

  get clientEnds(): Ends | undefined {
    return this.client.ends;
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

  /** Whether these bytes, or a piece of a body in them, are kept to be sent (again). */
  holds(bytes: Uint8Array): boolean {
    return this.request.isIn(bytes) || this.body.isIn(bytes);
  }

  /** Starts a request whose head was just parsed from these bytes, which are kept. */
  begin(head: RequestHead, bytes: Uint8Array, start: number, end: number): void {
    const probe = this.relay.probes?.statusOf(head) ?? 0;
    // Neither counted nor logged: it is no request of the app's clients.
    if (probe !== 0) return this.client.respond(probe);
    this.outcome.begin();
    this.request.keep(bytes, start, end, head);
    this.attempts.begin(head.isIdempotent);
    this.expectsContinue = head.expectsContinue;
    this.body.begin(head.framing === "none");
    this.flow.isClientBlocked = false;
    const route = admit(this.relay, head, this.peer);
    if (typeof route === "number") return this.respond(route);
    // Clients such as botocore wait for the 100 even with an empty body, and no instance would send it.
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

  /** Sends 100 Continue; the instance's own comes too late. */
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
    if (this.hasResponse) this.abort();
    else this.respond(status);
  }

  onQueued(): void {
    this.state = State.QUEUED;
  }

  onUpstreamFound(upstream: Upstream, head: RequestHead | undefined): void {
    this.upstream = this.outcome.found(upstream, head === undefined);
    const stream = upstream.open(this, this.attempts.isIdempotent);
    this.stream = stream;
    if (!stream.isReady) {
      this.state = State.CONNECTING;
      return this.attempts.wait();
    }
    if (head === undefined) return this.onUpstreamReady();
    // The client connection flushes after it has passed on what came with the head.
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
    if (!(this.pool as Pool).takesAllRequests) head.scheme = undefined;
    stream.sendHead(head, this.relay.forwarded.fields(head, this.peer), this.peer.isTrusted);
    this.setDeadlineIn(this.requestTimeoutMs());
    this.body.sendTo(stream);
  }

  /** Sets a deadline that is not a check of the upstream. */
  setDeadlineIn(timeoutMs: number): void {
    this.body.stopJudging();
    this.client.deadlineAt = this.relay.deadlines.now + timeoutMs;
  }

  // Called by the client connection.

  onRequestBody(bytes: Uint8Array, start: number, end: number): void {
    this.outcome.requestBytes += end - start;
    // An app that named a file gets no more of the body.
    if (this.redirect === undefined) this.state.onRequestBody(this, bytes, start, end);
  }

  /** @param trailers as received; undefined if there are none */
  onRequestEnd(trailers?: Uint8Array): void {
    this.body.isWhole = true;
    if (trailers !== undefined) this.body.trailers = passingTrailers(trailers);
    if (this.redirect === undefined) this.state.onRequestEnd(this);
  }

  /** Sends everything that this turn has produced for the upstream. */
  onRequestBatch(): void {
    this.body.flush();
  }

  onClientDrain(): void {
    const wasBlocked = this.flow.isClientBlocked;
    this.flow.isClientBlocked = false;
    // The drained bytes may belong to an earlier response, whose deadlines do not apply here.
    if (!this.hasResponse && !(this.state === State.SENT && wasBlocked)) return;
    this.setDeadlineIn(this.requestTimeoutMs());
    this.flow.resume(this.stream);
  }

  /** Cancels the request at the upstream, because the client has disconnected or sent invalid input. */
  onClientGone(loggedAs = this.state === State.TUNNEL ? this.outcome.status : CLIENT_CLOSED_REQUEST): void {
    if (this.state === State.IDLE) return;
    this.stream?.cancel();
    this.end(loggedAs);
  }

  onDeadline(): void {
    this.state.onDeadline(this);
  }

  // Called by the upstream.

  onResponseHead(head: ResponseHead): void {
    if (head.isInterim) {
      // Drops an unrequested 100.
      if (head.status === 100 && !this.expectsContinue) return;
      if (!this.client.response.interim(head)) this.flow.blockUpstream(this.stream);
      return;
    }
    let sent = head;
    if (this.attempts.binding?.needsCookie === true) this.attempts.addCookie(head, this.upstream, this.peer);
    if (this.relay.internal !== undefined && head.status !== 101) {
      const file = takeNamedFile(head);
      if (this.redirect !== undefined) sent = this.redirect.merge(head);
      else if (file !== undefined && this.pool?.sendsFiles === true) return this.discard(new FileRedirect(head, file));
    }
    this.outcome.responded(head);
    this.body.onResponse();
    this.state = head.status === 101 ? State.TUNNEL : State.RESPONDING;
    if (!this.flow.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.client.sendHead(sent);
    if (head.status === 101) this.client.resumeBody();
  }

  private discard(redirect: FileRedirect): void {
    this.redirect = redirect;
    this.body.forget();
    this.state = State.DISCARDING;
    this.setDeadlineIn(this.requestTimeoutMs());
  }

  /** Sends the request to the internal pool, after the response that named a file has ended. */
  private follow(): void {
    const { internal, requestHead } = this.relay;
    const { file, status } = this.redirect as FileRedirect;
    this.upstream?.answered(status, this.outcome.tookMs, this.request);
    this.releaseUpstream();
    this.body.clearCollected();
    const former = this.pool as Pool;
    this.pool = undefined;
    this.client.resumeBody();
    former.serveQueue();
    const route = internal && this.request.redirect(file, internal, requestHead);
    if (route === undefined) return this.respond(404);
    this.pool = route.target;
    this.attempts.begin(true);
    this.body.isWhole = true;
    this.flow.isClientBlocked = this.expectsContinue = false;
    this.attempts.find(this.pool, undefined);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    if (this.state !== State.DISCARDING) this.outcome.bodyBytes += end - start;
    if (this.flow.isSpooling) return this.flow.spool(bytes, start, end);
    if (this.state === State.DISCARDING) return;
    if (!this.flow.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.flow.send(bytes, start, end, this.stream, this.mayHoldResponse);
  }

  onResponseBatch(): void {
    if (this.state === State.IDLE) return;
    if (this.state === State.DISCARDING) {
      // Its body may be long, and nobody needs it.
      this.stream?.cancel();
      return this.follow();
    }
    this.flow.flush(this.stream, this.mayHoldResponse);
  }

  /** Whether the response may be buffered, because an instance with limited concurrency should not wait for a slow client. */
  private get mayHoldResponse(): boolean {
    return this.state === State.RESPONDING && this.pool?.isLimited === true;
  }

  onSpoolSent(): void {
    this.flow.closeSpool();
    if (this.state === State.DELIVERING) return this.onResponseEnd();
    this.setDeadlineIn(this.requestTimeoutMs());
  }

  onResponseEnd(): void {
    if (this.state === State.DISCARDING) return this.follow();
    if (this.flow.isBehind) return this.deliver();
    this.end();
    this.client.endResponse();
  }

  /** The upstream has finished, but the client has not. */
  private deliver(): void {
    const pool = this.pool as Pool;
    this.state = State.DELIVERING;
    pool.sending++;
    this.flow.leaveUpstream();
    this.body.clearCollected();
    this.outcome.count(this.upstream);
    this.releaseUpstream();
    pool.serveQueue();
  }

  onUpstreamDrain(): void {
    this.body.unblock();
    const isWaiting = this.state === State.SENT || this.state === State.RESPONDING;
    if (isWaiting && !this.flow.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.body.resume();
  }

  /** Handles a lost upstream: tries another if no byte of a response came and the request can be sent again; else fails it. */
  onUpstreamLost(loss: UpstreamLoss): void {
    const { state, upstream } = this;
    const wasSent = state === State.SENT;
    const startedAt = wasSent && mayHaveStarted(loss) ? upstream : undefined;
    const isOnlyLoss = startedAt?.noteLoss(this.relay.deadlines.now) === true;
    this.releaseUpstream(loss);
    if (state === State.RESPONDING || state === State.TUNNEL) {
      this.outcome.noteLost(upstream, loss, "cut");
      return this.abort();
    }
    if (state === State.DISCARDING) return this.respond(502);
    const isBodyBuffered = this.body.canRepeat;
    const status = this.attempts.onLost(loss, upstream, { startedAt, isOnlyLoss, wasSent, isBodyBuffered });
    this.outcome.noteLost(wasSent ? upstream : undefined, loss, status === undefined ? "reassigned" : "failed");
    if (status !== undefined) return this.respond(status);
    this.flow.isClientBlocked = false;
    this.attempts.find(this.pool as Pool, undefined);
  }

  private releaseUpstream(loss?: UpstreamLoss): void {
    this.stream = undefined;
    this.upstream?.release(this.mayHaveStartedElsewhere, loss);
    this.upstream = undefined;
    this.body.release();
  }

  /** Returns the upstream's time limit once it has, or cannot take more of, the body; before that the client's. */
  requestTimeoutMs(): number {
    const { limits } = this.relay;
    if (this.state === State.TUNNEL) return limits.tunnelIdleTimeoutMs;
    return this.body.isWhole || this.body.isUpstreamBlocked ? this.responseTimeoutMs : limits.bodyTimeoutMs;
  }

  /** Sends a response of the balancer's own. */
  respond(status: 400 | 404 | 408 | 501 | 413 | 429 | 502 | 503 | 504): void {
    if (status === 504) this.outcome.noteLate(this.upstream, this.pool, "failed");
    this.stream?.cancel();
    this.outcome.local(status, this.client.response, this.pool);
    this.end();
    if (status === 504) this.relay.onResponseTimeout();
    this.client.respond(status, status === 429 ? this.relay.rateLimits?.fields : undefined);
  }

  abort(): void {
    const isTakenBack = this.client.response.takeBack();
    if (this.state === State.RESPONDING && !this.flow.isClientBlocked)
      this.outcome.noteLate(this.upstream, this.pool, isTakenBack ? "failed" : "cut");
    if (isTakenBack) return this.respond(502);
    this.stream?.cancel();
    this.outcome.cut(this.state === State.DELIVERING);
    this.end();
    this.client.abort();
  }

  /** Releases everything, counts the request, and serves the next one in the queue. */
  private end(loggedAs = 0): void {
    this.outcome.end(loggedAs, this.upstream, this.pool, this.state.phase);
    if (this.state === State.COLLECTING) (this.pool as Pool).receiving--;
    else if (this.state === State.DELIVERING) (this.pool as Pool).sending--;
    this.state = State.IDLE;
    this.attempts.end();
    this.request.clear();
    this.body.forget();
    this.body.clearCollected();
    this.flow.closeSpool();
    this.redirect = undefined;
    if (this.upstream !== undefined) this.releaseUpstream();
    const { pool } = this;
    this.pool = undefined;
    pool?.serveQueue();
  }
}
