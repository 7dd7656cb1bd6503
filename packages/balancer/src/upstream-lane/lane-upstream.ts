/** The lane to one of our instances: many requests at once on one connection, and one write per turn. */
import type { LaneHello } from "@paceline/wire/lane/hello";
import { FrameType, RESPONSE_WINDOW_BYTES, readUint32 } from "@paceline/wire/lane/protocol";
import { readScoreboard } from "@paceline/wire/lane/scoreboard";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { STALL_TICK_MS } from "../upstreams/stall-watch.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import { WorkMeter } from "../upstreams/work-meter.js";
import { LaneConnection, type LaneConnectionServices } from "./lane-connection.js";
import { putRequest } from "./request-encoder.js";
import { MAX_EXTRA_BYTES } from "./response-window.js";
import type { LaneStream, StreamLane } from "./stream.js";
import { decideOnStalled, lossAtEnd, StreamTable } from "./stream-table.js";
import { SentAtTicks, waitingFor } from "./waiting.js";

interface LaneServices extends LaneConnectionServices {
  /** The maximum number of non-idempotent requests on one lane that have not started. */
  notStartedUnsafeMax: number;
  /** Called when work is in progress; stalls are counted from here. */
  onBusy(): void;
}

/** Above this many queued bytes the lane accepts no new request. */
const MAX_WAITING_BYTES = 1 << 20;

export class LaneUpstreamClient extends LaneConnection implements UpstreamClient, StreamLane {
  readonly isBatched = true;
  /** The instance's initial window for a request's body, from its HELLO. */
  requestWindow = 0;
  /** Bytes of bodies sent and not granted again, over all streams. */
  unread = 0;
  private readonly streams = new StreamTable(this);
  private readonly touched: LaneStream[] = [];
  private notStartedUnsafe = 0;
  /** Requests that were sent and for which no frame has arrived. */
  private unanswered = 0;
  /** Requests that were sent and whose handler is not known to have returned. */
  private notReturned = 0;
  private isRoomDue = false;
  private readonly sentAtTicks = new SentAtTicks();
  /** The number of requests sent on the current lane. */
  private sequence = 0;
  /** Bytes that may still arrive for cancelled streams. */
  private bytesOfCancelled = 0;
  /** Replies to CANCEL and WITHDRAW that have not arrived. */
  private owedCancelled = 0;
  /** The number of this lane in the instance's scoreboard; 0 without one. */
  private number = 0;
  private maxStreams: number;
  private drains = 0;
  private onEmpty: (() => void) | undefined;
  /** The request the instance is running now: its last frame was STARTED. */
  private atWork: LaneStream | undefined;
  /**
   * Without a scoreboard: a request whose client has gone, and which the instance may be running until it sends a frame; empty if
   * it may as well be another one.
   */
  private leftAtWork: string | undefined;

  constructor(
    protected override readonly services: LaneServices,
    path: string,
    private readonly maxRequests: number,
    /** Called when there is room again, or a place for a non-idempotent request. */
    private readonly onRoom: () => void,
    work = new WorkMeter(),
  ) {
    super(services, path, work);
    this.maxStreams = Math.min(maxRequests, 65_535);
    // At once, so that the first requests do not wait for the connection.
    this.connect();
  }

  get connections(): number {
    return this.state === "closed" ? 0 : 1;
  }

  /** Of the requests without a frame, one may be running. */
  get notStarted(): number {
    return Math.max(0, this.unanswered - 1);
  }

  /** The handler of an abandoned request may be running, too, until the instance has replied. */
  get pending(): number {
    return this.notReturned + this.owedCancelled;
  }

  hasRoom(isIdempotent: boolean): boolean {
    if (this.isGoingAway || this.streams.active >= this.maxStreams || this.output.frames.length > MAX_WAITING_BYTES)
      return false;
    return isIdempotent || this.notStartedUnsafe < this.services.notStartedUnsafeMax;
  }

  open(receiver: ResponseReceiver, isIdempotent: boolean): UpstreamStream {
    if (this.state === "closed") this.connect();
    const stream = this.streams.take();
    if (!isIdempotent) this.notStartedUnsafe++;
    const isReady = this.state === "open";
    stream.begin(receiver, isIdempotent, isReady);
    // It waits for HELLO, which may not come.
    if (!isReady) this.services.onBusy();
    return stream;
  }

  protected override connect(): void {
    this.atWork = this.leftAtWork = undefined;
    this.sequence = this.bytesOfCancelled = this.owedCancelled = 0;
    this.sentAtTicks.clear();
    super.connect();
  }

