/** A client's settings, and its ended streams. Pure. */
import {
  ErrorCode,
  FIRST_WINDOW_BYTES,
  MAX_FRAME_BYTES,
  MAX_WINDOW_BYTES,
  MOST_FRAME_BYTES,
  readUint32,
  Setting,
  TABLE_BYTES,
} from "./protocol.js";

export class PeerSettings {
  /** The initial window of its streams. */
  windowBytes = FIRST_WINDOW_BYTES;
  /** The size of its decoder's table. */
  tableBytes = TABLE_BYTES;

  /** Reads the payload of a SETTINGS frame (RFC 9113 §6.5). Returns an error of ErrorCode. */
  take(bytes: Uint8Array, start: number, end: number): number {
    if ((end - start) % 6 !== 0) return ErrorCode.FRAME_SIZE_ERROR;
    for (let at = start; at < end; at += 6) {
      const setting = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      const value = readUint32(bytes, at + 2);
      switch (setting) {
        case Setting.HEADER_TABLE_SIZE:
          this.tableBytes = value;
          break;
        case Setting.ENABLE_PUSH:
        case Setting.ENABLE_CONNECT_PROTOCOL:
          if (value > 1) return ErrorCode.PROTOCOL_ERROR;
          break;
        case Setting.INITIAL_WINDOW_SIZE:
          if (value > MAX_WINDOW_BYTES) return ErrorCode.FLOW_CONTROL_ERROR;
          this.windowBytes = value;
          break;
        case Setting.MAX_FRAME_SIZE:
          // The balancer never sends larger frames.
          if (value < MAX_FRAME_BYTES || value > MOST_FRAME_BYTES) return ErrorCode.PROTOCOL_ERROR;
          break;
      }
    }
    return ErrorCode.NO_ERROR;
  }
}

/** How many streams are remembered; a power of two. */
const REMEMBERED = 64;

/** How an ended stream ended. */
export type Ending = "ended" | "reset" | "unknown";

/** The most recently ended streams. For streams that were reset here, frames may still arrive (RFC 9113 §5.1). */
export class EndedStreams {
  /** The ids of the streams; negative for streams that were reset here. */
  private readonly ids = new Int32Array(REMEMBERED);
  private next = 0;

  add(id: number, isReset: boolean): void {
    this.ids[this.next] = isReset ? -id : id;
    this.next = (this.next + 1) & (REMEMBERED - 1);
  }

  of(id: number): Ending {
    if (this.ids.includes(-id)) return "reset";
    return this.ids.includes(id) ? "ended" : "unknown";
  }
}
