/** Sends all frames of a turn to an HTTP/2 client in one write, and data only as the kernel and the client's windows allow. */
import type { Relay } from "../exchange/relay.js";
import { UnreadEntry, type UnreadOwner } from "../exchange/unread-entry.js";
import type { Floods } from "../http2/flood.js";
import { FrameBuffer } from "../http2/frame-buffer.js";
import { HpackEncoder } from "../http2/hpack-encoder.js";
import { FIRST_WINDOW_BYTES, Setting } from "../http2/protocol.js";
import { SendWindow } from "../http2/windows.js";
import { atTurnEnd } from "../loop-turn.js";
import { type Connection, SCARCE_WAITING_BYTES } from "../transport/transport.js";
import type { Http2Response, ResponseHost } from "./http2-response.js";

/** How many bytes of frames are collected before they are written. */
const FULL_BYTES = 65_536;
/** The memory that a stream with waiting data takes in addition to the data: its exchange and its buffers. */
const WAITING_STREAM_BYTES = 4096;

export interface OutputOwner {
  /** Called when the kernel has not taken all bytes; `onDrained` follows. */
  onBlocked(): void;
  /** Resets the connection of a client that reads nothing, because others need the memory of its unread bytes. */
  resetForMemory(): void;
}

export class Http2Output implements ResponseHost, UnreadOwner {
  readonly frames = new FrameBuffer();
  readonly encoder = new HpackEncoder();
  isBlocked = false;
  readonly sendWindow = new SendWindow(FIRST_WINDOW_BYTES);
  isShort = false;
  /** The streams whose data waits for the connection or for a window, in the order of their turns. */
  private readonly waiting = new Set<Http2Response>();
  private isFlushDue = false;
  private isClosed = false;
  /** The memory of data that waits for windows. */
  private heldBytes = 0;
  private sentBytes = 0;
  /** The connection's entry in UnreadBytes; set when a response was not read for the first time. */
  private otherBytes = 0;
  private isCounted = false;
  /** Its entry in UnreadBytes; set when a response was not read for the first time. */
  private place: UnreadEntry | undefined;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    readonly floods: Floods,
    private readonly owner: OutputOwner,
  ) {}

  /** Sends the server's connection preface. */
  greet(): void {
    const { maxStreamsPerConnection, maxHeadBytes } = this.relay.limits;
    this.frames.settings([
      [Setting.MAX_CONCURRENT_STREAMS, maxStreamsPerConnection],
      [Setting.MAX_HEADER_LIST_SIZE, maxHeadBytes],
      [Setting.ENABLE_CONNECT_PROTOCOL, 1],
      [Setting.NO_RFC7540_PRIORITIES, 1],
    ]);
    this.flushSoon();
  }

  flushSoon(): void {
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    atTurnEnd(this);
  }

  flushTurn(): void {
    this.isFlushDue = false;
    this.write();
  }

  /** Writes the collected frames. */
  write(): void {
    const { frames } = this;
    if (frames.length === 0) return;
    const isTaken = this.isClosed || this.connection.writeTransient(frames.bytes, frames.length);
    frames.clear();
    if (isTaken && !this.waitsTooMuch()) return;
    const wasBlocked = this.isBlocked;
    this.isBlocked = true;
    this.countUnread(0);
    if (!wasBlocked) this.owner.onBlocked();
  }

  /** Whether more bytes wait for the client than allowed while memory is scarce. Over TLS, many can wait before a write returns false. */
  private waitsTooMuch(): boolean {
    const { connection, relay } = this;
    if (this.isClosed || connection.waitingBytes <= SCARCE_WAITING_BYTES || !relay.unread.isScarce) return false;
    connection.asksDrain?.();
    return true;
  }

  /** Called when the kernel has taken everything. */
  onDrained(): void {
    this.isBlocked = false;
    this.countUnread(0);
    this.sendWaiting();
  }

  /** Stops writing. */
  close(): void {
    this.isClosed = true;
    this.frames.clear();
    this.waiting.clear();
    if (this.place !== undefined) this.relay.unread.free(this.place);
    this.heldBytes = 0;
  }

  // Called by the responses:

  sendData(stream: number, bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    this.sendWindow.left -= end - start;
    this.sentBytes += end - start;
    this.floods.onResponseData(end - start, isLast);
    this.frames.data(stream, bytes, start, end);
    if (this.frames.length >= FULL_BYTES) this.write();
  }

  wait(response: Http2Response): void {
    this.waiting.add(response);
  }

  stopWaiting(response: Http2Response): void {
    this.waiting.delete(response);
    this.isShort = false;
  }

  countUnread(change: number): void {
    if (this.isClosed) return;
    this.heldBytes += change;
    if (this.isUnread) {
      if (!this.isCounted) this.otherBytes = Math.max(0, this.connection.progressBytes - this.sentBytes);
      this.isCounted = true;
      this.place ??= new UnreadEntry(this);
      this.relay.unread.count(this.place);
    } else if (this.isCounted && this.place !== undefined) {
      this.relay.unread.drained(this.place);
      this.isCounted = false;
    }
  }

  /** Whether the client has not read all of its responses. */
  private get isUnread(): boolean {
    return this.heldBytes > 0 || this.isBlocked;
  }

  /**
   * Whether no further request of this client is started, because it has not read its responses. Unlike over HTTP/1.1, this applies only
   * while memory is short.
   */
  get isTooFarBehind(): boolean {
    return this.isUnread && this.relay.unread.isTight;
  }

  get unreadBytes(): number {
    return this.heldBytes + this.waiting.size * WAITING_STREAM_BYTES + this.connection.waitingBytes;
  }

  /**
   * The client's progress: how much of the data that was sent within its windows it has read. Large windows show its reading too late, and
   * so does its kernel if it has room for the data. Replies to pings do not count.
   */
  get progressBytes(): number {
    return Math.min(this.sentBytes, Math.max(0, this.connection.progressBytes - this.otherBytes));
  }

  get surelyReadBytes(): number | undefined {
    const { surelyReadBytes } = this.connection;
    return surelyReadBytes === undefined ? undefined : Math.min(this.sentBytes, surelyReadBytes);
  }

  get locallyReadBytes(): number | undefined {
    const { locallyReadBytes } = this.connection;
    return locallyReadBytes === undefined ? undefined : Math.min(this.sentBytes, locallyReadBytes);
  }

  get stepBytes(): number | undefined {
    return this.connection.stepBytes;
  }

  resetForMemory(): void {
    this.owner.resetForMemory();
  }

  /** Adds to the connection's window. Returns false if it becomes too large. */
  grant(bytes: number): boolean {
    if (!this.sendWindow.change(bytes)) return false;
    this.sendWaiting();
    return true;
  }

  /** Sends waiting data, one frame for each stream in turn. */
  sendWaiting(): void {
    this.isShort = false;
    // A stream with more data moves behind the others.
    for (const response of this.waiting) {
      if (this.isBlocked || this.sendWindow.left <= 0) return;
      if (!response.sendWaiting()) continue;
      this.waiting.delete(response);
      if (response.isWaiting) this.waiting.add(response);
      else response.settle();
    }
  }

  /** Called each second. If a window does not open further, the bytes that are left of it are used. */
  lookIfStuck(): void {
    for (const response of [...this.waiting]) response.lookIfStuck();
  }
}
