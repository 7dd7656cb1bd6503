/** Removes the socket files that a supervisor which was killed could not remove itself. */
import { removeStaleSocket } from "./socket-file.js";

/** Removes each socket file on which nobody listens any more. Resolves in bounded time and never rejects. */
export async function removeDeadSockets(paths: readonly string[]): Promise<void> {
  // One that cannot be removed is not ours, or another orphan was faster: a stale file is in nobody's way.
  await Promise.allSettled(paths.map(removeStaleSocket));
}
