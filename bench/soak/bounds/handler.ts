/** A Node handler for the bounds soak. */
import type { IncomingMessage, ServerResponse } from "node:http";

export default function handler(request: IncomingMessage, response: ServerResponse): void {
  if (request.url?.startsWith("/handler/unread")) return;
  response.end("Hello World!\n");
}
