/** Finds out what is at the path of a unix socket, and which processes have it open (unknown without /proc). Removes a stale one. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { basename, dirname, isAbsolute, join, normalize } from "node:path";
import { attempt } from "../proc/processes.js";

/** If no connection to a socket succeeds within this time, in milliseconds, the socket belongs to a busy process. */
const CONNECT_TIMEOUT_MS = 1000;
/**
 * The errors when nobody listens. Bun also uses these codes, or `FailedToOpenSocket`, for a full accept queue and a socket of another kind.
 */
const REFUSED: ReadonlySet<string> = new Set(["ECONNREFUSED", "FailedToOpenSocket"]);

/** `stale`: left by a process that exited; `held`: in use by a process; `other`: not a socket. */
type SocketFile = "absent" | "stale" | "held" | "other";

/** Resolves within bounded time. */
export async function socketFileAt(path: string): Promise<SocketFile> {
  // `bigint`: after a plain stat of a socket or a pipe, Node's realpathSync and `import` stop following links (Node issue 51142).
  const stat = lstatSync(path, { throwIfNoEntry: false, bigint: true });
  if (stat === undefined) return "absent";
  if (!stat.isSocket()) return "other";
  const response = await connectTo(path);
  if (response === "ENOENT") return "absent";
  if (!REFUSED.has(response)) return "held";
  return socketsBoundTo(path).size > 0 ? "held" : "stale";
}

/** Removes the socket file at `path` if it is stale. Returns what was there. */
export async function removeStaleSocket(path: string): Promise<SocketFile> {
  const found = await socketFileAt(path);
  if (found !== "stale") return found;
  try {
    unlinkSync(path);
  } catch (error) {
    // Another process has removed it.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return found;
}

/** Resolves with `connected`, or with the error code of a failed connection. */
function connectTo(path: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const done = (response: string) => {
      socket.destroy();
      resolve(response);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => done("ETIMEDOUT"));
    socket.once("connect", () => done("connected"));
    socket.on("error", (error: NodeJS.ErrnoException) => done(error.code ?? "EIO"));
  });
}

/** Removes each socket file on which nobody listens. Resolves within bounded time and never rejects. */
export async function removeDeadSockets(paths: readonly string[]): Promise<void> {
  // A file that cannot be removed is not ours, or another orphaned process has removed it. Stale files do no harm.
  await Promise.allSettled(paths.map(removeStaleSocket));
}

const TABLE = "/proc/net/unix";
/** Inode 0 is a connection that was not accepted yet. The path comes last and may contain spaces. */
const ROW = /^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +(\d+) (.+)$/;
const DATAGRAM = "0002";
const LISTENS = 0x1_0000;
const CONNECTED = "03";

/** Returns the inodes of sockets bound to `path`, under any of its names. */
export function socketsBoundTo(path: string): Set<string> {
  const inodes = new Set<string>();
  const text = attempt(() => readFileSync(TABLE, "latin1")) ?? "";
  const name = basename(path);
  const ending = Buffer.from(name).toString("latin1");
  for (const line of text.split("\n")) {
    if (!line.endsWith(ending)) continue;
    const [, flags = "", type, state, inode = "0", latin1 = ""] = ROW.exec(line) ?? [];
    if (inode === "0") continue;
    // An accepted connection has the name of its listener, which may be gone.
    const isConnection = type !== DATAGRAM && state === CONNECTED && (Number.parseInt(flags, 16) & LISTENS) === 0;
    const bound = Buffer.from(latin1, "latin1").toString();
    if (!isConnection && basename(bound) === name && isNameOf(path, bound, inode)) inodes.add(inode);
  }
  return inodes;
}

/** Whether a socket is bound to a path in `folder` or below; undefined if unknown. */
export function hasSocketBelow(folder: string): boolean | undefined {
  const text = attempt(() => readFileSync(TABLE, "latin1"));
  if (text === undefined) return undefined;
  const names = [folder, attempt(() => realpathSync(folder)) ?? folder];
  return names.some((name) => text.includes(` ${Buffer.from(name).toString("latin1")}/`));
}

/** Yields the processes that have one of these sockets open, the lowest pid first: a parent precedes a child that inherited it. */
export function* processesWith(inodes: ReadonlySet<string>): Generator<number> {
  if (inodes.size === 0) return;
  const pids = (attempt(() => readdirSync("/proc")) ?? []).filter((name) => /^\d+$/.test(name)).map(Number);
  for (const pid of pids.sort((a, b) => a - b)) {
    for (const fd of attempt(() => readdirSync(`/proc/${pid}/fd`)) ?? []) {
      const target = attempt(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? "";
      if (!target.startsWith("socket:[") || !inodes.has(target.slice(8, -1))) continue;
      yield pid;
      break;
    }
  }
}

/** Whether the name to which a socket was bound is a name of the file at `path`. Both end in the same last part. */
function isNameOf(path: string, bound: string, inode: string): boolean {
  if (bound === path) return true;
  if (isAbsolute(bound)) return realFolder(bound) === realFolder(path) || isSameFile(bound, path) === true;
  const tail = normalize(bound).replace(/^(\.\.\/)+/, "");
  if (!`${realFolder(path)}/${basename(path)}`.endsWith(`/${tail}`)) return false;
  // The name is relative to its process's working directory at the time of the bind. It is also accepted if the directory has changed.
  for (const pid of processesWith(new Set([inode]))) {
    const folder = attempt(() => readlinkSync(`/proc/${pid}/cwd`));
    if (folder !== undefined && isSameFile(join(folder, bound), path) !== false) return true;
  }
  return false;
}

/** Returns undefined if one of them does not exist. */
function isSameFile(one: string, other: string): boolean | undefined {
  const [a, b] = [one, other].map((file) => attempt(() => lstatSync(file, { bigint: true })));
  return a && b && a.dev === b.dev && a.ino === b.ino;
}

function realFolder(path: string): string {
  return attempt(() => realpathSync(dirname(path))) ?? dirname(path);
}
