/** A Node handler for the bounds soak. */
import type { IncomingMessage, ServerResponse } from "node:http";

const LARGE_PIECE = new Uint8Array(64_000);
const LARGE_PIECES = 125;

/** Writes only when the connection takes more: the part that a client does not read must not wait in the instance either. */
function sendLarge(response: ServerResponse): void {
  let left = LARGE_PIECES;
  const pump = (): void => {
    while (left-- > 0) if (!response.write(LARGE_PIECE)) return void response.once("drain", pump);
    response.end();
  };
  response.writeHead(200, { "content-length": String(LARGE_PIECES * LARGE_PIECE.length) });
  pump();
}

export default function handler(request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.startsWith("/handler/unread")) return;
  if (request.url === "/handler/large") return sendLarge(response);
  response.end("Hello World!\n");
}
