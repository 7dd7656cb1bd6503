/** Makes way for a unix socket, and keeps it to its owner. */
import { ServerError } from "../shared/errors.js";

/**
 * Removes a socket file that nobody listens on any more.
 *
 * @throws ServerError `address-in-use` when somebody does, and when another kind of file is there.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  // Not needed under a supervisor, whose socket paths are new for each process: there it would only cost memory.
  const { removeStaleSocket } = await import("@paceline/wire/socket-file");
  const found = await removeStaleSocket(path).catch((cause: Error) => {
    throw new ServerError("cannot-listen", `cannot listen on unix:${path}: ${cause.message}`, { cause });
  });
  if (found === "held") throw new ServerError("address-in-use", `cannot listen on unix:${path}: it is in use`);
  if (found === "other")
    throw new ServerError("address-in-use", `cannot listen on unix:${path}: the file there is not a socket`);
}
