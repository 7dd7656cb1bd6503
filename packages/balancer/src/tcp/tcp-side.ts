/** One of the two connections that are joined in tcp mode: passes on what its peer sends, as fast as the other peer reads. */

import { PacedReading, Pause, type TurnShare } from "../downstream/reading.js";
import { type UnreadBytes, type UnreadOwner, UnreadPlace } from "../exchange/unread-bytes.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";

interface JoinedOwner {
  /** Bytes were passed on. */
  onProgress(): void;
  /** Both peers have sent FIN: what is queued for them is still sent. */
  onEnding(): void;
  /**
   * A side was reset or cut off. Returns true if it is replaced, so that the other one stays open: nothing has passed, and only the
   * client knows of the connection.
   */
  onCut(side: TcpSide): boolean;
  /** Both connections are closed. */
  onOver(): void;
  /** One of the peers does not read, and its bytes take too much memory. */
  onStuck(): void;
}

export class TcpSide implements ConnectionOwner, UnreadOwner {
  /** Whether its peer has sent FIN. */
  hasEnded = false;
  /** Whether its peer has sent bytes. */
  hasSent = false;
  private isClosed = false;
  private readonly reading: PacedReading<Connection>;
  private readonly place = new UnreadPlace(this);
  /** Set by `join`. */
  private other: TcpSide = this;

  constructor(
    readonly connection: Connection,
    turnShare: TurnShare,
    private readonly unread: UnreadBytes,
    private readonly owner: JoinedOwner,
  ) {
    this.reading = new PacedReading(connection, turnShare);
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

  giveUnreadWay(): void {
    this.owner.onStuck();
  }

  /** A FIN is passed on by itself: the other direction goes on. */
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
    // The other peer must not take what it got for complete.
    this.unread.free(other.place);
    other.connection.reset();
    this.owner.onOver();
  }

  /** What is queued for both peers. */
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

  /** Called each second: a reset of a connection that is not read goes unnoticed, also after its FIN. */
  lookIfLeft(): void {
    for (const { reading, hasEnded, connection } of [this, this.other]) {
      if (reading.isPaused || hasEnded) connection.lookIfReset();
    }
  }
}
