/** The instance's end of one lane: parses the balancer's frames, starts requests, and writes each turn's output in one call. */
import type { StreamSocket, StreamSocketOwner } from "@paceline/wire";
import { FrameDecoder, type FrameSink } from "@paceline/wire/lane/frame-decoder";
import { putHello, readHello } from "@paceline/wire/lane/hello";
import {
  COST_VERSION,
  FrameType,
  LARGE_DATA_BYTES,
  LITTLE_WINDOW_BYTES,
  REQUEST_WINDOW_BYTES,
  readUint32,
  SLOT_MASK,
  TRAILERS_VERSION,
} from "@paceline/wire/lane/protocol";
import { LaneRequestHead } from "@paceline/wire/lane/request-head";
import type { Scoreboard } from "@paceline/wire/lane/scoreboard";
import { LONG_TURN_MS } from "../http1/running-server.js";
import type { ServerLimits } from "../shared/limits.js";
import { LaneOutput } from "./lane-output.js";
import type { LaneStream, StreamLane } from "./lane-stream.js";
import type { RequestServices } from "./response-sender.js";

/** Services shared by a server's lanes. */
export interface LaneServices {
  /** Without this, the lane is only for control. */
  requests?: RequestServices;
  /** Set after the first request, if a scoreboard is possible. */
  scoreboard?: Scoreboard | undefined;
  /** Loads the request code; the first request waits for it. */
  load(): Promise<void>;
  limits: ServerLimits;
  /** The pid, through which balancers see whether the event loop is running. */
  pid?: number;
  /** For a lane that is only for control: whether the HTTP/1.1 server beside it reads the trailers of requests. */
  takesTrailers?: boolean;
  /** Returns the number of requests whose handlers are running, on all lanes. */
  active(): number;
  /** Whether the server drains. */
  isLeaving(): boolean;
  onError(error: unknown): void;
  /** Called after each read, with the time (`performance.now`). */
  onRead(nowMs: number): void;
  onGone(lane: LaneConnection): void;
}

/**
 * How long the handlers of one read are called before the lane is read again, in milliseconds. A PING or a CANCEL must not wait for
 * hundreds of requests before it.
 */
const MAX_TURN_MS = 8;

/**
 * If the instance has, or is being sent, twice as many bytes of all bodies, the balancer sends only a little of each (docs/lane.md,
 * Windows).
 */
const CROWDED_BYTES = 4 << 20;

/** While more bytes than this are queued, the balancer is not read, because its frames could cause endless output. */
const MAX_UNSENT_BYTES = 1 << 20;

/** The request code. It is loaded with the first request, because an idle process saves the memory. */
let Stream: typeof LaneStream | undefined;

export async function loadStreams(): Promise<void> {
  Stream = (await import("./lane-stream.js")).LaneStream;
}

export class LaneConnection implements StreamSocketOwner, FrameSink, StreamLane {
  readonly output: LaneOutput;
  /** The number of requests whose handler was called and whose response is not sent yet. */
  active = 0;
  /** The number of bytes of bodies that were received and not granted again, over all streams. */
  private unread = 0;
  /** Whether GOAWAY was sent and the balancer has not confirmed it. */
  owesGoaway = false;
  private readonly decoder = new FrameDecoder();
  private readonly streams: (LaneStream | undefined)[] = [];
  /** Streams of this read that wait for their handler. */
  private readonly waiting: LaneStream[] = [];
  /** Whether the rest of `waiting` follows in the next turn. */
  private isTurnDue = false;
  private hasGreeted = false;
  private readonly early: Buffer[] = [];
  private isClosed = false;
  private isPaused = false;
  private peerWindow = REQUEST_WINDOW_BYTES;
  /** Whether the balancer supports COST, and STARTED after a handler has returned. */
  private takesCosts = false;
  /** Whether the balancer supports TRAILERS. */
  takesTrailers = false;
  /** The number of requests so far. */
  private requests = 0;

  constructor(
    private readonly socket: StreamSocket,
    private readonly services: LaneServices,
    /** Its number in the scoreboard; 0 without one. */
    readonly number: number,
  ) {
    this.output = new LaneOutput(socket);
  }

  /** Whether requests wait for their handler. */
  get isBehind(): boolean {
    return this.waiting.length > 0;
  }

  get maxBodyBytes(): number {
    return this.services.limits.maxBodyBytes;
  }

  onError(error: unknown): void {
    this.services.onError(error);
  }

  // From the balancer:

  onData(bytes: Buffer): void {
    if (this.isClosed) return;
    const isLoading = Stream === undefined || this.early.length > 0;
    if (isLoading && this.hasGreeted && this.services.requests !== undefined) return this.load(bytes);
    const since = performance.now();
    this.output.heard(since);
    if (!this.decoder.read(bytes, this)) return this.break(this.decoder.problem);
    this.handleWaiting(since);
  }

