/** Sends one response over HTTP/2: its head, its body within the client's windows, its trailers, and the pace of a slow reader. */
import { type AcknowledgingConnection, SlowReader } from "@paceline/wire";
import type { CodedBody } from "../coding/compression.js";
import type { DownstreamResponse, LocalStatus } from "../exchange/downstream.js";
import type { Relay } from "../exchange/relay.js";
import type { Identity } from "../http1/identity.js";
import type { ResponseHead } from "../http1/response-head.js";
import type { Floods } from "../http2/flood.js";
import type { FrameBuffer } from "../http2/frame-buffer.js";
import type { HpackEncoder } from "../http2/hpack-encoder.js";
import { MAX_FRAME_BYTES } from "../http2/protocol.js";
import { SendWindow } from "../http2/windows.js";
import { type LocalPage, ownPage, withLine } from "../routing/local-response.js";
import { WaitingBytes } from "../transport/buffers.js";
import { addHstsTo, addIdTo } from "./http1-response.js";
import type { ResponseScratch } from "./http2-scratch.js";
import { type LastingResponse, lastingResponse } from "./lasting-response.js";

/** What a response needs of its connection. */
export interface ResponseHost {
  readonly frames: FrameBuffer;
  readonly encoder: HpackEncoder;
  readonly floods: Floods;
  /** Whether the kernel has not taken all written bytes. No data is added meanwhile. */
  readonly isBlocked: boolean;
  /** How much data the client accepts on all streams together. */
  readonly sendWindow: SendWindow;
  /** Whether a stream waits for the connection's window to open further. The bytes left of the window are then reserved for this stream. */
  isShort: boolean;
  /** Sends the frames at the end of this turn. */
  flushSoon(): void;
  /**
   * Adds a DATA frame, within both windows.
   * @param isLast whether it ends a piece that the app wrote, or all waiting data
   */
  sendData(stream: number, bytes: Uint8Array, start: number, end: number, isLast: boolean): void;
  /** Continues this response when the connection can take more. */
  wait(response: Http2Response): void;
  stopWaiting(response: Http2Response): void;
  /** Counts bytes that wait for the client. */
  countUnread(change: number): void;
}

export class Http2Response implements DownstreamResponse, AcknowledgingConnection {
  isHead = false;
  /** Whether the client uses TLS. */
  isSecure = false;
  takesTrailers = false;
  trailers: Uint8Array | undefined;
  page: LocalPage | undefined;
  identity: Identity | undefined;
  /** How much data the client accepts on this stream. */
  readonly sendWindow = new SendWindow();
  /** Window updates show how much the client has read. */
  readonly seesAcknowledgements = true;
  private id = 0;
  /** Data that does not fit into the windows. */
  private readonly waiting = new WaitingBytes();
  private sentBytes = 0;
  /** The value of `sentBytes` at the last check of the connection. */
  private lookedBytes = 0;
  /** Bytes of the budget for a response that is buffered so that its instance is free earlier. */
  private bufferedBytes = 0;
  /** Waiting bytes beyond those of the budget. They count as unread. */
  private unreadBytes = 0;
  private slowReader: SlowReader | undefined;
  /** Set during a long-lived response that a drain may end early. */
  private lasting: LastingResponse | undefined;
  /** Compresses the body of the current response. */
  private coded: CodedBody | undefined;
  /** When the response was ended early, in milliseconds of `Deadlines.now`; 0 if it was not ended early. */
  endedEarlyAt = 0;

  constructor(
    private readonly relay: Relay,
    private host: ResponseHost,
    private readonly scratch: ResponseScratch,
    private readonly owner: {
      /** Called when all waiting data was sent. */
      onSent(): void;
    },
  ) {}

  moveTo(host: ResponseHost, isSecure: boolean): void {
    this.host = host;
    this.isSecure = isSecure;
  }

  begin(id: number, sendWindow: number): void {
    this.id = id;
    this.sendWindow.restart(sendWindow);
    this.sentBytes = this.lookedBytes = this.endedEarlyAt = 0;
    this.isHead = this.takesTrailers = false;
    this.trailers = this.page = this.lasting = undefined;
  }

