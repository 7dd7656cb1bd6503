/** The output of a lane: frames are collected during a turn and sent in one write at its end. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import type { Connection } from "../transport/transport.js";

/** Has collected bytes to flush. */
interface Flushable {
  flushTurn(): void;
}

const due: Flushable[] = [];
let isArmed = false;

/** Flushes it at the end of this turn, after all input was processed. The caller must not register it twice. */
function atTurnEnd(flushable: Flushable): void {
  due.push(flushable);
  if (isArmed) return;
  isArmed = true;
  setImmediate(flushAll);
}

function flushAll(): void {
  isArmed = false;
  for (const flushable of due.splice(0)) flushable.flushTurn();
}

/** How many bytes of large bodies are collected before they are written. */
const FULL_BYTES = 65_536;

export class LaneOutput implements Flushable {
  readonly frames = new FrameBuffer();
  /** Whether the last write was partial; nothing is written until `onDrained`. */
  isBlocked = false;
  private isFlushDue = false;

  private connection: Connection | undefined;

  /** Directs the output to this connection. */
  begin(connection: Connection): void {
    this.clear();
    this.connection = connection;
  }

  /** Detaches and returns the connection; unsent bytes are dropped. */
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

  flushWhenFull(): void {
    if (this.frames.length >= FULL_BYTES) this.flushTurn();
  }

  flushTurn(): void {
    this.isFlushDue = false;
    const { connection, frames } = this;
    if (connection === undefined || frames.length === 0 || this.isBlocked) return;
    this.isBlocked = !connection.writeTransient(frames.bytes, frames.length);
    frames.clear(false);
  }

  /** The connection has taken everything. */
  onDrained(): void {
    this.isBlocked = false;
    this.flushTurn();
  }
}
