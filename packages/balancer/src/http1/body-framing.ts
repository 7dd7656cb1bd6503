/** Reads a message's body from a connection's bytes by its framing: length, chunked, or until close. */
import { MAX_TRAILER_BYTES, MAX_TRAILERS } from "@paceline/wire";
import { BYTE_CLASS, COLON, CR, HEX, IS_FIELD_VALUE, IS_TOKEN, LF, SPACE, TAB } from "./bytes.js";
import type { Framing } from "./request-head.js";

/** Receives the body piece by piece. */
export interface BodySink {
  /** Receives the body bytes from `start` to `end`. The bytes before `end` may have been moved within the buffer. */
  onBody(bytes: Uint8Array, start: number, end: number): void;
}

/** Negative results of `read`. Any other result is the position up to which bytes were used. */
export const BODY_MALFORMED = -1;
export const BODY_TOO_LARGE = -2;

/** A limit for chunk lines, so that nobody can send endlessly without sending a body. */
const MAX_CHUNK_LINE_BYTES = 256;
/** How many bytes of trailers are read at most if trailers that are too large are dropped. */
const MAX_DROPPED_TRAILER_BYTES = 1 << 20;
/** The size of the first buffer for trailers. */
const LEAST_TRAILER_BYTES = 256;
/** How many bytes of extensions a body may have in addition to an allowance per chunk. Legitimate clients send none. */
const MAX_EXTENSION_BYTES = 16_384;
const EXCUSED_PER_CHUNK = 16;

/** Chunks of which one read has fewer bytes than this are joined. */
const JOIN_BELOW_BYTES = 4096;
/** The maximum number of digits of such a chunk's size. */
const MAX_SMALL_DIGITS = 3;
/** The minimum size of a chunk with its lines, in bytes. */
const LEAST_CHUNK_BYTES = 6;
/** Below this size, a loop copies faster than a call. */
const LOOP_BELOW_BYTES = 24;

type State =
  | "size"
  | "size-space"
  | "extension"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer-start"
  | "trailer-name"
  | "trailer-value"
  | "trailer-lf"
  | "end-lf";

/** Reads one body at a time; reused for the next one of its connection. */
export class BodyReader {
  private framing: Framing = "none";
  private state: State = "size";
  /** Remaining bytes of the body or of the chunk. */
  private remaining = 0;
  /** Digits of the chunk size read so far, or bytes of an extension or of trailers. */
  private lineBytes = 0;
  private total = 0;
  /** Bytes of extensions beyond the allowance. */
  private extensions = 0;
  private maxBytes = Number.MAX_SAFE_INTEGER;
  /** The joined data of small chunks of this read. Both are 0 if there is none. */
  private joinedStart = 0;
  private joinedEnd = 0;
  /** Whether the trailers of the next bodies are kept. */
  keepsTrailers = false;
  /**
   * Whether trailers that are too large are dropped, as a recipient may do (RFC 9110 §6.5.1). If they are not dropped, such a body is
   * malformed.
   */
  dropsLargeTrailers = false;
  /** The trailers so far, with room for more; undefined: none are kept. */
  private keptTrailers: Uint8Array | undefined;
  /** The number of their lines so far. */
  private trailerLines = 0;
  isComplete = true;
  /** The number of chunks read, in this body and earlier ones. Each of them has a cost. */
  chunks = 0;

  /** Starts a body. `maxBytes` limits a chunked body, whose length is not known in advance. */
  begin(framing: Framing, contentLength: number, maxBytes = Number.MAX_SAFE_INTEGER): void {
    this.framing = framing;
    this.isComplete = framing === "none";
    this.remaining = framing === "length" ? contentLength : 0;
    this.state = "size";
    this.lineBytes = 0;
    this.total = 0;
    this.extensions = 0;
    this.maxBytes = maxBytes;
    this.keptTrailers = undefined;
    this.trailerLines = 0;
  }

  /** Returns the trailer section of a complete body once, as lines with CRLF; undefined if there is none, or it was not kept. */
  takeTrailers(): Uint8Array | undefined {
    const trailers = this.keptTrailers?.subarray(0, this.lineBytes);
    this.keptTrailers = undefined;
    return trailers;
  }

  /** The size of the buffer with the trailers read so far. */
  get trailerBytes(): number {
    return this.keptTrailers?.length ?? 0;
  }

  /** Reads a byte of trailers; `left` more bytes are available. Returns false if there are too many. */
  private readTrailer(byte: number, left: number): boolean {
    const at = this.lineBytes++;
    if (at >= MAX_TRAILER_BYTES || this.trailerLines >= MAX_TRAILERS) {
      this.keptTrailers = undefined;
      return this.dropsLargeTrailers && at < MAX_DROPPED_TRAILER_BYTES;
    }
    if (!this.keepsTrailers) return true;
    if (at >= this.trailerBytes) this.growTrailers(at + left);
    (this.keptTrailers as Uint8Array)[at] = byte;
    return true;
  }

