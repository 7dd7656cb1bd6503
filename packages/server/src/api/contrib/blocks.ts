/** Reads the start of a body, because a body in memory need not be treated as a stream. */
import { type BlockSource, toBytes } from "../../shared/blocks.js";

/** The start of a body. */
type Looked = { isWhole: true; bytes: Uint8Array } | { isWhole: false; source: BlockSource };

/** Returns whether a promise settles within this turn of the event loop. */
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

/** Reads what is available at once, up to `maxBytes`. Fails if the body fails. */
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

/** Yields the blocks already read, then the pending one, then the rest. */
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

/** Splits bytes into pieces, so that a slow client is not blocked by one large write. */
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

/** Returns a source as a response body; reads only on demand. */
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
