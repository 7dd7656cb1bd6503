/** What both sides of the control channel agree on: its version, its lines and their bound, and the words that messages of both have. */

/** The version of this protocol; a child and a supervisor that differ refuse each other with a clear line. */
export const CHANNEL_VERSION = 1;

/** The longest line either side accepts, in bytes; a longer one closes the control channel. */
export const MAX_CHANNEL_LINE_BYTES = 1 << 20;

/** What an instance speaks with its balancers: HTTP/1.1, the lane of docs/lane.md, or HTTP/1.1 with a lane for control. */
export type UpstreamProtocol = "http1" | "lane" | "http1+control";

/** Where an instance that serves HTTP/1.1 on a socket has its lane for control. */
export function controlLanePath(socket: string): string {
  // No longer than the socket's own, which was made to fit a socket address.
  return `${socket.replace(/\.sock$/, "")}.lane`;
}

/** A TCP address of this machine. */
export interface TcpAddress {
  /** An IP address. */
  host: string;
  port: number;
}

/** Where a process serves: the path of a unix socket, or a TCP address. */
export type SocketAddress = string | TcpAddress;

/** The file beside `channelSocket` whose time of change is the moment at which the children lost their supervisor. */
export function lostMarkPath(channelSocket: string): string {
  return `${channelSocket}.lost`;
}

/** A sparse latency histogram: bucket index, count, bucket index, count … since the last report. */
export type SparseHistogram = number[];

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

/**
 * Collects bytes until a newline and hands over each line without it. A line is decoded only when it is whole, so a
 * UTF-8 character that arrives in two pieces stays one. Empty lines are left out.
 */
export class LineFramer {
  /** The line that has begun, in a buffer with room to grow: it may come byte by byte. */
  private pending: Buffer = NOTHING;
  private pendingBytes = 0;
  private overflowed = false;

  /**
   * @param onLine is called for each line, in order, from within `push`.
   * @param maxLineBytes the longest line accepted, in bytes without its newline; 1 MiB unless given.
   */
  constructor(
    private readonly onLine: (line: string) => void,
    private readonly maxLineBytes: number = MAX_CHANNEL_LINE_BYTES,
  ) {}

  /**
   * Takes the next bytes. Returns false once a line has passed the bound: that line and all that follows are lost, and
   * the caller should close the connection.
   */
  push(chunk: Uint8Array): boolean {
    let start = 0;
    while (!this.overflowed) {
      const end = chunk.indexOf(NEWLINE, start);
      const stop = end === -1 ? chunk.length : end;
      if (this.pendingBytes + stop - start > this.maxLineBytes) {
        this.overflowed = true;
        this.forget();
        break;
      }
      if (end === -1) {
        // A copy, because the runtime may use the same buffer for its next read.
        this.join(chunk.subarray(start, stop));
        break;
      }
      this.finishLine(chunk.subarray(start, end));
      start = end + 1;
    }
    return !this.overflowed;
  }

  private join(piece: Uint8Array): void {
    const length = this.pendingBytes + piece.length;
    if (length > this.pending.length) {
      const room = Buffer.allocUnsafe(Math.max(length, 2 * this.pending.length));
      room.set(this.pending.subarray(0, this.pendingBytes));
      this.pending = room;
    }
    this.pending.set(piece, this.pendingBytes);
    this.pendingBytes = length;
  }

  private finishLine(last: Uint8Array): void {
    let line: string;
    if (this.pendingBytes === 0) line = decode(last);
    else {
      this.join(last);
      line = this.pending.toString("utf8", 0, this.pendingBytes);
      this.forget();
    }
    if (line !== "") this.onLine(line);
  }

  private forget(): void {
    this.pending = NOTHING;
    this.pendingBytes = 0;
  }
}

function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("utf8");
}
