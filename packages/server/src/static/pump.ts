/** Writes a file into an answer of node:http, a block at a time and none ahead. */
import type { ServerResponse } from "node:http";
import type { LentFile } from "./lent-file.js";

/** All blocks together: many slow readers have small ones. */
const BUDGET_BYTES = 4 << 20;
const MIN_BLOCK_BYTES = 8192;
const MAX_BLOCK_BYTES = 65_536;

let active = 0;

function blockBytes(): number {
  return Math.max(MIN_BLOCK_BYTES, Math.min(MAX_BLOCK_BYTES, Math.floor(BUDGET_BYTES / active)));
}

/** Resolves when all was written or the client has gone; the file is closed. @throws as `readInto` */
export async function pump(file: LentFile, outgoing: ServerResponse): Promise<void> {
  active++;
  let wake: (() => void) | undefined;
  const go = () => wake?.();
  outgoing.on("close", go);
  outgoing.on("drain", go);
  let block: Buffer | undefined;
  try {
    while (file.remaining > 0 && !outgoing.destroyed) {
      const wanted = blockBytes();
      if (block === undefined || block.length > wanted) block = Buffer.allocUnsafeSlow(wanted);
      const size = file.readInto(block, 0, block.length);
      let isTaken = false;
      outgoing.write(block.subarray(0, size), () => {
        isTaken = true;
        go();
      });
      // The block is used again, so its last byte must have left.
      while ((!isTaken || outgoing.writableNeedDrain) && !outgoing.destroyed) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
    if (!outgoing.destroyed) outgoing.end();
  } finally {
    active--;
    outgoing.off("close", go);
    outgoing.off("drain", go);
    file.close();
  }
}