  /** A lane is kept as long as its instance lives; an idle one costs a descriptor. */
  closeIdleSince(): void {}

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    if (this.streams.active === 0) this.close();
  }

  // Called by the transport.

  protected onRefused(): void {
    for (const stream of this.streams.underWay()) stream.lose("refused");
    this.onEmpty?.();
  }

  override onData(bytes: Buffer): boolean {
    super.onData(bytes);
    const { touched } = this;
    for (let i = 0; i < touched.length; i++) {
      const stream = touched[i] as LaneStream;
      stream.isTouched = false;
      stream.receiver?.onResponseBatch();
    }
    touched.length = 0;
    if (this.isRoomDue) {
      this.isRoomDue = false;
      this.onRoom();
    }
    return true;
  }

  override onDrain(): void {
    super.onDrain();
    if (this.output.isBlocked) return;
    const streams = this.streams.underWay();
    // Starts with another stream each time, so that the first ones do not take all the room.
    this.drains++;
    for (let i = 0; i < streams.length; i++) streams[(i + this.drains) % streams.length]?.onLaneDrain();
    this.onRoom();
  }

  protected onLost(wasOpen: boolean): void {
    const work = wasOpen && this.streams.active > 0 ? readScoreboard(this.path, this.number) : undefined;
    const isBehind = this.leftAtWork !== undefined;
    for (const stream of this.streams.underWay()) stream.lose(wasOpen ? lossAtEnd(stream, work, isBehind) : "refused");
    this.onEmpty?.();
  }

  protected onBroken(): void {
    for (const stream of this.streams.underWay()) stream.lose("lost");
    this.onEmpty?.();
  }

  private close(): void {
    if (this.state !== "closed") this.drop();
    this.onEmpty?.();
  }

  // Frames.

  protected onStreamFrame(type: number, id: number, bytes: Buffer, start: number, end: number): void {
    this.atWork = this.leftAtWork = undefined;
    switch (type) {
      case FrameType.RESPONSE: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.stallCount.heard();
        this.returned(stream);
        this.started(stream);
        if (!stream.onResponse(bytes, start, end)) this.break("an invalid response head");
        return;
      }
      case FrameType.STARTED: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.stallCount.heard();
        if (stream.isAnnounced && !stream.hasStarted) this.atWork = stream;
        else this.returned(stream);
        this.started(stream);
        return;
      }
      case FrameType.WINDOW: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.stallCount.heard();
        return stream.onWindow(readUint32(bytes, start));
      }
      case FrameType.FAIL: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.stallCount.heard();
        return stream.lose("broken");
      }
      case FrameType.CANCELLED: {
        if (this.owedCancelled > 0) {
          this.owedCancelled--;
          this.isRoomDue = true;
          this.stallCount.heard();
        }
        const stream = this.streams.find(id);
        if (stream?.isWithdrawn !== true) return;
        stream.isWithdrawn = false;
        if (bytes[start] === 0) stream.lose("notStarted");
        return;
      }
      default:
        this.onLaneFrame(type, bytes, start, end);
    }
  }

  protected onOpen(hello: LaneHello): void {
    this.requestWindow = hello.window;
    this.maxStreams = Math.min(this.maxRequests, hello.maxStreams);
    this.number = hello.number;
    let open = 0;
    for (const stream of this.streams.underWay()) {
      if (stream.state !== "connecting") continue;
      if (++open > this.maxStreams) stream.lose("refused");
      else stream.onReady();
    }
  }

  protected onStreamBody(id: number, bytes: Buffer, start: number, end: number, isLast: boolean): void {
    this.atWork = this.leftAtWork = undefined;
    const stream = this.streams.find(id);
    if (stream === undefined) {
      // The instance could otherwise send such data for ever, which would count as a sign of life.
      this.bytesOfCancelled -= end - start;
      if (this.bytesOfCancelled < 0) this.break("more of a body than was on its way when its stream ended");
      return;
    }
    this.stallCount.heard();
    if (!stream.onBody(bytes, start, end, isLast)) this.break("a body that its head or its window does not allow");
  }

  /** Its handler has returned, and the next one may be called. */
  private returned(stream: LaneStream): void {
    if (!stream.isPending) return;
    stream.isPending = false;
    this.notReturned--;
    this.isRoomDue = true;
  }

  private started(stream: LaneStream): void {
    if (stream.hasStarted) return;
    stream.hasStarted = true;
    this.unanswered--;
    if (stream.isIdempotent) return;
    this.notStartedUnsafe--;
    this.onRoom();
  }

  // Called by the streams.

  sendRequest(stream: LaneStream, request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    stream.sequence = ++this.sequence;
    this.unanswered++;
    stream.isPending = true;
    this.notReturned++;
    putRequest(this.output.frames, stream.id, request, forwarded, isTrusted, stream.isAnnounced);
    this.stallCount.asked();
    this.services.onBusy();
    this.output.flushSoon();
  }

  /** Cancels a request whose response nobody waits for. */
  cancel(stream: LaneStream): void {
    if (stream.receiver === undefined) return;
    if (this.state === "open" && stream.sequence > 0) {
      if (this.number === 0) this.noteLeft(stream);
      this.sendCancel(stream);
      this.output.flushSoon();
    }
    this.release(stream);
    if (this.streams.active === 0 && this.state === "greeting") this.drop();
  }

  private noteLeft(stream: LaneStream): void {
    const { atWork } = this;
    if (this.leftAtWork !== undefined || (atWork?.receiver !== undefined && atWork !== stream)) return;
    this.leftAtWork = this.onlyCandidate() === stream ? stream.receiver?.request.describe() : "";
  }

  private sendCancel(stream: LaneStream): void {
    const most = this.maxStreams * RESPONSE_WINDOW_BYTES + MAX_EXTRA_BYTES;
    this.bytesOfCancelled = Math.min(this.bytesOfCancelled + stream.responseWindow.size, most);
    this.owedCancelled++;
    this.output.frames.empty(FrameType.CANCEL, stream.id);
  }

  /** Fails a request whose response head cannot be forwarded. */
  refuse(stream: LaneStream, problem: string): void {
    this.services.onProblem(`the instance at ${this.path} responded ${problem}`);
    this.sendCancel(stream);
    this.output.flushSoon();
    stream.lose("broken");
  }

  release(stream: LaneStream): void {
    if (!stream.isIdempotent && !stream.hasStarted) this.notStartedUnsafe--;
    if (stream.sequence > 0 && !stream.hasStarted) this.unanswered--;
    this.returned(stream);
    stream.clear();
    this.streams.giveBack(stream);
    if (this.streams.active === 0 && this.onEmpty !== undefined && this.state !== "closed") this.close();
  }

  touch(stream: LaneStream): void {
    if (stream.isTouched) return;
    stream.isTouched = true;
    this.touched.push(stream);
  }

  // Stalls.

  countStall(weight: number): number {
    // A stalled instance stays stalled without requests, so that the next request need not find out.
    if (this.state === "closed" || (this.streams.active === 0 && !this.stallCount.isAwaiting)) return 0;
    // STARTED of one request is not a frame for the others sent with it.
    const ticks = this.tickStall(weight, this.unanswered > 0);
    // During a late tick the instance was perhaps not to blame.
    if (weight === 1) this.moveWaiting();
    return ticks;
  }

  /** Moves requests that have waited behind a running handler for longer than most requests of their pool take. */
  private moveWaiting(): void {
    this.sentAtTicks.tick(this.sequence);
    const { moveAfterMs } = this.work;
    if (moveAfterMs === Number.POSITIVE_INFINITY || this.notStarted === 0) return;
    const unanswered = this.streams.unanswered();
    const upTo = this.sentAtTicks.before(Math.ceil(moveAfterMs / STALL_TICK_MS));
    if (upTo === 0 || unanswered[0] === undefined || unanswered[0].sequence > upTo) return;
    for (const stream of waitingFor(unanswered, readScoreboard(this.path, this.number), upTo)) {
      if (stream.receiver?.canMove !== true) continue;
      this.sendCancel(stream);
      stream.lose("freed");
    }
    this.output.flushSoon();
  }

  /**
   * Reassigns the requests of a stalled instance that have not started: idempotent ones at once, others when the instance
   * confirms it.
   */
  reassign(): void {
    for (const stream of this.streams.underWay()) {
      if (stream.state === "connecting" && stream.receiver?.canMove === true) stream.lose("refused");
    }
    const unanswered = this.streams.unanswered();
    const work = readScoreboard(this.path, this.number);
    const decisions = decideOnStalled(unanswered, work, this.atWork?.receiver !== undefined);
    for (const [at, stream] of unanswered.entries()) {
      const decision = decisions[at];
      const { receiver } = stream;
      const mayGo = decision === "uncertain" && stream.isIdempotent ? receiver?.canRepeat : receiver?.canMove;
      if (decision === "stays" || mayGo !== true) continue;
      if (!stream.isIdempotent) {
        stream.isWithdrawn = true;
        this.owedCancelled++;
        this.output.frames.empty(FrameType.WITHDRAW, stream.id);
        continue;
      }
      this.sendCancel(stream);
      stream.lose(decision === "freed" ? "freed" : "stalled");
    }
    this.output.flushSoon();
  }

  runningRequest(): string | undefined {
    if (this.leftAtWork !== undefined) return this.leftAtWork || undefined;
    const work = readScoreboard(this.path, this.number);
    const stream =
      work?.on === "ours"
        ? this.streams.underWay().find(({ sequence }) => sequence >>> 0 === work.request)
        : work === undefined
          ? this.onlyCandidate()
          : undefined;
    return stream?.receiver?.request.describe();
  }

  /** Without a scoreboard: returns the request that said STARTED last, or the only one there is. */
  private onlyCandidate(): LaneStream | undefined {
    if (this.atWork?.receiver !== undefined) return this.atWork;
    const [first, ...others] = this.streams.underWay();
    return others.length === 0 ? first : undefined;
  }

  overdue(): undefined {
    return undefined;
  }
}
