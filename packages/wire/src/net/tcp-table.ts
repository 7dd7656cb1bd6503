/**
 * The kernel's table of TCP connections, with the bytes that peers have not acknowledged: Node has no call for this. The table also has the
 * sockets of peers on this machine, with the bytes that these have not read.
 */
import { fs } from "../proc/bun-memory.js";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/** The size of a read. The kernel fills a page with whole rows, about 25. */
const PIECE_BYTES = 16_384;

/**
 * How many pieces are read in one turn of the event loop, and how long one piece may take, in milliseconds. With only one piece per turn, a
 * busy process would read a large table for many seconds.
 */
const PIECES_IN_TURN = 8;
const PIECE_MS = 0.05;

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
 * Calls `take` for each open connection. Resolves with the number of pieces read.
 * @param isOfInterest selects rows to decode, by whether the kernel holds bytes for the peer or from it, and whether the peer has sent FIN
 */
export async function eachTcpRow(
  take: (row: TcpRow) => void,
  isOfInterest: (holds: boolean, isCloseWait: boolean, isUnread: boolean) => boolean,
  tables: readonly string[] = TABLES,
): Promise<number> {
  let pieces = 0;
  for (const table of tables) {
    // No IPv6, or no /proc.
    const file = await fs()
      .promises.open(table, "r")
      .catch(() => undefined);
    if (file === undefined) continue;
    try {
      pieces += await eachRow(file.fd, take, isOfInterest);
    } finally {
      await file.close();
    }
  }
  return pieces;
}

async function eachRow(
  fd: number,
  take: (row: TcpRow) => void,
  isOfInterest: (holds: boolean, isCloseWait: boolean, isUnread: boolean) => boolean,
): Promise<number> {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES + MAX_ROW_BYTES);
  for (let rest = 0, n = 0; ; n++) {
    const isOwnTurn = n % PIECES_IN_TURN === 0;
    const bytesRead = isOwnTurn ? await readPiece(fd, piece, rest) : fs().readSync(fd, piece, rest, PIECE_BYTES, null);
    if (bytesRead === 0) return n + 1;
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
    if (rest > MAX_ROW_BYTES) return n + 1;
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

/** The queues of this machine's TCP connections at one time. */
export interface TcpQueues {
  /** The bytes that the kernel holds for the peer, by the socket's inode. Has only sockets with such bytes. */
  outgoing: ReadonlyMap<number, number>;
  /** The inodes of sockets whose peer has sent FIN. */
  ended: ReadonlySet<number>;
  /** The bytes that peers on this machine have not read, by `localPeer`. */
  unread: ReadonlyMap<string, number>;
  /** The approximate time that the kernel took for the tables, in milliseconds. */
  kernelMs: number;
}

/** Reads the queues. If the tables cannot be read completely, resolves with the part that was read. */
export async function readTcpQueues(tables?: readonly string[]): Promise<TcpQueues> {
  const outgoing = new Map<number, number>();
  const ended = new Set<number>();
  const unread = new Map<string, number>();
  const pieces = await eachTcpRow(
    ({ text, isCloseWait }) => {
      const [, own = "", peers = "", , queues = "", , , , , inode] = text.trim().split(/\s+/);
      const [tx = "", rx = ""] = queues.split(":");
      const sent = Number.parseInt(tx, 16);
      const received = Number.parseInt(rx, 16);
      if (sent > 0) outgoing.set(Number(inode), sent);
      if (received > 0) unread.set(`${own.slice(-END_LENGTH - PORT_LENGTH)} ${peers.slice(1 - PORT_LENGTH)}`, received);
      if (isCloseWait) ended.add(Number(inode));
    },
    (holds, isCloseWait, isUnread) => holds || isCloseWait || isUnread,
    tables,
  ).catch(() => 0);
  return { outgoing, ended, unread, kernelMs: pieces * PIECE_MS };
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
