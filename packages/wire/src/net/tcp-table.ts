/**
 * The kernel's table of TCP connections, with the bytes that peers have not acknowledged: Node has no call for this. The table also has the
 * sockets of peers on this machine, with the bytes that these have not read.
 */
import type { Socket } from "node:net";
import { fs } from "../proc/bun-memory.js";
import type { AcknowledgingConnection } from "./slow-reader.js";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/** The size of a read. The kernel fills a page with whole rows, about 25. */
const PIECE_BYTES = 16_384;

/**
 * How many pieces are read in one turn of the event loop, and how long one piece may take, in milliseconds. With only one piece per turn, a
 * busy process would read a large table for many seconds.
 */
const PIECES_IN_TURN = 8;
const PIECE_MS = 0.05;
let piecesRead = 0;

/** The maximum length of a row. */
const MAX_ROW_BYTES = 1024;

const LF = 0x0a;
const COLON = 0x3a;
const ZERO = 0x30;
/** The last digits of the states TIME_WAIT (06) and CLOSE_WAIT (08). */
const SIX = 0x36;
const EIGHT = 0x38;

/** The distance in characters from the colon after a row's number to the row's state. Two addresses with their ports are in between. */
const STATE_AT = { v4: 30, v6: 78 };
/** The distance from that colon to the space after the first address and its port. */
const GAP_AT = { v4: 15, v6: 39 };
const SPACE = 0x20;

/** A row of proc(5): "sl: local remote st tx:rx tr:when retrnsmt uid timeout inode …". */
interface TcpRow {
  readonly text: string;
  /** Whether the peer has sent FIN. */
  readonly isCloseWait: boolean;
}

/**
 * Calls `take` for each open connection.
 * @param isOfInterest selects rows to decode, by whether the kernel holds bytes for the peer or from it, and whether the peer has sent FIN
 */
export async function eachTcpRow(
  take: (row: TcpRow) => void,
  isOfInterest: (holds: boolean, isCloseWait: boolean, isUnread: boolean) => boolean,
  tables: readonly string[] = TABLES,
): Promise<void> {
  for (const table of tables) {
    // No IPv6, or no /proc.
    const file = await fs()
      .promises.open(table, "r")
      .catch(() => undefined);
    if (file === undefined) continue;
    try {
      await eachRow(file.fd, take, isOfInterest);
    } finally {
      await file.close();
    }
  }
}

async function eachRow(
  fd: number,
  take: (row: TcpRow) => void,
  isOfInterest: (holds: boolean, isCloseWait: boolean, isUnread: boolean) => boolean,
): Promise<void> {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES + MAX_ROW_BYTES);
  for (let rest = 0, n = 0; ; n++) {
    piecesRead++;
    const isOwnTurn = n % PIECES_IN_TURN === 0;
    const bytesRead = isOwnTurn ? await readPiece(fd, piece, rest) : fs().readSync(fd, piece, rest, PIECE_BYTES, null);
    if (bytesRead === 0) return;
    const end = rest + bytesRead;
    let start = 0;
    for (let lf = piece.indexOf(LF, rest); lf >= 0 && lf < end; lf = piece.indexOf(LF, start)) {
      const stateAt = stateOf(piece, start, lf);
      if (stateAt > 0 && piece[stateAt + 1] !== SIX) {
        const isCloseWait = piece[stateAt + 1] === EIGHT;
        if (isOfInterest(hasQueue(piece, stateAt + 3), isCloseWait, hasQueue(piece, stateAt + 12)))
          take({ text: piece.toString("latin1", start, lf), isCloseWait });
      }
      start = lf + 1;
    }
    rest = end - start;
    if (rest > MAX_ROW_BYTES) return;
    piece.copyWithin(0, start, end);
  }
}