  /** Drops the waiting data. */
  clear(): void {
    this.lasting = this.coded = undefined;
    this.giveBackBuffered();
    if (this.waiting.length === 0) return;
    this.host.stopWaiting(this);
    this.waiting.clear();
    this.countUnread();
  }

  private putHead(head: ResponseHead): void {
    const { frames, encoder } = this.host;
    frames.beginHead(this.id);
    encoder.response(frames, head, this.scratch.date);
    frames.endHead();
    this.host.flushSoon();
  }

  interim(head: ResponseHead): boolean {
    this.putHead(head);
    return this.isFlowing;
  }

  continue(): void {
    const { frames, encoder } = this.host;
    frames.beginHead(this.id);
    encoder.continue(frames);
    frames.endHead();
    this.host.flushSoon();
  }

  /** Sends the response's head. */
  head(head: ResponseHead, coded?: CodedBody): void {
    this.coded = coded;
    if (this.identity !== undefined) addIdTo(head, this.identity);
    if (this.isSecure && this.relay.hsts !== undefined) addHstsTo(head, this.relay.hsts);
    const { drainClosesPerSecond, eventStreamRetryMs } = this.relay.limits;
    if (drainClosesPerSecond > 0 && !this.isHead)
      this.lasting = lastingResponse(head, eventStreamRetryMs, coded !== undefined);
    this.putHead(head);
  }

  private get isFlowing(): boolean {
    return this.waiting.length === 0;
  }

