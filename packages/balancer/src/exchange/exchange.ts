/** One request and its answer: finds an upstream, carries the bodies both ways, and decides what a failure means. */
import { SlowReader } from "@paceline/wire";
import type { ClientLink } from "../downstream/downstream.js";
import type { BodySink } from "../http1/body-framing.js";
import type { Peer } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseHead } from "../http1/response-head.js";
import { FileRedirect, type InternalPools, takeNamedFile, targetOf } from "../routing/file-redirect.js";
import { routeOf } from "../routing/route.js";
import type { AccessLog } from "../stats/access-log.js";
import { KeptConnections } from "../upstream-http1/kept-connections.js";
import { QueuePlace } from "../upstreams/pending-request.js";
import type { Pool } from "../upstreams/pool.js";
import type { Upstream } from "../upstreams/upstream.js";
import type { AnswerReceiver, UpstreamLoss, UpstreamStream } from "../upstreams/upstream-link.js";
import { Backlog, type BacklogOwner, UNSPOOLED_BYTES } from "./backlog.js";
import { ReplayBuffer } from "./buffered-body.js";
import { CollectedBody, type CollectedBodyOwner, isToBeCollected } from "./collected-body.js";
import { LostStarts } from "./lost-starts.js";
import type { Relay } from "./relay.js";
import { MAX_SENDS, mayHaveStarted, mayTryElsewhere } from "./retry.js";
import { KeptHead } from "./saved-head.js";
import { UpstreamShare } from "./upstream-share.js";

type State =
  | "idle"
  /** The body is held as it comes, before an upstream is asked for. */
  | "collecting"
  /** In the pool's queue. */
  | "queued"
  /** An upstream was picked, and its connection is being made. */
  | "connecting"
  /** The head was sent; no answer has begun. */
  | "sent"
  /** The response names a file: what else comes of it is dropped. */
  | "discarding"
  /** The answer's head was sent to the client. */
  | "answering"
  /** The upstream is done, and the client is given what it has not taken yet. */
  | "delivering"
  /** After a 101. */
  | "tunnel";

/** nginx's own status for a client that left before it had its response. */
const CLIENT_CLOSED_REQUEST = 499;

