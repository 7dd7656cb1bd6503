/** The file paths of one supervisor, and the prefix of its fleet's spawn tags. */
import { createHash } from "node:crypto";

/** The paths inside a run directory, which exists, has mode 0700 and is locked by this supervisor. */
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
}

export function fleetTag(channelSocket: string): string {
  return `${createHash("sha256").update(channelSocket).digest("hex").slice(0, 16)}-`;
}
