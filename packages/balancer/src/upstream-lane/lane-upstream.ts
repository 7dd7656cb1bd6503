/** The lane to one of our instances: many requests at once on one connection, and one write per turn. */
import type { LaneHello } from "@paceline/wire/lane/hello";
import { FrameType, LITTLE_VERSION, MAX_DATA_BYTES, readUint32, TRAILERS_VERSION } from "@paceline/wire/lane/protocol";
import { readScoreboard } from "@paceline/wire/lane/scoreboard";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { atTurnEnd } from "../loop-turn.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import { WorkMeter } from "../upstreams/work-meter.js";
import type { LaneConnectionServices } from "./lane-connection.js";
import { LaneStalls } from "./lane-stalls.js";
import type { LaneStream, StreamLane } from "./lane-stream.js";
import { putRequest } from "./request-encoder.js";
import { lossAtEnd, StreamTable } from "./stream-table.js";

interface LaneServices extends LaneConnectionServices {
  /** The maximum number of non-idempotent requests on one lane that have not started. */
  notStartedUnsafeMax: number;
  /** Called when work is in progress, which starts the detection of stalls. */
  onBusy(): void;
  /** The memory for responses that clients have not read. */
  readonly unread?: { readonly spareBytes: number };
}

/** The lane accepts no new request while more bytes than this are queued. */
const MAX_WAITING_BYTES = 1 << 20;

export class LaneUpstreamClient extends LaneStalls implements UpstreamClient, StreamLane {
  readonly isBatched = true;
  /** The instance's initial window for a request's body, from its HELLO. */
  requestWindow = 0;
  /** The maximum payload of DATA for the instance, in bytes. */
  maxDataBytes = MAX_DATA_BYTES;
  /** Whether the instance supports TRAILERS. */
  takesTrailers = false;
  /** Whether the instance supports the flag LITTLE. */
  private takesLittle = false;
  /** The number of bytes of bodies that were sent and not granted again, over all streams. */
  unread = 0;
  protected readonly streams = new StreamTable(this);
  private readonly touched: LaneStream[] = [];
  private notStartedUnsafe = 0;
  /** The number of sent requests whose handler is not known to have returned. */
  private notReturned = 0;
  private isRoomDue = false;
  returnedAtMs = Number.NEGATIVE_INFINITY;
  protected maxStreams: number;
  private drains = 0;
  /** Whether the streams send their waiting bytes at the end of this turn. */
  private isSendingDue = false;
  private onEmpty: (() => void) | undefined;

  constructor(
    protected override readonly services: LaneServices,
    path: string,
    private readonly maxRequests: number,
    /** Called when there is room again, or a non-idempotent request may be sent. */
    private readonly onRoom: () => void,
    work = new WorkMeter(),
  ) {
    super(services, path, work);
    this.maxStreams = Math.min(maxRequests, 65_535);
    // Connects at once, so that the first requests do not have to wait.
    this.connect();
  }

  get connections(): number {
    return this.state === "closed" ? 0 : 1;
  }

  /** Includes abandoned requests: their handlers may be running until the instance has replied. */
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
    // The request waits for HELLO, which may never arrive.
    if (!isReady) this.services.onBusy();
    return stream;
  }

  /** A lane is kept while its instance runs; an idle lane costs only a descriptor. */
  closeIdleSince(): void {}

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    if (this.streams.active === 0) this.close();
  }

  // Called by the transport:

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
      // Only now it is known whether the client accepts more.
      stream.grant();
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
    this.sendWaiting();
    this.onRoom();
  }

  onLittleUnread(): void {
    if (!this.isSendingDue) atTurnEnd(this);
    this.isSendingDue = true;
  }

  flushTurn(): void {
    this.isSendingDue = false;
    if (!this.output.isBlocked) this.sendWaiting();
  }

  private sendWaiting(): void {
    const streams = this.streams.underWay();
    // Starts with another stream each time, so that the first streams do not take all the room.
    this.drains++;
    for (let i = 0; i < streams.length; i++) streams[(i + this.drains) % streams.length]?.onLaneDrain();
  }

  protected onLost(wasOpen: boolean): void {
    const work = wasOpen && this.streams.active > 0 ? readScoreboard(this.path, this.number) : undefined;
    const isBehind = this.leftAtWork !== undefined;
    for (const stream of this.streams.underWay()) stream.lose(wasOpen ? lossAtEnd(stream, work, isBehind) : "refused");
    this.onEmpty?.();
  }

  protected onBroken(): void {
    for (const stream of this.streams.underWay()) stream.lose("closed");
    this.onEmpty?.();
  }

  private close(): void {
    if (this.state !== "closed") this.drop();
    this.onEmpty?.();
  }

  // Frames:

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
      case FrameType.TRAILERS: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.stallCount.heard();
        if (!stream.onTrailers(bytes, start, end)) this.break("trailers that its body does not allow");
        return;
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
    this.maxDataBytes = hello.maxDataBytes ?? MAX_DATA_BYTES;
    this.takesTrailers = hello.version >= TRAILERS_VERSION;
    this.takesLittle = hello.version >= LITTLE_VERSION;
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
      // Without this limit, the instance could send such data forever, which would count as a sign of life.
      this.bytesOfCancelled -= end - start;
      if (this.bytesOfCancelled < 0) this.break("more bytes of a body than could be in transit when its stream ended");
      return;
    }
    this.stallCount.heard();
    if (!stream.onBody(bytes, start, end, isLast)) this.break("a body that its head or its window does not allow");
  }

  /** Called when the handler of a request has returned, so that the next handler may be called. */
  private returned(stream: LaneStream): void {
    if (!stream.isPending) return;
    stream.isPending = false;
    this.notReturned--;
    this.isRoomDue = true;
    if (this.work.isLong) this.returnedAtMs = performance.now();
  }

  private started(stream: LaneStream): void {
    if (stream.hasStarted) return;
    stream.hasStarted = true;
    this.unanswered--;
    if (stream.isIdempotent) return;
    this.notStartedUnsafe--;
    this.onRoom();
  }

  // Called by the streams:

  get spareBytes(): number {
    return this.services.unread?.spareBytes ?? Number.POSITIVE_INFINITY;
  }

  sendRequest(stream: LaneStream, request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    stream.sequence = ++this.sequence;
    this.unanswered++;
    stream.isPending = true;
    this.notReturned++;
    const isLittle = this.takesLittle && this.spareBytes === 0;
    stream.responseWindow.begin(isLittle);
    putRequest(this.output.frames, stream.id, request, forwarded, isTrusted, stream.isAnnounced, isLittle);
    this.stallCount.asked();
    this.services.onBusy();
    this.output.flushSoon();
  }

  /** Cancels a request whose response is no longer wanted. */
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

  overdue(): undefined {
    return undefined;
  }
}
