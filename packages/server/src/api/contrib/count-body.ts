/** Counts the bytes of a node:http answer's body. */
import type { ServerResponse } from "node:http";

/** @returns how many the app has written so far; none where the response has no body. */
export function countBody(method: string, response: ServerResponse): () => number {
  let bytes = 0;
  let isEnding = false;
  const { write, end } = response;
  const count = (chunk: unknown, encoding: unknown) => {
    if (typeof chunk === "string")
      bytes += Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
    else if (chunk instanceof Uint8Array) bytes += chunk.length;
  };
  response.write = function (this: ServerResponse, ...args: unknown[]) {
    // The end of a response may write the last of it by this way.
    if (!isEnding) count(args[0], args[1]);
    return write.apply(this, args as never);
  } as ServerResponse["write"];
  response.end = function (this: ServerResponse, ...args: unknown[]) {
    if (!isEnding) count(args[0], args[1]);
    isEnding = true;
    return end.apply(this, args as never);
  } as ServerResponse["end"];
  return () => (method === "HEAD" || response.statusCode === 204 || response.statusCode === 304 ? 0 : bytes);
}
