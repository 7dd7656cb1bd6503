/** What goes out on a lane, on the instance's side: what one turn of the event loop produced leaves in one write. */

import type { StreamSocket } from "@paceline/wire";
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FrameType } from "@paceline/wire/lane/protocol";
import type { BodyLane, BodySender } from "./body-sender.js";

/** From here on no more of a body is put behind what waits to be written. */
const FULL_BYTES = 131_072;
/** Answers do not wait longer than this for the end of a turn. */
const LONG_SILENCE_MS = 8;

/** A request that was begun without a word. */
interface Unannounced {
  readonly id: number;
  /** "handling" while its response has not said it. */
  readonly state: string;
}

export class LaneOutput implements BodyLane {
  readonly frames = new FrameBuffer();
  /** Begun without a word; said with the next flush unless the response says it. */
  private readonly unannounced: Unannounced[] = [];
  /** Bodies with bytes to send, in their turn. */
  private readonly queued: BodySender[] = [];
  private isFlushDue = false;
  private flushedAtMs = 0;
  private isEnded = false;

  constructor(private readonly socket: StreamSocket) {}

  get isFull(): boolean {
    return this.socket.isBlocked || this.frames.length > FULL_BYTES;
  }

  /** The kernel has not taken all that was said. */
  get hasUnsent(): boolean {
    return this.frames.length > 0 || this.socket.isBlocked;
  }

  /** Something was read: silence counts from here. */
  heard(nowMs: number): void {
    this.flushedAtMs = nowMs;
  }

  /** Nothing more leaves. */
  end(): void {
    this.isEnded = true;
  }

  /** The next flush says that it has begun, unless its response leaves with it. */
  owesStarted(request: Unannounced): void {
    this.unannounced.push(request);
  }

  queue(sender: BodySender): void {
    if (sender.isQueued) return;
    sender.isQueued = true;
    this.queued.push(sender);
    this.flushSoon();
  }

  /** A response was made. In a long turn what there is leaves before its end, as a sign of life. */
  progressed(nowMs: number): void {
    if (nowMs - this.flushedAtMs > LONG_SILENCE_MS) this.flush();
  }

  /** All handlers of a read have returned: those that answered are done, and those that wait for no more than a promise are, when the turn ends. */
  flushRead(): void {
    if (this.unannounced.length > 0) this.flushSoon();
    else this.flush();
  }

  /** What this turn produces leaves when it ends. */
  flushSoon(): void {
    if (this.isFlushDue || this.isEnded) return;
    this.isFlushDue = true;
    setImmediate(this.flushNow);
  }

  private readonly flushNow = (): void => {
    this.isFlushDue = false;
    this.flush();
  };

  /** Writes everything that may leave; true when the kernel has taken it. */
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
      if (this.queued.length === 0) return true;
    }
  }

  /** Lets each body that has bytes send a piece, as long as there is room. */
  private takeTurns(): void {
    const { queued, socket, frames } = this;
    while (queued.length > 0 && !socket.isBlocked && frames.length < FULL_BYTES) {
      const sender = queued.shift() as BodySender;
      if (sender.sendSome()) queued.push(sender);
      else sender.isQueued = false;
    }
  }
}
