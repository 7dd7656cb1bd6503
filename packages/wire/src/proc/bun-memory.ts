/** Keeps processes on Bun small. */

/** An import of node:fs costs a Bun process 0.6 MB or more at its start: idle instances and balancers do without it. */
export const fs = () => process.getBuiltinModule("node:fs");

/** After so many bytes that were left to the collector it is set to work; that takes about 0.2 ms. */
const BYTES_BETWEEN_COLLECTIONS = 4 << 20;

let leftBytes = 0;
let collect: (() => void) | undefined;

/** About so much memory was used and is needed no more. Node collects by itself in time. */
export function leaveToCollector(bytes: number): void {
  leftBytes += bytes;
  if (leftBytes < BYTES_BETWEEN_COLLECTIONS) return;
  leftBytes = 0;
  collect ??= collector();
  collect();
}

function collector(): () => void {
  if (process.versions.bun === undefined) return () => {};
  // By its name: an import of it would fail on Node.
  return (process.getBuiltinModule("bun:jsc") as unknown as { edenGC(): void }).edenGC;
}

/** Smaller ones are not worth the call, in bytes. */
const LARGE_BYTES = 4096;

/**
 * Nobody reads these bytes any more, nor what else lies in their buffer: a buffer that waited for its reader has grown old, and the
 * collector frees it tens of megabytes later.
 */
export function giveBack({ buffer }: Uint8Array): void {
  if (process.versions.bun === undefined || buffer.byteLength < LARGE_BYTES) return;
  (buffer as ArrayBuffer & { transfer?(length: number): ArrayBuffer }).transfer?.(0);
}
