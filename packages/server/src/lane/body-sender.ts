/** Sends the body of one response as fast as the balancer takes it, in turns with other bodies. */
import type { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FRAME_HEADER_BYTES, FrameType, MAX_DATA_BYTES } from "@paceline/wire/lane/protocol";
import type { FileBody } from "../kinds/static/file-body.js";
import type { BlockWriter } from "./response-reader.js";

/** Smaller blocks are copied and wait for the flush; larger ones wait for their turn. In bytes. */
export const SMALL_BODY_BYTES = 16_384;

/** Small blocks of bodies that are sent in turns are collected, because each would be a frame and a write to its client. */
const GATHERED_BYTES = 4096;
/** How long blocks of a body whose next block is always ready are collected, in milliseconds. */
const GATHER_MS = 4;
const MAX_SPARE_BUFFERS = 8;
const spareBuffers: Buffer[] = [];

/** What a sender needs of its lane. */
export interface BodyLane {
  readonly frames: FrameBuffer;
  /** Whether the queue is full, so that no more body is added. */
  readonly isFull: boolean;
  /** Queues a sender with bytes: `sendSome` is called in its turn. */
  queue(sender: BodySender): void;
  flushSoon(): void;
}

/** What a sender needs of its stream. */
export interface BodyOwner {
  readonly id: number;
  /** The lines of the trailers that follow a body without a length. */
  readonly trailers: string;
  /** Called when the last byte was passed to the lane. */
  onBodyEnd(): void;
  failed(error: unknown): void;
  onError(error: unknown): void;
}

export class BodySender implements BlockWriter {
  /** Whether the sender is in the lane's queue. */
  isQueued = false;
  private gathered: Buffer | undefined;
  private gatheredLength = 0;
  /** Set while collected blocks wait for more, although nothing else waits. */
  private gatherTimer: NodeJS.Timeout | undefined;
  private isHasty = false;
  private pending: Uint8Array | undefined;
  private file: FileBody | undefined;
  private sent = 0;
  private isLast = false;
  private isOver = false;
  private wake: (() => void) | undefined;

  constructor(
    private readonly lane: BodyLane,
    private readonly owner: BodyOwner,
    /** The number of bytes that the balancer still accepts. */
    private window: number,
    /** The number of missing bytes of a body with a known length; Infinity otherwise. */
    private owed: number,
  ) {}

  /** Sends the whole body at once. */
  sendAll(bytes: Uint8Array): void {
    this.isLast = true;
    this.pending = bytes;
    this.lane.queue(this);
  }

  /** Sends a file as the body, reading it only when it can be sent: a slow reader costs no memory. */
  sendFile(file: FileBody): void {
    this.file = file;
    this.lane.queue(this);
  }

  fit(block: Uint8Array): Uint8Array {
    if (block.length <= this.owed) return block;
    this.owner.onError(new TypeError("the response's body is longer than its Content-Length; the rest is dropped"));
    return block.subarray(0, this.owed);
  }

  /** @param block as `fit` returned it, or of a body without a declared length */
  write(block: Uint8Array): boolean {
    this.owed -= block.length;
    if (block.length <= this.window && block.length <= SMALL_BODY_BYTES && !this.lane.isFull) {
      this.window -= block.length;
      if (this.isHasty || this.gatheredLength > 0 || this.lane.frames.isPieceOfOther(this.owner.id)) this.gather(block);
      else {
        this.lane.frames.data(this.owner.id, block, 0, block.length);
        this.lane.flushSoon();
      }
      return true;
    }
    this.pending = block;
    this.sent = 0;
    this.lane.queue(this);
    return false;
  }

  private gather(block: Uint8Array): void {
    if (this.gatheredLength + block.length > GATHERED_BYTES) {
      this.sendGathered();
      this.lane.flushSoon();
    }
    if (block.length > GATHERED_BYTES) {
      this.lane.frames.data(this.owner.id, block, 0, block.length);
      return this.lane.flushSoon();
    }
    this.gathered ??= spareBuffers.pop() ?? Buffer.allocUnsafeSlow(GATHERED_BYTES);
    this.gathered.set(block, this.gatheredLength);
    this.gatheredLength += block.length;
    if (this.isHasty) this.gatherTimer ??= setTimeout(this.sendLate, GATHER_MS);
    else this.lane.queue(this);
  }

