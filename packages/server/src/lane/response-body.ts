/** Reads the body of a response that comes block by block: one block ahead of what the lane takes, and no further. */

import { type BlockSource, toBytes } from "../shared/blocks.js";
import { isTurnOver, nextTurn } from "../shared/turn-share.js";

/** How the blocks leave. */
export interface BlockWriter {
  /** False: wait for `drained` before the next. */
  write(block: Uint8Array): boolean;
  drained(): Promise<void>;
  endBody(): void;
  failed(error: unknown): void;
}

/** Resolves when all was written or has failed; `isLeft` tells that the writer wants no more. */
export async function writeBlocks(source: BlockSource, writer: BlockWriter, isLeft: () => boolean): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await source.next();
      if (isLeft()) return;
      if (done) return writer.endBody();
      const block = toBytes(value);
      if (block.length > 0 && !writer.write(block)) await writer.drained();
      // Those that always have their next block ready would leave the others no turn.
      else if (isTurnOver()) await nextTurn();
      if (isLeft()) return;
    }
  } catch (error) {
    if (!isLeft()) writer.failed(error);
  }
}
