/** Takes frames out of a lane's bytes, however they are cut. Pure: no sockets. */
import { FRAME_HEADER_BYTES, FrameType, PAYLOAD_BOUNDS } from "./protocol.js";

/** Hears of frames. The bytes of each are good until the call returns, unless the sink keeps the whole buffer. */
export interface FrameSink {
  /** A whole frame that is neither DATA nor END. */
  onFrame(type: number, stream: number, bytes: Buffer, start: number, end: number): void;
  /** A piece of a body, as soon as it is there; `isLast` with the last of them, which may be empty. */
  onBody(stream: number, bytes: Buffer, start: number, end: number, isLast: boolean): void;
}

const NOTHING = Buffer.alloc(0);

/** Decodes one direction of one lane. */
export class FrameDecoder {
  /** What is wrong with the bytes; nothing is read any more once it is set. */
  problem: string | undefined;
  /** The begin of a frame whose rest has not come. */
  private partial: Buffer = NOTHING;
  private partialLength = 0;
  /** Bytes still to come of a DATA or END frame that was begun. */
  private dataLeft = 0;
  private dataStream = 0;
  private isLastData = false;

  /** Tells the sink of every frame and every piece of a body in these bytes. False: they are broken, see `problem`. */
  push(received: Buffer, sink: FrameSink): boolean {
    if (this.problem !== undefined) return false;
    let bytes = received;
    let at = 0;
    let { length: end } = received;
    if (this.partialLength > 0) {
      bytes = this.join(received);
      end = bytes.length;
    }
    for (;;) {
      if (this.dataLeft > 0) {
        if (at === end) return this.keep(bytes, at, end);
        const to = Math.min(end, at + this.dataLeft);
        this.dataLeft -= to - at;
        sink.onBody(this.dataStream, bytes, at, to, this.isLastData && this.dataLeft === 0);
        at = to;
        continue;
      }
      if (end - at < FRAME_HEADER_BYTES) return this.keep(bytes, at, end);
      const length = (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16);
      const type = bytes[at + 3] as number;
      const stream = readUint32(bytes, at + 4);
      const bounds = PAYLOAD_BOUNDS[type];
      if (bounds === undefined) return this.fail(`a frame of unknown type ${type}`);
      if (length < bounds[0] || length > bounds[1]) return this.fail(`a frame of type ${type} with ${length} bytes`);
      if (type === FrameType.DATA || type === FrameType.END) {
        at += FRAME_HEADER_BYTES;
        this.dataLeft = length;
        this.dataStream = stream;
        this.isLastData = type === FrameType.END;
        if (length === 0) sink.onBody(stream, bytes, at, at, this.isLastData);
        continue;
      }
      const payload = at + FRAME_HEADER_BYTES;
      if (end - payload < length) return this.keep(bytes, at, end);
      at = payload + length;
      sink.onFrame(type, stream, bytes, payload, at);
    }
  }

  /** What was kept and what came, in one buffer, which has room for more where a frame comes in many small pieces. */
  private join(received: Buffer): Buffer {
    const { partialLength } = this;
    const length = partialLength + received.length;
    if (length > this.partial.length) {
      const room = Buffer.allocUnsafeSlow(partialLength > received.length ? 2 * length : length);
      this.partial.copy(room, 0, 0, partialLength);
      this.partial = room;
    }
    received.copy(this.partial, partialLength);
    const joined = this.partial.subarray(0, length);
    this.partialLength = 0;
    return joined;
  }

  private keep(bytes: Buffer, at: number, end: number): boolean {
    if (at === 0 && bytes.buffer === this.partial.buffer) {
      // Still the frame that was begun, and nobody has seen it.
      this.partialLength = end;
      return true;
    }
    // A copy, lest a few bytes keep a whole buffer alive.
    this.partial = at === end ? NOTHING : Buffer.from(bytes.subarray(at, end));
    this.partialLength = end - at;
    return true;
  }

  private fail(problem: string): boolean {
    this.problem = problem;
    return false;
  }
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}
