/** One of the two connections that are joined in tcp mode: passes on what its peer sends, as fast as the other peer reads. */
import { PacedReading, Pause, type TurnShare } from "../downstream/reading.js";
import type { Connection, ConnectionOwner } from "../transport/transport.js";

interface JoinedOwner {
  /** Bytes were passed on. */
  onProgress(): void;
  /** Both peers have sent FIN: what is queued for them is still sent. */
  onEnding(): void;
  /** Both connections are closed. */
  onOver(): void;
}

export class TcpSide implements ConnectionOwner {
  /** Whether its peer has sent FIN. */
  private hasEnded = false;
  private isClosed = false;
  private readonly reading: PacedReading<Connection>;
  /** Set by `join`. */
  private other: TcpSide = this;

  constructor(
    readonly connection: Connection,
    turnShare: TurnShare,
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
    this.owner.onProgress();
    if (!this.other.connection.write(bytes)) reading.pause(Pause.UNREAD);
    reading.countBody(bytes.length, false);
    return true;
  }

  onDrain(): void {
    this.owner.onProgress();
    this.other.reading.resume(Pause.UNREAD);
  }

  /** A FIN is passed on by itself: the other direction goes on. */
  onEnd(): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.reading.leaveTurn();
    this.owner.onProgress();
    this.other.connection.end();
    if (!this.other.hasEnded) return;
    this.owner.onEnding();
    this.connection.close(true);
    this.other.connection.close(true);
  }

  onClose(): void {
    const { other } = this;
    this.isClosed = true;
    this.reading.leaveTurn();
    other.reading.leaveTurn();
    if (this.hasEnded && other.hasEnded) {
      if (other.isClosed) this.owner.onOver();
      return;
    }
    // It was reset or cut off: the other peer must not take what it got for complete.
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
      side.reading.leaveTurn();
      side.connection.reset();
    }
  }

  /** Called each second: a reset of a connection that is not read goes unnoticed. */
  lookIfLeft(): void {
    if (this.reading.isPaused) this.connection.lookIfReset();
    if (this.other.reading.isPaused) this.other.connection.lookIfReset();
  }
}
