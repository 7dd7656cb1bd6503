/** Looks at the beginning of a body: one that is there already need not be treated as a stream. */
import { type BlockSource, toBytes } from "../../shared/blocks.js";

/** A body that was looked at. */
type Looked = { isWhole: true; bytes: Uint8Array } | { isWhole: false; source: BlockSource };

/** Whether a promise settles before the event loop goes on to the next turn. */
export function isSettledSoon(promise: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    const later = setImmediate(resolve, false);
    const settled = () => {
      clearImmediate(later);
      resolve(true);
    };
    promise.then(settled, settled);
  });
}

/** Reads as far as there is something to read at once, and no more than `maxBytes`. Fails as the body fails. */
export async function lookAt(source: BlockSource, maxBytes: number): Promise<Looked> {
  const blocks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const next = source.next();
    if (!(await isSettledSoon(next))) return { isWhole: false, source: after(blocks, next, source) };
    const { done, value } = await next;
    if (done) return { isWhole: true, bytes: blocks.length === 1 ? (blocks[0] as Uint8Array) : Buffer.concat(blocks) };
    const block = toBytes(value);
    length += block.length;
    blocks.push(block);
    if (length > maxBytes) return { isWhole: false, source: after(blocks, undefined, source) };
  }
}

/** The blocks that were read already, then the one that is on its way, then the rest. */
function after(
  blocks: Uint8Array[],
  pending: ReturnType<BlockSource["next"]> | undefined,
  source: BlockSource,
): BlockSource {
  let onItsWay = pending;
  return {
    next() {
      const value = blocks.shift();
      if (value !== undefined) return Promise.resolve({ done: false, value });
      const next = onItsWay ?? source.next();
      onItsWay = undefined;
      return next;
    },
    cancel: () => source.cancel(),
  };
}

/** Bytes that are there, in pieces that a slow client does not hold up. */
export function piecesOf(bytes: Uint8Array, pieceBytes: number): BlockSource {
  let at = 0;
  return {
    next() {
      const value = bytes.subarray(at, at + pieceBytes);
      at += value.length;
      return Promise.resolve(value.length === 0 ? { done: true } : { done: false, value });
    },
    cancel() {
      at = bytes.length;
    },
  };
}

/** A source as the body of a response; nothing is read before somebody asks. */
export function streamOf(source: BlockSource): ReadableStream<Uint8Array> {
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = await source.next();
        if (done) controller.close();
        else controller.enqueue(toBytes(value));
      },
      cancel: () => source.cancel(),
    },
    { highWaterMark: 0 },
  );
}
