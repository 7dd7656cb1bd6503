/** How much of what TCP sockets were given their peers have not acknowledged, from /proc/net: Node has no call for it. */
import type { Socket } from "node:net";
import { fs } from "../proc/lazy-fs.js";
import type { AcknowledgingConnection } from "./slow-reader.js";
import { eachTcpRow } from "./tcp-table.js";

/** A reading is used for at least so long, and for so many times as long as it took: a table of 100,000 rows costs the kernel 0.1 s. */
const FRESH_MS = 1000;
const FRESH_TIMES = 4;

const seesOutgoing = process.platform === "linux";

/** By inode, those alone of which the kernel holds something. */
let outgoing: ReadonlyMap<number, number> = new Map();
/** Those whose peer has sent FIN, by inode. */
let ended: ReadonlySet<number> = new Set();
/** When that was asked for, and until when it is used. */
let readAt = Number.NEGATIVE_INFINITY;
let isFreshUntil = Number.NEGATIVE_INFINITY;
let isReading = false;

/** What node:net has beneath a socket, which its types leave out. */
interface Handle {
  readonly fd?: number;
  /** What it was given, and what of that the kernel has not taken. */
  readonly bytesWritten?: number;
  readonly writeQueueSize?: number;
}

/** What of the bytes that a socket was given its peer has. */
export class SocketAcknowledgements implements AcknowledgingConnection {
  /** By which the kernel's tables know it; 0 before that is asked. */
  private inode = 0;

  constructor(private readonly socket: Socket) {}

  /** The tables have no queues of unix sockets. */
  get seesAcknowledgements(): boolean {
    return seesOutgoing && this.socket.remoteAddress !== undefined;
  }

  acknowledgedBytes(since: number): number {
    const { fd = -1, bytesWritten = 0, writeQueueSize = 0 } = this.handle;
    this.findInode(fd);
    const outgoing = this.inode > 0 ? outgoingBytes(this.inode, since) : 0;
    // A reading may be older than what was written since.
    return outgoing < 0 ? -1 : Math.max(0, bytesWritten - writeQueueSize - outgoing);
  }

  /** Whether the peer has sent FIN and our kernel has it, as of the last reading; asking begins the next. */
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

/** The socket's inode, by which the tables know it; -1 when it is gone. */
function inodeOf(fd: number): number {
  try {
    // As bigints: Node's realpathSync, and with it `import`, stops following links after a plain stat of a socket or a pipe (Node issue 51142).
    return Number(fs().fstatSync(fd, { bigint: true }).ino);
  } catch {
    return -1;
  }
}

/**
 * Bytes that the kernel holds for the peer, as of a reading after that instant of `performance.now`; -1 while there is none.
 * Asking begins the next reading.
 */
function outgoingBytes(inode: number, since: number): number {
  readWhenStale();
  return readAt < since ? -1 : (outgoing.get(inode) ?? 0);
}

function readWhenStale(): void {
  const now = performance.now();
  if (!isReading && now > isFreshUntil) void readTables(now);
}

async function readTables(now: number): Promise<void> {
  isReading = true;
  const found = new Map<number, number>();
  const foundEnded = new Set<number>();
  // What cannot be read says nothing: what left this process has to do.
  await takeTables(found, foundEnded).catch(() => {});
  outgoing = found;
  ended = foundEnded;
  readAt = now;
  isFreshUntil = now + Math.max(FRESH_MS, FRESH_TIMES * (performance.now() - now));
  isReading = false;
}

/** What the kernel holds for peers, and those that have sent FIN, by the sockets' inodes. */
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