  hasten(): void {
    this.isHasty = true;
  }

  private readonly sendLate = (): void => {
    this.gatherTimer = undefined;
    // The source must report again that its next block is ready.
    this.isHasty = false;
    this.sendGathered();
    this.lane.flushSoon();
  };

  private sendGathered(): void {
    if (this.gathered === undefined) return;
    this.lane.frames.data(this.owner.id, this.gathered, 0, this.gatheredLength);
    this.dropGathered();
  }

  private dropGathered(): void {
    if (this.gathered === undefined) return;
    if (spareBuffers.length < MAX_SPARE_BUFFERS) spareBuffers.push(this.gathered);
    this.gathered = undefined;
    this.gatheredLength = 0;
    clearTimeout(this.gatherTimer);
    this.gatherTimer = undefined;
  }

  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
      if (this.isOver || this.pending === undefined) resolve();
    });
  }

  /** @throws TypeError if the body is shorter than declared */
  endBody(): void {
    if (this.owed > 0 && this.owed !== Number.POSITIVE_INFINITY) {
      throw new TypeError("the response's body is shorter than its Content-Length");
    }
    this.sendGathered();
    const { id, trailers } = this.owner;
    if (trailers !== "" && this.owed === Number.POSITIVE_INFINITY)
      this.lane.frames.copy(FrameType.TRAILERS, id, Buffer.from(trailers, "latin1"), 0, trailers.length);
    this.lane.frames.empty(FrameType.END, id);
    this.lane.flushSoon();
    this.owner.onBodyEnd();
  }

  failed(error: unknown): void {
    this.owner.failed(error);
  }

  onWindow(bytes: number): void {
    this.window += bytes;
    if (this.pending !== undefined || this.file !== undefined) this.lane.queue(this);
  }

  /** Whether it has little to send. */
  get isShort(): boolean {
    const { pending, file } = this;
    const left = file?.remaining ?? (pending === undefined ? 0 : pending.length - this.sent);
    return left <= SMALL_BODY_BYTES;
  }

  /** Sends queued bytes up to one turn's share; returns false if nothing more can be sent now. */
  sendSome(): boolean {
    this.sendGathered();
    const { pending, file } = this;
    if (file !== undefined) return this.sendOf(file);
    if (pending === undefined) return false;
    const size = Math.min(pending.length - this.sent, this.window, MAX_DATA_BYTES);
    if (size === 0) return false;
    const from = this.sent;
    this.sent += size;
    this.window -= size;
    const isWhole = this.sent === pending.length;
    const type = isWhole && this.isLast ? FrameType.END : FrameType.DATA;
    this.lane.frames.copy(type, this.owner.id, pending, from, this.sent);
    if (!isWhole) return true;
    this.pending = undefined;
    if (this.isLast) this.owner.onBodyEnd();
    else this.wake?.();
    return false;
  }

  /** Reads the file directly into a frame. */
  private sendOf(file: FileBody): boolean {
    const { frames } = this.lane;
    const most = Math.min(file.remaining, this.window, MAX_DATA_BYTES);
    if (most === 0) return false;
    frames.reserve(FRAME_HEADER_BYTES + most);
    const at = frames.length;
    let size: number;
    try {
      size = file.readInto(frames.bytes, at + FRAME_HEADER_BYTES, most);
    } catch (error) {
      this.owner.failed(error);
      return false;
    }
    this.window -= size;
    const isLast = file.remaining === 0;
    frames.header(isLast ? FrameType.END : FrameType.DATA, this.owner.id, size);
    frames.length += size;
    if (!isLast) return true;
    this.file = undefined;
    this.owner.onBodyEnd();
    return false;
  }

  /** Stops sending and drops the queue. */
  stop(): void {
    this.isOver = true;
    this.dropGathered();
    this.pending = undefined;
    this.file?.close();
    this.file = undefined;
    this.wake?.();
  }
}
