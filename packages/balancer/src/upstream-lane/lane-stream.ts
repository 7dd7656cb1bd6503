/** The balancer's side of one request on a lane; belongs to a slot and is reused with it. */
import { areTrailerLines } from "@paceline/wire";
import { FrameType } from "@paceline/wire/lane/protocol";
import { ResponseStart } from "@paceline/wire/lane/response-head";
import type { ForwardedFields } from "../http1/forwarded.js";
import type { RequestHead } from "../http1/request-head.js";
import { ResponseHead } from "../http1/response-head.js";
import { WaitingBytes } from "../transport/buffers.js";
import {
  InterimBound,
  type ResponseReceiver,
  type UpstreamLoss,
  type UpstreamStream,
} from "../upstreams/upstream-client.js";
import type { LaneOutput } from "./lane-output.js";
import { ResponseWindow } from "./response-window.js";

/** The parts of the lane that its streams use. */
export interface StreamLane {
  readonly output: LaneOutput;
  /** The instance's initial window for a request's body, in bytes. */
  readonly requestWindow: number;
  /** The largest payload of DATA that the instance accepts. */
  readonly maxDataBytes: number;
  /** Whether the instance supports TRAILERS. */
  readonly takesTrailers: boolean;
  /** The memory that is left for responses that clients have not read, in bytes. */
  readonly spareBytes: number;
  /** The number of bytes of bodies that were sent and not granted again, over all streams. */
  unread: number;
  sendRequest(stream: LaneStream, request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void;
  /** Cancels a request whose response is no longer wanted. */
  cancel(stream: LaneStream): void;
  /** Fails a request whose response cannot be forwarded. */
  refuse(stream: LaneStream, problem: string): void;
  /** Frees its slot. */
  release(stream: LaneStream): void;
  /** Called when the instance holds little of all bodies again. */
  onLittleUnread(): void;
  /** Registers a stream that received a piece of a body in this read. */
  touch(stream: LaneStream): void;
}

type State =
  | "free"
  /** The lane is being connected. */
  | "connecting"
  /** The request is about to be sent, or was sent. No response head has arrived. */
  | "head"
  /** The response's body is arriving. */
  | "body"
  /** After a 101: bytes pass in both directions. */
  | "tunnel";

/** If an instance holds more bytes of all bodies than this, each stream may only have LITTLE_UNREAD_BYTES there. */
const MUCH_UNREAD_BYTES = 8 << 20;
/** When an instance whose app waits for more bytes has used this many, it grants them again. */
const LITTLE_UNREAD_BYTES = 4096;
/** How many bytes of a body are read before the app has read any of it. */
const FIRST_UNREAD_BYTES = 32_768;

/** One per process: a head is used before the next one is read. */
const head = new ResponseHead();
const responseStart = new ResponseStart();

export class LaneStream implements UpstreamStream {
  /** The slot, with its use count in the upper bits. */
  id: number;
  /** The request's sequence number on the lane; 0 if it was not sent. */
  sequence = 0;
  isIdempotent = true;
  /** Whether the instance sends STARTED before it calls the handler. */
  isAnnounced = false;
  /** Whether the handler was called, as far as known. */
  hasStarted = false;
  isWithdrawn = false;
  /** Whether the request was sent and its handler is not known to have returned. */
  isPending = false;
  state: State = "free";
  receiver: ResponseReceiver | undefined;
  private isHeadRequest = false;
  private isUpgrade = false;
  /** The bytes left in the instance's window for the request's body. */
  private window = 0;
  /** The number of bytes of the body that were sent and not granted again, so that the instance may hold them. */
  private unread = 0;
  /** Bytes that the instance has granted again. */
  private granted = 0;
  /** Grants serve as acknowledgements. */
  readonly seesAcknowledgements = true;
  /** The part of the request's body beyond the window. */
  private readonly waiting = new WaitingBytes();
  private isEndDue = false;
  /** Whether the request's body has no length, so that trailers may follow it, and the trailers that wait with its end. */
  private isChunked = false;
  private trailers: Uint8Array | undefined;
  private isRequestSent = false;
  /** Whether the response's trailers have arrived, which end its body. */
  private hadTrailers = false;
  /** The number of missing bytes of the response; Infinity if its length is unknown. */
  private owed = 0;
  private readonly interims = new InterimBound();
  readonly responseWindow = new ResponseWindow();
  /** Whether the stream is in the lane's list of streams that received a piece of a body in this read. */
  isTouched = false;

  constructor(
    private readonly lane: StreamLane,
    readonly slot: number,
  ) {
    this.id = slot;
  }

