/** The output of a lane: frames are collected during a turn and sent in one write at its end. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import { FRAME_HEADER_BYTES, FrameType } from "@paceline/wire/lane/protocol";
import { atTurnEnd } from "../loop-turn.js";
import type { Connection } from "../transport/transport.js";

/** How many bytes of large bodies are collected before they are written. */
const FULL_BYTES = 65_536;
/** A piece of at least this size is written from its own buffer: copying it would cost more than a further write. */
const UNCOPIED_BYTES = 32_768;

export class LaneOutput {
  readonly frames = new FrameBuffer();
  /** Whether the last write was partial. Nothing is written until `onDrained`. */
  isBlocked = false;
  private isFlushDue = false;

  private connection: Connection | undefined;

  /** Directs the output to this connection. */
  begin(connection: Connection): void {
    this.clear();
    this.connection = connection;
  }

  /** Detaches and returns the connection. Unsent bytes are dropped. */
  end(): Connection | undefined {
    const { connection } = this;
    this.connection = undefined;
    this.clear();
    return connection;
  }

  private clear(): void {
    this.frames.clear(false);
    this.isBlocked = false;
  }

  flushSoon(): void {
    if (this.isFlushDue) return;
    this.isFlushDue = true;
    atTurnEnd(this);
  }

  /**
   * Sends a piece of a body: a small one is collected, a large one is written immediately.
   * @param isTransient whether the buffer will be reused
   */
  data(stream: number, bytes: Uint8Array, start: number, end: number, isTransient = false): void {
    const { connection, frames } = this;
    if (connection === undefined || end - start < UNCOPIED_BYTES) {
      frames.data(stream, bytes, start, end);
      if (frames.length >= FULL_BYTES) this.flushTurn();
      return;
    }
    frames.reserve(FRAME_HEADER_BYTES);
    frames.header(FrameType.DATA, stream, end - start);
    connection.writeTransient(frames.bytes, frames.length);
    frames.clear(false);
    const piece = bytes.subarray(start, end);
    this.isBlocked = !(isTransient ? connection.writeTransient(piece, piece.length) : connection.write(piece));
  }

  flushTurn(): void {
    this.isFlushDue = false;
    const { connection, frames } = this;
    if (connection === undefined || frames.length === 0 || this.isBlocked) return;
    this.isBlocked = !connection.writeTransient(frames.bytes, frames.length);
    frames.clear(false);
  }

  /** Called when the connection has taken everything. */
  onDrained(): void {
    this.isBlocked = false;
    this.flushTurn();
  }
}