  /** @param since the start of this turn */
  private handleWaiting(since: number): void {
    this.beginWaiting(performance.now(), since + MAX_TURN_MS);
    const now = performance.now();
    if (now - since > LONG_TURN_MS) this.busy(now - since);
    this.services.onRead(now);
    this.output.flushRead();
    this.pauseWhileUnsent();
  }

  private readonly nextTurn = (): void => {
    this.isTurnDue = false;
    if (!this.isClosed) this.handleWaiting(performance.now());
  };

  /** The balancer reads even if its own bytes are not read, so the wait ends. */
  private pauseWhileUnsent(): void {
    const isDue = this.socket.isBlocked && this.output.frames.length > MAX_UNSENT_BYTES;
    if (isDue === this.isPaused) return;
    this.isPaused = isDue;
    if (isDue) this.socket.pause();
    else this.socket.resume();
  }

  /** Frames wait until the request code is loaded. */
  private load(bytes: Buffer): void {
    this.early.push(bytes);
    if (this.early.length > 1) return;
    this.socket.pause();
    void this.services.load().then(() => {
      if (this.isClosed) return;
      this.socket.resume();
      for (const piece of this.early.splice(0)) this.onData(piece);
    });
  }

  onBody(id: number, bytes: Buffer, start: number, end: number, isLast: boolean): void {
    if (!this.hasGreeted) return this.break("no HELLO at the start");
    const stream = this.streamOf(id);
    if (stream !== undefined && !stream.onBody(bytes, start, end, isLast)) {
      this.break("a body that its head or its window does not allow");
    }
  }

  onFrame(type: number, id: number, bytes: Buffer, start: number, end: number): void {
    // After a broken frame no request is started, because nobody could receive the response.
    if (this.isClosed) return;
    if (!this.hasGreeted) return this.greet(type, bytes, start, end);
    switch (type) {
      case FrameType.REQUEST:
        return this.request(id, bytes.toString("latin1", start, end));
      case FrameType.WINDOW:
        return this.streamOf(id)?.onWindow(readUint32(bytes, start));
      case FrameType.TRAILERS:
        if (this.streamOf(id)?.onTrailers(bytes.toString("latin1", start, end)) === false)
          this.break("trailers that its body does not allow");
        return;
      case FrameType.CANCEL: {
        const stream = this.streamOf(id);
        this.output.frames.byte(FrameType.CANCELLED, id, stream?.state === "waiting" ? 0 : 1);
        return stream?.onCancel();
      }
      case FrameType.WITHDRAW: {
        const stream = this.streamOf(id);
        const isWaiting = stream?.state === "waiting";
        this.output.frames.byte(FrameType.CANCELLED, id, isWaiting ? 0 : 1);
        return isWaiting ? stream?.onCancel() : undefined;
      }
      case FrameType.PING:
        return this.output.frames.number(FrameType.PONG, 0, readUint32(bytes, start));
      case FrameType.GOAWAY:
        this.owesGoaway = false;
        return;
      case FrameType.CLOSE:
        this.services.onError(new Error(`the balancer closed a lane: ${bytes.toString("utf8", start, end)}`));
        this.socket.end();
        return this.onClose();
      default:
        return this.break(`a frame of type ${type}, which a balancer does not send`);
    }
  }

  private greet(type: number, bytes: Buffer, start: number, end: number): void {
    const { limits, pid, takesTrailers = false } = this.services;
    const maxStreams = Math.min(limits.maxConnections, SLOT_MASK);
    // Always sent, because a balancer of another version reads this version in it.
    const accepted = { window: REQUEST_WINDOW_BYTES, maxStreams, maxDataBytes: LARGE_DATA_BYTES };
    putHello(this.output.frames, { ...accepted, number: this.number, pid, takesTrailers }, true);
    const hello = readHello(type, bytes, start, end);
    if (typeof hello === "string") return this.break(hello);
    this.peerWindow = hello.window;
    this.takesCosts = hello.version >= COST_VERSION;
    this.takesTrailers = hello.version >= TRAILERS_VERSION;
    this.hasGreeted = true;
    if (this.services.isLeaving()) this.goaway();
  }

  private request(id: number, text: string): void {
    const { requests } = this.services;
    if (requests === undefined) return this.break("a request on a lane that is only for control");
    if (Stream === undefined) return this.break("a request before the balancer can have received HELLO");
    const head = new LaneRequestHead(text);
    if (!head.isConsistent) return this.break("a request with inconsistent lengths");
    const slot = id & SLOT_MASK;
    if (this.streams[slot] !== undefined) return this.break("a request on a stream that is in use");
    this.requests = (this.requests + 1) >>> 0;
    const window = head.isLittle ? Math.min(this.peerWindow, LITTLE_WINDOW_BYTES) : this.peerWindow;
    const stream = new Stream(this, requests, id, this.requests, head, window);
    while (this.streams.length < slot) this.streams.push(undefined);
    this.streams[slot] = stream;
    this.waiting.push(stream);
  }