  body(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.lasting !== undefined) {
      // The response was ended early; the rest is dropped.
      if (this.endedEarlyAt > 0) return true;
      this.lasting.pass(bytes, start, end);
    }
    return this.coded === undefined ? this.put(bytes, start, end) : this.putCoded(this.coded.write(bytes, start, end));
  }

  private putCoded(bytes: Uint8Array): boolean {
    return bytes.length === 0 ? this.isFlowing : this.put(bytes, 0, bytes.length);
  }

  private put(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    if (this.waiting.length === 0)
      for (let size = this.sendable(end - at); size > 0; size = this.sendable(end - at)) {
        this.send(bytes, at, at + size, at + size === end);
        at += size;
      }
    if (at < end) this.hold(bytes, at, end);
    this.host.flushSoon();
    return this.isFlowing;
  }

  /** Returns how many of the waiting bytes are sent now, in one frame. */
  private sendable(bytes: number): number {
    const { host } = this;
    if (host.isBlocked) return 0;
    const own = this.sendWindow.room(bytes);
    if (own === 0) return 0;
    const shared = host.sendWindow.room(host.isShort ? Number.POSITIVE_INFINITY : bytes);
    if (shared === 0) host.isShort = true;
    return Math.min(bytes, own, shared, MAX_FRAME_BYTES);
  }

  private send(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    this.sendWindow.left -= end - start;
    this.sentBytes += end - start;
    this.host.sendData(this.id, bytes, start, end, isLast);
  }

  private hold(bytes: Uint8Array, start: number, end: number): void {
    this.waiting.add(bytes.subarray(start, end));
    this.host.wait(this);
    this.countUnread();
  }

  private countUnread(): void {
    const unread = Math.max(0, this.waiting.heldBytes - this.bufferedBytes);
    this.host.countUnread(unread - this.unreadBytes);
    this.unreadBytes = unread;
  }

  /** Sends one frame of the waiting data. Returns false if none can be sent now. */
  sendWaiting(): boolean {
    return this.sendFirst(this.sendable(this.waiting.length));
  }

  /** If nothing was sent since the last call, sends the bytes that the windows allow, because the client may be waiting for them. */
  lookIfStuck(): void {
    const isStuck = this.sentBytes === this.lookedBytes;
    const { host, sendWindow } = this;
    if (isStuck && !host.isBlocked && this.sendFirst(Math.min(sendWindow.left, host.sendWindow.left, MAX_FRAME_BYTES)))
      this.settle();
    this.lookedBytes = this.sentBytes;
  }

  private sendFirst(most: number): boolean {
    const first = this.waiting.first();
    const size = Math.min(most, first.length);
    if (size <= 0) return false;
    this.send(first, 0, size, size === first.length);
    this.waiting.sent(size);
    this.countUnread();
    this.host.flushSoon();
    return true;
  }

  /** Sends as much data as the stream's window allows. */
  pump(): void {
    if (this.waiting.length === 0) return;
    while (this.waiting.length > 0 && this.sendWaiting());
    this.settle();
  }

  /** Called when no data waits any more. */
  settle(): void {
    if (this.waiting.length > 0) return;
    this.giveBackBuffered();
    this.host.stopWaiting(this);
    this.owner.onSent();
  }

  /** Whether data waits for the client. */
  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  flush(): boolean {
    if (this.coded !== undefined) this.putCoded(this.coded.flush());
    return this.isFlowing;
  }

  endCoding(): void {
    if (this.coded === undefined) return;
    this.putCoded(this.coded.end());
    this.coded = undefined;
  }

  /** A head cannot be withdrawn, since it has changed the table of the client's decoder. */
  withdrawHead(): boolean {
    return false;
  }

  /** Ends the response. Returns false if a part of it waits. In that case `end` is called again when everything was sent. */
  end(): boolean {
    if (this.waiting.length > 0) return false;
    const { frames, encoder, floods } = this.host;
    floods.onResponse();
    if (this.trailers !== undefined) {
      frames.beginHead(this.id);
      encoder.trailers(frames, this.trailers);
      frames.endHead();
    }
    frames.end(this.id);
    this.host.flushSoon();
    return true;
  }

  /** Sends a response that the balancer generates itself, without its end. */
  local(status: LocalStatus, fields: string | undefined): void {
    const { isHead } = this;
    const whole = this.pageOf(status).response({ keepAlive: true, clientMinorVersion: 1, isHead });
    this.page = undefined;
    const bytes = fields === undefined ? whole : withLine(whole, Buffer.from(fields, "latin1"));
    const { head } = this.scratch;
    const after = head.parse(bytes, 0, bytes.length, isHead);
    this.head(head);
    if (after < bytes.length) this.body(bytes, after, bytes.length);
  }

  localBodyBytes(status: LocalStatus): number {
    return this.pageOf(status).bodyBytes(this.isHead);
  }

  private pageOf(status: LocalStatus): LocalPage {
    return this.page ?? ownPage(status);
  }

  endEarly(): "goodbye" | "whole" | undefined {
    const { lasting } = this;
    if (lasting?.isBetween !== true || this.endedEarlyAt > 0) return undefined;
    const { lastBytes } = lasting;
    if (lastBytes.length > 0) this.body(lastBytes, 0, lastBytes.length);
    if (!lasting.isEndedByBoth) this.endCoding();
    this.endedEarlyAt = this.relay.deadlines.now;
    return lasting.isEndedByBoth ? "goodbye" : "whole";
  }

  mayHold(maxBytes: number): boolean {
    if (this.waiting.length > maxBytes) return false;
    const more = this.waiting.length - this.bufferedBytes;
    if (more > 0 && !this.relay.budget.take(more)) return false;
    this.bufferedBytes += Math.max(0, more);
    this.countUnread();
    return true;
  }

  private giveBackBuffered(): void {
    if (this.bufferedBytes > 0) this.relay.budget.give(this.bufferedBytes);
    this.bufferedBytes = 0;
  }

  get isBehind(): boolean {
    return this.waiting.length > 0;
  }

  acknowledgedBytes(): number {
    return this.sentBytes;
  }

  beginSlowReading(): number {
    const { deadlines, limits } = this.relay;
    this.slowReader ??= new SlowReader(this, limits.sendTimeoutMs);
    return this.slowReader.begin(deadlines.now);
  }

  lookAtReading(): number {
    const { deadlines, limits } = this.relay;
    // While the connection is blocked, the deadline applies to it.
    if (this.host.isBlocked) return this.beginSlowReading();
    return this.slowReader?.lookAtPace(deadlines.now, limits.minBodyBytesPerSecond / 1000) ?? 0;
  }
}
