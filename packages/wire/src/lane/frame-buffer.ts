/** Collects frames for one write in a reused buffer. Pure: no sockets. */
import { FRAME_HEADER_BYTES, FrameType, MAX_CLOSE_BYTES, MAX_DATA_BYTES, putUint24, putUint32 } from "./protocol.js";

const INITIAL_BYTES = 4096;
/** A buffer that has grown beyond this is not kept. */
const KEPT_BYTES = 262_144;

export class FrameBuffer {
  bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;
  /** The start of the last frame if that frame is a DATA, which may still grow; otherwise -1. */
  private dataAt = -1;
  private dataStream = 0;
  /** A buffer that the socket has not sent completely. */
  private lent: Buffer | undefined;
  private spare: Buffer | undefined;

  /** Makes room for this many more bytes. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  /** Writes a frame's header; room for it and its payload must be reserved. */
  header(type: number, stream: number, length: number): void {
    this.dataAt = -1;
    putHeader(this.bytes, this.length, type, stream, length);
    this.length += FRAME_HEADER_BYTES;
  }

  /** Adds a frame without payload. */
  empty(type: number, stream: number): void {
    this.reserve(FRAME_HEADER_BYTES);
    this.header(type, stream, 0);
  }

  /** Adds a frame whose payload is one number. */
  number(type: number, stream: number, value: number): void {
    this.reserve(FRAME_HEADER_BYTES + 4);
    this.header(type, stream, 4);
    putUint32(this.bytes, this.length, value);
    this.length += 4;
  }

  /** Adds a frame whose payload is two numbers. */
  numbers(type: number, stream: number, first: number, second: number): void {
    this.reserve(FRAME_HEADER_BYTES + 8);
    this.header(type, stream, 8);
    putUint32(this.bytes, this.length, first);
    putUint32(this.bytes, this.length + 4, second);
    this.length += 8;
  }

  /** Adds a frame whose payload is one byte. */
  byte(type: number, stream: number, value: number): void {
    this.reserve(FRAME_HEADER_BYTES + 1);
    this.header(type, stream, 1);
    this.bytes[this.length++] = value;
  }

  /** Adds a frame with a copy of these bytes. */
  copy(type: number, stream: number, from: Uint8Array, start: number, end: number): void {
    this.reserve(FRAME_HEADER_BYTES + end - start);
    this.header(type, stream, end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }

  /** Adds a CLOSE with the problem, cut to the maximum length. */
  close(problem: string): void {
    const text = Buffer.from(problem);
    this.copy(FrameType.CLOSE, 0, text, 0, Math.min(text.length, MAX_CLOSE_BYTES));
  }

  /** Whether the last frame is a body piece of another stream. */
  isPieceOfOther(stream: number): boolean {
    return this.dataAt >= 0 && this.dataStream !== stream;
  }

  /** Adds a copy of a piece of a body. Consecutive small pieces of one stream become one DATA. */
  data(stream: number, from: Uint8Array, start: number, end: number): void {
    const at = this.dataAt;
    const grown = this.length - at - FRAME_HEADER_BYTES + end - start;
    if (at < 0 || stream !== this.dataStream || grown > MAX_DATA_BYTES) {
      const frameAt = this.length;
      this.copy(FrameType.DATA, stream, from, start, end);
      this.dataAt = frameAt;
      this.dataStream = stream;
      return;
    }
    this.reserve(end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
    putHeader(this.bytes, at, FrameType.DATA, stream, grown);
  }

  /** Returns everything. The buffer is reused at once, so the caller's write must copy the bytes that the kernel does not take. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.length);
    this.clear(false);
    return taken;
  }

  /**
   * Starts again after everything was passed on.
   * @param isShared whether the bytes may still be needed; if so, another buffer is used
   */
  clear(isShared: boolean): void {
    this.length = 0;
    this.dataAt = -1;
    if (isShared) this.lent = this.bytes;
    else if (this.bytes.length <= KEPT_BYTES) return;
    this.bytes = this.spare ?? Buffer.allocUnsafeSlow(INITIAL_BYTES);
    this.spare = undefined;
  }

  /** Called when the socket has sent its buffer. For a slow peer two buffers alternate, so that writes need no new ones. */
  returned(): void {
    if (this.lent !== undefined && this.lent.length <= KEPT_BYTES) this.spare = this.lent;
    this.lent = undefined;
  }
}

function putHeader(bytes: Uint8Array, at: number, type: number, stream: number, length: number): void {
  putUint24(bytes, at, length);
  bytes[at + 3] = type;
  putUint32(bytes, at + 4, stream);
}
