/** Keeps processes small: Bun's start and garbage, and large buffers on either runtime. */

/** Importing node:fs costs a Bun process 0.6 MB or more at its start; idle instances and balancers do without it. */
export const fs = () => process.getBuiltinModule("node:fs");

/** After this many bytes of garbage the collector is run, which takes about 0.2 ms. */
const BYTES_BETWEEN_COLLECTIONS = 4 << 20;

let leftBytes = 0;
let collect: (() => void) | undefined;

/** Counts bytes that became garbage. Node collects garbage in time by itself. */
export function leaveToCollector(bytes: number): void {
  leftBytes += bytes;
  if (leftBytes < BYTES_BETWEEN_COLLECTIONS) return;
  leftBytes = 0;
  collect ??= collector();
  collect();
}

function collector(): () => void {
  if (process.versions.bun === undefined) return () => {};
  // Loaded by name, because an import would fail on Node.
  return (process.getBuiltinModule("bun:jsc") as unknown as { edenGC(): void }).edenGC;
}

/** Collects all garbage, including old objects, and returns free memory to the system; takes some 10 ms. Node does so in time by itself. */
export function collectAll(): void {
  (globalThis as { Bun?: { gc(isSynchronous: boolean): void } }).Bun?.gc(true);
}

/** Frees a buffer's memory without waiting for the garbage collector, by transferring its contents to an unused buffer. */
type Transferable = ArrayBuffer & { transfer?(length: number): ArrayBuffer };

/** A closed channel that discards what is sent, for Node 20, which has no `transfer` (ES2024). */
let nowhere: MessagePort | undefined;

export function free(bytes: Uint8Array): void {
  const buffer = bytes.buffer as Transferable;
  if (buffer.transfer !== undefined) buffer.transfer(0);
  else if (process.versions.bun === undefined) sendNowhere(buffer);
}

function sendNowhere(buffer: ArrayBuffer): void {
  if (nowhere === undefined) {
    const { port1, port2 } = new MessageChannel();
    port2.close();
    nowhere = port1;
  }
  nowhere.postMessage(null, [buffer]);
}

/** Smaller buffers are not worth the call, in bytes. On Node, small buffers share one of 8192 bytes. */
const LARGE_BYTES = process.versions.bun === undefined ? 8193 : 4096;

/**
 * Frees the whole buffer of bytes that no code uses any more. A buffer that waited for its reader is old, and the garbage collectors of
 * both runtimes would free it only tens of megabytes later.
 */
export function giveBack(bytes: Uint8Array): void {
  if (bytes.buffer.byteLength >= LARGE_BYTES) free(bytes);
}
