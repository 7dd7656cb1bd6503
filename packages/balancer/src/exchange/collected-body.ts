/** A request's body that is to be whole before an upstream is asked: in memory, and in the spool once it is large. */
import type { Downstream } from "../downstream/downstream.js";
import type { RequestHead } from "../http1/request-head.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import { CollectedBytes } from "./buffered-body.js";
import type { Relay } from "./relay.js";
import { SpooledBody, type SpooledBodyOwner } from "./spooled-body.js";

export interface CollectedBodyOwner {
  /** An upstream may be asked: all is there, or `bytes` are all that is held of what goes at the client's pace. Empty: see `isSpooled`. */
  onCollected(bytes: Uint8Array): void;
  /** The client is too slow, the body too large, or there is no room for it. */
  onCollectingFailed(status: 408 | 413 | 503): void;
  /** More would go to the upstream than it takes now; `pump` when it does. */
  upstreamIsBehind(): void;
}

/** Of a large body that is not on its way yet, and that cannot be held, the instance may not want any. */
export function isToBeCollected(head: RequestHead, { limits, spool }: Relay): boolean {
  const { framing, isUpgrade, expectsContinue, contentLength } = head;
  if (framing === "none" || isUpgrade) return false;
  return !expectsContinue || contentLength <= limits.bufferBytes || spool.isOn;
}

