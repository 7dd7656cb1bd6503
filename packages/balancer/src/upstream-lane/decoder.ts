/** Cuts an instance's bytes into frames, wherever the reads cut them. Pure: no sockets. */
import { BOUNDS, Frame, HEADER_BYTES } from "./protocol.js";

/** Told of each frame; its bytes are good until the call returns. */
export interface LaneSink {
  onFrame(type: number, id: number, bytes: Uint8Array, start: number, end: number): void;
  /** A piece of a DATA or END frame, as it comes; `isLast` with the last piece of an END. */
  onBody(id: number, bytes: Uint8Array, start: number, end: number, isLast: boolean): void;
}

export class LaneDecoder {
  /** Set when a frame is broken: what it was. Nothing is read after it. */
  problem = "";
  /** A frame that has not come whole yet, in room for all of it once its header is there; and how much of it has. */
  private held: Uint8Array | undefined;
  private heldLength = 0;
  /** Of a body's frame: the bytes still to come, its stream, and whether it is the body's last. */
  private bodyLeft = 0;
  private bodyId = 0;
  private isEnd = false;

  /** False: the bytes are no lane's; `problem` says why. */
  read(received: Uint8Array, sink: LaneSink): boolean {
    if (this.problem !== "") return false;
    let at = 0;
    while (this.held !== undefined) {
      // Only the frame that was begun is put together; what follows it is read where it lies.
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

  private readFrames(bytes: Uint8Array, start: number, sink: LaneSink): boolean {
    const { length } = bytes;
    let at = start;
    while (at < length) {
      if (this.bodyLeft > 0) {
        at = this.readBody(bytes, at, sink);
        continue;
      }
      if (length - at < HEADER_BYTES) break;
      const size = uint24(bytes, at);
      const type = bytes[at + 3] as number;
      const id = uint32(bytes, at + 4);
      const bounds = BOUNDS[type];
      if (bounds === undefined || size < bounds[0] || size > bounds[1]) {
        this.problem =
          bounds === undefined ? `a frame of unknown type ${type}` : `a frame of type ${type} with ${size} bytes`;
        return false;
      }
      const payload = at + HEADER_BYTES;
      if (type === Frame.DATA || type === Frame.END) {
        this.bodyLeft = size;
        this.bodyId = id;
        this.isEnd = type === Frame.END;
        at = payload;
        if (size === 0) sink.onBody(id, bytes, at, at, this.isEnd);
        continue;
      }
      if (length - payload < size) break;
      at = payload + size;
      sink.onFrame(type, id, bytes, payload, at);
    }
    if (at < length) this.hold(bytes, at, length, wholeLength(bytes.subarray(at), length - at));
    return true;
  }

  /** A frame may come byte by byte: room is made for it once, and not for each. */
  private hold(bytes: Uint8Array, start: number, end: number, whole: number): void {
    if (this.held === undefined || this.held.length < whole) {
      const room = Buffer.allocUnsafeSlow(whole);
      if (this.held !== undefined) room.set(this.held.subarray(0, this.heldLength));
      this.held = room;
    }
    this.held.set(bytes.subarray(start, end), this.heldLength);
    this.heldLength += end - start;
  }

  private readBody(bytes: Uint8Array, at: number, sink: LaneSink): number {
    const end = Math.min(bytes.length, at + this.bodyLeft);
    this.bodyLeft -= end - at;
    sink.onBody(this.bodyId, bytes, at, end, this.isEnd && this.bodyLeft === 0);
    return end;
  }
}

/** How long a frame that was begun is: its header, or all of it where that is there. */
function wholeLength(begun: Uint8Array, length: number): number {
  return length < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + uint24(begun, 0);
}

function uint24(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
}

export function uint32(bytes: Uint8Array, at: number): number {
  return (uint24(bytes, at) | ((bytes[at + 3] as number) << 24)) >>> 0;
}
