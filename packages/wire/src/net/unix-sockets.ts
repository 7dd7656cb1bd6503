/** The unix sockets of the system, as /proc tells of them; where there is no /proc, as on macOS, there are none. */
import { lstatSync, readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { basename, dirname, isAbsolute, join, normalize } from "node:path";

const TABLE = "/proc/net/unix";
/** Inode 0 is a connection that nobody has accepted; the path comes last and may have spaces in it. */
const ROW = /^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2}) +(\d+) (.+)$/;
const DATAGRAM = "0002";
const LISTENS = 0x1_0000;
const CONNECTED = "03";

/** The inodes of the sockets that are bound to `path`, by whichever name of it. */
export function socketsBoundTo(path: string): Set<string> {
  const inodes = new Set<string>();
  const text = attempt(() => readFileSync(TABLE, "latin1")) ?? "";
  const name = basename(path);
  const ending = Buffer.from(name).toString("latin1");
  for (const line of text.split("\n")) {
    if (!line.endsWith(ending)) continue;
    const [, flags = "", type, state, inode = "0", latin1 = ""] = ROW.exec(line) ?? [];
    if (inode === "0") continue;
    // A connection that was accepted has the name of the listener, which may be gone.
    const isConnection = type !== DATAGRAM && state === CONNECTED && (Number.parseInt(flags, 16) & LISTENS) === 0;
    const bound = Buffer.from(latin1, "latin1").toString();
    if (!isConnection && basename(bound) === name && isNameOf(path, bound, inode)) inodes.add(inode);
  }
  return inodes;
}

/** Whether a socket is bound to a path in `folder` or below; undefined where it cannot be told. */
export function hasSocketBelow(folder: string): boolean | undefined {
  const text = attempt(() => readFileSync(TABLE, "latin1"));
  if (text === undefined) return undefined;
  const names = [folder, attempt(() => realpathSync(folder)) ?? folder];
  return names.some((name) => text.includes(` ${Buffer.from(name).toString("latin1")}/`));
}

/** The processes that have one of these sockets open, the lowest pid first: a parent before the child that inherited it. */
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

/** Whether the name to which a socket was bound is one of the file at `path`; they end alike. */
function isNameOf(path: string, bound: string, inode: string): boolean {
  if (bound === path) return true;
  if (isAbsolute(bound)) return realFolder(bound) === realFolder(path) || isSameFile(bound, path) === true;
  const tail = normalize(bound).replace(/^(\.\.\/)+/, "");
  if (!`${realFolder(path)}/${basename(path)}`.endsWith(`/${tail}`)) return false;
  // Relative to where its process was then. If that has moved since and nothing has the name there, the name fits.
  for (const pid of processesWith(new Set([inode]))) {
    const folder = attempt(() => readlinkSync(`/proc/${pid}/cwd`));
    if (folder !== undefined && isSameFile(join(folder, bound), path) !== false) return true;
  }
  return false;
}

/** Undefined when one of them is not there. */
function isSameFile(one: string, other: string): boolean | undefined {
  const [a, b] = [one, other].map((file) => attempt(() => lstatSync(file, { bigint: true })));
  return a && b && a.dev === b.dev && a.ino === b.ino;
}

function realFolder(path: string): string {
  return attempt(() => realpathSync(dirname(path))) ?? dirname(path);
}

/** A process may end, or belong to someone else, while we look at it; either way it has nothing to tell. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
