/** Flow control in the direction of this server (RFC 9113 §5.2): how much a client may send before more is granted. Pure. */
import { FIRST_WINDOW_BYTES } from "./protocol.js";

/** The window of a connection: it limits the memory of a client's unread uploads on all streams together. */
export const CONNECTION_WINDOW_BYTES = 1 << 20;
/** A stream's window grows to this while its bytes are read at once, so that uploads over long distances are fast. */
export const MOST_STREAM_BYTES = 1 << 19;

export class ReceiveWindow {
  /** How much the client may still send. */
  private left: number;
  /** Bytes that were used and not granted again. */
  private owed = 0;

  constructor(
    private size: number,
    /** It grows up to this. */
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

  /** Returns how much to grant now; 0 until half of the window was used. */
  grant(): number {
    if (this.owed === 0 || this.owed < this.size / 2) return 0;
    const growth = Math.min(this.size, this.mostSize - this.size);
    const granted = this.owed + growth;
    this.size += growth;
    this.left += granted;
    this.owed = 0;
    return granted;
  }
}

/** Returns the window of a connection's streams together. */
export function connectionWindow(): ReceiveWindow {
  return new ReceiveWindow(CONNECTION_WINDOW_BYTES, CONNECTION_WINDOW_BYTES);
}

/** Returns the window of one stream. */
export function streamWindow(): ReceiveWindow {
  return new ReceiveWindow(FIRST_WINDOW_BYTES, MOST_STREAM_BYTES);
}
