/** Opens a file for a response: the file that was looked at is the file that is sent. */
import { closeSync, constants, fstatSync, openSync, readlinkSync, realpathSync, statSync } from "node:fs";
import type { FileFacts } from "./validators.js";

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
