/** A response on its way to the client: direct, or through the spool so that limited concurrency is free earlier. */
import type { Downstream } from "../downstream/downstream.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { Relay } from "./relay.js";
import type { Spool } from "./spool.js";
import { SpooledBody, type SpooledBodyOwner } from "./spooled-body.js";

export interface ResponseFlowOwner {
  /** The client has received everything so far; further bytes go to it directly. */
  onSpoolSent(): void;
  abort(): void;
}

export class ResponseFlow implements BacklogOwner {
  /** Set while the client does not keep up: the upstream is paused, or the rest is spooled. The deadline is the client's. */
  isClientBlocked = false;
  private backlog: Backlog | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: ResponseFlowOwner,
  ) {}

  /** Whether further bytes go to the spool, behind those waiting there. */
  get isSpooling(): boolean {
    return this.backlog !== undefined;
  }

  /** The upstream may finish while the client has not. */
  get isBehind(): boolean {
    return this.backlog?.isEmpty === false;
  }

  spool(bytes: Uint8Array, start: number, end: number): void {
    this.backlog?.add(bytes, start, end);
  }

  /** @param mayHold whether the instance has limited concurrency */
  send(bytes: Uint8Array, start: number, end: number, stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!this.client.response.body(bytes, start, end)) this.fallBehind(stream, mayHold);
  }

  flush(stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!this.client.response.flush()) this.fallBehind(stream, mayHold);
  }

  private fallBehind(stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!mayHold || !this.holds(stream as UpstreamStream)) this.blockUpstream(stream);
  }

  /** Whether unread bytes may be buffered here. */
  private holds(stream: UpstreamStream): boolean {
    const { limits, spool } = this.relay;
    if (!spool.isOn) return this.client.response.mayHold(limits.bufferBytes);
    if (this.backlog !== undefined || this.client.response.mayHold(Math.min(limits.bufferBytes, UNSPOOLED_BYTES)))
      return true;
    this.backlog = new Backlog(spool, this.client, stream, this);
    this.onClientBehind();
    return true;
  }

  blockUpstream(stream: UpstreamStream | undefined): void {
    if (this.isClientBlocked) return;
    this.onClientBehind();
    stream?.pause();
  }

  /** Sets the client's deadline until it has read the waiting bytes. */
  onClientBehind(): void {
    this.isClientBlocked = true;
    this.client.deadlineAt = this.client.response.beginSlowReading();
  }

  resume(stream: UpstreamStream | undefined): void {
    if (this.backlog !== undefined) this.backlog.pump();
    else stream?.resume();
  }

  /** The upstream has finished; the client gets the rest from the spool. */
  leaveUpstream(): void {
    this.backlog?.end();
  }

  onBacklogSent(): void {
    this.owner.onSpoolSent();
  }

  onBacklogLost(): void {
    this.owner.abort();
  }

  closeSpool(): void {
    this.backlog?.close();
    this.backlog = undefined;
  }
}

/** How many bytes of a response wait in memory before the spool is used. */
const UNSPOOLED_BYTES = 32_768;

interface BacklogOwner {
  /** The client does not read what it was sent. */
  onClientBehind(): void;
  /** The client has received everything so far; further bytes go to it directly. */
  onBacklogSent(): void;
  onBacklogLost(): void;
}

/** The unread part of a response, stored in the spool so that an instance with limited concurrency is free earlier. */
class Backlog implements SpooledBodyOwner {
  private readonly body: SpooledBody;
  /** Whether the upstream is paused. */
  private isPaused = false;

  constructor(
    spool: Spool,
    private readonly client: Downstream,
    private stream: UpstreamStream | undefined,
    private readonly owner: BacklogOwner,
  ) {
    this.body = new SpooledBody(spool, "response", this);
  }

  get isEmpty(): boolean {
    return this.body.isRead;
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    if (this.body.append(bytes, start, end) !== "wait" || this.isPaused) return;
    this.isPaused = true;
    this.stream?.pause();
  }

  /** The upstream has finished; its stream may belong to another request by now. */
  end(): void {
    this.stream = undefined;
  }

  /** The client can take more. */
  pump(): void {
    this.body.pump();
  }

  close(): void {
    this.body.close();
  }

  // Called by the spool.

  onSpoolWritten(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.stream?.resume();
  }

  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean {
    const isFlowing = this.client.response.body(bytes, start, end);
    if (this.client.response.flush() && isFlowing && !this.client.response.isBehind) return true;
    this.owner.onClientBehind();
    return false;
  }

  onSpoolRead(): void {
    this.owner.onBacklogSent();
    // Last, because a resumed upstream may send at once.
    this.onSpoolWritten();
  }

  onSpoolFailed(isLost: boolean): void {
    if (isLost) this.owner.onBacklogLost();
  }
}
