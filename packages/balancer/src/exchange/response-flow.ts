/** A response on its way to the client: as fast as the client reads it, or through the spool, so that an instance that takes few requests at once is free sooner. */
import type { Downstream } from "../downstream/downstream.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { Relay } from "./relay.js";
import type { Spool } from "./spool.js";
import { SpooledBody, type SpooledBodyOwner } from "./spooled-body.js";

export interface ResponseFlowOwner {
  /** The client has all that came: what comes next goes to it directly. */
  onSpoolSent(): void;
  abort(): void;
}

export class ResponseFlow implements BacklogOwner {
  /** The client does not read as fast as the upstream responds: the upstream is paused, or the spool has the rest. The deadline is the client's. */
  isClientBlocked = false;
  private backlog: Backlog | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: ResponseFlowOwner,
  ) {}

  /** What comes goes to the spool, behind what waits there. */
  get isSpooling(): boolean {
    return this.backlog !== undefined;
  }

  /** The upstream may be done while the client is not. */
  get isBehind(): boolean {
    return this.backlog?.isEmpty === false;
  }

  spool(bytes: Uint8Array, start: number, end: number): void {
    this.backlog?.add(bytes, start, end);
  }

  /** @param mayHold the instance takes few requests at once */
  send(bytes: Uint8Array, start: number, end: number, stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!this.client.response.body(bytes, start, end)) this.fallBehind(stream, mayHold);
  }

  flush(stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!this.client.response.flush()) this.fallBehind(stream, mayHold);
  }

  private fallBehind(stream: UpstreamStream | undefined, mayHold: boolean): void {
    if (!mayHold || !this.holds(stream as UpstreamStream)) this.blockUpstream(stream);
  }

  /** Whether what the client has not read may wait here. */
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

  /** The deadline is the client's until it has taken what waits. */
  onClientBehind(): void {
    this.isClientBlocked = true;
    this.client.deadlineAt = this.client.response.beginSlowReading();
  }

  resume(stream: UpstreamStream | undefined): void {
    if (this.backlog !== undefined) this.backlog.pump();
    else stream?.resume();
  }

  /** The upstream is done; the client gets the rest from the spool. */
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

/** So much of a response waits in memory before any of it goes to the spool, in bytes. */
const UNSPOOLED_BYTES = 32_768;

interface BacklogOwner {
  /** The client does not take what it was given. */
  onClientBehind(): void;
  /** The client has all that came: what comes next goes to it directly. */
  onBacklogSent(): void;
  onBacklogLost(): void;
}

/** What a client has not taken of a response: it waits in the spool, so that an instance that takes few requests at once is free sooner. */
class Backlog implements SpooledBodyOwner {
  private readonly body: SpooledBody;
  /** The upstream is not read. */
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

  /** The upstream is done; its stream may be another request's by now. */
  end(): void {
    this.stream = undefined;
  }

  /** The client takes more. */
  pump(): void {
    this.body.pump();
  }

  close(): void {
    this.body.close();
  }

  // From the spool.

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
    // Not before: what is resumed may send at once.
    this.onSpoolWritten();
  }

  onSpoolFailed(isLost: boolean): void {
    if (isLost) this.owner.onBacklogLost();
  }
}
