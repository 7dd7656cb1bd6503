/** The reason phrases of statuses, for answers that came without one. */
import { STATUS_CODES } from "node:http";
import { ascii } from "./http1/bytes.js";

const REASONS: Uint8Array[] = [];
for (const [status, reason] of Object.entries(STATUS_CODES)) REASONS[Number(status)] = ascii(reason ?? "");

const NONE = new Uint8Array(0);

export function reasonOf(status: number): Uint8Array {
  return REASONS[status] ?? NONE;
}
