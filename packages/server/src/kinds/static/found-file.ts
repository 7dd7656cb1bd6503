/** Opens a file for a response: the file that was looked at is the file that is sent. Small ones that were asked for lately stay in memory. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { type FileFacts, isSameFile } from "./validators.js";

/** Not to wait for the other end of a FIFO, nor to get a terminal. */
const OPEN_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** An open file that may be sent. Who has it must close it. */
export interface OpenFile {
  fd: number;
  facts: FileFacts;
}

/** `forbidden`: the process may not read it. `busy`: no descriptor is left. */
export type Refusal = "missing" | "forbidden" | "busy";

/** What an error of open or stat means to a client. @throws the error when it is none of those that come with a bad name. */
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

/** What `open` is told by the site. */
export interface Confinement {
  /** Whether what lies at this real path may be shown. */
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

/** Where the open file lies, all symbolic links followed; empty when it has moved meanwhile. */
function realPathOf(fd: number, path: string, { ino, dev }: FileFacts): string {
  if (process.platform === "linux") {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // No /proc here.
    }
  }
  const real = realpathSync(path);
  const there = statSync(real);
  return there.ino === ino && there.dev === dev ? real : "";
}

export interface HotFile {
  facts: FileFacts;
  bytes: Uint8Array;
  /** Of a response that sends it whole. */
  fields: Readonly<Record<string, string>>;
}

/** Larger files are read for each response: for them the reading is the smaller part. */
export const HOT_FILE_BYTES = 32_768;
const MAX_FILES = 512;
const MAX_BYTES = 4 << 20;

/** Small files that were asked for lately, within a fixed bound; none is used without a look at the file itself. */
export class HotFiles {
  private readonly files = new Map<string, HotFile>();
  private bytes = 0;

  /** @param now of the file that lies at `path` at this moment. */
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
