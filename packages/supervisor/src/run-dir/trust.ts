/** Decides which directories are trusted, and finds the names of users. Untrusted directories are never read, written or connected to. */
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  type Stats,
} from "node:fs";
import { dirname } from "node:path";
import { PacelineError } from "../errors.js";

/** The required owner, and the access that others must not have. */
interface TrustRule {
  /** The required owner. Default: this process's user. */
  uid?: number | undefined;
  /** The mode bits that must not be set. Default: all bits of other users. */
  forbidden?: number;
}

const CLOSED = 0o077;
/** For folders of run directories: other users may read them, but not change them. */
export const NOT_WRITABLE = 0o022;

/** Returns why the directory `path` is not trusted; undefined if it is trusted. Symbolic links are never trusted. */
export function distrust(
  path: string,
  { uid = process.geteuid?.(), forbidden = CLOSED }: TrustRule = {},
): Distrust | undefined {
  let stat: Stats;
  try {
    stat = lstatSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EACCES") return { code: "denied", reason: `permission denied: ${path}` };
    return { code: "missing", reason: `there is no such directory: ${path}` };
  }
  if (stat.isSymbolicLink()) return { code: "untrusted", reason: `${path} is a symbolic link` };
  if (!stat.isDirectory()) return { code: "untrusted", reason: `${path} is not a directory` };
  if (uid !== undefined && stat.uid !== uid) {
    return { code: "denied", reason: `${path} belongs to ${userName(stat.uid)}`, owner: stat.uid };
  }
  if ((stat.mode & forbidden) === 0) return undefined;
  const mode = (stat.mode & 0o7777).toString(8).padStart(4, "0");
  return { code: "untrusted", reason: `${path} is open to others (mode ${mode})` };
}

/** Returns the user that this run directory may belong to: ours; for root, its owner. */
export function allowedOwner(path: string): number | undefined {
  const uid = process.getuid?.();
  return uid === 0 ? (lstatSync(path, { throwIfNoEntry: false })?.uid ?? uid) : uid;
}

export interface Distrust {
  code: "missing" | "denied" | "untrusted";
  reason: string;
  /** The directory's owner, if it is another user. */
  owner?: number;
}

/**
 * Creates the directory `path` for this user only, and its missing parent folders.
 * @param isOurs whether only Paceline writes into it
 * @throws PacelineError `rundir`
 */
export function makePrivate(path: string, isOurs = false): void {
  makeFolder(path, 0o700);
  const found = distrust(path);
  if (found === undefined) return;
  const stat = lstatSync(path);
  const mayClose = stat.isDirectory() && (stat.uid === process.geteuid?.() || process.geteuid === undefined);
  if (!mayClose) throw new PacelineError("rundir", `${found.reason}; ${HOW_TO_NAME}`);
  const content = readdirSync(path);
  if (content.length > 0 && (stat.mode & NOT_WRITABLE) !== 0) {
    // Other users may have put links into it that we would follow.
    throw new PacelineError("rundir", `other users can write in ${path}, and it is not empty; ${HOW_TO_NAME}`);
  }
  if (!isOurs && content.length > 0 && !content.some((name) => name.startsWith("lock."))) {
    // For example a home directory: other users may need access to it.
    throw new PacelineError("rundir", `${path} is open to other users and contains other files; ${HOW_TO_NAME}`);
  }
  chmodSync(path, 0o700);
}

/**
 * Closes one of Paceline's folders that a `chmod -R` of this user has opened to other readers. Returns a warning if it did.
 * @throws PacelineError `rundir` if the folder is not this user's, or other users could have put files into it
 */
export function closeAgain(path: string): string | undefined {
  const found = distrust(path);
  if (found === undefined || found.code === "missing") return undefined;
  if (found.code === "denied" || !lstatSync(path).isDirectory())
    throw new PacelineError("rundir", `${found.reason}; ${HOW_TO_NAME}`);
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const { uid, mode } = fstatSync(fd);
    if (process.geteuid !== undefined && uid !== process.geteuid())
      throw new PacelineError("rundir", `${path} belongs to ${userName(uid)}; ${HOW_TO_NAME}`);
    if ((mode & NOT_WRITABLE) !== 0)
      throw new PacelineError("rundir", `other users can write in ${path}; ${HOW_TO_NAME}`);
    fchmodSync(fd, 0o700);
  } finally {
    closeSync(fd);
  }
  return `${found.reason}; it is closed to them again`;
}

/**
 * Creates the folder and its missing parent folders.
 * @throws PacelineError `rundir`
 */
export function makeFolder(path: string, mode: number): void {
  try {
    mkdirSync(path, { recursive: true, mode });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why =
      {
        EACCES: "permission denied",
        EROFS: "read-only file system",
        ENOENT: `${dirname(path)} cannot be made`,
        EEXIST: "it is a file",
        ENOTDIR: "a part of this path is a file",
      }[code ?? ""] ?? message;
    throw new PacelineError("rundir", `cannot make the directory ${path}: ${why}; ${HOW_TO_NAME}`, { cause: error });
  }
}

export const HOW_TO_NAME = "name another run directory with --run-dir or PACELINE_RUN_DIR";

/** Returns a user's name, or a text such as `uid 1001` if the name is unknown. */
export function userName(uid: number): string {
  return entries().find((user) => user.uid === uid)?.name ?? `uid ${uid}`;
}

/** Returns the home directory of a user; undefined if unknown. */
export function homeOf(uid: number): string | undefined {
  const home = entries().find((user) => user.uid === uid)?.home;
  return home?.startsWith("/") ? home : undefined;
}

/** Returns the uids of all users that have a home directory. */
export function usersWithHome(): number[] {
  return [...new Set(entries().flatMap(({ uid, home }) => (home.startsWith("/") ? [uid] : [])))];
}

function entries(): { name: string; uid: number; home: string }[] {
  let text: string;
  try {
    text = readFileSync("/etc/passwd", "utf8");
  } catch {
    return []; // Some containers have no such file.
  }
  return text.split("\n").flatMap((line) => {
    const [name, , uid, , , home] = line.split(":");
    return name === undefined || home === undefined || !/^\d+$/.test(uid ?? "")
      ? []
      : [{ name, uid: Number(uid), home }];
  });
}
