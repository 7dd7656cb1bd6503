/** What there is at the path of a unix socket, and how to make way for a new one. */
import { lstatSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { socketsBoundTo } from "./unix-sockets.js";

/** A socket on which no connection succeeds in this time belongs to a busy process. */
const CONNECT_TIMEOUT_MS = 1000;
/** Nobody is there. Bun says the same of a full backlog and of a socket of another kind, or `FailedToOpenSocket`. */
const REFUSED: ReadonlySet<string> = new Set(["ECONNREFUSED", "FailedToOpenSocket"]);

/** `stale`: left over from a process that ended; `held`: a living process has it; `other`: a file that is no socket. */
export type SocketFile = "absent" | "stale" | "held" | "other";

/** Tells in bounded time. */
export async function socketFileAt(path: string): Promise<SocketFile> {
  // As bigints: Node's realpathSync, and with it `import`, stops following links after a plain stat of a socket or a pipe (Node issue 51142).
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  if (stat === undefined) return "absent";
  if (!stat.isSocket()) return "other";
  const response = await connectTo(path);
  if (response === "ENOENT") return "absent";
  if (!REFUSED.has(response)) return "held";
  return socketsBoundTo(path).size > 0 ? "held" : "stale";
}

/** Removes the socket file at `path` if it is stale, and only then; returns what was there. */
export async function removeStaleSocket(path: string): Promise<SocketFile> {
  const found = await socketFileAt(path);
  if (found !== "stale") return found;
  try {
    unlinkSync(path);
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return found;
}

/** `answers`, or the code of the error with which a connection failed. */
function connectTo(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (response: string) => {
      socket.destroy();
      resolve(response);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => done("ETIMEDOUT"));
    socket.once("connect", () => done("answers"));
    socket.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "EIO"));
  });
}
