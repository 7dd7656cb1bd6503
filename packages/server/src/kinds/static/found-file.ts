/** Opens a file for a response, so that the checked file is the one that is sent. Recently requested small files stay in memory. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { type FileFacts, isSameFile } from "./validators.js";

/** Avoids waiting for the other end of a FIFO, and acquiring a terminal. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** An open file to send. The owner must close it. */
export interface OpenFile {
  fd: number;
  facts: FileFacts;
}

/** `forbidden`: the process may not read it. `busy`: no free descriptor. */
export type Refusal = "missing" | "forbidden" | "busy";

/**
 * Converts an error of open or stat to a refusal.
 * @throws the error itself unless it is caused by a bad name
 */
export function refusalOf(error: unknown): Refusal {
  switch ((error as NodeJS.ErrnoException).code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
    case "ENXIO":
    case "ENODEV":
      return "missing";
    case "EACCES":
    case "EPERM":
      return "forbidden";
    case "EMFILE":
    case "ENFILE":
      return "busy";
    default:
      throw error;
  }
}

/** The site's rules for `open`. */
export interface Confinement {
  /** Returns whether a file at this real path may be sent. */
  allows(realPath: string): boolean;
  isNeeded: boolean;
}

export function openFile(path: string, confinement: Confinement): OpenFile | Refusal {
  let fd: number;
  try {
    fd = openSync(path, OPEN_FLAGS);
  } catch (error) {
    return refusalOf(error);
  }
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() && (!confinement.isNeeded || confinement.allows(realPathOf(fd, path, stat)))) {
      const { size, mtimeMs, ctimeMs, ino, dev } = stat;
      return { fd, facts: { size, mtimeMs, ctimeMs, ino, dev } };
    }
  } catch (error) {
    closeSync(fd);
    return refusalOf(error);
  }
  closeSync(fd);
  return "missing";
}

/** Returns the open file's path with all symbolic links resolved; empty if it has moved meanwhile. */
function realPathOf(fd: number, path: string, { ino, dev }: FileFacts): string {
  if (process.platform === "linux") {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // There is no /proc.
    }
  }
  const real = realpathSync(path);
  const there = statSync(real);
  return there.ino === ino && there.dev === dev ? real : "";
}

export interface HotFile {
  facts: FileFacts;
  bytes: Uint8Array;
  /** The fields of a full response. */
  fields: Readonly<Record<string, string>>;
}

/** Larger files, in bytes, are read for each response, because the overhead is small for them. */
export const HOT_FILE_BYTES = 32_768;
const MAX_FILES = 512;
const MAX_BYTES = 4 << 20;

/** A bounded cache of recently requested small files. Each use checks the file itself. */
export class HotFiles {
  private readonly files = new Map<string, HotFile>();
  private bytes = 0;

  /** @param now the current facts of the file at `path` */
  get(path: string, now: FileFacts): HotFile | undefined {
    const hot = this.files.get(path);
    if (hot === undefined) return undefined;
    if (isSameFile(hot.facts, now)) return hot;
    this.drop(path, hot);
    return undefined;
  }

  /** `hot.facts` must have been settled when its bytes were read. */
  add(path: string, hot: HotFile): void {
    const before = this.files.get(path);
    if (before !== undefined) this.drop(path, before);
    this.files.set(path, hot);
    this.bytes += hot.bytes.length;
    for (const [oldest, file] of this.files) {
      if (this.bytes <= MAX_BYTES && this.files.size <= MAX_FILES) return;
      this.drop(oldest, file);
    }
  }

  private drop(path: string, hot: HotFile): void {
    this.files.delete(path);
    this.bytes -= hot.bytes.length;
  }
}