  /**
   * Skips complete lines of trailers that are too large to be kept, and returns the position after them. An upstream may send a megabyte of
   * these, on one connection after the other.
   */
  private skipTrailerLines(bytes: Uint8Array, start: number, end: number): number {
    const isDropping = this.lineBytes >= MAX_TRAILER_BYTES || this.trailerLines >= MAX_TRAILERS;
    if (!isDropping || !this.dropsLargeTrailers) return start;
    const last = Math.min(end, start + MAX_DROPPED_TRAILER_BYTES - this.lineBytes);
    let lineStart = start;
    for (let at = start; ; lineStart = at) {
      while (at < last && ((BYTE_CLASS[bytes[at] as number] as number) & IS_TOKEN) !== 0) at++;
      if (at === lineStart || at === last || bytes[at++] !== COLON) break;
      while (at < last && ((BYTE_CLASS[bytes[at] as number] as number) & IS_FIELD_VALUE) !== 0) at++;
      if (at + 2 > last || bytes[at++] !== CR || bytes[at++] !== LF) break;
    }
    // Everything else is read byte by byte: an incomplete or malformed line, and the end.
    if (lineStart === start) return start;
    this.keptTrailers = undefined;
    this.lineBytes += lineStart - start;
    return lineStart;
  }

  private growTrailers(needed: number): void {
    const size = Math.min(MAX_TRAILER_BYTES, Math.max(LEAST_TRAILER_BYTES, needed, 2 * this.trailerBytes));
    const room = Buffer.allocUnsafeSlow(size);
    if (this.keptTrailers !== undefined) room.set(this.keptTrailers);
    this.keptTrailers = room;
  }

  /** Whether the end of the connection properly ends this body. */
  get endsWithClose(): boolean {
    return this.framing === "close";
  }

  /** Reads up to the end of the body. Bytes after the body are not consumed. */
  read(bytes: Uint8Array, start: number, end: number, sink: BodySink): number {
    switch (this.framing) {
      case "none":
        return start;
      case "close":
        if (end > start) sink.onBody(bytes, start, end);
        return end;
      case "length": {
        const dataEnd = Math.min(end, start + this.remaining);
        this.remaining -= dataEnd - start;
        // Set before the sink receives the last piece. So the sink can send head, body and end in one call.
        if (this.remaining === 0) this.isComplete = true;
        if (dataEnd > start) sink.onBody(bytes, start, dataEnd);
        return dataEnd;
      }
      case "chunked":
        return this.readChunked(bytes, start, end, sink);
    }
  }

  private readChunked(bytes: Uint8Array, start: number, end: number, sink: BodySink): number {
    this.joinedStart = this.joinedEnd = 0;
    const after = this.readChunks(bytes, start, end, sink);
    this.giveJoined(bytes, sink);
    return after;
  }

  /** Joins the data of small chunks in place and passes it on as one piece, because each piece has a cost for its receiver. */
  private join(bytes: Uint8Array, start: number, end: number): void {
    if (this.joinedEnd === 0) {
      this.joinedStart = start;
      this.joinedEnd = end;
      return;
    }
    let to = this.joinedEnd;
    if (end - start < LOOP_BELOW_BYTES) for (let i = start; i < end; i++) bytes[to++] = bytes[i] as number;
    else {
      bytes.copyWithin(to, start, end);
      to += end - start;
    }
    this.joinedEnd = to;
  }

  private giveJoined(bytes: Uint8Array, sink: BodySink): void {
    const { joinedStart, joinedEnd } = this;
    if (joinedEnd === joinedStart) return;
    this.joinedStart = this.joinedEnd = 0;
    sink.onBody(bytes, joinedStart, joinedEnd);
  }

  /** Reads complete small chunks without extensions and returns the position after them. A client may send a whole body in such chunks. */
  private readSmallChunks(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (end - at >= LEAST_CHUNK_BYTES) {
      let size = 0;
      let data = at;
      for (const last = at + MAX_SMALL_DIGITS; data < last; data++) {
        const digit = HEX[bytes[data] as number] as number;
        if (digit === 255) break;
        size = size * 16 + digit;
      }
      if (size === 0 || bytes[data] !== CR || bytes[data + 1] !== LF) return at;
      data += 2;
      const dataEnd = data + size;
      if (dataEnd + 2 > end || bytes[dataEnd] !== CR || bytes[dataEnd + 1] !== LF) return at;
      this.total += size;
      if (this.total > this.maxBytes) return BODY_TOO_LARGE;
      this.chunks++;
      this.join(bytes, data, dataEnd);
      at = dataEnd + 2;
    }
    return at;
  }

