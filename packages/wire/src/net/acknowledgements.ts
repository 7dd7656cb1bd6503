/** How many of the bytes written to a socket its peer has acknowledged or read, by readings of the kernel's table (tcp-table.ts). */
import type { Socket } from "node:net";
import { fs } from "../proc/bun-memory.js";
import { type AcknowledgingConnection, pauseAfterLook } from "./slow-reader.js";
import { localPeer, readTcpQueues, type TcpQueues } from "./tcp-table.js";

/**
 * How long a reading is used at least: this many milliseconds, or this multiple of the time that the kernel takes for it, which is 0.2 s
 * for a table of 100,000 rows.
 */
const FRESH_MS = 1000;
const FRESH_TIMES = 4;
/** A peer's FIN may become known as late as if the peer could read nothing for this time, in milliseconds. */
const END_TIMEOUT_MS = 20_000;

const seesOutgoing = process.platform === "linux";

/** The last reading. */
let queues: TcpQueues = { outgoing: new Map(), ended: new Set(), unread: new Map(), kernelMs: 0 };
/** When the reading was requested. */
let readAt = Number.NEGATIVE_INFINITY;
let isReading = false;

/** The internals of node:net sockets that its types omit. */
interface Handle {
  readonly fd?: number;
  /** The number of bytes written, and how many of them the kernel has not taken. */
  readonly bytesWritten?: number;
  readonly writeQueueSize?: number;
}

/** Returns how many bytes this peer had not read at the last reading. A call does not start a reading. */
export function unreadOfPeer(peer: string): number {
  return queues.unread.get(peer) ?? 0;
}

/**
 * A lower bound of the bytes that a peer has acknowledged or read. A reading shows queues as they were, so its age is taken into account.
 */
export class SureBytes {
  /** How many bytes were on their way, or done, at `takenAt`. */
  private takenBytes = 0;
  private takenAt = Number.NEGATIVE_INFINITY;
  private bytes = 0;

  /**
   * Returns how many of the bytes of an earlier call had left the queues at a later reading.
   * @param takenBytes how many bytes have entered these queues by now
   * @param queuedBytes how many of them were in the queues at the last reading
   */
  note(takenBytes: number, queuedBytes: number, now = performance.now(), at = readAt): number {
    if (at >= this.takenAt) {
      this.bytes = Math.max(this.bytes, this.takenBytes - queuedBytes);
      this.takenBytes = takenBytes;
      this.takenAt = now;
    }
    return this.bytes;
  }
}

/** Finds how many of the bytes written to a socket its peer has acknowledged. */
export class SocketAcknowledgements implements AcknowledgingConnection {
  /** The socket's inode, which identifies it in the kernel's tables; 0 until it is determined. */
  private inode = 0;
  private readonly sureBytes = new SureBytes();
  /** The peer's name from `localPeer`; empty until it is determined, undefined if the peer is on another machine. */
  private peer: string | undefined = "";

  constructor(private readonly socket: Socket) {}

  /** False for unix sockets, whose queues the tables do not show. */
  get seesAcknowledgements(): boolean {
    return seesOutgoing && this.socket.remoteAddress !== undefined;
  }

  acknowledgedBytes(since: number, timeoutMs: number): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    const outgoing = this.inode > 0 ? outgoingBytes(this.inode, since, timeoutMs) : 0;
    // A reading may be older than the latest writes.
    return outgoing < 0 ? -1 : Math.max(0, bytesWritten - writeQueueSize - outgoing);
  }

  /**
   * The number of bytes that the peer's kernel has acknowledged, minus the bytes that a peer on this machine has not read. Synchronous:
   * uses the queues as they were at the last reading, or empty ones without a reading.
   */
  get progressBytes(): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    return bytesWritten - writeQueueSize - this.queuedBytes;
  }

  /** The number of bytes that the kernel holds for the peer, including those that a peer on this machine has not read. */
  private get queuedBytes(): number {
    const { peer } = this;
    return (queues.outgoing.get(this.inode) ?? 0) + (peer === undefined ? 0 : unreadOfPeer(peer));
  }

  /**
   * Like `progressBytes`, without the bytes that the kernel may have taken since the last reading. It is a lower bound that is one or two
   * readings late.
   */
  get surelyReadBytes(): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    return this.sureBytes.note(bytesWritten - writeQueueSize, this.queuedBytes);
  }

  /** The same for a peer on this machine, whose unread bytes are known; undefined for other peers. */
  get locallyReadBytes(): number | undefined {
    const { surelyReadBytes } = this;
    return this.peer ? surelyReadBytes : undefined;
  }

  /** Whether the peer has sent FIN, by the last reading. A call starts the next one. */
  get hasPeerEnded(): boolean {
    this.findInode(this.handle.fd ?? -1);
    if (this.inode <= 0) return false;
    readWhenStale(END_TIMEOUT_MS);
    return queues.ended.has(this.inode);
  }

  private get handle(): Handle {
    return (this.socket as { _handle?: Handle })._handle ?? {};
  }

  private findInode(fd: number): void {
    if (this.inode !== 0 || !this.seesAcknowledgements) return;
    this.inode = inodeOf(fd);
    this.peer = localPeer(this.socket);
  }
}

/** Returns the socket's inode in the tables; -1 if it is closed. */
function inodeOf(fd: number): number {
  try {
    // `bigint`: after a plain stat of a socket or a pipe, Node's `import` follows no links (Node issue 51142).
    return Number(fs().fstatSync(fd, { bigint: true }).ino);
  } catch {
    return -1;
  }
}

/**
 * Returns the bytes that the kernel holds for the peer, by a reading after `since` (`performance.now`); -1 without such a reading. A call
 * starts the next one.
 */
function outgoingBytes(inode: number, since: number, timeoutMs: number): number {
  readWhenStale(timeoutMs);
  return readAt < since ? -1 : (queues.outgoing.get(inode) ?? 0);
}

/**
 * Starts a reading if the last one is old. Returns the time of the last one (`performance.now`).
 * @param timeoutMs how long a peer may read nothing, from which follows how rare readings of a large table may be; 0: as usual
 */
export function readWhenStale(timeoutMs = 0): number {
  const now = performance.now();
  if (!isReading && now - readAt > freshMs(queues.kernelMs, timeoutMs)) void readQueues(now);
  return readAt;
}

/** Returns how long a reading is used that took this long. */
export function freshMs(kernelMs: number, timeoutMs: number): number {
  return pauseAfterLook(kernelMs, Math.max(FRESH_MS, FRESH_TIMES * kernelMs), timeoutMs);
}

async function readQueues(now: number): Promise<void> {
  isReading = true;
  // Bytes that a failed reading does not show count as acknowledged.
  queues = await readTcpQueues();
  readAt = now;
  isReading = false;
}
