/** Which codings a client prefers to the file as it is. */
import { AcceptedCodings } from "../../shared/accept-encoding.js";
import type { Encoding } from "./options.js";

/** Of `offered`, best first and by weight: those that weigh at least what the file as it is does. */
export function acceptedEncodings(value: string | null | undefined, offered: readonly Encoding[]): Encoding[] {
  if (value === null || value === undefined || offered.length === 0) return [];
  return new AcceptedCodings(value).best(offered);
}

/** How the name of a neighbour ends. */
export const SUFFIXES: Readonly<Record<Encoding, string>> = { br: ".br", zstd: ".zst", gzip: ".gz" };
