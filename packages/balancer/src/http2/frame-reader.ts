/** Splits the bytes of a client into frames, regardless of how they were split into reads (RFC 9113 §4). Pure: no sockets. */
import { giveBack } from "@paceline/wire";
import { ErrorCode, Flag, FRAME_HEADER_BYTES, FrameType, MAX_FRAME_BYTES, readUint24, readUint31 } from "./protocol.js";

export interface FrameSink {
  /** Receives a whole frame other than DATA. Its payload is valid until the call returns. Returns false to stop. */
  onFrame(type: number, flags: number, stream: number, bytes: Buffer, start: number, end: number): boolean;
  /**
   * Called when a DATA frame begins. Returns false to stop.
   * @param bytes the size of its payload with padding; `data` is the size without padding
   * @param isLast whether it is the last frame of its stream
   */
  onDataStart(stream: number, bytes: number, data: number, isLast: boolean): boolean;
  /**
   * Receives a piece of a DATA frame as it arrives. Returns false to stop.
   * @param padding bytes of the frame in addition to the piece
   * @param isLast whether it is the last piece of the frame, and the frame the last one of its stream
   */
  onData(stream: number, bytes: Buffer, start: number, end: number, padding: number, isLast: boolean): boolean;
}

const FIRST_HELD_BYTES = 512;
const LARGEST_FRAME_BYTES = FRAME_HEADER_BYTES + MAX_FRAME_BYTES;

/** Reads one client's frames. */
export class FrameReader {
  /** The error in the bytes, one of ErrorCode. After an error nothing more is read. */
  error: number = ErrorCode.NO_ERROR;
  /** An incomplete frame, and its length so far. */
  private held: Buffer | undefined;
  private heldLength = 0;
  /** Reads that wait because the sink has stopped, and the position in the first one. */
  private waiting: Buffer[] = [];
  private waitingAt = 0;
  /** Reads that have waited and are used up. */
  private spent: Buffer[] = [];
  private isStopped = false;
  // The DATA frame that is arriving.
  private dataLeft = 0;
  private paddingLeft = 0;
  private dataStream = 0;
  private endsStream = false;

  /** Whether part of a frame other than DATA has arrived. */
  get isPartial(): boolean {
    return this.held !== undefined;
  }

  /** Whether bytes wait because the sink has stopped. */
  get isWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** Whether part of these bytes waits here. */
  holds({ buffer }: Uint8Array): boolean {
    return this.waiting.some((bytes) => bytes.buffer === buffer);
  }

  /** Passes on the frames in these bytes, unless the sink has stopped. Returns false after an error. */
  read(received: Buffer, sink: FrameSink): boolean {
    if (this.waiting.length > 0) {
      this.waiting.push(received);
      return true;
    }
    return this.readFrom(received, 0, sink);
  }

  /** Continues after a stop. Returns false after an error. */
  readOn(sink: FrameSink): boolean {
    this.isStopped = false;
    while (this.waiting.length > 0 && !this.isStopped) {
      const bytes = this.waiting.shift() as Buffer;
      const rest = this.waiting;
      this.waiting = [];
      if (!this.readFrom(bytes, this.waitingAt, sink)) return false;
      if (this.waiting.length === 0) {
        this.waitingAt = 0;
        this.spent.push(bytes);
      }
      this.waiting.push(...rest);
    }
    return true;
  }

  clear(): void {
    this.held = undefined;
    this.heldLength = 0;
    this.spent.push(...this.waiting);
    this.waiting = [];
    this.dataLeft = 0;
  }

  /** Frees reads that have waited, if no other code has parts of them. The garbage collector would let many of them accumulate. */
  freeSpent(mayFree: boolean): void {
    for (const bytes of this.spent) if (mayFree && bytes.length === bytes.buffer.byteLength) giveBack(bytes);
    this.spent.length = 0;
  }

  private readFrom(bytes: Buffer, start: number, sink: FrameSink): boolean {
    this.isStopped = false;
    let at = start;
    while (this.held !== undefined) {
      const whole = wholeLength(this.held, this.heldLength);
      if (whole < 0) return this.fail(ErrorCode.FRAME_SIZE_ERROR);
      const count = Math.min(whole - this.heldLength, bytes.length - at);
      this.hold(bytes, at, at + count);
      at += count;
      if (this.heldLength < whole) return true;
      // Completes only the header: the payload of a DATA is read in place, and so is the rest of another frame that has arrived whole.
      if (whole <= FRAME_HEADER_BYTES + 1 && wholeLength(this.held, whole) > whole) continue;
      const frame = this.held.subarray(0, whole);
      this.held = undefined;
      this.heldLength = 0;
      if (!this.readFrames(frame, 0, sink)) return false;
      if (this.isStopped) return this.wait(bytes, at);
    }
    return this.readFrames(bytes, at, sink);
  }

