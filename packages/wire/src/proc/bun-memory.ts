/** Keeps processes on Bun small. */

/** Importing node:fs costs a Bun process 0.6 MB or more at its start; idle instances and balancers do without it. */
export const fs = () => process.getBuiltinModule("node:fs");

/** After this many bytes of garbage the collector is run, which takes about 0.2 ms. */
const BYTES_BETWEEN_COLLECTIONS = 4 << 20;

let leftBytes = 0;
let collect: (() => void) | undefined;

/** Counts bytes that became garbage. Node collects in time by itself. */
export function leaveToCollector(bytes: number): void {
  leftBytes += bytes;
  if (leftBytes < BYTES_BETWEEN_COLLECTIONS) return;
  leftBytes = 0;
  collect ??= collector();
  collect();
}

function collector(): () => void {
  if (process.versions.bun === undefined) return () => {};
  // By name, because importing it would fail on Node.
  return (process.getBuiltinModule("bun:jsc") as unknown as { edenGC(): void }).edenGC;
}

/** Smaller buffers are not worth the call, in bytes. */
const LARGE_BYTES = 4096;

/**
 * Frees the whole buffer of bytes that nobody uses any more. A buffer that waited for its reader is old, and the collector would
 * free it tens of megabytes later.
 */
export function giveBack({ buffer }: Uint8Array): void {
  if (process.versions.bun === undefined || buffer.byteLength < LARGE_BYTES) return;
  (buffer as ArrayBuffer & { transfer?(length: number): ArrayBuffer }).transfer?.(0);
}
