/** The files of one supervisor: their paths, the prefix of its fleet's spawn tags, and the atomic writing of small files. */
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { readRegularFile } from "@paceline/wire";
import { attempt } from "@paceline/wire/proc";
import { PacelineError } from "../errors.js";

/** The paths inside a run directory that exists, has mode 0700 and is locked by this supervisor. */
export interface RunDirPaths {
  /** The directory itself. */
  path: string;
  /** The path of the control socket. */
  controlSocket: string;
  /** The path of the socket of control channels. */
  channelSocket: string;
  /** Returns the socket path of a process such as `web.3#7`, short enough for a socket address. */
  socketPath(processId: string): string;
  /** The folder of output files. */
  outputFolder: string;
  /** Returns the path of a process's output file. */
  outputPath(processId: string): string;
  /** Returns the path of the cache folder for one generation of a pool; it may not exist. */
  cachePath(pool: string, generation: number): string;
  /** The folder of death reports, which outlasts a reboot; it may not exist. */
  deathsFolder: string;
  /** The folder of the history, in the same folder as that of death reports; it may not exist. */
  historyFolder: string;
  /** The folder of generated or fetched keys and certificates, in the same folder; it may not exist. */
  tlsFolder: string;
}

/** Whether an error means that a disk has no space left. */
export function isDiskFull(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === "ENOSPC" || code === "EDQUOT";
}

export function fleetTag(channelSocket: string): string {
  return `${createHash("sha256").update(channelSocket).digest("hex").slice(0, 16)}-`;
}

/**
 * Returns the text of a small file; empty if the file does not exist.
 * @throws the system's error if it cannot be read
 */
export function readIfThere(path: string, maxBytes: number): string {
  try {
    return readRegularFile(path, { maxBytes }).toString("latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

/**
 * Replaces the file at `path`; readers see either the old or the new text.
 * @throws PacelineError like `writeDraft`
 */
export function replaceFile(path: string, text: string): void {
  const draft = `${path}.${process.pid}`;
  writeDraft(draft, text, path);
  putInPlace(draft, path);
}

/**
 * Like `replaceFile`, but the text also survives a power failure.
 * @throws PacelineError like `writeDraft`
 */
export function replaceDurably(path: string, text: string): void {
  const draft = `${path}.${process.pid}`;
  writeDraft(draft, text, path);
  syncToDisk(draft);
  putInPlace(draft, path);
  syncToDisk(dirname(path));
}

function putInPlace(draft: string, path: string): void {
  try {
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
}

/**
 * Writes a file of the user, for example a config, whole or not at all, and keeps the mode and the owner of a file that it replaces.
 * @param fill the text, or writes the new file at the given path
 * @throws the system's error, for example `ENOSPC`, or `EEXIST` unless it `replaces`; nothing has changed then
 */
export function writeWhole(
  path: string,
  fill: string | ((draft: string) => void),
  { replaces = false, mode = 0o666 } = {},
): void {
  const before = replaces ? statSync(path, { throwIfNoEntry: false }) : undefined;
  // A symbolic link stays one.
  const target = before === undefined ? path : realpathSync(path);
  const draft = join(dirname(target), `.paceline-${process.pid}`);
  rmSync(draft, { force: true });
  try {
    if (typeof fill === "string") writeFileSync(draft, fill, { mode, flag: "wx" });
    else fill(draft);
    if (before !== undefined) {
      const now = statSync(draft);
      if (now.uid !== before.uid || now.gid !== before.gid) attempt(() => chownSync(draft, before.uid, before.gid));
      chmodSync(draft, before.mode & 0o777);
    }
    syncToDisk(draft);
    if (replaces) renameSync(draft, target);
    else putNew(draft, target);
  } finally {
    rmSync(draft, { force: true });
  }
  syncToDisk(dirname(target));
}

function putNew(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    // Some file systems have no links.
    if (!["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"].includes((error as NodeJS.ErrnoException).code ?? ""))
      throw error;
    writeFileSync(path, "", { flag: "wx" });
    renameSync(draft, path);
  }
}

/** Returns a system error's message without its paths, which may be those of a draft. */
export function reasonOf(error: unknown): string {
  return (error as Error).message.replace(/, \w+( '.*)?$/s, "");
}

/** @throws the system's error if the disk is full or damaged */
function syncToDisk(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    // Some file systems cannot sync a folder. The text is written in any case.
    if (isDiskFull(error) || (error as NodeJS.ErrnoException).code === "EIO") throw error;
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a file that only this user can read; leaves nothing behind if that fails.
 * @param meant the file that the error message names
 * @throws PacelineError with the system's code, for example `ENOSPC`
 */
export function writeDraft(path: string, text: string, meant = path): void {
  try {
    writeFileSync(path, text, { mode: 0o600 });
  } catch (cause) {
    rmSync(path, { force: true });
    const { code = "rundir", message } = cause as NodeJS.ErrnoException;
    // The system's message for a failed write does not name the file.
    throw new PacelineError(code, `${meant} cannot be written: ${message.replace(/, (open|write)\b.*/, "")}`, {
      cause,
    });
  }
}
