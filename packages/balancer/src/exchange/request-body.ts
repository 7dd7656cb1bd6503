/** Sends a request's body to the upstream: as it arrives, from a copy for another attempt, or after it was collected. */
import { SlowReader } from "@paceline/wire";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import { BodyRate } from "./body-rate.js";
import { BufferedBody } from "./buffered-body.js";
import { CollectedBody, type CollectedBodyOwner } from "./collected-body.js";
import type { Downstream } from "./downstream.js";
import type { Relay } from "./relay.js";
import type { ResponseFlow } from "./response-flow.js";

/** Up to this number, the queued bytes of an upstream do not count in the budget. */
const FREE_BYTES = 16_384;
/** Longer trailers count in the budget while they are kept. */
const FREE_TRAILER_BYTES = 4096;

export interface RequestBodyOwner {
  readonly isTunnel: boolean;
  /** How long an upstream may go without reading any of the body, in milliseconds. */
  readonly responseTimeoutMs: number;
  /** Called when an upstream may be picked. */
  onCollected(): void;
  /** Called when the client is too slow, the body is too large, or there is no room for it. */
  onBodyFailed(status: 408 | 413 | 503): void;
}

export class RequestBody implements CollectedBodyOwner {
  /** Whether the whole body has arrived from the client. */
  isWhole = false;
  /** The trailers that are forwarded, once the body has arrived. */
  trailers: Uint8Array | undefined;
  /** Bytes of the budget for the trailers. */
  private trailerShare = 0;
  /** Whether the client is paused because the upstream reads too slowly. */
  isUpstreamBlocked = false;
  private stream: UpstreamStream | undefined;
  /** Created for the first body. */
  private buffered: BufferedBody | undefined;
  /** Bytes of the budget for body bytes that wait for a slow upstream. */
  private waitingShare = 0;
  /** The body collected before an upstream was picked. */
  private collected: CollectedBody | undefined;
  /** Measures the reading of an upstream that has fallen behind. Kept as long as the upstream has the request. */
  private reader: SlowReader | undefined;
  /** Whether the current deadline is the next check of the upstream's reading. */
  private isWatchingUpstream = false;
  /** Measures how fast the client sends, while the upstream takes the bytes. Created for the first body. */
  private rate: BodyRate | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly flow: ResponseFlow,
    private readonly owner: RequestBodyOwner,
  ) {}

  private buffer(): BufferedBody {
    this.buffered ??= new BufferedBody(this.relay.budget, this.relay.limits.retryBufferBytes);
    return this.buffered;
  }

  begin(isWhole: boolean): void {
    this.isWhole = isWhole;
    this.isUpstreamBlocked = false;
  }

  /** Whether the body received so far can be sent again. */
  get isBuffered(): boolean {
    return this.buffered === undefined || this.buffered.isWhole;
  }

  /** Whether these bytes contain a piece that is kept. */
  isIn(bytes: Uint8Array): boolean {
    return this.buffered?.isIn(bytes) === true;
  }

  /** Starts to collect the body. Returns false if the request was refused. */
  collect(contentLength: number): boolean {
    this.collected = new CollectedBody(this.relay, this.client, this);
    return this.collected.begin(contentLength);
  }

  /** Returns false if the body is no longer collected. */
  addCollected(bytes: Uint8Array, start: number, end: number): boolean {
    return this.collected?.add(bytes, start, end) === true;
  }

  finishCollecting(): void {
    this.collected?.finish();
  }

  onCollectingDeadline(): void {
    this.collected?.onDeadline();
  }

  onCollected(bytes: Uint8Array): void {
    if (bytes.length > 0) this.buffer().hold(bytes, 0, bytes.length, true);
    this.owner.onCollected();
  }

  onCollectingFailed(status: 408 | 413 | 503): void {
    this.owner.onBodyFailed(status);
  }

  /** Keeps a piece that cannot be sent yet; the client is then paused. */
  hold(bytes: Uint8Array, start: number, end: number): void {
    if (!this.buffer().hold(bytes, start, end)) return this.owner.onBodyFailed(503);
    this.client.pauseBody();
  }

  /** Keeps a copy of a piece that was sent. */
  keep(bytes: Uint8Array, start: number, end: number): void {
    this.buffer().add(bytes, start, end);
  }

  /** Sends the part of the body that has arrived to an upstream that has received the head. */
  sendTo(stream: UpstreamStream): void {
    this.stream = stream;
    const { buffered } = this;
    if (!this.isWhole) this.startPace();
    if (buffered?.isEmpty === false) {
      this.client.resumeBody();
      const { bytes } = buffered;
      const isTaken = stream.sendBody(bytes, 0, bytes.length);
      // The bytes that wait for the upstream are counted instead of this piece.
      buffered.trim();
      if (!isTaken && !this.blockClient()) return;
    }
    if (this.collected?.isSpooled) this.collected.send(stream);
    else if (this.isWhole) stream.endBody(this.trailers);
  }

  private startPace(): void {
    const { limits, deadlines } = this.relay;
    this.rate ??= new BodyRate(limits.bodyTimeoutMs, limits.minBodyBytesPerSecond, 0);
    this.rate.restart(deadlines.now);
  }

  /** Counts a piece of the body. Returns how long the client may take to send the next one, in milliseconds. */
  countPiece(bytes: number): number {
    const { rate, relay } = this;
    if (rate === undefined) return relay.limits.bodyTimeoutMs;
    rate.add(bytes);
    return rate.deadlineAt(relay.deadlines.now) - relay.deadlines.now;
  }

  send(bytes: Uint8Array, start: number, end: number): void {
    if (this.stream?.sendBody(bytes, start, end) === false) this.blockClient();
  }

  flush(): void {
    if (this.stream?.flush() === false) this.blockClient();
  }

  /** Returns false if the buffers for upstreams are exhausted and the request was refused. */
  private blockClient(): boolean {
    const { stream } = this;
    if (stream !== undefined && !this.countWaiting(stream.waitingBytes)) {
      this.owner.onBodyFailed(503);
      return false;
    }
    this.client.pauseBody();
    this.upstreamIsBehind();
    return true;
  }

  /** Called when the upstream reads the body too slowly. */
  upstreamIsBehind(): void {
    const wasBlocked = this.isUpstreamBlocked;
    this.isUpstreamBlocked = true;
    if (wasBlocked || this.owner.isTunnel) return;
    this.watchUpstream();
  }

  /** Whether the upstream has not taken all of the received body. */
  get isOwed(): boolean {
    return this.reader !== undefined || (this.stream?.waitingBytes ?? 0) > 0;
  }

  /** Starts to measure the upstream. It may read slowly, but is late if it reads nothing more of the body. */
  watchUpstream(): void {
    this.reader ??= new SlowReader(this.stream as UpstreamStream, this.owner.responseTimeoutMs);
    if (this.flow.isClientBlocked) return;
    this.isWatchingUpstream = true;
    this.client.deadlineAt = this.reader.begin(this.relay.deadlines.now);
  }

  /** Called when another deadline is set. */
  stopWatchingUpstream(): void {
    this.isWatchingUpstream = false;
  }

  /** Called at the deadline. Returns whether the upstream still reads the body. */
  isBeingTaken(): boolean {
    const { reader } = this;
    if (reader === undefined || this.owner.isTunnel || this.flow.isClientBlocked) return false;
    if (!this.isWhole && !this.isUpstreamBlocked) return false;
    if (!this.isWatchingUpstream) {
      this.watchUpstream();
      return true;
    }
    const nextLookAt = reader.look(this.relay.deadlines.now);
    if (nextLookAt > 0) this.client.deadlineAt = nextLookAt;
    return nextLookAt > 0;
  }

  /** Called when the upstream can take more. */
  unblock(): void {
    this.isUpstreamBlocked = false;
    // The client was paused for an unknown part of the time.
    this.rate?.restart(this.relay.deadlines.now);
    this.countWaiting(0);
  }

  resume(): void {
    this.client.resumeBody();
    this.collected?.pump();
  }

  /** Called when the response has started, after which the request is not sent again. */
  onResponse(): void {
    this.forget();
    this.countWaiting(this.stream?.waitingBytes ?? 0);
    this.collected?.onResponse();
  }

  /** Drops the copy for another attempt. */
  forget(): void {
    this.buffered?.clear();
  }

  /** Called when the upstream no longer has the request. */
  release(): void {
    this.stream = undefined;
    this.countWaiting(0);
    this.collected?.stop();
    this.reader = undefined;
    if (!this.isUpstreamBlocked) return;
    this.isUpstreamBlocked = false;
    this.client.resumeBody();
  }

  /**
   * Updates the number of bytes that wait for a slow upstream. Returns false if the budget is exhausted: a read always arrives whole, even
   * if only few of its bytes are wanted.
   */
  private countWaiting(waitingBytes: number): boolean {
    const more = Math.max(0, waitingBytes - FREE_BYTES) - this.waitingShare;
    if (more < 0) this.relay.budget.give(-more);
    else if (more > 0 && !this.relay.budget.take(more)) return false;
    this.waitingShare += more;
    return true;
  }

  /** Keeps the trailers until they are sent. Returns false if there is no room for them and the request was refused. */
  keepTrailers(trailers: Uint8Array | undefined): boolean {
    const size = trailers?.length ?? 0;
    if (size > FREE_TRAILER_BYTES) {
      if (!this.relay.budget.take(size)) {
        this.owner.onBodyFailed(503);
        return false;
      }
      this.trailerShare = size;
    }
    this.trailers = trailers;
    return true;
  }

  /** Drops the collected body, and the trailers. */
  clearCollected(): void {
    this.trailers = undefined;
    this.relay.budget.give(this.trailerShare);
    this.trailerShare = 0;
    this.collected?.clear();
    this.collected = undefined;
  }
}