  private streamOf(id: number): LaneStream | undefined {
    const stream = this.streams[id & SLOT_MASK];
    // Frames for an earlier stream of the slot were still in transit.
    return stream?.id === id ? stream : undefined;
  }

  /**
   * Calls the handlers in order once the whole read is parsed, so that a CANCEL in the same read has an effect. One reading of the clock
   * ends a handler and begins the next.
   */
  private beginWaiting(nowMs: number, untilMs: number): void {
    const { waiting, output, socket } = this;
    if (waiting.length === 0) return;
    let now = nowMs;
    const elsewhere = this.services.active() - this.active;
    let next = 0;
    for (; next < waiting.length; next++) {
      if (next > 0 && now > untilMs) {
        if (!this.isTurnDue) setImmediate(this.nextTurn);
        this.isTurnDue = true;
        break;
      }
      const stream = waiting[next] as LaneStream;
      if (stream.state !== "waiting" || this.refused(stream, elsewhere)) continue;
      if (!stream.head.isIdempotent) {
        // A request must not run twice, so the balancer must know of the start before the handler runs.
        if (socket.isBlocked) break;
        output.frames.empty(FrameType.STARTED, stream.id);
        if (!output.flush()) {
          this.blockedStream = stream;
          next++;
          break;
        }
        now = performance.now();
      }
      now = this.call(stream, now);
    }
    if (next > 0) waiting.splice(0, next);
  }

  /** Calls the handler, and returns the time at its end. The scoreboard names the request, in case the handler blocks. */
  private call(stream: LaneStream, nowMs: number): number {
    const { scoreboard } = this.services;
    if (scoreboard === undefined || this.number === 0) return stream.begin(nowMs);
    scoreboard.enter(this.number, stream.sequence);
    const endMs = stream.begin(nowMs);
    scoreboard.leave();
    return endMs;
  }

  /** The stream whose STARTED is in the socket; its handler runs when the kernel has taken it. */
  private blockedStream: LaneStream | undefined;

  /** @param elsewhere requests in progress on other lanes */
  private refused(stream: LaneStream, elsewhere: number): boolean {
    const { limits } = this.services;
    const { head } = stream;
    if (elsewhere + this.active >= limits.maxConnections) {
      stream.refuse(503, "retry-after: 1\r\n", "Too many requests at once\n");
    } else if (head.length > limits.maxHeadBytes) stream.refuse(431);
    else if (!head.isWhole && Number(head.get("content-length") ?? 0) > limits.maxBodyBytes) stream.refuse(413);
    else return false;
    return true;
  }

  onDrain(): void {
    this.output.frames.returned();
    const blocked = this.blockedStream;
    this.blockedStream = undefined;
    if (blocked?.state === "waiting") this.call(blocked, performance.now());
    const now = performance.now();
    this.beginWaiting(now, now + MAX_TURN_MS);
    this.output.flush();
    this.pauseWhileUnsent();
  }

  onClose(): void {
    this.isClosed = true;
    this.output.end();
    this.owesGoaway = false;
    for (const stream of this.streams.splice(0)) stream?.onCancel();
    this.services.onGone(this);
  }

  /** Reports a protocol error to the balancer and closes the lane. */
  private break(problem: string): void {
    if (this.isClosed) return;
    this.services.onError(new Error(`a lane was closed: received ${problem}`));
    this.output.frames.close(problem);
    this.output.flush();
    this.socket.end();
    this.onClose();
  }

  // From the server:

  /** Asks the balancer to send no more requests. */
  goaway(): void {
    if (this.isClosed || !this.hasGreeted) return;
    this.owesGoaway = true;
    this.output.frames.empty(FrameType.GOAWAY, 0);
    this.output.flush();
  }

  /** Reports a long turn of the event loop. */
  busy(milliseconds: number): void {
    if (!this.hasGreeted) return;
    this.output.frames.number(FrameType.BUSY, 0, Math.round(milliseconds));
    this.output.flushSoon();
  }

  /** Reports the CPU time of requests, in microseconds. */
  cost(requests: number, micros: number): void {
    if (!this.hasGreeted || !this.takesCosts) return;
    this.output.frames.numbers(FrameType.COST, 0, requests, micros);
    this.output.flushSoon();
  }

  get saysReturned(): boolean {
    return this.takesCosts;
  }

  destroy(): void {
    this.socket.destroy();
    this.onClose();
  }

  // From the streams:

  get isCrowded(): boolean {
    return this.unread >= CROWDED_BYTES;
  }

  count(bytes: number): void {
    const wasCrowded = this.isCrowded;
    this.unread += bytes;
    if (this.isCrowded && !wasCrowded) for (const stream of this.streams) stream?.grantRead();
  }

  grant(stream: LaneStream, bytes: number): void {
    this.output.frames.number(FrameType.WINDOW, stream.id, bytes);
    this.output.flushSoon();
  }

  ended(stream: LaneStream): void {
    const slot = stream.id & SLOT_MASK;
    if (this.streams[slot] === stream) this.streams[slot] = undefined;
  }
}
