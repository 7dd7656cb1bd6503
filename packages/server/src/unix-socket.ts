/** Makes way for a unix socket, and keeps it to its owner. */
import { ServerError } from "./errors.js";

const PROBE_TIMEOUT_MS = 2000;

/**
 * Removes a socket file that nobody listens on any more.
 *
 * @throws ServerError `address-in-use` when somebody does.
 */
export async function clearStaleSocket(path: string): Promise<void> {
  // Not needed under a supervisor, whose socket paths are new for each process: there it would only cost memory.
  const { existsSync, unlinkSync } = await import("node:fs");
  if (!existsSync(path)) return;
  if (await answers(path)) throw new ServerError("address-in-use", `cannot listen on unix:${path}: it is in use`);
  unlinkSync(path);
}

/** Runs a function in which a socket is bound; the socket's file gets mode 0600. */
export function withPrivateUmask<T>(bind: () => T): T {
  const before = process.umask(0o177);
  try {
    return bind();
  } finally {
    process.umask(before);
  }
}

async function answers(path: string): Promise<boolean> {
  const { connect } = await import("node:net");
  return new Promise((resolve, reject) => {
    const socket = connect({ path });
    const end = (settle: () => void) => {
      clearTimeout(timer);
      socket.destroy();
      settle();
    };
    // A listener too busy to accept is a listener.
    const timer = setTimeout(() => end(() => resolve(true)), PROBE_TIMEOUT_MS);
    socket.on("connect", () => end(() => resolve(true)));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED" || error.code === "ENOENT") end(() => resolve(false));
      else {
        const message = `cannot listen on unix:${path}: ${error.message}`;
        end(() => reject(new ServerError("cannot-listen", message, { cause: error })));
      }
    });
  });
}
