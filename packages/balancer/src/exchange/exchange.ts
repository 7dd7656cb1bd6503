/**
 * One request and its response, from a parsed head to the end of the response, and the handling of failures. request-side.ts handles the
 * request, response-flow.ts forwards the response's body, states.ts has each state's behaviour.
 */
import { passingTrailers } from "../http1/forward-policy.js";
import type { ResponseHead } from "../http1/response-head.js";
import { FileRedirect, takeNamedFile } from "../routing/file-redirect.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { UpstreamLoss, UpstreamStream } from "../upstreams/upstream-client.js";
import { CLIENT_CLOSED_REQUEST, type Cut } from "./outcome.js";
import { type OwnStatus, RequestSide } from "./request-side.js";
import { mayHaveStarted } from "./retry.js";
import * as State from "./states.js";

/** Belongs to a client connection and is reused for each of its requests. */
export class Exchange extends RequestSide {
  onTrailers(trailers: Uint8Array): void {
    if (this.state !== State.RESPONDING) return;
    this.client.response.trailers = passingTrailers(trailers, this.flow.coded !== undefined);
  }

  // Called by the client connection:

  onClientDrain(): void {
    const wasBlocked = this.flow.isClientBlocked;
    this.flow.isClientBlocked = false;
    // The client may have read bytes of an earlier response, which the deadlines of this response must not depend on.
    if (!this.hasResponse && !(this.state === State.SENT && wasBlocked)) return;
    this.setDeadlineIn(this.requestTimeoutMs());
    this.flow.resume(this.stream);
  }

  /** Cancels the request at the upstream, because the client disconnected or sent invalid input. */
  onClientGone(loggedAs = this.state === State.TUNNEL ? this.outcome.status : CLIENT_CLOSED_REQUEST): void {
    if (this.state === State.IDLE) return;
    this.stream?.cancel();
    this.end(loggedAs);
  }

  /** Called when the balancer ends the client's connection. */
  onClientEnded(cut: "refused" | "no-room" | "client-late"): void {
    if (this.state === State.IDLE) return;
    const loggedAs = this.outcome.cut(cut, this.upstream, this.isUnsent(), this.state === State.DELIVERING);
    this.stream?.cancel();
    this.end(loggedAs);
  }

  /** Returns whether no byte of a response was sent. Withdraws a response that was built but not sent. */
  private isUnsent(): boolean {
    return this.client.response.withdrawHead() || !this.hasResponse;
  }

  onDeadline(): void {
    this.state.onDeadline(this);
  }

  // Called by the upstream:

  get readyAt(): number {
    return this.outcome.readyAt;
  }

  onResponseHead(head: ResponseHead): void {
    if (head.isInterim) {
      // Drops a 100 that the client did not ask for.
      if (head.status === 100 && !this.expectsContinue) return;
      if (!this.client.response.interim(head)) this.flow.blockUpstream(this.stream);
      return;
    }
    this.hedge?.onResponse();
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
    if (this.pool?.compression !== undefined && this.redirect === undefined)
      this.flow.compress(head, this.pool.compression, this.request, this.peer);
    this.client.sendHead(sent, this.flow.coded);
    if (head.status === 101) this.client.resumeBody();
  }

  private discard(redirect: FileRedirect): void {
    this.redirect = redirect;
    this.body.forget();
    this.state = State.DISCARDING;
    this.setDeadlineIn(this.requestTimeoutMs());
  }

  /** Sends the request to the internal pool after the end of the response that named a file. */
  private follow(): void {
    const redirect = this.redirect as FileRedirect;
    this.upstream?.countResponse(redirect.status, this.outcome.tookMs, this.request);
    this.releaseUpstream();
    this.body.clearCollected();
    const former = this.pool as Pool;
    this.pool = undefined;
    this.client.resumeBody();
    former.serveQueue();
    // Read only now, because the queue may have put another head into `relay.requestHead`.
    const { internal, requestHead } = this.relay;
    const route = internal && this.request.redirect(redirect, internal, requestHead);
    if (route === undefined) return this.respond(404);
    this.pool = route.target;
    this.attempts.begin(true);
    this.body.isWhole = true;
    this.flow.isClientBlocked = this.expectsContinue = false;
    this.attempts.find(this.pool, undefined);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    if (this.state !== State.DISCARDING && this.flow.coded === undefined) this.outcome.bodyBytes += end - start;
    if (this.flow.isSpooling) return this.flow.spool(bytes, start, end);
    if (this.state === State.DISCARDING) return;
    if (!this.flow.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.flow.send(bytes, start, end, this.stream, this.mayHoldResponse);
  }

  onResponseBatch(): void {
    if (this.state === State.IDLE) return;
    if (this.flow.coded?.hasFailed === true) return this.abort("balancer");
    if (this.state === State.DISCARDING) {
      // The body may be long, and nobody needs it.
      this.stream?.cancel();
      return this.follow();
    }
    this.flow.flush(this.stream, this.mayHoldResponse);
  }

  /** Whether the response may be buffered. If so, an instance with limited concurrency does not wait for a slow client. */
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
    if (!this.flow.endCoding()) return this.abort("balancer");
    this.end();
    this.client.endResponse();
  }