  begin(receiver: ResponseReceiver, isIdempotent: boolean, isReady: boolean): void {
    this.receiver = receiver;
    this.isIdempotent = isIdempotent;
    this.isAnnounced = !isIdempotent || receiver.mayHaveStartedElsewhere;
    this.state = isReady ? "head" : "connecting";
    this.sequence = 0;
    this.hasStarted = false;
    this.isWithdrawn = false;
    this.isPending = false;
    this.isEndDue = false;
    this.hadTrailers = false;
    this.granted = 0;
    this.window = this.lane.requestWindow;
  }

  get waitingBytes(): number {
    return this.waiting.length;
  }

  acknowledgedBytes(): number {
    return this.granted;
  }

  get isReady(): boolean {
    return this.state !== "connecting";
  }

  onReady(): void {
    this.state = "head";
    this.window = this.lane.requestWindow;
    this.receiver?.onUpstreamReady();
  }

  // Called by the exchange:

  sendHead(request: RequestHead, forwarded: ForwardedFields, isTrusted: boolean): void {
    this.interims.begin();
    this.isHeadRequest = request.isHead;
    this.isUpgrade = request.isUpgrade;
    this.isChunked = request.framing === "chunked" && !request.isUpgrade;
    this.isRequestSent = request.framing === "none" && !request.isUpgrade;
    this.lane.sendRequest(this, request, forwarded, isTrusted);
  }

  sendBody(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    if (this.waiting.length === 0) at = this.sendPiece(bytes, start, end);
    if (at < end) this.waiting.add(bytes.subarray(at, end));
    return this.takesMore;
  }

  /**
   * Whether to read more from the client. The size of a read cannot be limited, so more is read only while half of the window is open and
   * few bytes have to wait here. An app that does not read gets little. An app that reads gets as much again as it has read. While the
   * instance holds many bytes of all streams, each stream may have only a little.
   */
  private get takesMore(): boolean {
    const { lane } = this;
    if (this.waiting.length > 0 || lane.output.isBlocked || this.window < lane.requestWindow / 2) return false;
    if (this.unread >= FIRST_UNREAD_BYTES && this.unread >= this.granted) return false;
    return lane.unread < MUCH_UNREAD_BYTES || this.unread < LITTLE_UNREAD_BYTES;
  }

  /** How many more bytes of this body the instance may get now. */
  private get allowance(): number {
    if (this.lane.output.isBlocked) return 0;
    return this.lane.unread < MUCH_UNREAD_BYTES
      ? this.window
      : Math.min(this.window, LITTLE_UNREAD_BYTES - this.unread);
  }

  /**
   * Sends as many bytes as the window and the lane allow. Returns the position after them.
   * @param isTransient whether the buffer will be reused
   */
  private sendPiece(bytes: Uint8Array, start: number, end: number, isTransient = false): number {
    let at = start;
    for (let allowance = this.allowance; at < end && allowance > 0; allowance = this.allowance) {
      const size = Math.min(end - at, allowance, this.lane.maxDataBytes);
      this.window -= size;
      this.unread += size;
      this.lane.unread += size;
      this.lane.output.data(this.id, bytes, at, at + size, isTransient);
      at += size;
    }
    this.lane.output.flushSoon();
    return at;
  }

  endBody(trailers?: Uint8Array): void {
    if (this.isRequestSent) return;
    // The request cannot end before the instance has accepted or refused the upgrade.
    if (this.isUpgrade && this.state !== "tunnel") return;
    if (this.waiting.length > 0) {
      this.isEndDue = true;
      this.trailers = trailers;
      return;
    }
    this.isRequestSent = true;
    const { frames } = this.lane.output;
    if (trailers !== undefined && this.isChunked && this.lane.takesTrailers)
      frames.copy(FrameType.TRAILERS, this.id, trailers, 0, trailers.length);
    frames.empty(FrameType.END, this.id);
    this.lane.output.flushSoon();
  }

  flush(): boolean {
    this.lane.output.flushSoon();
    return this.isRequestSent || this.takesMore;
  }

  cancel(): void {
    this.lane.cancel(this);
  }

  pause(staysSmall = false): void {
    this.responseWindow.pause(staysSmall);
  }

  resume(): void {
    this.responseWindow.resume();
    this.grant();
  }

  /** Grants the instance as many bytes as the client has accepted. */
  grant(): void {
    const bytes = this.responseWindow.grant(this.lane.spareBytes);
    if (bytes === 0) return;
    this.lane.output.frames.number(FrameType.WINDOW, this.id, bytes);
    this.lane.output.flushSoon();
  }

  // Called by the lane:

