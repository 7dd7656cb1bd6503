/** Shared by both sides of the control channel: its version, its lines and their limit, and common types. */
import { fs } from "../proc/bun-memory.js";

/**
 * The protocol version. Neighbouring versions understand each other: a side ignores types and fields that it does not know, and uses a
 * default for those that are missing. Other versions refuse each other with a clear message.
 */
export const CHANNEL_VERSION = 1;

export function isNeighbour(version: number, own: number): boolean {
  return Math.abs(version - own) <= 1;
}

/** The longest line in bytes. A longer one closes the control channel. */
const MAX_CHANNEL_LINE_BYTES = 1 << 20;

/** The protocol between an instance and the balancers: HTTP/1.1, the lane of docs/lane.md, or HTTP/1.1 with a control lane. */
export type UpstreamProtocol = "http1" | "lane" | "http1+control";

/** Returns the path of the control lane of an instance that serves HTTP/1.1 on a socket. */
export function controlLanePath(socket: string): string {
  // Not longer than the instance's own path, which fits into a socket address.
  return `${socket.replace(/\.sock$/, "")}.lane`;
}

/** A TCP address of this machine. */
export interface TcpAddress {
  /** An IP address. */
  host: string;
  port: number;
}

/** The address of a process: the path of a unix socket, or a TCP address. */
export type SocketAddress = string | TcpAddress;

/** Returns the path of a file whose modification time is the time at which the children lost their supervisor. */
export function lostMarkPath(channelSocket: string): string {
  return `${channelSocket}.lost`;
}

/** Touches a file, so that commands can report since when the supervisor is lost. All its children do so at the same moment. */
export function markLost(channelSocket: string): void {
  try {
    fs().writeFileSync(lostMarkPath(channelSocket), "", { mode: 0o600 });
  } catch {
    // The run directory is gone or not writable, so the time stays unknown.
  }
}

/** The output of every child is a file. */
const STDOUT = 1;

/**
 * Sets the access time of the output file to now, so that the next supervisor knows until when this process was running. Keeps the
 * modification time, which is the time of the last output.
 */
export function markAlive(): void {
  try {
    const { fstatSync, futimesSync } = fs();
    const found = fstatSync(STDOUT);
    if (found.isFile()) futimesSync(STDOUT, new Date(), found.mtime);
  } catch {
    // The next supervisor knows only an earlier time.
  }
}

/** A sparse latency histogram since the last report: bucket index, count, bucket index, count …. */
export type SparseHistogram = number[];

const NEWLINE = 0x0a;
const NOTHING = Buffer.alloc(0);

/**
 * Collects bytes and passes on each line without its newline. A line is decoded only when it is complete, so that a UTF-8 character that
 * arrives in two pieces is not broken. Empty lines are skipped.
 */
export class LineFramer {
  /** The incomplete line, in a buffer with room to grow, because it may arrive byte by byte. */
  private pending: Buffer = NOTHING;
  private pendingBytes = 0;
  private overflowed = false;

  /**
   * @param onLine called for each line, in order, from within `push`
   * @param maxLineBytes the longest accepted line in bytes, without its newline. Default: 1 MiB
   */
  constructor(
    private readonly onLine: (line: string) => void,
    private readonly maxLineBytes: number = MAX_CHANNEL_LINE_BYTES,
  ) {}

  /**
   * Adds bytes. Returns false once a line is too long. That line and all further ones are lost, and the caller should close the connection.
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
        // Copied, because the runtime may reuse the buffer for its next read.
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
