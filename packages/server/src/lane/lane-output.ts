/** The output of a lane on the instance's side: sends in one write what one turn of the event loop produced. */

import type { StreamSocket } from "@paceline/wire";
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FrameType } from "@paceline/wire/lane/protocol";
import type { BodyLane, BodySender } from "./body-sender.js";

/** While more bytes than this are queued, no more body is added. */
const FULL_BYTES = 131_072;
/** The maximum delay of responses in a long turn, in milliseconds. */
const LONG_SILENCE_MS = 8;

/** A started request that was not announced. */
interface Unannounced {
  readonly id: number;
  /** "handling" until its response announces it. */
  readonly state: string;
}

export class LaneOutput implements BodyLane {
  readonly frames = new FrameBuffer();
  /** Requests that the next flush announces, unless the response does. */
  private readonly unannounced: Unannounced[] = [];
  /** Senders with bytes to send; the next one to write is first. */
  private readonly queued: BodySender[] = [];
  /**
   * The same for senders with little to send. Every other turn belongs to them, so that they do not wait behind a thousand large bodies.
   */
  private readonly short: BodySender[] = [];
  private isShortNext = true;
  private isFlushDue = false;
  private flushedAtMs = 0;
  private isEnded = false;

  constructor(private readonly socket: StreamSocket) {}

  get isFull(): boolean {
    return this.socket.isBlocked || this.frames.length > FULL_BYTES;
  }

  /** Whether the kernel has not taken everything. */
  get hasUnsent(): boolean {
    return this.frames.length > 0 || this.socket.isBlocked;
  }

  /** Called when bytes were received: silence is measured from here. */
  heard(nowMs: number): void {
    this.flushedAtMs = nowMs;
  }

  /** Stops all output. */
  end(): void {
    this.isEnded = true;
  }

  /** Announces the request with the next flush, unless its response is in it. */
  owesStarted(request: Unannounced): void {
    this.unannounced.push(request);
  }

  queue(sender: BodySender): void {
    if (sender.isQueued) return;
    this.line(sender);
    this.flushSoon();
  }

  /** Called when a response was created. In a long turn, flushes early as a sign of life. */
  progressed(nowMs: number): void {
    if (nowMs - this.flushedAtMs > LONG_SILENCE_MS) this.flush();
  }

  /** Called when all handlers of a read have returned. Those that only wait for a promise finish when the turn ends. */
  flushRead(): void {
    if (this.unannounced.length > 0) this.flushSoon();
    else this.flush();
  }

  /** Flushes at the end of this turn. */
  flushSoon(): void {
    if (this.isFlushDue || this.isEnded) return;
    this.isFlushDue = true;
    setImmediate(this.flushNow);
  }

  private readonly flushNow = (): void => {
    this.isFlushDue = false;
    this.flush();
  };

  /** Writes everything that may be sent. Returns true if the kernel has taken it. */
  flush(): boolean {
    const { frames, socket, unannounced } = this;
    if (this.isEnded) return true;
    this.flushedAtMs = performance.now();
    for (const request of unannounced) if (request.state === "handling") frames.empty(FrameType.STARTED, request.id);
    unannounced.length = 0;
    for (;;) {
      this.takeTurns();
      if (frames.length === 0) return !socket.isBlocked;
      if (socket.isBlocked) return false;
      const isTaken = socket.write(frames.bytes.subarray(0, frames.length));
      frames.clear(!isTaken);
      if (!isTaken) return false;
      if (this.queued.length + this.short.length === 0) return true;
    }
  }

  private line(sender: BodySender): void {
    sender.isQueued = true;
    (sender.isShort ? this.short : this.queued).push(sender);
  }

  /** Lets each sender send a piece while there is room. */
  private takeTurns(): void {
    const { socket, frames } = this;
    while (!socket.isBlocked && frames.length < FULL_BYTES) {
      const sender = this.takeNext();
      if (sender === undefined) return;
      if (sender.sendSome()) this.line(sender);
      else sender.isQueued = false;
    }
  }

  private takeNext(): BodySender | undefined {
    const { queued, short } = this;
    this.isShortNext = queued.length === 0 || (short.length > 0 && !this.isShortNext);
    return (this.isShortNext ? short : queued).shift();
  }
}
