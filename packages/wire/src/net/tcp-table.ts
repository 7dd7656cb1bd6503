/** The kernel's table of TCP connections, with the bytes that peers have not acknowledged. Node has no call for this. */
import type { Socket } from "node:net";
import { fs } from "../proc/bun-memory.js";
import type { AcknowledgingConnection } from "./slow-reader.js";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/** The size of a read. The kernel fills a page with whole rows, about 25. */
const PIECE_BYTES = 16_384;

/** The maximum length of a row. */
const MAX_ROW_BYTES = 1024;

const LF = 0x0a;
const COLON = 0x3a;
const ZERO = 0x30;
/** The last digits of the states TIME_WAIT (06) and CLOSE_WAIT (08). */
const SIX = 0x36;
const EIGHT = 0x38;

/** The distance from the colon after a row's number to its state: two addresses with ports. */
const STATE_AT = { v4: 30, v6: 78 };
/** The space after the first address and its port. */
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
 * @param isOfInterest selects the rows to decode, by whether the kernel holds bytes for the peer and whether the peer has sent FIN
 */
export async function eachTcpRow(
  take: (row: TcpRow) => void,
  isOfInterest: (holds: boolean, isCloseWait: boolean) => boolean,
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
  isOfInterest: (holds: boolean, isCloseWait: boolean) => boolean,
): Promise<void> {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES + MAX_ROW_BYTES);
  for (let rest = 0; ; ) {
    const bytesRead = await readPiece(fd, piece, rest);
    if (bytesRead === 0) return;
    const end = rest + bytesRead;
    let start = 0;
    for (let lf = piece.indexOf(LF, rest); lf >= 0 && lf < end; lf = piece.indexOf(LF, start)) {
      const stateAt = stateOf(piece, start, lf);
      if (stateAt > 0 && piece[stateAt + 1] !== SIX) {
        const isCloseWait = piece[stateAt + 1] === EIGHT;
        if (isOfInterest(hasQueue(piece, stateAt + 3), isCloseWait))
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
  return stateAt + 11 < end ? stateAt : 0;
}

/** Whether eight hex digits are not all zero. */
function hasQueue(bytes: Buffer, at: number): boolean {
  for (let i = at; i < at + 8; i++) if (bytes[i] !== ZERO) return true;
  return false;
}

/**
 * How long a reading is used, in milliseconds; below, as a multiple of the time that it took: a table of 100,000 rows costs the kernel 0.1
 * s.
 */
const FRESH_MS = 1000;
const FRESH_TIMES = 4;

const seesOutgoing = process.platform === "linux";

/** By inode; only connections for which the kernel holds bytes. */
let outgoing: ReadonlyMap<number, number> = new Map();
/** The inodes of connections whose peer has sent FIN. */
let ended: ReadonlySet<number> = new Set();
/** The time at which the reading was requested; below, until when it is used. */
let readAt = Number.NEGATIVE_INFINITY;
let isFreshUntil = Number.NEGATIVE_INFINITY;
let isReading = false;

/** The internals of node:net sockets that its types omit. */
interface Handle {
  readonly fd?: number;
  /** The number of bytes written; below, how many of them the kernel has not taken. */
  readonly bytesWritten?: number;
  readonly writeQueueSize?: number;
}

/** How many of the bytes written to a socket its peer has acknowledged. */
export class SocketAcknowledgements implements AcknowledgingConnection {
  /** Identifies it in the kernel's tables; 0 until it is determined. */
  private inode = 0;
  /** How many bytes the kernel had accepted at `takenAt`. */
  private takenBytes = 0;
  private takenAt = Number.NEGATIVE_INFINITY;
  /** How many of an earlier `takenBytes` were acknowledged at a later reading. */
  private sureBytes = 0;

  constructor(private readonly socket: Socket) {}

  /** The tables do not show the queues of unix sockets. */
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

  /** Like `acknowledgedBytes`, but synchronous: uses the kernel's queue size of the last reading; 0 without one. */
  get progressBytes(): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    return bytesWritten - writeQueueSize - (outgoing.get(this.inode) ?? 0);
  }

  /**
   * Like `progressBytes`, without the bytes that the kernel may have taken since the last reading. It is a lower bound that is one or two
   * readings late.
   */
  get surelyReadBytes(): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    if (readAt >= this.takenAt) {
      this.sureBytes = Math.max(this.sureBytes, this.takenBytes - (outgoing.get(this.inode) ?? 0));
      this.takenBytes = bytesWritten - writeQueueSize;
      this.takenAt = performance.now();
    }
    return this.sureBytes;
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
    if (this.inode === 0 && this.seesAcknowledgements) this.inode = inodeOf(fd);
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
 * Returns the bytes that the kernel holds for the peer, by a reading after `since` (`performance.now`); -1 without one. A call starts the
 * next reading.
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
  // Without the tables, bytes count once they have left this process.
  await takeTables(found, foundEnded).catch(() => {});
  outgoing = found;
  ended = foundEnded;
  readAt = now;
  isFreshUntil = now + Math.max(FRESH_MS, FRESH_TIMES * (performance.now() - now));
  isReading = false;
}

/** Collects the kernel's queued bytes, and the peers that have sent FIN, by the sockets' inodes. */
export async function takeTables(
  found: Map<number, number>,
  ended: Set<number>,
  tables?: readonly string[],
): Promise<void> {
  await eachTcpRow(
    ({ text, isCloseWait }) => {
      const fields = text.trim().split(/\s+/);
      const inode = Number(fields[9]);
      const tx = Number.parseInt(fields[4] ?? "", 16);
      if (tx > 0) found.set(inode, tx);
      if (isCloseWait) ended.add(inode);
    },
    (holds, isCloseWait) => holds || isCloseWait,
    tables,
  );
}
