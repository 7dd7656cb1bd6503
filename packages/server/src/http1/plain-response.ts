/** The responses that our node:http server gives itself: nothing is left in them of one that failed before. */
import type { ServerResponse } from "node:http";
import { REASONS } from "@paceline/wire/reasons";
import { cut } from "./cut.js";
import { hasWritten } from "./exact-length.js";

/** A line of text; only where no head was sent. */
export function respondPlainly(
  response: ServerResponse,
  status: number,
  fields: Readonly<Record<string, string>> = {},
): void {
  for (const name of response.getHeaderNames()) if (name !== "connection") response.removeHeader(name);
  const reason = REASONS[status] ?? "";
  const body = `${reason}\n`;
  // Both are told in so many words, since Node keeps what a head that it refused had told it of them.
  response.writeHead(status, reason, { "content-type": "text/plain", "content-length": body.length, ...fields });
  response.end(body);
}

/** Ends a response that failed: with this status where that can still be said, else with a cut, lest it look whole. */
export function respondFailure(response: ServerResponse, status: number): void {
  if (!response.headersSent && !hasWritten(response)) return respondPlainly(response, status);
  if (response.writableEnded) return;
  if (response.socket) return cut(response.socket);
  // It waits behind the response to an earlier request of its connection, which is not to suffer.
  response.once("socket", cut);
}
