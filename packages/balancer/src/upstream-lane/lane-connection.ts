/**
 * The balancer's end of a lane, without its streams. It connects, sends HELLO, replies to GOAWAY, pings, and closes the lane if it is
 * broken.
 */
import { FrameDecoder, type FrameSink } from "@paceline/wire/lane/frame-decoder";
import { type LaneHello, putHello, readHello } from "@paceline/wire/lane/hello";
import { FrameType, RESPONSE_WINDOW_BYTES, readUint32 } from "@paceline/wire/lane/protocol";
import {
  type Connection,
  type ConnectionOwner,
  type Connector,
  NO_OWNER,
  type Transport,
} from "../transport/transport.js";
import type { WorkMeter } from "../upstreams/work-meter.js";
import { LaneOutput } from "./lane-output.js";
import { MainThread } from "./main-thread.js";
import { MAX_IGNORED_PINGS, StallCounter } from "./stall-counter.js";

export interface LaneConnectionServices {
  transport: Transport;
  /** Receives a line about a broken lane. */
  onProblem(message: string): void;
}

const HELLO = { window: RESPONSE_WINDOW_BYTES, maxStreams: 0, number: 0 };

export abstract class LaneConnection implements FrameSink, ConnectionOwner, Connector {
  readonly output = new LaneOutput();
  readonly sendsMuch = true;
  /** Whether the instance accepts no new requests. */
  isGoingAway = false;
  protected state:
    | "closed"
    | "connecting"
    /** The balancer's HELLO was sent. */
    | "greeting"
    | "open" = "closed";
  private decoder = new FrameDecoder();
  protected stallCount = new StallCounter();
  private pings = 0;
  /** The instance's main thread, if its HELLO named its process. */
  private mainThread: MainThread | undefined;

  constructor(
    protected readonly services: LaneConnectionServices,
    protected readonly path: string,
    /** Receives the CPU cost of the instance's requests. */
    protected readonly work: WorkMeter,
  ) {}

  /** Called when the instance's HELLO has arrived. */
  protected abstract onOpen(hello: LaneHello): void;
  /** Handles a stream frame on an open lane. */
  protected abstract onStreamFrame(type: number, id: number, bytes: Buffer, start: number, end: number): void;
  /** Handles a piece of a body on an open lane. */
  protected abstract onStreamBody(id: number, bytes: Buffer, start: number, end: number, isLast: boolean): void;
  /** Called when no connection could be made. */
  protected abstract onRefused(): void;
  /** Called when the lane has ended, and everything received was processed. */
  protected abstract onLost(wasOpen: boolean): void;
  /** Called when the instance violated the protocol. None of its frames are trusted, and it is unknown which requests had started. */
  protected abstract onBroken(): void;

  protected connect(): void {
    this.state = "connecting";
    this.decoder = new FrameDecoder();
    this.stallCount = new StallCounter();
    // Counts as unanswered until HELLO arrives.
    this.stallCount.asked();
    this.services.transport.connect(this.path, this);
  }

  /** Whether the instance's event loop is running now, as far as the balancer can see. */
  get isLoopRunning(): boolean {
    return this.mainThread?.isRunning() ?? false;
  }

  protected drop(): void {
    this.state = "closed";
    this.mainThread?.close();
    this.output.end()?.close();
  }

  protected break(problem: string): void {
    if (this.state === "closed") return;
    this.services.onProblem(`the lane to ${this.path} was closed: received ${problem}`);
    this.output.frames.close(problem);
    this.output.flushTurn();
    this.drop();
    this.onBroken();
  }

  /**
   * Handles a tick; see StallCounter.
   * @param isOwed whether there are requests for which no frame has arrived
   */
  protected tickStall(weight: number, isOwed: boolean): number {
    const { stallCount } = this;
    const ticks = stallCount.tick(weight, this.ping, isOwed);
    if (!stallCount.hasIgnoredPings) return ticks;
    this.break(`other bytes after each of ${MAX_IGNORED_PINGS} PINGs, and no PONG`);
    return 0;
  }

  protected readonly ping = (): void => {
    this.output.frames.number(FrameType.PING, 0, ++this.pings);
    this.output.flushSoon();
  };

  // Called by the transport:

  onConnected(connection: Connection): ConnectionOwner {
    if (this.state !== "connecting") {
      // The attempt was abandoned meanwhile.
      connection.close();
      return NO_OWNER;
    }
    this.output.begin(connection);
    this.state = "greeting";
    putHello(this.output.frames, HELLO, false);
    this.output.flushTurn();
    return this;
  }

