/** Processes the frames of an HTTP/2 client's streams (RFC 9113 §6). http2-connection-frames.ts handles frames of the connection. */
import type { Relay } from "../exchange/relay.js";
import type { FrameSink } from "../http2/frame-reader.js";
import { HpackDecoder } from "../http2/hpack-decoder.js";
import { EndedStreams } from "../http2/peer-settings.js";
import { ErrorCode, Flag, FrameType, readUint31 } from "../http2/protocol.js";
import type { RequestText } from "../http2/request-text.js";
import { CHUNK_UNITS } from "../transport/reading.js";
import { ConnectionFrames, type FramesOwner } from "./http2-connection-frames.js";
import type { Http2Stream } from "./http2-stream.js";

/** How many bytes a field block may have beyond the limit of a head, and how many CONTINUATION frames it may have (CVE-2024-27316). */
const MAX_BLOCK_ROOM_BYTES = 16_384;
const MAX_CONTINUATIONS = 8;
/** The cost of a request, and the cost of each byte of its fields, which can stand for a whole field. In units of a turn's share. */
const REQUEST_UNITS = 4096;
const FIELD_UNITS = 4;
/** The fixed cost of a DATA frame below this size, in the same units. */
const SHORT_DATA_BYTES = 1024;
const SHORT_DATA_UNITS = 256;
/** An internal flag, in addition to those of a HEADERS frame: the stream depends on itself. */
const SELF_DEPENDENT = 256;

export class Http2Frames extends ConnectionFrames implements FrameSink {
  readonly ended = new EndedStreams();
  lastStream = 0;
  /** The streams that received a piece of a body in this read. */
  readonly touched: Http2Stream[] = [];
  /** Whether an exchange has kept a piece of this read for a while, or still keeps it. */
  hasLent = false;
  private readonly decoder: HpackDecoder;
  /** The start of a field block that continues in further frames. */
  private block: Buffer | undefined;
  private blockStream = 0;
  private blockFlags = 0;
  private continuations = 0;
  /** The stream of the DATA frame that is arriving; undefined if its data is dropped. */
  private dataStream: Http2Stream | undefined;

  /** @param line scratch for one field's line */
  constructor(
    relay: Relay,
    owner: FramesOwner,
    private readonly text: RequestText,
    line: Uint8Array,
  ) {
    super(relay, owner);
    this.decoder = new HpackDecoder(line);
  }

  /** Whether a field block is incomplete, or the client's settings have not arrived. */
  get isPartial(): boolean {
    return this.block !== undefined || !this.hasSettings;
  }

