/** Passes on interim answers (1xx) to clients that know them (RFC 9110 §15.2). */
import type { IncomingMessage, InformationEvent, ServerResponse } from "node:http";

/** 102 and 103, which Node can write; a 100 the client has had from us. */
export function passInterim(
  { statusCode, headers }: Pick<InformationEvent, "statusCode" | "headers">,
  { httpVersionMajor, httpVersionMinor }: IncomingMessage,
  response: ServerResponse,
): void {
  if (response.headersSent || httpVersionMajor !== 1 || httpVersionMinor < 1) return;
  if (statusCode === 102) response.writeProcessing();
  if (statusCode !== 103 || headers.link === undefined) return;
  try {
    response.writeEarlyHints({ link: headers.link });
  } catch {
    // A Link that Node does not take for one: it is a hint, and the answer will come without it.
  }
}
