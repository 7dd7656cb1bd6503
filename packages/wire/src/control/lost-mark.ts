/** Leaves a mark when a supervisor is lost, so that a command can say since when; apart, since node:fs costs memory. */
import { writeFileSync } from "node:fs";
import { lostMarkPath } from "./messages.js";

/** Writes the mark anew; all children of a supervisor do so at the same moment. */
export function markLost(channelSocket: string): void {
  try {
    writeFileSync(lostMarkPath(channelSocket), "", { mode: 0o600 });
  } catch {
    // A run directory that is gone or not ours to write: the time stays unknown.
  }
}
