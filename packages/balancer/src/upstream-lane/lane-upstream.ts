/** The lane to one of our instances: many requests at once on one connection, and what each turn produced in one write. */
import type { LaneHello } from "@paceline/wire/lane/hello";
import { FrameType, RESPONSE_WINDOW_BYTES, readUint32 } from "@paceline/wire/lane/protocol";
import { readScoreboard } from "@paceline/wire/lane/scoreboard";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import type { ResponseReceiver, UpstreamClient, UpstreamStream } from "../upstreams/upstream-client.js";
import { LaneConnection, type LaneConnectionServices } from "./lane-connection.js";
import { putRequest } from "./request-encoder.js";
import { fatesOf, lossAtEnd } from "./stalled.js";
import type { LaneStream, StreamLane } from "./stream.js";
import { StreamTable } from "./stream-table.js";

interface LaneServices extends LaneConnectionServices {
  /** Non-idempotent requests that may wait not started on one lane. */
  notStartedUnsafeMax: number;
  /** Work is under way: silence counts from here. */
  onBusy(): void;
}

/** With more than this waiting to be written the lane takes no new request. */
const MAX_WAITING_BYTES = 1 << 20;

export class LaneUpstreamClient extends LaneConnection implements UpstreamClient, StreamLane {
  /** What the instance takes of a request's body before it grants more, as it said. */
  requestWindow = 0;
  /** What was sent of bodies and not granted anew, of all streams. */
  unread = 0;
  private readonly streams = new StreamTable(this);
  private readonly touched: LaneStream[] = [];
  private notStartedUnsafe = 0;
  /** Requests that were sent and of which nothing was heard. */
  private unanswered = 0;
  /** Requests sent over the lane as it is now. */
  private sequence = 0;
  /** What may be on its way of the bodies of streams that were cancelled. */
  private bytesOfCancelled = 0;
  /** What the instance calls this lane in its scoreboard; 0 when it keeps none. */
  private number = 0;
  private maxStreams: number;
  private drains = 0;
  private onEmpty: (() => void) | undefined;
  /** The stream of the last frame heard, when that said before it began that it does: it is the one at work. */
  private atWork: LaneStream | undefined;

  constructor(
    protected override readonly services: LaneServices,
    path: string,
    private readonly maxRequests: number,
    /** There is room again, or a place for a non-idempotent request. */
    private readonly onRoom: () => void,
  ) {
    super(services, path);
    this.maxStreams = Math.min(maxRequests, 65_535);
    // At once, lest the first requests wait for it out of their turn.
    this.connect();
  }

  get connections(): number {
    return this.state === "closed" ? 0 : 1;
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
    // It waits for the HELLO, which may not come.
    if (!isReady) this.services.onBusy();
    return stream;
  }

  protected override connect(): void {
    this.atWork = undefined;
    this.sequence = this.bytesOfCancelled = 0;
    super.connect();
  }

  /** A lane is kept as long as its instance is; an idle one costs a descriptor. */
  closeIdleSince(): void {}

  leave(onEmpty: () => void): void {
    this.onEmpty = onEmpty;
    if (this.streams.active === 0) this.close();
  }

  // From the transport.

  protected onRefused(): void {
    for (const stream of this.streams.underWay()) stream.lose("refused");
    this.onEmpty?.();
  }

  override onData(bytes: Buffer): boolean {
    super.onData(bytes);
    for (const stream of this.touched.splice(0)) {
      stream.isTouched = false;
      stream.receiver?.onResponseBatch();
    }
    return true;
  }

  override onDrain(): void {
    super.onDrain();
    if (this.output.isBlocked) return;
    const streams = this.streams.underWay();
    // Another begins each time, lest the first ones take all the room there is.
    this.drains++;
    for (let i = 0; i < streams.length; i++) streams[(i + this.drains) % streams.length]?.onLaneDrain();
    this.onRoom();
  }

