/** Writes files into responses of node:http, in turns: one block at a time and none ahead. */
import type { ServerResponse } from "node:http";
import { Fifo } from "@paceline/wire/fifo";
import type { FileBody } from "./file-body.js";

/** Buffers for copying files to sockets: a small block per slow reader, and a few large ones. In bytes. */
const LARGE_BYTES = 65_536;
const SMALL_BYTES = 4096;
/** Large blocks that even slow readers may take, as long as few are in use. */
const LARGE_FOR_ALL = 8;
/** Additional large blocks for readers that return them at once. */
const LARGE_FOR_QUICK = 8;
/** The maximum number of spare small blocks. */
const MAX_SPARE_SMALL = 1024;

class BlockPool {
  private readonly spareSmall: Buffer[] = [];
  private readonly spareLarge: Buffer[] = [];
  private large = 0;

  /** @param isQuick whether the taker will probably return it within the same turn of the event loop */
  take(isQuick: boolean): Buffer {
    if (this.large < (isQuick ? LARGE_FOR_ALL + LARGE_FOR_QUICK : LARGE_FOR_ALL)) {
      this.large++;
      return this.spareLarge.pop() ?? Buffer.allocUnsafeSlow(LARGE_BYTES);
    }
    return this.spareSmall.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES);
  }

  /** Returns a block that is no longer used. */
  giveBack(block: Buffer): void {
    if (block.length === LARGE_BYTES) {
      this.large--;
      this.spareLarge.push(block);
    } else if (this.spareSmall.length < MAX_SPARE_SMALL) this.spareSmall.push(block);
  }

  /** Keeps enough for one reader. */
  trim(): void {
    this.spareSmall.length = 0;
    if (this.spareLarge.length > 1) this.spareLarge.length = 1;
  }
}

/**
 * The bytes that all responses together write per turn of the event loop. A socket may accept data endlessly, and a turn accepts only one
 * connection.
 */
const TURN_BYTES = 262_144;

const pool = new BlockPool();
/** Responses that have used their share of this turn. */
const waiting = new Fifo<Pump>();
let active = 0;
let bytesInTurn = 0;
/** Continues after the callbacks of all writes that the kernel took completely. */
let settled = 0;
let isSettling = false;

/**
 * Resolves when everything was written or the client has left, and the file is closed.
 * @throws like `readInto`
 */
export function pump(file: FileBody, outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    new Pump(file, outgoing, resolve, reject).goOn();
  });
}

function beginTurn(): void {
  bytesInTurn = 0;
  while (bytesInTurn < TURN_BYTES && waiting.length > 0) waiting.shift()?.step();
  // They wait only for the next turn.
  if (bytesInTurn === 0 && waiting.length > 0) setImmediate(beginTurn);
}

/** Microtasks run after all ticks, and a socket reports an immediate write in a tick. */
function settleSoon(): void {
  if (isSettling) return;
  isSettling = true;
  queueMicrotask(() => {
    isSettling = false;
    settled++;
  });
}

class Pump {
  /** The block that the socket holds until `taken`. */
  private block: Buffer | undefined;
  private isOver = false;
  private writtenAt = 0;
  /** The bytes taken since the socket was last full, and those in the period before that. */
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

  /** The last byte of the block was sent, or the connection is closed. */
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

  /** The block in use is returned automatically, because a destroyed socket calls its callbacks. */
  private readonly end = (): void => {
    if (this.isOver) return;
    this.isOver = true;
    if (--active === 0) pool.trim();
    this.outgoing.off("close", this.end);
    this.file.close();
    this.resolve();
  };
}