  /** Called when the upstream has finished the response and the client has not. */
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

  /**
   * Handles a lost upstream. Tries another one if no byte of a response arrived and the request can be sent again. Otherwise the request
   * fails.
   */
  onUpstreamLost(loss: UpstreamLoss): void {
    const { state, upstream } = this;
    const wasSent = state === State.SENT;
    const startedAt = wasSent && mayHaveStarted(loss) ? upstream : undefined;
    const isOnlyLoss = startedAt?.noteLoss(this.relay.deadlines.now) === true;
    this.releaseUpstream(loss);
    if (state === State.RESPONDING || state === State.TUNNEL) {
      this.outcome.noteLost(upstream, loss, "cut");
      return this.abort("instance-lost");
    }
    if (state === State.DISCARDING) return this.respond(502);
    if (this.hedge?.isDoubled === true) {
      this.attempts.noteLoss(loss, startedAt, isOnlyLoss);
      this.outcome.noteLost(upstream, loss, "reassigned");
      return this.hedge.overtake();
    }
    const isBodyBuffered = this.body.isBuffered;
    const status = this.attempts.onLost(loss, upstream, { startedAt, isOnlyLoss, wasSent, isBodyBuffered });
    this.outcome.noteLost(wasSent ? upstream : undefined, loss, status === undefined ? "reassigned" : "failed");
    if (status !== undefined) return this.respond(status);
    this.flow.isClientBlocked = false;
    this.attempts.find(this.pool as Pool, undefined);
  }

  onOvertaken(upstream: Upstream, stream: UpstreamStream, sentAtMs: number): void {
    if (this.upstream !== undefined) {
      this.stream?.cancel();
      this.outcome.overtaken(this.upstream);
      this.releaseUpstream();
    }
    this.upstream = this.outcome.takenOver(upstream, sentAtMs);
    this.isRetriedStart = false;
    this.stream = stream;
    this.body.sendTo(stream);
  }

  onHedgeEnd(upstream: Upstream, loss?: UpstreamLoss): void {
    if (loss === undefined) upstream.abandoned(this.outcome.tookMs, this.request);
    else {
      const startedAt = mayHaveStarted(loss) ? upstream : undefined;
      const isOnlyLoss = startedAt?.noteLoss(this.relay.deadlines.now) === true;
      this.attempts.noteLoss(loss, startedAt, isOnlyLoss);
      this.outcome.noteEnd(upstream, loss, "reassigned");
    }
    upstream.release(false, loss);
  }

  private releaseUpstream(loss?: UpstreamLoss): void {
    this.stream = undefined;
    this.upstream?.release(this.isRetriedStart, loss, this.outcome.hasResponded);
    this.upstream = undefined;
    this.body.release();
  }

  /** Sends a response that the balancer generates itself. */
  respond(status: OwnStatus): void {
    if (status === 504) this.outcome.noteLate(this.upstream, this.pool, "failed");
    this.stream?.cancel();
    this.flow.dropCoding(this.outcome);
    this.outcome.local(status, this.client.response, this.pool);
    this.end();
    if (status === 504) this.relay.onResponseTimeout();
    this.client.respond(status, status === 429 ? this.relay.rateLimits?.fields : undefined);
  }

  /** Cuts the response off, or fails the request if no byte of the response was sent. */
  abort(cut: Cut): void {
    const isUnsent = this.isUnsent();
    if (cut === "instance-late") this.outcome.noteLate(this.upstream, this.pool, isUnsent ? "failed" : "cut");
    const status = this.outcome.cut(cut, this.upstream, isUnsent, this.state === State.DELIVERING);
    if (status === 502) return this.respond(status);
    this.stream?.cancel();
    this.end(status);
    this.client.abort();
  }

  /** Releases everything, counts the request, and serves the next request in the queue. */
  private end(loggedAs = 0): void {
    this.hedge?.end();
    this.flow.dropCoding(this.outcome);
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
