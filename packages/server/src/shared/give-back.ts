/** Gives memory back on Bun at once: a buffer that waited for its reader has grown old, and the collector frees it tens of megabytes later. */

/** Smaller ones are not worth the call, in bytes. */
const LARGE_BYTES = 4096;

/** Nobody reads these bytes any more, nor what else lies in their buffer. */
export function giveBack({ buffer }: Uint8Array): void {
  if (process.versions.bun === undefined || buffer.byteLength < LARGE_BYTES) return;
  (buffer as ArrayBuffer & { transfer?(length: number): ArrayBuffer }).transfer?.(0);
}