export class CollectedBody implements SpooledBodyOwner {
  /** What came, until it is in the spool. */
  private readonly held: CollectedBytes;
  private readonly pace: BodyPace;
  private spooled: SpooledBody | undefined;
  /** The client is not read, as the disk is behind. */
  private isBlocked = false;
  private isFinished = false;
  /** The upstream that has the request. */
  private stream: UpstreamStream | undefined;
  private hasResponse = false;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: CollectedBodyOwner,
  ) {
    const { budget, limits, deadlines } = relay;
    this.held = new CollectedBytes(budget, limits.bufferBytes);
    this.pace = new BodyPace(limits.bodyTimeoutMs, limits.minBodyBytesPerSecond, deadlines.now);
  }

  /** It lies in the spool, and `send` sends it. */
  get isSpooled(): boolean {
    return this.spooled !== undefined;
  }

  /** False: the request was refused. A body whose length is known to be large goes to the spool from its first byte. */
  begin(contentLength: number): boolean {
    const { spool, limits } = this.relay;
    if (spool.isOn && contentLength > limits.bufferBytes) {
      if (!spool.hasRoom(contentLength)) return this.refuse(contentLength > spool.maxBytes ? 413 : 503);
      this.spooled = new SpooledBody(spool, "request", this);
    }
    this.awaitMore();
    return true;
  }

  private refuse(status: 413 | 503): false {
    this.owner.onCollectingFailed(status);
    return false;
  }

  private awaitMore(): void {
    this.client.deadlineAt = this.pace.deadlineAt(this.relay.deadlines.now);
  }

  /** The disk, and not the client, is waited for. */
  private awaitDisk(): void {
    this.client.deadlineAt = this.relay.deadlines.now + this.relay.limits.bodyTimeoutMs;
  }

  /** False: it was not taken, and the body goes at the client's pace from here on; its owner was told. */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    this.pace.add(end - start);
    if (this.spooled !== undefined) this.spool(this.spooled, bytes, start, end);
    else if (this.held.add(bytes, start, end)) this.awaitMore();
    else if (this.relay.spool.isOn) this.spill(bytes, start, end);
    else {
      this.owner.onCollected(this.held.bytes);
      return false;
    }
    return true;
  }

  private spill(bytes: Uint8Array, start: number, end: number): void {
    this.spooled = new SpooledBody(this.relay.spool, "request", this);
    const { bytes: before } = this.held;
    const isTaken = this.spool(this.spooled, before, 0, before.length);
    this.held.clearCopied();
    if (isTaken) this.spool(this.spooled, bytes, start, end);
  }

  private spool(spooled: SpooledBody, bytes: Uint8Array, start: number, end: number): boolean {
    const { spool, deadlines } = this.relay;
    if (spooled.length + end - start > spool.maxBytes) return this.refuse(413);
    switch (spooled.append(bytes, start, end)) {
      case "full":
        return this.refuse(503);
      case "taken":
        if (!this.isBlocked) this.awaitMore();
        return true;
      case "wait":
        if (!this.isBlocked) this.pace.pause(deadlines.now);
        this.isBlocked = true;
        this.client.pauseBody();
        this.awaitDisk();
        return true;
    }
  }

  /** The body is whole. */
  finish(): void {
    this.isFinished = true;
    if (this.spooled === undefined) return this.owner.onCollected(this.held.bytes);
    // Read again, lest it leaves unseen.
    this.client.resumeBody();
    this.spooled.finish();
    if (this.spooled.isWritten) this.owner.onCollected(NOTHING);
    else this.awaitDisk();
  }

  onDeadline(): void {
    this.owner.onCollectingFailed(this.isFinished || this.isBlocked ? 503 : 408);
  }

  /** Sends what is in the spool from its beginning. */
  send(stream: UpstreamStream): void {
    this.stream = stream;
    this.spooled?.rewind();
  }

  /** The upstream takes more. */
  pump(): void {
    if (this.stream !== undefined) this.spooled?.pump();
  }

  /** The upstream has responded: the request will not be sent again. */
  onResponse(): void {
    this.hasResponse = true;
    if (this.stream === undefined) this.spooled?.close();
  }

  /** The upstream is gone. */
  stop(): void {
    this.stream = undefined;
    this.spooled?.stop();
  }

  clear(): void {
    this.stream = undefined;
    this.held.clear();
    this.spooled?.close();
  }

  // From the spool.

  onSpoolWritten(): void {
    if (this.isFinished) {
      if (this.spooled?.isWritten) this.owner.onCollected(NOTHING);
      return;
    }
    if (!this.isBlocked) return;
    this.isBlocked = false;
    this.pace.resume(this.relay.deadlines.now);
    this.awaitMore();
    this.client.resumeBody();
  }

  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean {
    const { stream } = this;
    if (stream === undefined) return false;
    const isFlowing = stream.sendBody(bytes, start, end);
    if (stream.flush() && isFlowing) return true;
    this.owner.upstreamIsBehind();
    return false;
  }

  onSpoolRead(): void {
    const { stream } = this;
    this.stream = undefined;
    stream?.endBody();
    if (stream?.flush() === false) this.owner.upstreamIsBehind();
    if (this.hasResponse) this.spooled?.close();
  }

  onSpoolFailed(): void {
    this.owner.onCollectingFailed(503);
  }
}

const NOTHING = new Uint8Array(0);

/** How long a client that owes a body may take for the next piece of it, and for all that has come. */
class BodyPace {
  private bytes = 0;
  /** Since when the client is not read. */
  private pausedAt = 0;

  constructor(
    /** For which nothing may come. */
    private readonly timeoutMs: number,
    /** The least rate of all, beyond that time; 0: none. */
    private readonly minBytesPerSecond: number,
    private begunAt: number,
  ) {}

  add(bytes: number): void {
    this.bytes += bytes;
  }

  /** The client is not read: that is no fault of its own. */
  pause(now: number): void {
    this.pausedAt = now;
  }

  resume(now: number): void {
    this.begunAt += now - this.pausedAt;
  }

  /** When it is too slow, if nothing comes until then. */
  deadlineAt(now: number): number {
    const nextBy = now + this.timeoutMs;
    if (this.minBytesPerSecond === 0) return nextBy;
    return Math.min(nextBy, this.begunAt + this.timeoutMs + (this.bytes * 1000) / this.minBytesPerSecond);
  }
}
