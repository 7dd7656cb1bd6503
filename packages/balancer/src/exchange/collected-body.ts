/** A request's body that is collected before an upstream is picked: in memory, or in the spool if it is large. */

import type { RequestHead } from "../http1/request-head.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import { BodyRate } from "./body-rate.js";
import { CollectedBytes } from "./buffered-body.js";
import type { Downstream } from "./downstream.js";
import type { Relay } from "./relay.js";
import { SpooledBody, type SpooledBodyOwner } from "./spooled-body.js";

export interface CollectedBodyOwner {
  /** The trailers of the body, once it has arrived. */
  readonly trailers: Uint8Array | undefined;
  /** Called when an upstream may be picked. `bytes`: the whole body, or its beginning if the rest follows as the client sends it. */
  onCollected(bytes: Uint8Array): void;
  /** Called when the client is too slow, the body is too large, or there is no room for it. */
  onCollectingFailed(status: 408 | 413 | 503): void;
  /** Called when the upstream cannot take more; call `pump` when it can. */
  upstreamIsBehind(): void;
}

/** A large body that cannot be buffered, and whose client waits for 100 Continue, is not collected: the instance may refuse it. */
export function isToBeCollected(head: RequestHead, { limits, spool }: Relay): boolean {
  const { framing, isUpgrade, expectsContinue, contentLength } = head;
  if (framing === "none" || isUpgrade) return false;
  return !expectsContinue || contentLength <= limits.bufferBytes || spool.isOn;
}

export class CollectedBody implements SpooledBodyOwner {
  /** The bytes that are not in the spool yet. */
  private readonly held: CollectedBytes;
  private readonly rate: BodyRate;
  private spooled: SpooledBody | undefined;
  /** Whether the client is paused because the disk is too slow. */
  private isBlocked = false;
  private isFinished = false;
  /** The stream to the upstream, once one is picked. */
  private stream: UpstreamStream | undefined;
  private hasResponse = false;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: CollectedBodyOwner,
  ) {
    const { budget, limits, deadlines } = relay;
    this.held = new CollectedBytes(budget, limits.bufferBytes);
    this.rate = new BodyRate(limits.bodyTimeoutMs, limits.minBodyBytesPerSecond, deadlines.now);
  }

  /** Whether the body is in the spool, so that `send` has to send it. */
  get isSpooled(): boolean {
    return this.spooled !== undefined;
  }

  /** Returns false if the request was refused. A body with a large Content-Length goes to the spool from its first byte. */
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
    this.client.deadlineAt = this.rate.deadlineAt(this.relay.deadlines.now);
  }

  /** Pauses the deadline: the disk is slow, not the client. */
  private awaitDisk(): void {
    this.client.deadlineAt = this.relay.deadlines.now + this.relay.limits.bodyTimeoutMs;
  }

  /**
   * Returns false if the piece was not taken. In that case the owner was notified, and the rest of the body follows as the client sends it.
   */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    this.rate.add(end - start);
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
        if (!this.isBlocked) this.rate.pause(deadlines.now);
        this.isBlocked = true;
        this.client.pauseBody();
        this.awaitDisk();
        return true;
    }
  }

  /** Called when the body is complete. */
  finish(): void {
    this.isFinished = true;
    if (this.spooled === undefined) return this.owner.onCollected(this.held.bytes);
    // Resumes reading, to detect a disconnect.
    this.client.resumeBody();
    this.spooled.finish();
    if (this.spooled.isWritten) this.owner.onCollected(NOTHING);
    else this.awaitDisk();
  }

  onDeadline(): void {
    this.owner.onCollectingFailed(this.isFinished || this.isBlocked ? 503 : 408);
  }

  /** Sends the spooled body from its beginning. */
  send(stream: UpstreamStream): void {
    this.stream = stream;
    this.spooled?.rewind();
  }

  /** Called when the upstream can take more. */
  pump(): void {
    if (this.stream !== undefined) this.spooled?.pump();
  }

  /** Called when the upstream has responded, after which the request is not sent again. */
  onResponse(): void {
    this.hasResponse = true;
    if (this.stream === undefined) this.spooled?.close();
  }

  /** Called when the upstream is lost. */
  stop(): void {
    this.stream = undefined;
    this.spooled?.stop();
  }

  clear(): void {
    this.stream = undefined;
    this.held.clear();
    this.spooled?.close();
  }

  // Called by the spool:

  onSpoolWritten(): void {
    if (this.isFinished) {
      if (this.spooled?.isWritten) this.owner.onCollected(NOTHING);
      return;
    }
    if (!this.isBlocked) return;
    this.isBlocked = false;
    this.rate.resume(this.relay.deadlines.now);
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
    stream?.endBody(this.owner.trailers);
    if (stream?.flush() === false) this.owner.upstreamIsBehind();
    if (this.hasResponse) this.spooled?.close();
  }

  onSpoolFailed(): void {
    this.owner.onCollectingFailed(503);
  }
}

const NOTHING = new Uint8Array(0);
