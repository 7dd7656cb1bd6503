/** Where one supervisor keeps its files, and how the spawn tags of its fleet begin. */
import { createHash } from "node:crypto";

/** The paths inside a run directory; the directory exists, is 0700 and is held by this supervisor alone. */
export interface RunDirPaths {
  /** The directory itself. */
  path: string;
  /** Where the control socket is served. */
  controlSocket: string;
  /** Where children say hello. */
  channelSocket: string;
  /** The socket that a process serves on; `processId` is such as `web.3#7`. Short enough for a socket address. */
  socketPath(processId: string): string;
  /** The folder of the files that processes write their output to. */
  outputFolder: string;
  /** The file that a process writes its output to. */
  outputPath(processId: string): string;
  /** The folder for what the apps of one generation of a pool can do without; it need not exist. */
  cachePath(pool: string, generation: number): string;
}

export function fleetTag(channelSocket: string): string {
  return `${createHash("sha256").update(channelSocket).digest("hex").slice(0, 16)}-`;
}
