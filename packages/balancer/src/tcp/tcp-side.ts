/** One of the two connections that are joined in tcp mode. Passes on the bytes of its peer as fast as the other peer reads. */

import type { UnreadBytes } from "../exchange/unread-bytes.js";
import { UnreadEntry, type UnreadOwner } from "../exchange/unread-entry.js";
import { FairReading, Pause, type TurnShare } from "../transport/reading.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";

interface JoinedOwner {
  /** Called when bytes were passed on. */
  onProgress(): void;
  /** Called when both peers have sent FIN. The bytes queued for them are still sent. */
  onEnding(): void;
  /**
   * Called when a side was reset or cut off. Returns true if that side is replaced and the other one stays open, because nothing was passed
   * on and only the client knows of the connection.
   */
  onCut(side: TcpSide): boolean;
  /** Called when both connections are closed. */
  onOver(): void;
  /** Called when a peer does not read, and the bytes that wait for it take too much memory. */
  onStuck(): void;
}

export class TcpSide implements ConnectionOwner, UnreadOwner {
  /** Whether its peer has sent FIN. */
  hasEnded = false;
  /** Whether its peer has sent bytes. */
  hasSent = false;
  private isClosed = false;
  private readonly reading: FairReading<Connection>;
  private readonly place = new UnreadEntry(this);
  /** Set by `join`. */
  private other: TcpSide = this;

  constructor(
    readonly connection: Connection,
    turnShare: TurnShare,
    private readonly unread: UnreadBytes,
    private readonly owner: JoinedOwner,
  ) {
    this.reading = new FairReading(connection, turnShare);
  }

  static join(one: TcpSide, other: TcpSide): void {
    one.other = other;
    other.other = one;
  }

  onData(bytes: Buffer): boolean {
    const { reading } = this;
    this.hasSent = true;
    this.owner.onProgress();
    const { other } = this;
    if (!other.connection.write(bytes)) {
      reading.pause(Pause.UNREAD);
      this.unread.count(other.place);
    }
    reading.countBody(bytes.length, false);
    return true;
  }

  onDrain(): void {
    this.owner.onProgress();
    this.unread.drained(this.place);
    this.other.reading.resume(Pause.UNREAD);
  }

  get unreadBytes(): number {
    return this.connection.heldBytes;
  }

  get progressBytes(): number {
    return this.connection.progressBytes;
  }

  get locallyReadBytes(): number | undefined {
    return this.connection.locallyReadBytes;
  }

  get stepBytes(): number | undefined {
    return this.connection.stepBytes;
  }

  resetForMemory(): void {
    this.owner.onStuck();
  }

  /** A FIN is passed on alone: the other direction stays open. */
  onEnd(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.reading.leaveTurn();
    this.owner.onProgress();
    this.connection.keepAsking();
    this.other.connection.end();
    if (!this.other.hasEnded) return;
    this.owner.onEnding();
    this.connection.close(true);
    this.other.connection.close(true);
  }

  onClose(): void {
    const { other } = this;
    this.isClosed = true;
    this.unread.free(this.place);
    this.reading.leaveTurn();
    other.reading.leaveTurn();
    if (this.hasEnded && other.hasEnded) {
      if (other.isClosed) this.owner.onOver();
      return;
    }
    if (this.owner.onCut(this)) return;
    // The other peer must not think that it has received everything.
    this.unread.free(other.place);
    other.connection.reset();
    this.owner.onOver();
  }

  /** The number of bytes queued for both peers. */
  get waitingBytes(): number {
    return this.connection.waitingBytes + this.other.connection.waitingBytes;
  }

  /** Resets both connections. */
  cut(): void {
    for (const side of [this, this.other]) {
      this.unread.free(side.place);
      side.reading.leaveTurn();
      side.connection.reset();
    }
  }

  /** Called each second, because a reset of a connection that is not being read causes no event, even after its FIN. */
  lookIfLeft(): void {
    for (const { reading, hasEnded, connection } of [this, this.other]) {
      if (reading.isPaused || hasEnded) connection.lookIfReset();
    }
  }
}
