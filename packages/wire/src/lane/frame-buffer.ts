/** Frames that wait to be written in one call, in a buffer that is used again. Pure: no sockets. */
import { FRAME_HEADER_BYTES, FrameType, MAX_CLOSE_BYTES, MAX_DATA_BYTES, putUint24, putUint32 } from "./protocol.js";

const INITIAL_BYTES = 4096;
/** A buffer that grew past this for once is given back. */
const KEPT_BYTES = 262_144;

export class FrameBuffer {
  bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  length = 0;
  /** Where the last frame begins, if that is a DATA, which may still grow; else -1. */
  private dataAt = -1;
  private dataStream = 0;
  /** Given to a socket that has not sent all of it. */
  private lent: Buffer | undefined;
  private spare: Buffer | undefined;

  /** Makes room for that many bytes more. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
  }

  /** Writes a frame's header; room must have been reserved for it and its payload. */
  header(type: number, stream: number, length: number): void {
    this.dataAt = -1;
    putHeader(this.bytes, this.length, type, stream, length);
    this.length += FRAME_HEADER_BYTES;
  }

  /** A frame without a payload. */
  empty(type: number, stream: number): void {
    this.reserve(FRAME_HEADER_BYTES);
    this.header(type, stream, 0);
  }

  /** A frame whose payload is one number. */
  number(type: number, stream: number, value: number): void {
    this.reserve(FRAME_HEADER_BYTES + 4);
    this.header(type, stream, 4);
    putUint32(this.bytes, this.length, value);
    this.length += 4;
  }

  /** A frame whose payload is one byte. */
  byte(type: number, stream: number, value: number): void {
    this.reserve(FRAME_HEADER_BYTES + 1);
    this.header(type, stream, 1);
    this.bytes[this.length++] = value;
  }

  /** A frame with these bytes, which are copied. */
  copy(type: number, stream: number, from: Uint8Array, start: number, end: number): void {
    this.reserve(FRAME_HEADER_BYTES + end - start);
    this.header(type, stream, end - start);
    this.bytes.set(from.subarray(start, end), this.length);
    this.length += end - start;
  }

  /** A CLOSE that says what was wrong, as far as it may. */
  close(problem: string): void {
    const text = Buffer.from(problem);
    this.copy(FrameType.CLOSE, 0, text, 0, Math.min(text.length, MAX_CLOSE_BYTES));
  }

  /** Whether the last frame is a piece of the body of another stream. */
  isPieceOfOther(stream: number): boolean {
    return this.dataAt >= 0 && this.dataStream !== stream;
  }

  /** A piece of a body, which is copied; small ones of one stream that follow each other become one DATA. */
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

  /** Everything, to be written at once by whoever copies what is not taken: the next frame is built over it. */
  take(): Buffer {
    const taken = this.bytes.subarray(0, this.length);
    this.clear(false);
    return taken;
  }

  /** Everything was given away: begins anew. `isShared`: the bytes may still be needed, so in another buffer. */
  clear(isShared: boolean): void {
    this.length = 0;
    this.dataAt = -1;
    if (isShared) this.lent = this.bytes;
    else if (this.bytes.length <= KEPT_BYTES) return;
    this.bytes = this.spare ?? Buffer.allocUnsafeSlow(INITIAL_BYTES);
    this.spare = undefined;
  }

  /** The socket has sent what it was given: a slow peer has two buffers used in turn, and not a new one for each write. */
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
