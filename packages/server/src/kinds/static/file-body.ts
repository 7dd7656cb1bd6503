/** What a server needs to know of the open file that a Response carries, without loading what opened it. */
import type { ServerResponse } from "node:http";

/**
 * The key under which a Response carries its file. A global symbol, since the app's copy of this module is another one
 * than the server's.
 */
export const FILE_BODY = Symbol.for("paceline.lentFile");

/** Set on the Response class of a server that takes files out of responses block by block. */
export const TAKES_FILES = Symbol.for("paceline.takesFiles");

/** An open file, or parts of it, as the body of a response; who sends it closes it. */
export interface FileBody {
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
   * @returns how many. @throws ServerError `file-shrunk`; the response cannot be finished then.
   */
  readInto(target: Uint8Array, position: number, size: number): number;
  close(): void;
  /** The Response to give to Bun.serve instead, at once. */
  onBun(response: Response): Response;
  /** Writes all of it; resolves when it has been written or the client has gone. @throws as `readInto` */
  pipe(outgoing: ServerResponse): Promise<void>;
}

/** The file that a Response carries, where nobody has begun to read it. */
export function fileBodyOf(response: Response): FileBody | undefined {
  const file = (response as { [FILE_BODY]?: FileBody })[FILE_BODY];
  return file === undefined || file.isTouched || response.bodyUsed ? undefined : file;
}