  /** Keeps the bytes after a stop. */
  private wait(bytes: Buffer, at: number): true {
    if (at < bytes.length) {
      this.waiting.push(bytes);
      this.waitingAt = at;
    }
    return true;
  }

  private readFrames(bytes: Buffer, start: number, sink: FrameSink): boolean {
    const { length } = bytes;
    let at = start;
    while (at < length) {
      if (this.isStopped) return this.wait(bytes, at);
      if (this.dataLeft > 0) {
        at = this.readData(bytes, at, sink);
        continue;
      }
      if (length - at < FRAME_HEADER_BYTES) break;
      const size = readUint24(bytes, at);
      if (size > MAX_FRAME_BYTES) return this.fail(ErrorCode.FRAME_SIZE_ERROR);
      const type = bytes[at + 3] as number;
      const flags = bytes[at + 4] as number;
      const payload = at + FRAME_HEADER_BYTES;
      const stream = readUint31(bytes, at + 5);
      if (type === FrameType.DATA) {
        const isPadded = (flags & Flag.PADDED) !== 0;
        if (isPadded && size === 0) return this.fail(ErrorCode.FRAME_SIZE_ERROR);
        if (isPadded && payload === length) break;
        at = this.startData(bytes, payload, stream, size, flags, sink);
        if (at < 0) return false;
        continue;
      }
      if (length - payload < size) break;
      at = payload + size;
      if (!sink.onFrame(type, flags, stream, bytes, payload, at)) this.isStopped = true;
    }
    if (at < length) this.hold(bytes, at, length);
    return true;
  }

  private fail(error: number): false {
    this.error = error;
    return false;
  }

  /** Returns the position after the header and the length of the padding; -1 after an error. */
  private startData(
    bytes: Buffer,
    payload: number,
    stream: number,
    size: number,
    flags: number,
    sink: FrameSink,
  ): number {
    const isPadded = (flags & Flag.PADDED) !== 0;
    const padding = isPadded ? (bytes[payload] as number) : 0;
    const around = isPadded ? padding + 1 : 0;
    if (stream === 0 || around > size) {
      this.fail(ErrorCode.PROTOCOL_ERROR);
      return -1;
    }
    const at = isPadded ? payload + 1 : payload;
    this.dataStream = stream;
    this.endsStream = (flags & Flag.END_STREAM) !== 0;
    this.paddingLeft = padding;
    this.dataLeft = size - (isPadded ? 1 : 0);
    if (!sink.onDataStart(stream, size, size - around, this.endsStream)) this.isStopped = true;
    if (this.dataLeft === 0 || this.dataLeft === padding) {
      // The frame has only padding and no data, which one empty piece reports.
      if (!sink.onData(stream, bytes, at, at, around, this.endsStream)) this.isStopped = true;
      this.endsStream = false;
    } else if (isPadded && !sink.onData(stream, bytes, at, at, around, false)) this.isStopped = true;
    return at;
  }

  private readData(bytes: Buffer, at: number, sink: FrameSink): number {
    const data = Math.min(this.dataLeft - this.paddingLeft, bytes.length - at);
    if (data > 0) {
      this.dataLeft -= data;
      const isLast = this.endsStream && this.dataLeft === this.paddingLeft;
      if (!sink.onData(this.dataStream, bytes, at, at + data, 0, isLast)) this.isStopped = true;
      return at + data;
    }
    // The padding was counted at the beginning of the frame.
    const padding = Math.min(this.dataLeft, bytes.length - at);
    this.dataLeft -= padding;
    this.paddingLeft -= padding;
    return at + padding;
  }

  /** Keeps part of a frame in a buffer that grows as bytes arrive, because many clients may begin a large frame. */
  private hold(bytes: Buffer, start: number, end: number): void {
    const length = this.heldLength + end - start;
    if (this.held === undefined || this.held.length < length) {
      const room = Buffer.allocUnsafeSlow(Math.min(LARGEST_FRAME_BYTES, Math.max(FIRST_HELD_BYTES, 2 * length)));
      if (this.held !== undefined) this.held.copy(room, 0, 0, this.heldLength);
      this.held = room;
    }
    bytes.copy(this.held, this.heldLength, start, end);
    this.heldLength = length;
  }
}

/**
 * Returns how many bytes of an incomplete frame are needed to continue: the header, the frame, or the beginning of a DATA. Returns -1 if
 * the frame is too large.
 */
function wholeLength(frame: Uint8Array, length: number): number {
  if (length < FRAME_HEADER_BYTES) return FRAME_HEADER_BYTES;
  const size = readUint24(frame, 0);
  if (size > MAX_FRAME_BYTES) return -1;
  if (frame[3] !== FrameType.DATA) return FRAME_HEADER_BYTES + size;
  return FRAME_HEADER_BYTES + (((frame[4] as number) & Flag.PADDED) !== 0 && size > 0 ? 1 : 0);
}
