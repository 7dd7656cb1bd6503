/** What goes out on a lane: frames are put together while a turn lasts, and leave in one write when it ends. */
import { FrameBuffer } from "@paceline/wire/lane/frame-buffer";
import type { Connection } from "../transport/transport.js";

/** Something that has collected bytes. */
interface Flushable {
  flushTurn(): void;
}

const due: Flushable[] = [];
let isArmed = false;

/** Has it flushed once when this turn ends, and all that it brought has been read; whoever calls it keeps track of having done so. */
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

/** Of large bodies no more than this is put together before it is written, in bytes. */
const FULL_BYTES = 65_536;

export class LaneOutput implements Flushable {
  readonly frames = new FrameBuffer();
  /** A write was not taken whole: `onDrained` will be called, and nothing is written before. */
  isBlocked = false;
  private isFlushDue = false;

  private connection: Connection | undefined;

  /** Writes to this connection from now on. */
  begin(connection: Connection): void {
    this.clear();
    this.connection = connection;
  }

  /** Forgets the connection, and what has not left; answers with it. */
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
    this.isBlocked = !connection.writeTransient(frames.take());
  }

  /** The connection has taken all that it was given. */
  onDrained(): void {
    this.isBlocked = false;
    this.flushTurn();
  }
}
