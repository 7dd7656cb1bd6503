/**
 * Collects the frames for one client during a turn, so that they are sent in one write. It has no buffer between turns: all connections
 * share the spare ones. Pure: no sockets.
 */
import { giveBack } from "@paceline/wire";
import { copy } from "../http1/bytes.js";
import {
  Flag,
  FRAME_HEADER_BYTES,
  FrameType,
  MAX_FRAME_BYTES,
  putFrameHeader,
  putUint32,
  readUint24,
} from "./protocol.js";

/** Enough for the responses of most turns. */
const SMALL_BYTES = 8192;
/** For bodies: the bytes of one write, and a further frame. */
const LARGE_BYTES = 98_304;
const MAX_SPARE_SMALL = 64;
const MAX_SPARE_LARGE = 8;

const NOTHING = new Uint8Array(0);
const spareSmall: Uint8Array[] = [];
const spareLarge: Uint8Array[] = [];

/** The last frame cannot be extended. */
const NONE = -1;

export class FrameBuffer {
  bytes: Uint8Array = NOTHING;
  length = 0;
  /** The position of the last frame, if that frame may still grow or get END_STREAM: a DATA, or a head. */
  private openAt = NONE;
  private openStream = 0;

  /** Makes room for this many more bytes. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const larger = takeBuffer(needed);
    if (this.length > 0) copy(this.bytes, 0, this.length, larger, 0);
    giveBuffer(this.bytes);
    this.bytes = larger;
  }

  /** Gives the buffer back after its bytes were written. */
  clear(): void {
    giveBuffer(this.bytes);
    this.bytes = NOTHING;
    this.length = 0;
    this.openAt = NONE;
  }

  private header(length: number, type: number, flags: number, stream: number): void {
    this.openAt = NONE;
    putFrameHeader(this.bytes, this.length, length, type, flags, stream);
    this.length += FRAME_HEADER_BYTES;
  }

  private number(type: number, stream: number, value: number): void {
    this.reserve(FRAME_HEADER_BYTES + 4);
    this.header(4, type, 0, stream);
    putUint32(this.bytes, this.length, value);
    this.length += 4;
  }

  reset(stream: number, error: number): void {
    this.number(FrameType.RST_STREAM, stream, error);
  }

  /** @param stream 0 for the connection's window */
  window(stream: number, bytes: number): void {
    this.number(FrameType.WINDOW_UPDATE, stream, bytes);
  }

  goaway(lastStream: number, error: number): void {
    this.reserve(FRAME_HEADER_BYTES + 8);
    this.header(8, FrameType.GOAWAY, 0, 0);
    putUint32(this.bytes, this.length, lastStream);
    putUint32(this.bytes, this.length + 4, error);
    this.length += 8;
  }

  settings(values: readonly (readonly [setting: number, value: number])[]): void {
    this.reserve(FRAME_HEADER_BYTES + 6 * values.length);
    this.header(6 * values.length, FrameType.SETTINGS, 0, 0);
    for (const [setting, value] of values) {
      this.bytes[this.length] = setting >>> 8;
      this.bytes[this.length + 1] = setting;
      putUint32(this.bytes, this.length + 2, value);
      this.length += 6;
    }
  }

  settingsAck(): void {
    this.reserve(FRAME_HEADER_BYTES);
    this.header(0, FrameType.SETTINGS, Flag.ACK, 0);
  }

  /**
   * Replies to a PING.
   * @param bytes contain the 8 bytes of its payload at `start`
   */
  pong(bytes: Uint8Array, start: number): void {
    this.reserve(FRAME_HEADER_BYTES + 8);
    this.header(8, FrameType.PING, Flag.ACK, 0);
    this.length = copy(bytes, start, start + 8, this.bytes, this.length);
  }

  /** Begins a head. The caller then writes its block and calls `endHead`. */
  beginHead(stream: number): void {
    this.reserve(FRAME_HEADER_BYTES);
    const at = this.length;
    this.header(0, FrameType.HEADERS, Flag.END_HEADERS, stream);
    this.openAt = at;
    this.openStream = stream;
  }

  endHead(): void {
    const at = this.openAt;
    const size = this.length - at - FRAME_HEADER_BYTES;
    if (size > MAX_FRAME_BYTES) return this.splitHead(at, size);
    const { bytes } = this;
    bytes[at] = size >>> 16;
    bytes[at + 1] = size >>> 8;
    bytes[at + 2] = size;
  }

  /** Continues a large block in CONTINUATION frames. END_STREAM belongs to the first frame, so the last frame cannot get it later. */
  private splitHead(at: number, size: number): void {
    const block = at + FRAME_HEADER_BYTES;
    const more = Math.ceil(size / MAX_FRAME_BYTES) - 1;
    this.reserve(more * FRAME_HEADER_BYTES);
    const { bytes, openStream } = this;
    for (let i = more; i > 0; i--) {
      const start = block + i * MAX_FRAME_BYTES;
      const end = Math.min(block + size, start + MAX_FRAME_BYTES);
      const to = start + i * FRAME_HEADER_BYTES;
      bytes.copyWithin(to, start, end);
      const flags = i === more ? Flag.END_HEADERS : 0;
      putFrameHeader(bytes, to - FRAME_HEADER_BYTES, end - start, FrameType.CONTINUATION, flags, openStream);
    }
    putFrameHeader(bytes, at, MAX_FRAME_BYTES, FrameType.HEADERS, 0, openStream);
    this.length += more * FRAME_HEADER_BYTES;
    this.openAt = NONE;
  }

  /** Adds a piece of a body that fits into a frame. It is appended to the last frame if that is a DATA of the same stream and has room. */
  data(stream: number, from: Uint8Array, start: number, end: number): void {
    const size = end - start;
    this.reserve(FRAME_HEADER_BYTES + size);
    const at = this.openAt;
    const { bytes } = this;
    const isOpen = at >= 0 && this.openStream === stream && bytes[at + 3] === FrameType.DATA;
    const grown = isOpen ? readUint24(bytes, at) + size : MAX_FRAME_BYTES + 1;
    if (grown <= MAX_FRAME_BYTES) putFrameHeader(bytes, at, grown, FrameType.DATA, 0, stream);
    else {
      const frameAt = this.length;
      this.header(size, FrameType.DATA, 0, stream);
      this.openAt = frameAt;
      this.openStream = stream;
    }
    this.length = copy(from, start, end, bytes, this.length);
  }

  /** Ends a stream. If the stream's last frame is still in the buffer, it gets the flag; otherwise an empty frame ends the stream. */
  end(stream: number): void {
    const at = this.openAt;
    if (at >= 0 && this.openStream === stream) {
      this.bytes[at + 4] = (this.bytes[at + 4] as number) | Flag.END_STREAM;
      this.openAt = NONE;
      return;
    }
    this.reserve(FRAME_HEADER_BYTES);
    this.header(0, FrameType.DATA, Flag.END_STREAM, stream);
  }
}

function takeBuffer(needed: number): Uint8Array {
  if (needed <= SMALL_BYTES) return spareSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  if (needed <= LARGE_BYTES) return spareLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
  return Buffer.allocUnsafeSlow(2 * needed);
}

function giveBuffer(bytes: Uint8Array): void {
  if (bytes.length === SMALL_BYTES && spareSmall.length < MAX_SPARE_SMALL) spareSmall.push(bytes);
  else if (bytes.length === LARGE_BYTES && spareLarge.length < MAX_SPARE_LARGE) spareLarge.push(bytes);
  // Two hundred clients whose large responses arrive in one turn would leave twenty megabytes to the garbage collector.
  else giveBack(bytes);
}
