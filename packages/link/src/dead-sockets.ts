/** Removes the socket files that a supervisor which was killed could not remove itself. */
import { unlinkSync } from "node:fs";
import { connect } from "node:net";

const CONNECT_TIMEOUT_MS = 1000;

/** Removes each socket file on which nobody listens any more. Resolves in bounded time and never rejects. */
export async function removeDeadSockets(paths: readonly string[]): Promise<void> {
  await Promise.all(paths.map(removeIfDead));
}

function removeIfDead(path: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy());
    socket.on("connect", () => socket.destroy());
    // A file without a listener is ECONNREFUSED on Node; Bun says the same of it, or `FailedToOpenSocket`.
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "FailedToOpenSocket") unlinkIfThere(path);
    });
    socket.on("close", () => resolve());
  });
}

function unlinkIfThere(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // Another orphan was faster, or it is not ours to remove: a stale file is in nobody's way.
  }
}
