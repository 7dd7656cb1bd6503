/** What an HTTP/2 client is sent: the frames of a turn in one write, and data only as the kernel and the client's windows allow. */
import type { Relay } from "../exchange/relay.js";
import { type FloodCount, FORGIVEN_FOR_DATA } from "../http2/flood.js";
import { FrameBuffer } from "../http2/frame-buffer.js";
import { HpackEncoder } from "../http2/hpack-encoder.js";
import { FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES } from "../http2/protocol.js";
import type { Connection } from "../transport/transport.js";
import { atTurnEnd } from "../turn.js";
import type { Http2Response, ResponseHost } from "./http2-response.js";

/** How much of frames is collected before it is written. */
const FULL_BYTES = 65_536;
/** How much of responses may wait for a client outside the budget, as one HTTP/1.1 client may let wait. */
const FREE_UNREAD_BYTES = 262_144;
/** A DATA frame with less does not excuse the frames that it took to get it. */
export const USEFUL_DATA_BYTES = 256;

export interface OutputOwner {
  /** The kernel has not taken everything; `onDrained` follows. */
  onBlocked(): void;
  /** There is no room for what the client has not read. */
  onNoRoom(): void;
}

export class Http2Output implements ResponseHost {
  readonly frames = new FrameBuffer();
  readonly encoder = new HpackEncoder();
  isBlocked = false;
  sendWindow = FIRST_WINDOW_BYTES;
  /** The streams whose data waits for the connection or for a window, in turn. */
  private readonly waiting = new Set<Http2Response>();
  private isFlushDue = false;
  private isClosed = false;
  private unreadBytes = 0;
  /** Bytes of the budget for what the client has not read. */
  private unreadShare = 0;

  constructor(
    private readonly relay: Relay,
    private readonly connection: Connection,
    private readonly idleFrames: FloodCount,
    private readonly owner: OutputOwner,
  ) {}

  flushSoon(): void {
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    atTurnEnd(this);
  }

  flushTurn(): void {
    this.isFlushDue = false;
    this.write();
  }

  /** Writes what was collected. */
  write(): void {
    const { frames } = this;
    if (frames.length === 0) return;
    const isTaken = this.isClosed || this.connection.writeTransient(frames.bytes, frames.length);
    frames.clear();
    if (isTaken) return;
    const wasBlocked = this.isBlocked;
    this.isBlocked = true;
    if (!this.countUnread(0)) this.owner.onNoRoom();
    else if (!wasBlocked) this.owner.onBlocked();
  }

  /** The kernel has taken everything. */
  onDrained(): void {
    this.isBlocked = false;
    this.countUnread(0);
    this.sendWaiting();
  }

  /** Nothing more is written. */
  close(): void {
    this.isClosed = true;
    this.frames.clear();
    this.waiting.clear();
    if (this.unreadShare > 0) this.relay.budget.give(this.unreadShare);
    this.unreadShare = this.unreadBytes = 0;
  }

  // Called by the responses.

  sendData(stream: number, bytes: Uint8Array, start: number, end: number): void {
    this.sendWindow -= end - start;
    if (end - start >= USEFUL_DATA_BYTES) this.idleFrames.forgive(FORGIVEN_FOR_DATA);
    this.frames.data(stream, bytes, start, end);
    if (this.frames.length >= FULL_BYTES) this.write();
  }

  wait(response: Http2Response): void {
    this.waiting.add(response);
  }

  stopWaiting(response: Http2Response): void {
    this.waiting.delete(response);
  }

  countUnread(change: number): boolean {
    if (this.isClosed) return true;
    this.unreadBytes += change;
    const held = Math.max(0, this.unreadBytes + this.connection.waitingBytes - FREE_UNREAD_BYTES);
    const more = held - this.unreadShare;
    if (more > 0 && !this.relay.budget.take(more)) return false;
    if (more < 0) this.relay.budget.give(-more);
    this.unreadShare = held;
    return true;
  }

  /** Grants more of the connection's window. Returns false if it becomes too large. */
  grant(bytes: number): boolean {
    this.sendWindow += bytes;
    if (this.sendWindow > MAX_WINDOW_BYTES) return false;
    this.sendWaiting();
    return true;
  }

  /** Sends what waits, each stream a frame at a time. */
  sendWaiting(): void {
    // One that still waits is served again after the others.
    for (const response of this.waiting) {
      if (this.isBlocked || this.sendWindow <= 0) return;
      if (!response.sendWaiting()) continue;
      this.waiting.delete(response);
      if (response.isWaiting) this.waiting.add(response);
      else response.settle();
    }
  }
}