  /** Handles a RESPONSE. Returns false if it is invalid. */
  onResponse(bytes: Uint8Array, start: number, end: number): boolean {
    const { receiver } = this;
    if (receiver === undefined || this.state !== "head") return false;
    if (!responseStart.read(bytes, start, end)) return false;
    const { status, contentLength, isLast, reasonAt, fieldsAt } = responseStart;
    // These are faults of the app, not of the lane, so other requests continue.
    if (!responseStart.isStatusValid || (status === 101 && !this.isUpgrade)) {
      this.lane.refuse(this, `with the status ${status}`);
      return true;
    }
    if (!head.take(status, contentLength, bytes, reasonAt, fieldsAt, end, this.isHeadRequest)) {
      this.lane.refuse(this, "with a head that is not valid, or is too long");
      return true;
    }
    head.handlerMicros = responseStart.handlerMicros;
    this.hasStarted = true;
    if (head.isInterim) {
      const size = end - start;
      if (!this.interims.take(size)) {
        this.lane.refuse(this, "with too many interim responses");
        return true;
      }
      if (!this.responseWindow.take(size)) return false;
      receiver.onResponseHead(head);
      // The receiver may have cancelled meanwhile.
      if (this.receiver !== receiver) return true;
      receiver.onResponseBatch();
      this.grant();
      return true;
    }
    if (status === 101) {
      this.state = "tunnel";
      this.owed = Number.POSITIVE_INFINITY;
    } else {
      this.state = "body";
      this.owed = head.framing === "chunked" ? Number.POSITIVE_INFINITY : head.framing === "length" ? contentLength : 0;
    }
    if (isLast && this.owed > 0 && this.owed !== Number.POSITIVE_INFINITY) return false;
    receiver.onResponseHead(head);
    // The receiver may have cancelled meanwhile.
    if (this.receiver !== receiver) return true;
    if (isLast) this.finish();
    else this.lane.touch(this);
    return true;
  }

  /** Handles a piece of the response's body. Returns false if no body is expected. */
  onBody(bytes: Uint8Array, start: number, end: number, isLast: boolean): boolean {
    const { receiver } = this;
    if (receiver === undefined || (this.state !== "body" && this.state !== "tunnel")) return false;
    const size = end - start;
    this.owed -= size;
    if (this.owed < 0 || (isLast && this.owed > 0 && this.owed !== Number.POSITIVE_INFINITY)) return false;
    if (size > 0) {
      if (this.hadTrailers || !this.responseWindow.take(size)) return false;
      receiver.onBody(bytes, start, end);
      // The receiver may have cancelled meanwhile.
      if (this.receiver !== receiver) return true;
    }
    if (isLast) this.finish();
    else this.lane.touch(this);
    return true;
  }

  /** Handles TRAILERS. Returns false if they are not allowed: they may follow only a body without a length, and only once. */
  onTrailers(bytes: Buffer, start: number, end: number): boolean {
    const { receiver } = this;
    if (receiver === undefined || this.state !== "body" || this.hadTrailers) return false;
    if (this.owed !== Number.POSITIVE_INFINITY) return false;
    this.hadTrailers = true;
    if (!areTrailerLines(bytes.toString("latin1", start, end)))
      this.lane.refuse(this, "with trailers that are not valid");
    else if (receiver.takesTrailers === true) receiver.onTrailers?.(bytes.subarray(start, end));
    return true;
  }

  onWindow(bytes: number): void {
    this.window += bytes;
    this.granted += bytes;
    this.used(Math.min(bytes, this.unread));
    this.sendWaiting();
  }

  /** Records that the instance has used this many bytes. */
  private used(bytes: number): void {
    const { lane } = this;
    const wasMuch = lane.unread >= MUCH_UNREAD_BYTES;
    this.unread -= bytes;
    lane.unread -= bytes;
    if (wasMuch && lane.unread < MUCH_UNREAD_BYTES) lane.onLittleUnread();
  }

  /** Called when the kernel has room again, or the instance holds less of all bodies. */
  onLaneDrain(): void {
    if (this.receiver !== undefined) this.sendWaiting();
  }

  private sendWaiting(): void {
    while (this.waiting.length > 0 && this.allowance > 0) {
      const first = this.waiting.first();
      this.waiting.sent(this.sendPiece(first, 0, first.length, true));
    }
    if (this.waiting.length > 0) return;
    if (this.isEndDue) this.endBody(this.trailers);
    else if (this.takesMore) this.receiver?.onUpstreamDrain();
  }

  private finish(): void {
    const { receiver } = this;
    this.lane.release(this);
    receiver?.onResponseEnd();
  }

  /** Ends the stream without a complete response. */
  lose(loss: UpstreamLoss): void {
    const { receiver, state } = this;
    if (receiver === undefined) return;
    this.lane.release(this);
    receiver.onUpstreamLost(state === "body" || state === "tunnel" ? "broken" : loss);
  }

  /** Frees the slot. */
  clear(): void {
    this.state = "free";
    this.receiver = this.trailers = undefined;
    this.waiting.clear();
    this.used(this.unread);
    this.responseWindow.reset();
    this.id = (this.slot | (((this.id >>> 16) + 1) << 16)) >>> 0;
  }
}