  clear(): void {
    this.block = undefined;
    this.touched.length = 0;
    this.window.close();
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (this.block !== undefined) {
      if (type === FrameType.CONTINUATION && id === this.blockStream)
        return this.onContinuation(flags, bytes, start, end);
      return this.stop(ErrorCode.PROTOCOL_ERROR);
    }
    if (!this.hasSettings && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0))
      return this.stop(ErrorCode.PROTOCOL_ERROR);
    switch (type) {
      case FrameType.HEADERS:
        return this.onHeaders(flags, id, bytes, start, end);
      case FrameType.RST_STREAM:
        return this.onReset(id, end - start);
      case FrameType.WINDOW_UPDATE:
        return this.onWindow(id, bytes, start, end);
      case FrameType.SETTINGS:
        return this.onSettings(flags, id, bytes, start, end);
      case FrameType.PING:
        return this.onPing(flags, id, bytes, start, end);
      case FrameType.PRIORITY:
        return this.onPriority(id, bytes, start, end);
      case FrameType.GOAWAY:
        return this.onGoaway(id, end - start);
      case FrameType.PUSH_PROMISE:
      case FrameType.CONTINUATION:
        return this.stop(ErrorCode.PROTOCOL_ERROR);
      default:
        return this.countIdle();
    }
  }

  private onHeaders(flags: number, id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id % 2 === 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    let at = start;
    let last = end;
    if ((flags & Flag.PADDED) !== 0) {
      if (at === end) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
      last -= bytes[at++] as number;
    }
    let known = flags & ~SELF_DEPENDENT;
    if ((flags & Flag.PRIORITY) !== 0) {
      if (at + 5 > end) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
      if (readUint31(bytes, at) === id) known |= SELF_DEPENDENT;
      at += 5;
    }
    if (at > last) return this.stop(ErrorCode.PROTOCOL_ERROR);
    if ((flags & Flag.END_HEADERS) !== 0) return this.onBlock(known, id, bytes, at, last);
    this.block = Buffer.from(bytes.subarray(at, last));
    this.blockStream = id;
    this.blockFlags = known;
    this.continuations = 0;
    return true;
  }

  private onContinuation(flags: number, bytes: Buffer, start: number, end: number): boolean {
    const block = this.block as Buffer;
    const length = block.length + end - start;
    if (++this.continuations > MAX_CONTINUATIONS || length > this.relay.limits.maxHeadBytes + MAX_BLOCK_ROOM_BYTES)
      return this.stop(ErrorCode.ENHANCE_YOUR_CALM);
    const whole = Buffer.concat([block, bytes.subarray(start, end)], length);
    this.block = whole;
    if ((flags & Flag.END_HEADERS) === 0) return true;
    this.block = undefined;
    return this.onBlock(this.blockFlags, this.blockStream, whole, 0, length);
  }

  /** Handles a complete field block: a request, or trailers. Ignored blocks are decoded, too, because all blocks share the table. */
  private onBlock(flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { text, owner } = this;
    const stream = owner.streams.get(id);
    text.begin(stream !== undefined);
    if (!this.decoder.decode(bytes, start, end, text)) return this.stop(ErrorCode.COMPRESSION_ERROR);
    const isWhole = (flags & Flag.END_STREAM) !== 0;
    text.finish(isWhole);
    if (stream !== undefined) return this.onTrailers(stream, isWhole);
    if (id <= this.lastStream) return this.onEnded(id, ErrorCode.PROTOCOL_ERROR);
    // The client retries the request elsewhere, because GOAWAY named an earlier stream as the last one.
    if (owner.takesNoMore) return this.countIdle();
    this.lastStream = id;
    this.floods.onRequest();
    if (owner.streams.size >= this.relay.limits.maxStreamsPerConnection || owner.output.isTooFarBehind)
      return this.resetNew(id, ErrorCode.REFUSED_STREAM);
    if ((flags & SELF_DEPENDENT) !== 0 || text.state === "malformed") {
      owner.refuseMalformed();
      return this.resetNew(id, ErrorCode.PROTOCOL_ERROR);
    }
    owner.start(id, isWhole);
    const units = REQUEST_UNITS + FIELD_UNITS * (end - start);
    return owner.isOpen && this.relay.turnShare.take(units) && --this.requestsLeft > 0;
  }

  private resetNew(id: number, error: number): boolean {
    const { output } = this.owner;
    output.frames.reset(id, error);
    output.flushSoon();
    this.ended.add(id, true);
    return this.countReset() && --this.requestsLeft > 0;
  }

  private onTrailers(stream: Http2Stream, isWhole: boolean): boolean {
    const { text } = this;
    if (stream.isRemoteEnded) stream.fail(ErrorCode.STREAM_CLOSED);
    else if (!isWhole || text.state !== "whole") stream.fail(ErrorCode.PROTOCOL_ERROR);
    else {
      stream.onBodyEnd(text.length === 0 ? undefined : Uint8Array.prototype.slice.call(text.bytes, 0, text.length));
      this.touch(stream);
    }
    return this.owner.isOpen;
  }

  private touch(stream: Http2Stream): void {
    if (this.touched.at(-1) !== stream) this.touched.push(stream);
  }

  /** Handles a frame for a stream that has ended. @param unknown the error if the stream is no longer remembered */
  private onEnded(id: number, unknown: number): boolean {
    switch (this.ended.of(id)) {
      case "reset":
        return this.countIdle();
      case "ended":
        return this.stop(ErrorCode.STREAM_CLOSED);
      case "unknown":
        return this.stop(unknown);
    }
  }

  /**
   * Whether the stream is idle (RFC 9113 §5.1): a frame on an idle stream ends the connection. After GOAWAY, streams with higher ids were
   * refused and are not idle.
   */
  private isIdle(id: number): boolean {
    return id > this.lastStream && !this.owner.takesNoMore;
  }

  onDataStart(id: number, bytes: number, data: number, isLast: boolean): boolean {
    if (this.block !== undefined || !this.hasSettings) return this.stop(ErrorCode.PROTOCOL_ERROR);
    this.units += bytes + CHUNK_UNITS;
    this.dataStream = undefined;
    if (!this.window.take(bytes)) return this.stop(ErrorCode.FLOW_CONTROL_ERROR);
    const stream = this.owner.streams.get(id);
    if (stream === undefined) {
      if (id > this.lastStream) return !this.isIdle(id) || this.stop(ErrorCode.PROTOCOL_ERROR);
      return this.onEnded(id, ErrorCode.STREAM_CLOSED);
    }
    if (stream.isRemoteEnded) stream.fail(ErrorCode.STREAM_CLOSED);
    else if (!stream.takeBody(bytes)) stream.fail(ErrorCode.FLOW_CONTROL_ERROR);
    else this.dataStream = stream;
    return this.owner.isOpen && (isLast || this.countData(data));
  }

  /** Counts a DATA frame. Returns false if the turn's share is used up, or if too many frames carry little data. */
  private countData(data: number): boolean {
    if (!this.floods.takeData(data)) return this.stop(ErrorCode.ENHANCE_YOUR_CALM);
    return data >= SHORT_DATA_BYTES || this.relay.turnShare.take(SHORT_DATA_UNITS);
  }

  onData(id: number, bytes: Buffer, start: number, end: number, padding: number, isLast: boolean): boolean {
    const { dataStream: stream, owner } = this;
    if (stream === undefined || stream.id !== id) {
      this.useBody(end - start + padding);
      return owner.isOpen;
    }
    if (padding > 0) stream.skipBody(padding);
    if (end > start) {
      this.floods.onRequestData(end - start);
      this.hasLent = true;
      stream.onBody(bytes, start, end);
    } else if (!isLast && !this.countIdle()) return false;
    if (isLast && stream.id === id) stream.onBodyEnd();
    if (stream.id === id) this.touch(stream);
    return owner.isOpen;
  }

  private onReset(id: number, length: number): boolean {
    if (id === 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    if (length !== 4) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
    if (this.isIdle(id)) return this.stop(ErrorCode.PROTOCOL_ERROR);
    const stream = this.owner.streams.get(id);
    if (stream === undefined) return this.countIdle();
    stream.onGone();
    return this.countReset() && --this.requestsLeft > 0;
  }

  private onWindow(id: number, bytes: Buffer, start: number, end: number): boolean {
    if (end - start !== 4) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
    const more = readUint31(bytes, start);
    if (id === 0) return this.onConnectionWindow(more);
    if (this.isIdle(id)) return this.stop(ErrorCode.PROTOCOL_ERROR);
    const stream = this.owner.streams.get(id);
    if (stream !== undefined) {
      const { response } = stream;
      if (more === 0) stream.fail(ErrorCode.PROTOCOL_ERROR);
      else if (!response.sendWindow.change(more)) stream.fail(ErrorCode.FLOW_CONTROL_ERROR);
      else response.pump();
    }
    return this.countIdle();
  }

  private onPriority(id: number, bytes: Buffer, start: number, end: number): boolean {
    if (id === 0) return this.stop(ErrorCode.PROTOCOL_ERROR);
    if (end - start !== 5) return this.stop(ErrorCode.FRAME_SIZE_ERROR);
    if (readUint31(bytes, start) !== id) return this.countIdle();
    const stream = this.owner.streams.get(id);
    if (stream === undefined) return this.stop(ErrorCode.PROTOCOL_ERROR);
    stream.fail(ErrorCode.PROTOCOL_ERROR);
    return this.owner.isOpen;
  }
}
