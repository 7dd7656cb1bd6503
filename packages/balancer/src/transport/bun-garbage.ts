/** Keeps the garbage of large transfers small: each read is a buffer of its own, and Bun would let tens of megabytes pile up. */
import { edenGC } from "bun:jsc";
import { free } from "./free.js";

/** From this size on a buffer's memory is given back as soon as nobody needs it. */
const LARGE_BYTES = 8192;

/** After so many bytes that were left to the collector it is set to work; that takes about 0.2 ms. */
const BYTES_BETWEEN_COLLECTIONS = 4 << 20;

let leftBytes = 0;

/** A received buffer was handed over; `isUsedUp` says that nobody kept any of it. */
export function afterReceipt(bytes: Buffer, isUsedUp: boolean): void {
  if (isUsedUp && bytes.length >= LARGE_BYTES) return free(bytes);
  leftBytes += bytes.length;
  if (leftBytes < BYTES_BETWEEN_COLLECTIONS) return;
  leftBytes = 0;
  edenGC();
}
