/** The interface of an open file carried by a Response; loads no code for files. */
import type { ServerResponse } from "node:http";

/** The property of a Response that holds its file. It is a global symbol, because app and server have separate copies of this module. */
export const FILE_BODY = Symbol.for("paceline.lentFile");

/** Set on the Response class of a server that reads files from responses in blocks. */
export const TAKES_FILES = Symbol.for("paceline.takesFiles");

/** An open file, or parts of it, as a response body; the sender closes it. */
export interface FileBody {
  /** In bytes. */
  readonly length: number;
  /** The unread bytes. */
  readonly remaining: number;
  /** Whether it is already read as a stream, which then owns it. */
  readonly isTouched: boolean;
  /**
   * Reads the next bytes into `target`: 1 to `size` while any remain. Closes the file after the last byte.
   * @returns the number of bytes
   * @throws ServerError `file-shrunk`; the response then cannot be completed
   */
  readInto(target: Uint8Array, position: number, size: number): number;
  close(): void;
  /** Returns the Response for Bun.serve; use it at once. */
  onBun(response: Response): Response;
  /**
   * Writes everything. Resolves when it was written or the client has left.
   * @throws like `readInto`
   */
  pipe(outgoing: ServerResponse): Promise<void>;
}

/** Returns the file of a Response, unless it is already being read. */
export function fileBodyOf(response: Response): FileBody | undefined {
  const file = (response as { [FILE_BODY]?: FileBody })[FILE_BODY];
  return file === undefined || file.isTouched || response.bodyUsed ? undefined : file;
}