  onConnectFailed(): void {
    if (this.state !== "connecting") return;
    this.state = "closed";
    this.onRefused();
  }

  onData(bytes: Buffer): boolean {
    this.stallCount.received();
    const { decoder } = this;
    // A lane that reconnects has a new decoder, and ignores the rest of the old connection.
    if (!decoder.read(bytes, this) && decoder === this.decoder) this.break(decoder.problem);
    return true;
  }

  onDrain(): void {
    this.output.onDrained();
  }

  onEnd(): void {
    this.lost();
  }

  onClose(): void {
    this.output.end();
    this.lost();
  }

  private lost(): void {
    if (this.state === "closed") return;
    const wasOpen = this.state === "open";
    this.drop();
    this.onLost(wasOpen);
  }

  // Called by the decoder:

  onFrame(type: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.state === "open") return this.onStreamFrame(type, id, bytes, start, end);
    if (this.state !== "greeting") return;
    const hello = readHello(type, bytes, start, end);
    if (typeof hello === "string") return this.break(hello);
    this.state = "open";
    this.mainThread = hello.pid === undefined ? undefined : new MainThread(hello.pid);
    this.stallCount.heard();
    this.onOpen(hello);
  }

  onBody(id: number, bytes: Buffer, start: number, end: number, isLast: boolean): void {
    if (this.state === "open") this.onStreamBody(id, bytes, start, end, isLast);
    else if (this.state === "greeting") this.break("no HELLO at the start");
  }

  /** Handles a frame of the lane itself. Other types are invalid here. */
  protected onLaneFrame(type: number, bytes: Buffer, start: number, end: number): void {
    switch (type) {
      case FrameType.PONG:
        // An unlimited number of PONGs would count as signs of life, and the instance could hold its requests forever.
        if (!this.stallCount.takePong()) this.break("a PONG without a PING");
        return;
      case FrameType.BUSY:
        return;
      case FrameType.COST:
        return this.work.add(readUint32(bytes, start), readUint32(bytes, start + 4));
      case FrameType.GOAWAY:
        // GOAWAY is replied to once, even if it arrives again.
        if (this.isGoingAway) return;
        this.isGoingAway = true;
        this.stallCount.heard();
        // No request follows the reply, so the instance may exit after it has responded to the earlier ones.
        this.output.frames.empty(FrameType.GOAWAY, 0);
        return this.output.flushSoon();
      case FrameType.CLOSE:
        this.services.onProblem(`the instance at ${this.path} closed its lane: ${bytes.toString("utf8", start, end)}`);
        return this.lost();
      default:
        this.break(`a frame of type ${type}, which is not allowed here`);
    }
  }
}

/** A lane that is only for control, beside the HTTP/1.1 connections to an instance whose app is a Node handler. */
export class ControlLane extends LaneConnection {
  /** Whether the HTTP/1.1 server beside it is known to read the trailers of requests. */
  takesTrailers = false;

  constructor(services: LaneConnectionServices, path: string, work: WorkMeter) {
    super(services, path, work);
    this.connect();
  }

  /**
   * Called at each tick. Returns the number of consecutive stalled ticks.
   * @param isBusy whether requests are in flight
   */
  countStall(weight: number, isBusy: boolean): number {
    // A stalled instance stays stalled while it has no requests. Otherwise the next request would have to detect the stall.
    if (this.state === "closed" || !(isBusy || this.stallCount.isAwaiting)) return 0;
    return this.tickStall(weight, false);
  }

  /** Whether a reply of the instance is due. */
  get isAwaiting(): boolean {
    return this.state !== "closed" && this.stallCount.isAwaiting;
  }

  /** Asks the instance to reply, to see whether its event loop turns. */
  ask(): void {
    if (this.state === "open") this.stallCount.askNow(this.ping);
  }

  close(): void {
    if (this.state !== "closed") this.drop();
  }

  protected onOpen(hello: LaneHello): void {
    this.takesTrailers = hello.takesTrailers === true;
  }

  protected onStreamFrame(type: number, _id: number, bytes: Buffer, start: number, end: number): void {
    this.onLaneFrame(type, bytes, start, end);
  }

  protected onStreamBody(): void {
    this.break("a body on a lane that is only for control");
  }

  // Without this lane, the instance is only not monitored. Its requests do not depend on the lane.
  protected onRefused(): void {}
  protected onLost(): void {}
  protected onBroken(): void {}
}
