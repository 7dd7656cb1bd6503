/** Sends a response to the client: directly, or through the spool to free limited concurrency earlier; compressed or not. */
import { type CodedReader, codingShare } from "../coding/coding-share.js";
import type { CodedBody, Compression } from "../coding/compression.js";
import type { Peer } from "../http1/forwarded.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { UpstreamStream } from "../upstreams/upstream-client.js";
import type { Downstream } from "./downstream.js";
import type { Cut } from "./outcome.js";
import type { Relay } from "./relay.js";
import type { SavedHead } from "./saved-head.js";
import type { Spool } from "./spool.js";
import { SpooledBody, type SpooledBodyOwner } from "./spooled-body.js";

export interface ResponseFlowOwner {
  /** Called when the client has received everything so far; further bytes go to it directly. */
  onSpoolSent(): void;
  abort(cut: Cut): void;
}

export class ResponseFlow implements BacklogOwner, CodedReader {
  /** Set while the client reads too slowly: the upstream is paused, or the rest is spooled. The deadline then applies to the client. */
  isClientBlocked = false;
  private backlog: Backlog | undefined;
  /** Compresses the body for the client; undefined if it is not compressed. */
  coded: CodedBody | undefined;
  /** The number of bytes to compress in the upstream's last read. */
  batchBytes = 0;
  /** The upstream, while it is paused until there is time to compress more. */
  private inLine: UpstreamStream | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly client: Downstream,
    private readonly owner: ResponseFlowOwner,
  ) {}

  /** Whether further bytes go to the spool, behind those waiting there. */
  get isSpooling(): boolean {
    return this.backlog !== undefined;
  }

  /** Whether the upstream may finish before the client does. */
  get isBehind(): boolean {
    return this.backlog?.isEmpty === false;
  }

  /** Lets the pool's compression change the head and then the body. */
  compress(head: ResponseHead, compression: Compression, request: SavedHead, { secure }: Peer): void {
    const { requestHead } = this.relay;
    if (request.parseOriginal(requestHead) < 0) return;
    this.coded = compression.apply(head, requestHead, (secure?.certificate.length ?? 0) > 0);
  }

  /** Sends the end of a compressed body. Returns false if compression failed. */
  endCoding(): boolean {
    const { coded } = this;
    if (coded === undefined) return true;
    this.client.response.endCoding();
    // The body has ended, so compression can no longer wait.
    codingShare.count(coded.takeBatch());
    return !coded.hasFailed;
  }

  /** Frees the compressor, and counts the bytes that it produced. */
  dropCoding(outcome: { bodyBytes: number }): void {
    if (this.coded === undefined) return;
    this.leaveLine();
    outcome.bodyBytes = this.coded.bytes;
    this.coded.close();
    this.coded = undefined;
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
    if (this.coded !== undefined) this.shareCoding(this.coded, stream);
  }

  private shareCoding(coded: CodedBody, stream: UpstreamStream | undefined): void {
    this.batchBytes = coded.takeBatch();
    if (codingShare.take(this) || stream === undefined || this.inLine !== undefined) return;
    this.inLine = stream;
    stream.pause(true);
  }

  onBacklogBatch(): boolean {
    if (this.coded === undefined) return true;
    this.batchBytes = this.coded.takeBatch();
    return codingShare.take(this);
  }

  onCodingTurn(): void {
    const stream = this.inLine;
    this.inLine = undefined;
    if (this.backlog === undefined ? !this.isClientBlocked : !this.backlog.isPaused) stream?.resume();
    if (!this.isClientBlocked) this.backlog?.pump();
  }

  private leaveLine(): void {
    this.inLine = undefined;
    codingShare.leave(this);
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
    else if (this.inLine === undefined) stream?.resume();
  }

  /** Releases the upstream, which has finished; the client gets the rest from the spool. */
  leaveUpstream(): void {
    // The spool may still wait for time to compress.
    this.inLine = undefined;
    this.backlog?.end();
  }

  onBacklogSent(): void {
    this.owner.onSpoolSent();
  }

  onBacklogLost(): void {
    this.owner.abort("balancer");
  }

  closeSpool(): void {
    this.backlog?.close();
    this.backlog = undefined;
  }
}

/** How many bytes of a response wait in memory before the spool is used. */
const UNSPOOLED_BYTES = 32_768;

interface BacklogOwner {
  /** Called when the client does not read. */
  onClientBehind(): void;
  /** Called after some bytes were sent. Returns false if the rest has to wait for `pump`. */
  onBacklogBatch(): boolean;
  /** Called when the client has received everything so far; further bytes go to it directly. */
  onBacklogSent(): void;
  onBacklogLost(): void;
}

/** The unread part of a response, stored in the spool so that an instance with limited concurrency is free earlier. */
class Backlog implements SpooledBodyOwner {
  private readonly body: SpooledBody;
  /** Whether the upstream is paused. */
  isPaused = false;

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

  /** Called when the upstream has finished. Its stream may already belong to another request. */
  end(): void {
    this.stream = undefined;
  }

  /** Called when the client can take more. */
  pump(): void {
    this.body.pump();
  }

  close(): void {
    this.body.close();
  }

  // Called by the spool:

  onSpoolWritten(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.stream?.resume();
  }

  onSpooledBytes(bytes: Uint8Array, start: number, end: number): boolean {
    const isFlowing = this.client.response.body(bytes, start, end);
    const isFlushed = this.client.response.flush();
    const mayGoOn = this.owner.onBacklogBatch();
    if (isFlushed && isFlowing && !this.client.response.isBehind) return mayGoOn;
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