/** Written by hand: promisify would load node:util into every process when this module loads. */
function readPiece(fd: number, into: Buffer, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs().read(fd, into, at, PIECE_BYTES, null, (error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

/** Returns the position of the row's state; 0 for the title and invalid rows. */
function stateOf(bytes: Buffer, start: number, end: number): number {
  let colon = start;
  while (colon < end && bytes[colon] !== COLON) colon++;
  const stateAt = colon + (bytes[colon + GAP_AT.v4] === SPACE ? STATE_AT.v4 : STATE_AT.v6);
  return stateAt + 20 < end ? stateAt : 0;
}

/** Whether eight hex digits are not all zero. */
function hasQueue(bytes: Buffer, at: number): boolean {
  for (let i = at; i < at + 8; i++) if (bytes[i] !== ZERO) return true;
  return false;
}

/**
 * How long a reading is used: this many milliseconds, or this multiple of the time that the kernel takes for it, which is 0.2 s for a table
 * of 100,000 rows.
 */
const FRESH_MS = 1000;
const FRESH_TIMES = 4;

const seesOutgoing = process.platform === "linux";

/** By inode. Has only connections for which the kernel holds bytes. */
let outgoing: ReadonlyMap<number, number> = new Map();
/** The inodes of connections whose peer has sent FIN. */
let ended: ReadonlySet<number> = new Set();
/** The bytes that peers on this machine have not read, by `localPeer`. */
let unreadOfPeers: ReadonlyMap<string, number> = new Map();
/** When the reading was requested, and until when it is used. */
let readAt = Number.NEGATIVE_INFINITY;
let isFreshUntil = Number.NEGATIVE_INFINITY;
let isReading = false;

/** The internals of node:net sockets that its types omit. */
interface Handle {
  readonly fd?: number;
  /** The number of bytes written, and how many of them the kernel has not taken. */
  readonly bytesWritten?: number;
  readonly writeQueueSize?: number;
}

/**
 * Returns the name of a peer on this machine in the table, which has a row for the peer's own socket; undefined for other peers. Over
 * loopback, a kernel does not report the first 64 KB that its program reads, for which a slow program needs a minute.
 */
export function localPeer(ends: {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  localAddress?: string | undefined;
  localPort?: number | undefined;
}): string | undefined {
  const { remoteAddress, remotePort, localAddress, localPort } = ends;
  if (remoteAddress === undefined || remotePort === undefined || localPort === undefined) return undefined;
  const bytes = /(?:^|:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(remoteAddress)?.slice(1).map(Number);
  if (remoteAddress !== "::1" && (bytes === undefined || (bytes[0] !== 127 && remoteAddress !== localAddress)))
    return undefined;
  return `${(bytes ?? LOOPBACK_V6_END)
    .map((byte) => hex(byte, 2))
    .reverse()
    .join("")}:${hex(remotePort, 4)} ${hex(localPort, 4)}`;
}

/** The last bytes of ::1. */
const LOOPBACK_V6_END = [0, 0, 0, 1];
/** The number of characters at the end of an address in the table that suffice to distinguish the addresses of this machine. */
const END_LENGTH = 8;
/** The length of a port in the table, including its colon. */
const PORT_LENGTH = 5;

const hex = (number: number, length: number) => number.toString(16).toUpperCase().padStart(length, "0");

/** Returns how many bytes this peer had not read at the last reading. A call does not start a reading. */
export function unreadOfPeer(peer: string): number {
  return unreadOfPeers.get(peer) ?? 0;
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

  acknowledgedBytes(since: number): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    const outgoing = this.inode > 0 ? outgoingBytes(this.inode, since) : 0;
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
    return (outgoing.get(this.inode) ?? 0) + (peer === undefined ? 0 : unreadOfPeer(peer));
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
    readWhenStale();
    return ended.has(this.inode);
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
function outgoingBytes(inode: number, since: number): number {
  readWhenStale();
  return readAt < since ? -1 : (outgoing.get(inode) ?? 0);
}

/** Starts a reading if the last one is old. Returns the time of the last one (`performance.now`). */
export function readWhenStale(): number {
  const now = performance.now();
  if (!isReading && now > isFreshUntil) void readTables(now);
  return readAt;
}

async function readTables(now: number): Promise<void> {
  isReading = true;
  const found = new Map<number, number>();
  const foundEnded = new Set<number>();
  const foundUnread = new Map<string, number>();
  const before = piecesRead;
  // If the tables cannot be read, bytes count as acknowledged as soon as this process has written them.
  await takeTables(found, foundEnded, foundUnread).catch(() => {});
  outgoing = found;
  ended = foundEnded;
  unreadOfPeers = foundUnread;
  readAt = now;
  isFreshUntil = now + Math.max(FRESH_MS, FRESH_TIMES * PIECE_MS * (piecesRead - before));
  isReading = false;
}

/**
 * Collects the kernel's queued bytes and the peers that have sent FIN, both by the sockets' inodes, and the unread bytes by `localPeer`.
 */
export async function takeTables(
  found: Map<number, number>,
  ended: Set<number>,
  unread: Map<string, number>,
  tables?: readonly string[],
): Promise<void> {
  await eachTcpRow(
    ({ text, isCloseWait }) => {
      const [, own = "", peers = "", , queues = "", , , , , inode] = text.trim().split(/\s+/);
      const [tx = "", rx = ""] = queues.split(":");
      const sent = Number.parseInt(tx, 16);
      const received = Number.parseInt(rx, 16);
      if (sent > 0) found.set(Number(inode), sent);
      if (received > 0) unread.set(`${own.slice(-END_LENGTH - PORT_LENGTH)} ${peers.slice(1 - PORT_LENGTH)}`, received);
      if (isCloseWait) ended.add(Number(inode));
    },
    (holds, isCloseWait, isUnread) => holds || isCloseWait || isUnread,
    tables,
  );
}
