/** What a server needs to know of the open file that a Response carries, without loading what opened it. */
import type { ServerResponse } from "node:http";

/**
 * The key under which a Response carries its file. A global symbol, since the app's copy of this module is another one
 * than the server's.
 */
export const LENT_FILE = Symbol.for("paceline.lentFile");

/** Set on the Response class of a server that takes files out of answers block by block. */
export const TAKES_FILES = Symbol.for("paceline.takesFiles");

/** An open file, or parts of it, as the body of an answer; who sends it closes it. */
export interface LentFile {
  /** In bytes. */
  readonly length: number;
  /** What has not been read yet, in bytes. */
  readonly remaining: number;
  /** Somebody reads it as a stream already; it is theirs then. */
  readonly isTouched: boolean;
  /**
   * Puts the next bytes into `target`, `size` of them at most and one at least, while there are `remaining`; it is closed
   * behind the last one.
   *
   * @returns how many. @throws ServerError `file-shrunk`; the answer cannot be finished then.
   */
  readInto(target: Uint8Array, position: number, size: number): number;
  close(): void;
  /** The Response to give to Bun.serve instead, at once. */
  onBun(response: Response): Response;
  /** Writes all of it; resolves when it has been written or the client has gone. @throws as `readInto` */
  pipe(outgoing: ServerResponse): Promise<void>;
}

/** The file that a Response carries, where nobody has begun to read it. */
export function lentFileOf(response: Response): LentFile | undefined {
  const file = (response as { [LENT_FILE]?: LentFile })[LENT_FILE];
  return file === undefined || file.isTouched || response.bodyUsed ? undefined : file;
}