  /** Reads chunks (RFC 9112 §7.1) with strict CRLF. Extensions are checked and dropped. Trailers are dropped, too, unless they are kept. */
  private readChunks(bytes: Uint8Array, start: number, end: number, sink: BodySink): number {
    let at = start;
    while (at < end) {
      const byte = bytes[at] as number;
      switch (this.state) {
        case "size": {
          if (this.lineBytes === 0) {
            const after = this.readSmallChunks(bytes, at, end);
            if (after < 0) return after;
            if (after !== at) {
              at = after;
              break;
            }
          }
          const digit = HEX[byte] as number;
          if (digit !== 255) {
            // Thirteen digits are 2^52, which a double holds exactly.
            if (++this.lineBytes > 13) return BODY_MALFORMED;
            this.remaining = this.remaining * 16 + digit;
            at++;
            break;
          }
          if (this.lineBytes === 0) return BODY_MALFORMED;
          this.total += this.remaining;
          if (this.total > this.maxBytes) return BODY_TOO_LARGE;
          if (byte === CR) this.state = "size-lf";
          else if (byte === SEMICOLON) {
            this.state = "extension";
            this.lineBytes = 0;
          } else if (byte === SPACE || byte === TAB) {
            this.state = "size-space";
            this.lineBytes = 0;
          } else return BODY_MALFORMED;
          at++;
          break;
        }
        // RFC 9112 §7.1.1 allows whitespace only before an extension. Both are dropped.
        case "size-space":
          if (byte === SEMICOLON) this.state = "extension";
          else if (byte !== SPACE && byte !== TAB) return BODY_MALFORMED;
          if (++this.lineBytes > MAX_CHUNK_LINE_BYTES) return BODY_MALFORMED;
          at++;
          break;
        case "extension":
          if (byte === CR) {
            this.extensions = Math.max(0, this.extensions + this.lineBytes - EXCUSED_PER_CHUNK - this.remaining);
            if (this.extensions > MAX_EXTENSION_BYTES) return BODY_MALFORMED;
            this.state = "size-lf";
          } else if (((BYTE_CLASS[byte] as number) & IS_FIELD_VALUE) === 0) return BODY_MALFORMED;
          else if (++this.lineBytes > MAX_CHUNK_LINE_BYTES) return BODY_MALFORMED;
          at++;
          break;
        case "size-lf":
          if (byte !== LF) return BODY_MALFORMED;
          this.lineBytes = 0;
          this.chunks++;
          this.state = this.remaining === 0 ? "trailer-start" : "data";
          at++;
          break;
        case "data": {
          const dataEnd = Math.min(end, at + this.remaining);
          this.remaining -= dataEnd - at;
          if (this.remaining === 0) this.state = "data-cr";
          if (dataEnd - at < JOIN_BELOW_BYTES) this.join(bytes, at, dataEnd);
          else {
            this.giveJoined(bytes, sink);
            sink.onBody(bytes, at, dataEnd);
          }
          at = dataEnd;
          break;
        }
        case "data-cr":
          if (byte !== CR) return BODY_MALFORMED;
          this.state = "data-lf";
          at++;
          break;
        case "data-lf":
          if (byte !== LF) return BODY_MALFORMED;
          this.state = "size";
          this.lineBytes = 0;
          at++;
          break;
        case "trailer-start": {
          const after = this.skipTrailerLines(bytes, at, end);
          if (after !== at) {
            at = after;
            break;
          }
          if (byte === CR) this.state = "end-lf";
          else if (((BYTE_CLASS[byte] as number) & IS_TOKEN) === 0 || !this.readTrailer(byte, end - at))
            return BODY_MALFORMED;
          else this.state = "trailer-name";
          at++;
          break;
        }
        case "trailer-name":
          if (byte === COLON) this.state = "trailer-value";
          else if (((BYTE_CLASS[byte] as number) & IS_TOKEN) === 0) return BODY_MALFORMED;
          if (!this.readTrailer(byte, end - at)) return BODY_MALFORMED;
          at++;
          break;
        case "trailer-value":
          if (byte === CR) this.state = "trailer-lf";
          else if (((BYTE_CLASS[byte] as number) & IS_FIELD_VALUE) === 0) return BODY_MALFORMED;
          if (!this.readTrailer(byte, end - at)) return BODY_MALFORMED;
          at++;
          break;
        case "trailer-lf":
          if (byte !== LF || !this.readTrailer(byte, end - at)) return BODY_MALFORMED;
          this.trailerLines++;
          this.state = "trailer-start";
          at++;
          break;
        case "end-lf":
          if (byte !== LF) return BODY_MALFORMED;
          this.isComplete = true;
          return at + 1;
      }
    }
    return at;
  }
}

const SEMICOLON = 59;
