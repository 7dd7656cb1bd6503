/** Reads the body of an answer that comes block by block: one block ahead of what the lane takes, and no further. */

import { isTurnOver, nextTurn } from "../process/block-turns.js";

/** How the blocks leave. */
export interface BlockWriter {
  /** False: wait for `drained` before the next. */
  write(block: Uint8Array): boolean;
  drained(): Promise<void>;
  endBody(): void;
  failed(error: unknown): void;
}

type Result = { done?: boolean; value?: unknown };

/** What can be read block by block and left before its end. */
export interface BlockSource {
  next(): Promise<Result>;
  /** Nobody wants the rest. */
  cancel(): void;
}

export function blocksOf(body: ReadableStream<Uint8Array> | AsyncIterable<unknown>): BlockSource {
  if (body instanceof ReadableStream) {
    const reader = body.getReader();
    return {
      next: () => reader.read(),
      cancel: () => void reader.cancel(new Error("the client has gone")).catch(ignore),
    };
  }
  const iterator = body[Symbol.asyncIterator]();
  return { next: () => iterator.next(), cancel: () => void iterator.return?.().catch(ignore) };
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

export function toBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`a block of the body is neither text nor bytes but ${typeof value}`);
}

function ignore(): void {
  // The body failed as it was left; nobody is there to be told.
}
