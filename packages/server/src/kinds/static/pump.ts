/** Writes files into responses of node:http: a block at a time and none ahead, all of them in turns. */
import type { ServerResponse } from "node:http";
import { Fifo } from "@paceline/wire/fifo";
import type { FileBody } from "./file-body.js";

/** Memory that files pass through on their way into sockets: a small block for each reader that is slow, and a few large ones. */
const LARGE_BYTES = 65_536;
const SMALL_BYTES = 4096;
/** Large blocks that anybody gets, so that a few readers have no others. */
const LARGE_FOR_ALL = 8;
/** Large blocks for those who will give them back at once, beside the others. */
const LARGE_FOR_QUICK = 8;
/** Small blocks that are kept at most. */
const MAX_SPARE_SMALL = 1024;

class BlockPool {
  private readonly spareSmall: Buffer[] = [];
  private readonly spareLarge: Buffer[] = [];
  private large = 0;

  /** @param isQuick whether its taker is likely to give it back in the same turn of the event loop. */
  take(isQuick: boolean): Buffer {
    if (this.large < (isQuick ? LARGE_FOR_ALL + LARGE_FOR_QUICK : LARGE_FOR_ALL)) {
      this.large++;
      return this.spareLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
    }
    return this.spareSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  }

  /** Of a block that nobody reads any more. */
  giveBack(block: Buffer): void {
    if (block.length === LARGE_BYTES) {
      this.large--;
      this.spareLarge.push(block);
    } else if (this.spareSmall.length < MAX_SPARE_SMALL) this.spareSmall.push(block);
  }

  /** Keeps what one reader needs. */
  trim(): void {
    this.spareSmall.length = 0;
    if (this.spareLarge.length > 1) this.spareLarge.length = 1;
  }
}

/**
 * What all answers together write in one turn of the event loop. A socket may take as much as it is given, for as long
 * as it is given, and a turn accepts no more than one connection.
 */
const TURN_BYTES = 262_144;

const pool = new BlockPool();
/** Those that have had their part of this turn. */
const waiting = new Fifo<Pump>();
let active = 0;
let bytesInTurn = 0;
/** Moves on when every write has been called back that the kernel took whole. */
let settled = 0;
let isSettling = false;

/** Resolves when all was written or the client has gone; the file is closed. @throws as `readInto` */
export function pump(file: FileBody, outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    new Pump(file, outgoing, resolve, reject).goOn();
  });
}

function beginTurn(): void {
  bytesInTurn = 0;
  while (bytesInTurn < TURN_BYTES && waiting.length > 0) waiting.shift()?.step();
  // They wait for nothing else.
  if (bytesInTurn === 0 && waiting.length > 0) setImmediate(beginTurn);
}

/** Microtasks run when there is no other tick left, and what a socket took at once is told in a tick. */
function settleSoon(): void {
  if (isSettling) return;
  isSettling = true;
  queueMicrotask(() => {
    isSettling = false;
    settled++;
  });
}

class Pump {
  /** What the socket has in its hands until `taken`. */
  private block: Buffer | undefined;
  private isOver = false;
  private writtenAt = 0;
  /** What the socket has taken since it last was full, and what it took the time before. */
  private run = 0;
  private runBefore = 0;

  constructor(
    private readonly file: FileBody,
    private readonly outgoing: ServerResponse,
    private readonly resolve: () => void,
    private readonly reject: (error: unknown) => void,
  ) {
    active++;
    outgoing.on("close", this.end);
  }

  goOn(): void {
    if (bytesInTurn < TURN_BYTES) this.step();
    else waiting.push(this);
  }

  /** Writes the next block, or the end. */
  step(): void {
    const { file, outgoing } = this;
    if (this.isOver) return;
    if (outgoing.destroyed) return this.end();
    if (file.remaining === 0) {
      outgoing.end();
      return this.end();
    }
    const block = pool.take(this.run < this.runBefore / 2);
    this.block = block;
    let size: number;
    try {
      size = file.readInto(block, 0, block.length);
    } catch (error) {
      this.giveBack();
      this.reject(error);
      return this.end();
    }
    if (bytesInTurn === 0) setImmediate(beginTurn);
    bytesInTurn += size;
    this.run += size;
    settleSoon();
    this.writtenAt = settled;
    outgoing.write(size === block.length ? block : block.subarray(0, size), this.taken);
  }

  /** The last byte of the block has left, or the connection is gone. */
  private readonly taken = (): void => {
    this.giveBack();
    if (this.writtenAt !== settled) {
      this.runBefore = this.run;
      this.run = 0;
    }
    this.goOn();
  };

  private giveBack(): void {
    if (this.block !== undefined) pool.giveBack(this.block);
    this.block = undefined;
  }

  /** A block that is out comes back by itself: a socket that is destroyed calls what waits for it. */
  private readonly end = (): void => {
    if (this.isOver) return;
    this.isOver = true;
    if (--active === 0) pool.trim();
    this.outgoing.off("close", this.end);
    this.file.close();
    this.resolve();
  };
}
