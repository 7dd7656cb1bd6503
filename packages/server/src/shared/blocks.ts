/** A body in blocks, from a stream or an iterable. */

type Result = { done?: boolean; value?: unknown };

/** A source that is read in blocks and may be cancelled. */
export interface BlockSource {
  next(): Promise<Result>;
  /** Called when the rest is not needed. */
  cancel(): void;
}

export function blocksOf(body: ReadableStream<Uint8Array> | AsyncIterable<unknown>): BlockSource {
  if (body instanceof ReadableStream) {
    const reader = body.getReader();
    return {
      next: () => reader.read(),
      cancel: () => void reader.cancel(new Error("the client has left")).catch(ignore),
    };
  }
  const iterator = body[Symbol.asyncIterator]();
  return { next: () => iterator.next(), cancel: () => void iterator.return?.().catch(ignore) };
}

export function toBytes(value: unknown): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === "string") return Buffer.from(value);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError(`a block of the body is neither text nor bytes but ${typeof value}`);
}

function ignore(): void {
  // The cancel failed, but nobody needs the error.
}