  protected onLost(wasOpen: boolean): void {
    const work = wasOpen && this.streams.active > 0 ? readScoreboard(this.path, this.number) : undefined;
    for (const stream of this.streams.underWay()) stream.lose(wasOpen ? lossAtEnd(stream, work) : "refused");
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
    this.atWork = undefined;
    switch (type) {
      case FrameType.RESPONSE: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.begun(stream);
        if (!stream.onResponse(bytes, start, end)) this.break("an invalid response head");
        return;
      }
      case FrameType.STARTED: {
        const stream = this.streams.find(id);
        if (stream === undefined) return;
        this.begun(stream);
        if (stream.isAnnounced) this.atWork = stream;
        return;
      }
      case FrameType.WINDOW:
        return this.streams.find(id)?.onWindow(readUint32(bytes, start));
      case FrameType.FAIL:
        return this.streams.find(id)?.lose("broken");
      case FrameType.CANCELLED: {
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
    this.atWork = undefined;
    const stream = this.streams.find(id);
    if (stream === undefined) {
      // Any byte is a sign of life: an instance that says this over and over would hold its requests for ever.
      this.bytesOfCancelled -= end - start;
      if (this.bytesOfCancelled < 0) this.break("more of a body than was on its way when its stream ended");
      return;
    }
    if (!stream.onBody(bytes, start, end, isLast)) this.break("a body that its head or its window does not allow");
  }

  private begun(stream: LaneStream): void {
    if (stream.hasBegun) return;
    stream.hasBegun = true;
    this.unanswered--;
    if (stream.isIdempotent) return;
    this.notStartedUnsafe--;
    this.onRoom();
  }

  // From the streams.

  sendRequest(stream: LaneStream, request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    stream.sequence = ++this.sequence;
    this.unanswered++;
    putRequest(this.output.frames, stream.id, request, forwarded, isTrusted, stream.isAnnounced);
    this.stallCount.asked();
    this.services.onBusy();
    this.output.flushSoon();
  }

  /** Nobody waits for its response any more. */
  cancel(stream: LaneStream): void {
    if (stream.receiver === undefined) return;
    if (this.state === "open" && stream.sequence > 0) {
      this.sendCancel(stream);
      this.output.flushSoon();
    }
    this.release(stream);
    if (this.streams.active === 0 && this.state === "greeting") this.drop();
  }

  private sendCancel(stream: LaneStream): void {
    const most = this.maxStreams * RESPONSE_WINDOW_BYTES;
    this.bytesOfCancelled = Math.min(this.bytesOfCancelled + RESPONSE_WINDOW_BYTES, most);
    this.output.frames.empty(FrameType.CANCEL, stream.id);
  }

  /** Its response's head cannot be passed on. */
  refuse(stream: LaneStream, problem: string): void {
    this.services.onProblem(`the instance at ${this.path} responded ${problem}`);
    this.sendCancel(stream);
    this.output.flushSoon();
    stream.lose("broken");
  }

  release(stream: LaneStream): void {
    if (!stream.isIdempotent && !stream.hasBegun) this.notStartedUnsafe--;
    if (stream.sequence > 0 && !stream.hasBegun) this.unanswered--;
    stream.clear();
    this.streams.giveBack(stream);
    if (this.streams.active === 0 && this.onEmpty !== undefined && this.state !== "closed") this.close();
  }

  touch(stream: LaneStream): void {
    if (stream.isTouched) return;
    stream.isTouched = true;
    this.touched.push(stream);
  }

  // Silence.

  countStall(weight: number): number {
    // One that was silent stays so without requests, lest the next request finds it out anew.
    if (this.state === "closed" || (this.streams.active === 0 && !this.stallCount.isAwaiting)) return 0;
    // The STARTED of one request is no response to those that were sent with it.
    return this.tickStall(weight, this.unanswered > 0);
  }

  /**
   * The instance answers nothing. Its requests that have not begun go elsewhere: those that are idempotent at once, the
   * others when it says that they have not.
   */
  reassign(): void {
    for (const stream of this.streams.underWay()) {
      if (stream.state === "connecting" && stream.receiver?.canMove === true) stream.lose("refused");
    }
    const unanswered = this.streams.unanswered();
    const work = readScoreboard(this.path, this.number);
    const fates = fatesOf(unanswered, work, this.atWork?.receiver !== undefined);
    for (const [at, stream] of unanswered.entries()) {
      const fate = fates[at];
      const { receiver } = stream;
      const mayGo = fate === "suspect" && stream.isIdempotent ? receiver?.canRepeat : receiver?.canMove;
      if (fate === "stays" || mayGo !== true) continue;
      if (!stream.isIdempotent) {
        stream.isWithdrawn = true;
        this.output.frames.empty(FrameType.WITHDRAW, stream.id);
        continue;
      }
      this.sendCancel(stream);
      stream.lose(fate === "freed" ? "freed" : "stalled");
    }
    this.output.flushSoon();
  }

  runningRequest(): string | undefined {
    const work = readScoreboard(this.path, this.number);
    const stream =
      work?.on === "ours"
        ? this.streams.underWay().find(({ sequence }) => sequence >>> 0 === work.request)
        : work === undefined
          ? this.onlyCandidate()
          : undefined;
    return stream?.receiver?.describeRequest();
  }

  /** Without a mark: the one that it said it is at work on, or the only one it has. */
  private onlyCandidate(): LaneStream | undefined {
    if (this.atWork?.receiver !== undefined) return this.atWork;
    const [first, ...others] = this.streams.underWay();
    return others.length === 0 ? first : undefined;
  }

  overdue(): undefined {
    return undefined;
  }
}
