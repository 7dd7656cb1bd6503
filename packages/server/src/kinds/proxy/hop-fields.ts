/** Which fields of a message stay behind at a proxy. */
import { HOP_BY_HOP_FIELDS } from "@paceline/wire";

const HOP_BY_HOP: ReadonlySet<string> = new Set(HOP_BY_HOP_FIELDS);

/** What a message's Connection field cannot unmake: without these it would be another message. */
const ESSENTIAL: ReadonlySet<string> = new Set(["content-length", "host"]);

const NO_NAMES: ReadonlySet<string> = new Set();

/** Tells of lower-case names whether they stay behind, for a message with this Connection field. */
export function hopByHop(connection: string | undefined): (name: string) => boolean {
  const named = connection === undefined ? NO_NAMES : namesIn(connection);
  return (name) => HOP_BY_HOP.has(name) || (named.has(name) && !ESSENTIAL.has(name));
}

function namesIn(connection: string): ReadonlySet<string> {
  return new Set(connection.split(",").map((name) => name.trim().toLowerCase()));
}
