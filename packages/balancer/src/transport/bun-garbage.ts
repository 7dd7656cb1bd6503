/** Keeps the garbage of large transfers small: each read is a buffer of its own, and Bun would let tens of megabytes pile up. */
import { leaveToCollector } from "@paceline/wire";
import { free } from "./free.js";

/** From this size on a buffer's memory is given back as soon as nobody needs it. */
const LARGE_BYTES = 8192;

/** A received buffer was handed over; `isUsedUp` says that nobody kept any of it. */
export function afterReceipt(bytes: Buffer, isUsedUp: boolean): void {
  if (isUsedUp && bytes.length >= LARGE_BYTES) free(bytes);
  else leaveToCollector(bytes.length);
}
