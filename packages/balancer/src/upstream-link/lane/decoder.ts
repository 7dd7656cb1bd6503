/** Cuts an instance's bytes into frames, wherever the reads cut them. Pure: no sockets. */
import { copyOf } from "../../http1/bytes.js";
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
  /** A frame that has not come whole yet. */
  private held: Uint8Array | undefined;
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
      const missing = missingOf(this.held);
      if (received.length - at < missing) {
        this.held = concat(this.held, received.subarray(at));
        return true;
      }
      const whole = concat(this.held, received.subarray(at, at + missing));
      at += missing;
      this.held = undefined;
      if (this.readFrames(whole, 0, sink)) continue;
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
    if (at < length) this.held = copyOf(bytes, at, length);
    return true;
  }

  private readBody(bytes: Uint8Array, at: number, sink: LaneSink): number {
    const end = Math.min(bytes.length, at + this.bodyLeft);
    this.bodyLeft -= end - at;
    sink.onBody(this.bodyId, bytes, at, end, this.isEnd && this.bodyLeft === 0);
    return end;
  }
}

/** How many bytes a frame that was begun lacks until it can be read: the rest of its header, or of itself. */
function missingOf(held: Uint8Array): number {
  if (held.length < HEADER_BYTES) return HEADER_BYTES - held.length;
  return HEADER_BYTES + uint24(held, 0) - held.length;
}

function uint24(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
}

export function uint32(bytes: Uint8Array, at: number): number {
  return (uint24(bytes, at) | ((bytes[at + 3] as number) << 24)) >>> 0;
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const both = Buffer.allocUnsafeSlow(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
