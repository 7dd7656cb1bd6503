/** Reads the kernel's table of TCP connections piece by piece: it may have 100,000 rows, almost all of connections that are over. */
import { fs } from "../proc/lazy-fs.js";

const TABLES = ["/proc/net/tcp", "/proc/net/tcp6"];

/** Of each read; the kernel fills a page with whole rows, some 25 of them. */
const PIECE_BYTES = 16_384;

/** A row is at most this long; a longer one is none. */
const MAX_ROW_BYTES = 1024;

const LF = 0x0a;
const COLON = 0x3a;
const ZERO = 0x30;
/** The last digits of the states TIME_WAIT (06) and CLOSE_WAIT (08). */
const SIX = 0x36;
const EIGHT = 0x38;

/** From the colon behind a row's number to its state: two addresses with their ports lie between. */
const STATE_AT = { v4: 30, v6: 78 };
/** The space behind the first address and its port. */
const GAP_AT = { v4: 15, v6: 39 };
const SPACE = 0x20;

/** A row of proc(5), "sl: local remote st tx:rx tr:when retrnsmt uid timeout inode …". */
export interface TcpRow {
  readonly text: string;
  /** The peer has sent FIN. */
  readonly isCloseWait: boolean;
}

/**
 * Calls `take` for each connection that is not over.
 * @param isOfInterest told whether the kernel holds anything for the peer, and whether that has sent FIN: only rows of interest are decoded
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

/** A function of its own and not one that is made when the module loads: that would load it, and node:util, into every process. */
function readPiece(fd: number, into: Buffer, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs().read(fd, into, at, PIECE_BYTES, null, (error, count) => (error === null ? resolve(count) : reject(error)));
  });
}

/** Where the row's state begins; 0 in the title, and in what is no row. */
function stateOf(bytes: Buffer, start: number, end: number): number {
  let colon = start;
  while (colon < end && bytes[colon] !== COLON) colon++;
  const stateAt = colon + (bytes[colon + GAP_AT.v4] === SPACE ? STATE_AT.v4 : STATE_AT.v6);
  return stateAt + 11 < end ? stateAt : 0;
}

/** Eight hex digits that are not all zero. */
function hasQueue(bytes: Buffer, at: number): boolean {
  for (let i = at; i < at + 8; i++) if (bytes[i] !== ZERO) return true;
  return false;
}
