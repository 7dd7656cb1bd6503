/** Splits the bytes of a lane into frames, regardless of how they were split into reads. Pure: no sockets. */
import { FRAME_HEADER_BYTES, FrameType, PAYLOAD_BOUNDS, readUint24, readUint32 } from "./protocol.js";

/** Receives frames. Their bytes are in the read buffer, or in a buffer that is not reused. */
export interface FrameSink {
  /** Receives a complete frame other than DATA and END. */
  onFrame(type: number, stream: number, bytes: Buffer, start: number, end: number): void;
  /** Receives a piece of a DATA or END frame as it arrives. `isLast` is set for the last piece of an END, which may be empty. */
  onBody(stream: number, bytes: Buffer, start: number, end: number, isLast: boolean): void;
}

/** Decodes one direction of one lane. */
export class FrameDecoder {
  /** What is wrong with the bytes; empty if they are valid. After an error nothing more is read. */
  problem = "";
  /** An incomplete frame, with room for all of it once its header is known, and its length so far. */
  private held: Buffer | undefined;
  private heldLength = 0;
  /** For the frame of a body: the number of bytes to come, its stream, and whether it is the last frame. */
  private bodyLeft = 0;
  private bodyStream = 0;
  private isLastFrame = false;

  /** Passes on every frame and every piece of a body in these bytes. Returns false if they are invalid; see `problem`. */
  read(received: Buffer, sink: FrameSink): boolean {
    if (this.problem !== "") return false;
    let at = 0;
    while (this.held !== undefined) {
      // Only the incomplete frame is joined. The following ones are read in place.
      const whole = wholeLength(this.held, this.heldLength);
      const count = Math.min(whole - this.heldLength, received.length - at);
      this.hold(received, at, at + count, whole);
      at += count;
      if (this.heldLength < whole) return true;
      const frame = this.held.subarray(0, whole);
      this.held = undefined;
      this.heldLength = 0;
      if (this.readFrames(frame, 0, sink)) continue;
      return false;
    }
    return this.readFrames(received, at, sink);
  }

  private readFrames(bytes: Buffer, start: number, sink: FrameSink): boolean {
    const { length } = bytes;
    let at = start;
    while (at < length) {
      if (this.bodyLeft > 0) {
        at = this.readBody(bytes, at, sink);
        continue;
      }
      if (length - at < FRAME_HEADER_BYTES) break;
      const size = readUint24(bytes, at);
      const type = bytes[at + 3] as number;
      const stream = readUint32(bytes, at + 4);
      const bounds = PAYLOAD_BOUNDS[type];
      if (bounds === undefined || size < bounds[0] || size > bounds[1]) {
        this.problem =
          bounds === undefined ? `a frame of unknown type ${type}` : `a frame of type ${type} with ${size} bytes`;
        return false;
      }
      const payload = at + FRAME_HEADER_BYTES;
      if (type === FrameType.DATA || type === FrameType.END) {
        this.bodyLeft = size;
        this.bodyStream = stream;
        this.isLastFrame = type === FrameType.END;
        at = payload;
        if (size === 0) sink.onBody(stream, bytes, at, at, this.isLastFrame);
        continue;
      }
      if (length - payload < size) break;
      at = payload + size;
      sink.onFrame(type, stream, bytes, payload, at);
    }
    if (at < length) this.hold(bytes, at, length, wholeLength(bytes.subarray(at), length - at));
    return true;
  }

  /** Allocates room for the frame only once, because it may arrive byte by byte. */
  private hold(bytes: Buffer, start: number, end: number, whole: number): void {
    if (this.held === undefined || this.held.length < whole) {
      const room = Buffer.allocUnsafeSlow(whole);
      if (this.held !== undefined) room.set(this.held.subarray(0, this.heldLength));
      this.held = room;
    }
    this.held.set(bytes.subarray(start, end), this.heldLength);
    this.heldLength += end - start;
  }

  private readBody(bytes: Buffer, at: number, sink: FrameSink): number {
    const end = Math.min(bytes.length, at + this.bodyLeft);
    this.bodyLeft -= end - at;
    sink.onBody(this.bodyStream, bytes, at, end, this.isLastFrame && this.bodyLeft === 0);
    return end;
  }
}

/** Returns the length of an incomplete frame, or of its header if that is incomplete. */
function wholeLength(frame: Uint8Array, length: number): number {
  return length < FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + readUint24(frame, 0);
}
