/** Flow control (RFC 9113 §5.2): how much a client may send before it is granted more, and how much it accepts. Pure. */
import { FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES } from "./protocol.js";

/** The window of a connection, in bytes. It limits the memory of a client's unread uploads on all streams together. */
const CONNECTION_WINDOW_BYTES = 1 << 20;
/**
 * Bytes of a request's body beyond this number are counted in the budget where they wait, not here. A connection may also have received
 * this many bytes outside the budget.
 */
const FREE_BYTES = 16_384;
/** A stream's window grows up to this size while its bytes are read at once, so that uploads over long distances are fast. */
const MOST_STREAM_BYTES = 1 << 19;

class ReceiveWindow {
  /** How many bytes the client may still send. */
  private left: number;
  /** The number of bytes that were used and not yet granted again. */
  private owed = 0;

  constructor(
    protected size: number,
    /** The maximum size of the window. */
    private readonly mostSize: number,
    private readonly firstSize = size,
  ) {
    this.left = size;
  }

  /** Starts with another stream. */
  restart(): void {
    this.size = this.left = this.firstSize;
    this.owed = 0;
  }

  /** Counts received bytes. Returns false if they exceed the window. */
  take(bytes: number): boolean {
    this.left -= bytes;
    return this.left >= 0;
  }

  /** Counts bytes that were used. */
  use(bytes: number): void {
    this.owed += bytes;
  }

  /** Returns how many bytes to grant now; 0 until half of the window was used. */
  grant(mayGrow = true): number {
    if (this.owed === 0 || this.owed < this.size / 2) return 0;
    const granted = this.owed + (mayGrow ? this.grow() : 0);
    this.left += this.owed;
    this.owed = 0;
    return granted;
  }

  /** Doubles the window. Returns by how much it has grown. */
  protected grow(): number {
    const growth = Math.min(this.size, this.mostSize - this.size);
    this.size += growth;
    this.left += growth;
    return growth;
  }
}

/** The balancer's budget for buffered bytes. */
interface Budget {
  readonly hasRoom: boolean;
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/**
 * The window for all streams of a connection together. It is small at first, because every client may fill it at once. It grows while the
 * budget has room. Bytes that were received and not used count in the budget.
 */
export class ConnectionWindow extends ReceiveWindow {
  private unused = 0;
  private counted = 0;
  private streams = 0;

  constructor(private readonly budget: Budget) {
    super(FIRST_WINDOW_BYTES, CONNECTION_WINDOW_BYTES);
  }

  override take(bytes: number): boolean {
    this.unused += bytes;
    return super.take(bytes);
  }

  override use(bytes: number): void {
    this.unused -= bytes;
    super.use(bytes);
    if (this.counted > 0) this.count();
  }

  override grant(): number {
    return super.grant(this.budget.hasRoom);
  }

  /** Counts the unused bytes that are not counted where they wait. Returns false if the budget has no room for them. */
  count(streams = this.streams): boolean {
    this.streams = streams;
    const counted = Math.max(0, Math.min(this.unused, FREE_BYTES * streams) - FREE_BYTES);
    const more = counted - this.counted;
    if (more > 0 && !this.budget.take(more)) return false;
    if (more < 0) this.budget.give(-more);
    this.counted = counted;
    return true;
  }

  /**
   * Returns how many bytes to grant in addition to the used ones. Without them, a stream that waits for its instance would leave the other
   * streams no room.
   */
  widen(): number {
    return this.unused >= this.size / 2 && this.budget.hasRoom ? this.grow() : 0;
  }

  /** The connection is closed. */
  close(): void {
    this.budget.give(this.counted);
    this.unused = this.counted = 0;
  }
}

/** While more bytes wait, no piece is smaller than this, in bytes: a client that acknowledges each piece sends two frames for it. */
const LEAST_PIECE_BYTES = 4096;

/** How much a client accepts, on one stream or on all together. */
export class SendWindow {
  /** Negative after the client has reduced its windows. */
  left = 0;
  /** The largest window that the client has ever granted. */
  private widest = 0;

  constructor(bytes = 0) {
    this.restart(bytes);
  }

  /** Starts again for another stream. */
  restart(bytes: number): void {
    this.left = this.widest = bytes;
  }

  /** Changes the window as the client demands. Returns false if it becomes too large. */
  change(bytes: number): boolean {
    this.left += bytes;
    this.widest = Math.max(this.left, this.widest + Math.min(0, bytes));
    return this.left <= MAX_WINDOW_BYTES;
  }

  /**
   * Returns how many of the waiting bytes to send. A window that opens in small steps is not used until it has opened further, as in TCP
   * (RFC 9293 §3.8.6.2.1), up to half of the largest window that the client has granted.
   */
  room(waiting: number): number {
    const least = Math.min(LEAST_PIECE_BYTES, this.widest / 2);
    return this.left >= Math.min(waiting, least) ? Math.max(0, this.left) : 0;
  }
}

/** Returns the window of one stream. */
export function streamWindow(): ReceiveWindow {
  return new ReceiveWindow(FIRST_WINDOW_BYTES, MOST_STREAM_BYTES);
}