/** Belongs to a client connection and is used again for each of its requests. */
export class Exchange implements AnswerReceiver, BodySink, CollectedBodyOwner, BacklogOwner {
  /** Upstreams that failed this request already; they are passed over. */
  tried: Upstream[] | undefined;
  private state: State = "idle";
  private pool: Pool | undefined;
  private place: QueuePlace | undefined;
  private upstream: Upstream | undefined;
  private stream: UpstreamStream | undefined;
  private startedAt = 0;
  /** How often the request was written to an upstream. */
  private sends = 0;
  private readonly lostStarts: LostStarts;
  /** Until when it waits for a connection to an upstream; 0 while it does not. */
  private waitsUntil = 0;
  isIdempotent = false;
  private expectsContinue = false;
  private isBodyComplete = false;
  /** The client does not read as fast as the upstream answers: the upstream is paused. */
  private isClientBlocked = false;
  /** The upstream does not read as fast as the client sends: the client is paused. */
  private isUpstreamBlocked = false;
  /** Judges an upstream that did not read as fast as the client sent, for as long as it has the request. */
  private bodyReader: SlowReader | undefined;
  /** The deadline is a look of that one. */
  private isJudging = false;
  private status = 0;
  /** What was counted while the client was still being given it. */
  private counted = 0;
  /** Of the response's body so far. */
  private bodyBytes = 0;
  /** The instance that had it last, for the access log. */
  private lastUpstream: Upstream | undefined;
  private readonly kept = new KeptHead();
  private connections: KeptConnections | undefined;
  private readonly replay: ReplayBuffer;
  private readonly share: UpstreamShare;
  /** What came of the body before an upstream was asked for. */
  private collected: CollectedBody | undefined;
  /** What came of the answer and the client did not take. */
  private backlog: Backlog | undefined;
  /** The response named a file, which is sent in its place. */
  private redirect: FileRedirect | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly client: ClientLink,
    private readonly peer: Peer,
  ) {
    this.replay = new ReplayBuffer(relay.budget, relay.limits.retryBufferBytes);
    this.share = new UpstreamShare(relay.budget);
    this.lostStarts = new LostStarts(relay);
  }

  get isActive(): boolean {
    return this.state !== "idle";
  }

  get canRepeat(): boolean {
    return this.canMove && this.isIdempotent && this.lostStarts.count === 0 && !this.isPoison;
  }

  get isSuspect(): boolean {
    return this.lostStarts.count > 0;
  }

  get canMove(): boolean {
    return (this.state === "sent" || this.state === "connecting") && this.replay.isWhole && this.sends < MAX_SENDS;
  }

  describeRequest(): string {
    return this.kept.describe();
  }

  get isTunnel(): boolean {
    return this.state === "tunnel";
  }

  /** None for a client that leaves after this response, nor for a trusted proxy: it brings the requests of many. */
  get keptConnections(): KeptConnections | undefined {
    if (!this.client.staysOpen || this.peer.isTrusted) return undefined;
    this.connections ??= new KeptConnections();
    return this.connections;
  }

  /** The client's connection is closed. */
  leave(): void {
    this.connections?.closeAll();
  }

  /** Whether the answer's head was sent to the client. */
  get hasAnswer(): boolean {
    return this.state === "answering" || this.state === "delivering" || this.state === "tunnel";
  }

  /** Whether the whole request has come from the client. */
  get hasWholeRequest(): boolean {
    return this.isBodyComplete;
  }

  /** Whether these bytes, or a piece of a body in them, are kept to be sent (again). */
  holds(bytes: Uint8Array): boolean {
    return this.kept.isIn(bytes) || this.replay.isIn(bytes);
  }

  /** Takes a request whose head was just parsed from these bytes; they are kept. */
  begin(head: RequestHead, bytes: Uint8Array, start: number, end: number): void {
    this.startedAt = performance.now();
    this.kept.keep(bytes, start, end);
    this.isIdempotent = head.isIdempotent;
    this.expectsContinue = head.expectsContinue;
    this.isBodyComplete = head.framing === "none";
    this.isClientBlocked = false;
    this.isUpstreamBlocked = false;
    this.tried = undefined;
    this.relay.counters.inFlight++;
    this.waitsUntil = 0;
    this.sends = 0;
    this.bodyBytes = this.counted = 0;
    this.lostStarts.reset();
    this.state = "queued";
    const route = routeOf(this.relay.router, head);
    if (typeof route === "number") return this.answer(head.isTrace ? 501 : route);
    if (head.isTrace && (!route.target.takesAllRequests || head.framing !== "none")) return this.answer(501);
    this.kept.routed(route, head);
    this.pool = route.target;
    if (this.pool.hasFewPlaces && isToBeCollected(head, this.relay)) return this.collect(head);
    this.dispatch(head);
  }

  /** An instance that takes few requests at once is not to wait for a slow client: it is asked when the body has come. */
  private collect({ contentLength }: RequestHead): void {
    this.state = "collecting";
    (this.pool as Pool).receiving++;
    this.kept.shrink();
    this.collected = new CollectedBody(this.relay, this.client, this);
    if (!this.collected.begin(contentLength)) return;
    if (this.expectsContinue) this.client.sendContinue();
    // What the instance says of it comes too late.
    this.expectsContinue = false;
  }

  onCollected(bytes: Uint8Array): void {
    (this.pool as Pool).receiving--;
    this.state = "queued";
    if (bytes.length > 0) this.replay.hold(bytes, 0, bytes.length);
    this.dispatch(undefined);
  }

  onCollectingFailed(status: 408 | 413 | 503): void {
    this.stream?.cancel();
    if (this.hasAnswer) this.abort();
    else this.answer(status);
  }

  /** Gives the request to the next upstream in turn, or to the queue behind those that came before. */
  private dispatch(head: RequestHead | undefined): void {
    const pool = this.pool as Pool;
    if (pool.isDown) return this.answer(503);
    const mustWait = pool.waitingRoom.holds(this.isIdempotent);
    const upstream = mustWait ? undefined : pool.pick(this.tried, this.isIdempotent, this.isSuspect);
    if (upstream === undefined) return this.enqueue(pool);
    this.send(upstream, head);
  }

  private enqueue(pool: Pool): void {
    // All failed it once: they may be no more than too busy to take a connection, so each is asked again in time.
    this.tried = undefined;
    this.state = "queued";
    this.place = new QueuePlace(this);
    if (!pool.waitingRoom.add(this.place)) return this.answer(503);
    this.waitForUpstream();
  }

  private leaveQueue(): void {
    this.place?.giveUp();
    this.place = undefined;
  }

  /** One deadline for the queue and the connection, however often it goes from one to the other. */
  private waitForUpstream(): void {
    if (this.waitsUntil === 0) {
      this.waitsUntil = this.relay.deadlines.now + this.relay.limits.upstreamConnectTimeoutMs;
    }
    this.client.setDeadline(this.waitsUntil);
  }

  onUpstreamFree(upstream: Upstream): void {
    // While it waited others like it may have ended a second process.
    if (this.isSuspect && this.isPoison) return this.answer(502);
    this.send(upstream, undefined);
  }

  onPoolDown(): void {
    this.answer(503);
  }

  private send(upstream: Upstream, head: RequestHead | undefined): void {
    this.leaveQueue();
    this.upstream = this.lastUpstream = upstream;
    const stream = upstream.open(this, this.isIdempotent);
    this.stream = stream;
    if (!stream.isReady) {
      this.state = "connecting";
      return this.waitForUpstream();
    }
    if (head === undefined) return this.onUpstreamReady();
    // The client's link flushes once it has given what came with the head.
    this.sendHead(stream, head);
  }

  onUpstreamReady(): void {
    this.sendHead(this.stream as UpstreamStream, this.kept.parse(this.relay.requestHead));
    this.onRequestBatch();
  }

  private sendHead(stream: UpstreamStream, head: RequestHead): void {
    const { forwarded } = this.relay;
    (this.upstream as Upstream).requestsTotal++;
    this.sends++;
    this.state = "sent";
    this.waitsUntil = 0;
    if (!(this.pool as Pool).takesAllRequests) head.scheme = undefined;
    stream.sendHead(head, forwarded.fields(head, this.peer), this.peer.isTrusted);
    this.setDeadlineIn(this.requestTimeoutMs());
    if (!this.replay.isEmpty) {
      this.client.resumeBody();
      const { bytes } = this.replay;
      if (!stream.sendBody(bytes, 0, bytes.length) && !this.blockClient()) return;
    }
    if (this.collected?.isSpooled) this.collected.send(stream);
    else if (this.isBodyComplete) stream.endBody();
    this.replay.trim();
  }

  /** False: too much waits for upstreams, and the request is refused. */
  private blockClient(): boolean {
    const { stream } = this;
    if (stream !== undefined && !this.share.count(stream.waitingBytes)) {
      stream.cancel();
      if (this.hasAnswer) this.abort();
      else this.answer(503);
      return false;
    }
    this.client.pauseBody();
    this.upstreamIsBehind();
    return true;
  }

  /** It does not take the body as fast as it could have it. */
  upstreamIsBehind(): void {
    const wasBlocked = this.isUpstreamBlocked;
    this.isUpstreamBlocked = true;
    if (wasBlocked || this.state === "tunnel") return;
    this.judgeUpstream();
  }

  /** It is late once it takes nothing more of the body, however slowly it takes it. */
  private judgeUpstream(): void {
    this.bodyReader ??= new SlowReader(this.stream as UpstreamStream, (this.pool as Pool).responseTimeoutMs);
    if (this.isClientBlocked) return;
    this.isJudging = true;
    this.client.setDeadline(this.bodyReader.begin(this.relay.deadlines.now));
  }

  /** At the deadline: whether the client waits for an upstream that still takes the body. */
  private isTakingBody(): boolean {
    const { bodyReader } = this;
    if (bodyReader === undefined || this.state === "tunnel" || this.isClientBlocked) return false;
    if (!this.isBodyComplete && !this.isUpstreamBlocked) return false;
    if (!this.isJudging) {
      this.judgeUpstream();
      return true;
    }
    const nextLookAt = bodyReader.look(this.relay.deadlines.now);
    if (nextLookAt > 0) this.client.setDeadline(nextLookAt);
    return nextLookAt > 0;
  }

  /** A deadline that is no look at the upstream. */
  private setDeadlineIn(timeoutMs: number): void {
    this.isJudging = false;
    this.client.setDeadline(this.relay.deadlines.now + timeoutMs);
  }

  // From the client.

  /** A piece of the request's body. */
  onRequestBody(bytes: Uint8Array, start: number, end: number): void {
    const { limits } = this.relay;
    // Who named a file wants no more of it.
    if (this.redirect !== undefined) return;
    switch (this.state) {
      case "idle":
      case "delivering":
      case "discarding":
        return;
      case "collecting":
        if (this.collected?.add(bytes, start, end)) return;
        // The rest comes at the client's pace.
        return this.onRequestBody(bytes, start, end);
      case "queued":
      case "connecting":
        // Nothing can be sent yet; the little that comes before the client is paused is held.
        this.replay.hold(bytes, start, end);
        this.client.pauseBody();
        return;
      case "sent":
        this.replay.add(bytes, start, end);
        break;
      case "answering":
      case "tunnel":
        break;
    }
    const isTunnel = this.state === "tunnel";
    // A client that takes nothing is no better for what it sends.
    // One that comes once or twice after the pause says nothing of the upstream.
    if (!this.isClientBlocked && (isTunnel || !this.isUpstreamBlocked))
      this.setDeadlineIn(isTunnel ? limits.tunnelIdleTimeoutMs : limits.bodyTimeoutMs);
    if (this.stream?.sendBody(bytes, start, end) === false) this.blockClient();
  }

  /** The request's body is whole, or the client of a tunnel sent FIN. */
  onRequestEnd(): void {
    this.isBodyComplete = true;
    if (this.redirect !== undefined) return;
    if (this.state === "collecting") return this.collected?.finish();
    if (this.state !== "sent" && this.state !== "answering" && this.state !== "tunnel") return;
    this.stream?.endBody();
    if (this.state === "tunnel" || this.isClientBlocked) return;
    if (this.bodyReader === undefined && !this.stream?.waitingBytes) this.setDeadlineIn(this.requestTimeoutMs());
    else this.judgeUpstream();
  }

  /** What one turn brought for the upstream has been given; it goes out now. */
  onRequestBatch(): void {
    if (this.stream?.flush() === false) this.blockClient();
  }

  onClientDrain(): void {
    const wasBlocked = this.isClientBlocked;
    this.isClientBlocked = false;
    // What drained may be the end of an answer before: its deadlines are not this request's.
    if (!this.hasAnswer && !(this.state === "sent" && wasBlocked)) return;
    const timeoutMs = this.state === "sent" ? this.requestTimeoutMs() : this.answerTimeoutMs();
    this.setDeadlineIn(timeoutMs);
    if (this.backlog !== undefined) this.backlog.pump();
    else this.stream?.resume();
  }

  /** The client is gone, or cannot be understood any more: the upstream is told at once. */
  onClientGone(loggedAs = this.state === "tunnel" ? this.status : CLIENT_CLOSED_REQUEST): void {
    if (this.state === "idle") return;
    this.stream?.cancel();
    this.end(loggedAs);
  }

  /** The deadline of whatever it waits for has passed. */
  onDeadline(): void {
    switch (this.state) {
      case "idle":
        return;
      case "collecting":
        return this.collected?.onDeadline();
      case "queued":
        return this.answer(503);
      case "connecting":
        this.stream?.cancel();
        return this.answer(503);
      case "discarding":
        this.stream?.cancel();
        return this.answer(504);
      case "sent":
        if (this.isClientBlocked) return this.clientIsLate();
        if (this.isTakingBody()) return;
        this.stream?.cancel();
        return this.answer(this.isBodyComplete || this.isUpstreamBlocked ? 504 : 408);
      case "answering":
      case "tunnel":
        if (this.isTakingBody()) return;
        return this.clientIsLate();
      case "delivering":
        return this.clientIsLate();
    }
  }

  /** It goes on while the client reads, however slowly. */
  private clientIsLate(): void {
    const nextLookAt = this.isClientBlocked ? this.client.lookAtReading() : 0;
    if (nextLookAt > 0) return this.client.setDeadline(nextLookAt);
    this.stream?.cancel();
    this.abort();
  }

  // From the upstream.

  onAnswerHead(head: ResponseHead): void {
    if (head.isInterim) {
      // A 100 that nobody asked for would only confuse.
      if (head.status === 100 && !this.expectsContinue) return;
      if (!this.client.sendInterim(head)) this.blockUpstream();
      return;
    }
    const { internal } = this.relay;
    let sent = head;
    if (internal !== undefined && head.status !== 101) {
      const file = takeNamedFile(head);
      if (this.redirect !== undefined) sent = this.redirect.merge(head);
      else if (file !== undefined && this.pool?.sendsFiles === true) return this.discard(new FileRedirect(head, file));
    }
    this.status = head.status;
    this.replay.clear();
    this.share.count(this.stream?.waitingBytes ?? 0);
    this.collected?.onAnswer();
    this.state = head.status === 101 ? "tunnel" : "answering";
    if (!this.isClientBlocked) this.setDeadlineIn(this.answerTimeoutMs());
    this.client.sendHead(sent);
    if (head.status === 101) this.client.resumeBody();
  }

  private discard(redirect: FileRedirect): void {
    this.redirect = redirect;
    this.replay.clear();
    this.state = "discarding";
    this.setDeadlineIn(this.answerTimeoutMs());
  }

  /** Its body may take long: nobody waits for it. */
  private followAtOnce(): void {
    this.stream?.cancel();
    this.follow(this.redirect as FileRedirect, this.relay.internal);
  }

  /** The response that named a file has ended, or was left: the internal pool gets the request. */
  private follow({ file, status }: FileRedirect, internal: InternalPools | undefined): void {
    this.upstream?.answered(status, performance.now() - this.startedAt);
    this.releaseUpstream();
    this.collected?.clear();
    this.collected = undefined;
    const former = this.pool as Pool;
    this.pool = undefined;
    this.client.resumeBody();
    former.serveQueue();
    const target = internal === undefined ? undefined : targetOf(file, internal);
    const route = target && internal && this.kept.redirect(target, internal.router, this.relay.requestHead);
    if (route === undefined) return this.answer(404);
    this.pool = route.target;
    this.isIdempotent = this.isBodyComplete = true;
    this.isClientBlocked = this.expectsContinue = false;
    this.sends = this.waitsUntil = 0;
    this.tried = undefined;
    this.lostStarts.reset();
    this.dispatch(undefined);
  }

  onBody(bytes: Uint8Array, start: number, end: number): void {
    if (this.state !== "discarding") this.bodyBytes += end - start;
    if (this.backlog !== undefined) return this.backlog.add(bytes, start, end);
    if (this.state === "discarding") return;
    if (!this.isClientBlocked) this.setDeadlineIn(this.answerTimeoutMs());
    if (!this.client.sendBody(bytes, start, end) && !this.mayHoldAnswer()) this.blockUpstream();
  }

  onAnswerBatch(): void {
    if (this.state === "idle") return;
    if (this.state === "discarding") return this.followAtOnce();
    if (!this.client.flush() && !this.mayHoldAnswer()) this.blockUpstream();
  }

  /** Whether what the client has not read may wait here, so that an instance that takes few requests at once is free sooner. */
  private mayHoldAnswer(): boolean {
    if (this.state !== "answering" || this.pool?.hasFewPlaces !== true) return false;
    const { limits, spool } = this.relay;
    if (!spool.isOn) return this.client.mayHold(limits.bufferBytes);
    if (this.backlog !== undefined || this.client.mayHold(Math.min(limits.bufferBytes, UNSPOOLED_BYTES))) return true;
    this.backlog = new Backlog(spool, this.client, this.stream as UpstreamStream, this);
    this.onClientBehind();
    return true;
  }

  private blockUpstream(): void {
    if (this.isClientBlocked) return;
    this.onClientBehind();
    this.stream?.pause();
  }

  onClientBehind(): void {
    this.isClientBlocked = true;
    this.client.setDeadline(this.client.beginSlowReading());
  }

  onBacklogSent(): void {
    const isWhole = this.state === "delivering";
    this.backlog?.close();
    this.backlog = undefined;
    if (isWhole) return this.onAnswerEnd();
    this.setDeadlineIn(this.answerTimeoutMs());
  }

  onBacklogLost(): void {
    this.stream?.cancel();
    this.abort();
  }

  onAnswerEnd(): void {
    if (this.state === "discarding") return this.follow(this.redirect as FileRedirect, this.relay.internal);
    const { client, backlog } = this;
    if (backlog?.isEmpty === false) return this.deliver();
    this.end();
    client.endAnswer();
  }

  /** The upstream is done with the request, and the client is not. */
  private deliver(): void {
    const pool = this.pool as Pool;
    this.state = "delivering";
    pool.sending++;
    this.backlog?.end();
    this.collected?.clear();
    this.count();
    this.releaseUpstream();
    pool.serveQueue();
  }

  onUpstreamDrain(): void {
    this.isUpstreamBlocked = false;
    this.share.count(0);
    const isWaiting = this.state === "sent" || this.state === "answering";
    if (isWaiting && !this.isClientBlocked) this.setDeadlineIn(this.requestTimeoutMs());
    this.client.resumeBody();
    this.collected?.pump();
  }

  /** Another is tried if no byte of an answer came and the request can be sent again; else the client is told. */
  onUpstreamLost(loss: UpstreamLoss): void {
    const { state, upstream } = this;
    const wasSent = state === "sent";
    const lostAt = wasSent && mayHaveStarted(loss) ? upstream : undefined;
    const isOnlyLoss = lostAt?.noteLoss(this.relay.deadlines.now) === true;
    this.releaseUpstream();
    if (state === "answering" || state === "tunnel") return this.abort();
    if (state === "discarding") return this.answer(502);
    const { sends, lostStarts, isIdempotent } = this;
    if (lostAt !== undefined) lostStarts.note(loss, lostAt, isOnlyLoss, this.poolName, this.describeRequest());
    const isBodyHeld = this.replay.isWhole;
    const isPoison = lostAt !== undefined && this.isPoison;
    const attempted = { sends, starts: lostStarts.count, wasSent, isIdempotent, isBodyHeld, isPoison };
    // What has not begun may be asked for again; that is what 503 says.
    if (!mayTryElsewhere(loss, attempted)) return this.answer(loss === "unbegun" ? 503 : 502);
    this.isClientBlocked = false;
    this.relay.counters.retriesTotal++;
    // A stale connection says nothing against its upstream.
    if (upstream !== undefined && loss !== "stale") this.tried = [...(this.tried ?? []), upstream];
    this.dispatch(undefined);
  }

  private get isPoison(): boolean {
    return this.lostStarts.isPoison(this.poolName, this.describeRequest());
  }

  private get poolName(): string {
    return (this.pool as Pool).name;
  }

  private releaseUpstream(): void {
    this.stream = undefined;
    this.share.count(0);
    this.collected?.stop();
    this.bodyReader = undefined;
    this.upstream?.release(this.isSuspect);
    this.upstream = undefined;
    if (!this.isUpstreamBlocked) return;
    this.isUpstreamBlocked = false;
    this.client.resumeBody();
  }

  /** The upstream owes its answer, once it has or takes no more of the body; else the client owes its body. */
  private requestTimeoutMs(): number {
    const owesAnswer = this.isBodyComplete || this.isUpstreamBlocked;
    return owesAnswer ? (this.pool as Pool).responseTimeoutMs : this.relay.limits.bodyTimeoutMs;
  }

  private answerTimeoutMs(): number {
    return this.state === "tunnel" ? this.relay.limits.tunnelIdleTimeoutMs : this.requestTimeoutMs();
  }

  private answer(status: 400 | 404 | 408 | 501 | 413 | 502 | 503 | 504): void {
    this.status = status;
    if (this.relay.accessLog !== undefined) this.bodyBytes = this.client.localBodyBytes(status);
    this.end();
    if (status === 504) this.relay.onResponseTimeout();
    this.client.answer(status);
  }

  private abort(): void {
    if (this.client.takeBack()) return this.answer(502);
    // What was delivered in part has been counted.
    if (this.state !== "delivering") this.status = 502;
    this.end();
    this.client.abort();
  }

  private count(): void {
    const tookMs = performance.now() - this.startedAt;
    this.relay.counters.answered(this.status, tookMs);
    this.upstream?.answered(this.status, tookMs);
    this.counted = this.status;
    this.status = 0;
  }

  private log(accessLog: AccessLog, status: number): void {
    const tookMs = performance.now() - this.startedAt;
    accessLog.request(this.kept, this.peer, status, this.bodyBytes, tookMs, this.lastUpstream?.name);
  }

  /** Gives back what it held, counts, and serves whoever waits for the place. */
  private end(loggedAs = this.status || this.counted): void {
    const { counters, accessLog } = this.relay;
    if (accessLog !== undefined && loggedAs !== 0) this.log(accessLog, loggedAs);
    this.lastUpstream = undefined;
    this.counted = 0;
    if (this.state === "collecting") (this.pool as Pool).receiving--;
    else if (this.state === "delivering") (this.pool as Pool).sending--;
    this.state = "idle";
    this.leaveQueue();
    this.kept.clear();
    this.replay.clear();
    this.collected?.clear();
    this.collected = undefined;
    this.backlog?.close();
    this.backlog = undefined;
    this.redirect = undefined;
    counters.inFlight--;
    if (this.status !== 0) this.count();
    if (this.upstream !== undefined) this.releaseUpstream();
    this.tried = undefined;
    const { pool } = this;
    this.pool = undefined;
    pool?.serveQueue();
  }
}
