/** A request's body on its way to the upstream: sent as it comes, kept for another try, or collected before an upstream is asked. */
import { SlowReader } from "@paceline/wire";
import type { Downstream } from "../downstream/downstream.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { BufferBudget } from "./buffer-budget.js";
import { BufferedBody } from "./buffered-body.js";
import { CollectedBody, type CollectedBodyOwner } from "./collected-body.js";
import type { Relay } from "./relay.js";
import type { ResponseFlow } from "./response-flow.js";

export interface RequestBodyOwner {
  readonly isTunnel: boolean;
  /** For how long an upstream may take nothing of the body. */
  readonly responseTimeoutMs: number;
  /** An upstream may be asked. */
  onCollected(): void;
  /** The client is too slow, the body too large, or there is no room for it. */
  onBodyFailed(status: 408 | 413 | 503): void;
}

export class RequestBody implements CollectedBodyOwner {
  /** All of it has come from the client. */
  isWhole = false;
  /** The upstream does not read as fast as the client sends: the client is paused. */
  isUpstreamBlocked = false;
  private stream: UpstreamStream | undefined;
  private readonly buffered: BufferedBody;
  private readonly share: UpstreamShare;
  /** What came before an upstream was asked. */
  private collected: CollectedBody | undefined;
  /** Judges an upstream that did not read as fast as the client sent, for as long as it has the request. */
  private reader: SlowReader | undefined;
  /** The deadline is the next look of that one. */
  private isJudging = false;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly flow: ResponseFlow,
    private readonly owner: RequestBodyOwner,
  ) {
    this.buffered = new BufferedBody(relay.budget, relay.limits.retryBufferBytes);
    this.share = new UpstreamShare(relay.budget);
  }

  begin(isWhole: boolean): void {
    this.isWhole = isWhole;
    this.isUpstreamBlocked = false;
  }

  /** Whether it can be sent again, as far as it has come. */
  get canRepeat(): boolean {
    return this.buffered.isWhole;
  }

  /** Whether a piece in these bytes is kept. */
  isIn(bytes: Uint8Array): boolean {
    return this.buffered.isIn(bytes);
  }

  /** False: the request was refused. */
  collect(contentLength: number): boolean {
    this.collected = new CollectedBody(this.relay, this.client, this);
    return this.collected.begin(contentLength);
  }

  /** False: the body is not collected any more. */
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
    if (bytes.length > 0) this.buffered.hold(bytes, 0, bytes.length);
    this.owner.onCollected();
  }

  onCollectingFailed(status: 408 | 413 | 503): void {
    this.owner.onBodyFailed(status);
  }

  /** A piece that cannot be sent yet; the client is paused. */
  hold(bytes: Uint8Array, start: number, end: number): void {
    this.buffered.hold(bytes, start, end);
    this.client.pauseBody();
  }

  /** A piece that is sent as well. */
  keep(bytes: Uint8Array, start: number, end: number): void {
    this.buffered.add(bytes, start, end);
  }

  /** The upstream has the head: it gets what has come of the body. */
  sendTo(stream: UpstreamStream): void {
    this.stream = stream;
    const { buffered } = this;
    if (!buffered.isEmpty) {
      this.client.resumeBody();
      const { bytes } = buffered;
      if (!stream.sendBody(bytes, 0, bytes.length) && !this.blockClient()) return;
    }
    if (this.collected?.isSpooled) this.collected.send(stream);
    else if (this.isWhole) stream.endBody();
    buffered.trim();
  }

  send(bytes: Uint8Array, start: number, end: number): void {
    if (this.stream?.sendBody(bytes, start, end) === false) this.blockClient();
  }

  flush(): void {
    if (this.stream?.flush() === false) this.blockClient();
  }

  /** False: too much waits for upstreams, and the request was refused. */
  private blockClient(): boolean {
    const { stream } = this;
    if (stream !== undefined && !this.share.count(stream.waitingBytes)) {
      this.owner.onBodyFailed(503);
      return false;
    }
    this.client.pauseBody();
    this.upstreamIsBehind();
    return true;
  }

  /** The upstream does not take the body as fast as it could have it. */
  upstreamIsBehind(): void {
    const wasBlocked = this.isUpstreamBlocked;
    this.isUpstreamBlocked = true;
    if (wasBlocked || this.owner.isTunnel) return;
    this.judge();
  }

  /** Whether the upstream has not taken all of the body that came. */
  get isOwed(): boolean {
    return this.reader !== undefined || (this.stream?.waitingBytes ?? 0) > 0;
  }

  /** The upstream is late once it takes nothing more of the body, however slowly it takes it. */
  judge(): void {
    this.reader ??= new SlowReader(this.stream as UpstreamStream, this.owner.responseTimeoutMs);
    if (this.flow.isClientBlocked) return;
    this.isJudging = true;
    this.client.deadlineAt = this.reader.begin(this.relay.deadlines.now);
  }

  /** Whoever sets a deadline that is no look at the upstream. */
  stopJudging(): void {
    this.isJudging = false;
  }

  /** At the deadline: whether the client waits for an upstream that still takes the body. */
  isBeingTaken(): boolean {
    const { reader } = this;
    if (reader === undefined || this.owner.isTunnel || this.flow.isClientBlocked) return false;
    if (!this.isWhole && !this.isUpstreamBlocked) return false;
    if (!this.isJudging) {
      this.judge();
      return true;
    }
    const nextLookAt = reader.look(this.relay.deadlines.now);
    if (nextLookAt > 0) this.client.deadlineAt = nextLookAt;
    return nextLookAt > 0;
  }

  /** The upstream takes more. */
  unblock(): void {
    this.isUpstreamBlocked = false;
    this.share.count(0);
  }

  resume(): void {
    this.client.resumeBody();
    this.collected?.pump();
  }

  /** The response has begun: the request will not be sent again. */
  onResponse(): void {
    this.forget();
    this.share.count(this.stream?.waitingBytes ?? 0);
    this.collected?.onResponse();
  }

  /** Nothing is kept for another try. */
  forget(): void {
    this.buffered.clear();
  }

  /** The upstream does not have the request any more. */
  release(): void {
    this.stream = undefined;
    this.share.count(0);
    this.collected?.stop();
    this.reader = undefined;
    if (!this.isUpstreamBlocked) return;
    this.isUpstreamBlocked = false;
    this.client.resumeBody();
  }

  /** Nobody wants what was collected. */
  clearCollected(): void {
    this.collected?.clear();
    this.collected = undefined;
  }
}

/** Never refused, in bytes: any upstream may be late by so much. */
const FREE_BYTES = 16_384;

/** Counts what has come of a body and waits for an upstream that does not take it: reads come whole, however little is wanted. */
class UpstreamShare {
  private taken = 0;

  constructor(private readonly budget: BufferBudget) {}

  /** So much waits now; false: all clients together have too much waiting. */
  count(waitingBytes: number): boolean {
    const more = Math.max(0, waitingBytes - FREE_BYTES) - this.taken;
    if (more < 0) this.budget.give(-more);
    else if (more > 0 && !this.budget.take(more)) return false;
    this.taken += more;
    return true;
  }
}
