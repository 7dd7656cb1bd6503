/** The reason phrases as bytes, for responses that came without one. */
import { REASONS } from "@paceline/wire/reasons";
import { ascii } from "./bytes.js";

const BYTES: Uint8Array[] = [];
for (const [status, reason] of Object.entries(REASONS)) BYTES[Number(status)] = ascii(reason);

const NONE = new Uint8Array(0);

/** The usual phrase; empty for a status that has none. */
export function reasonOf(status: number): Uint8Array {
  return BYTES[status] ?? NONE;
}
