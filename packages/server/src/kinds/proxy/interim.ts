/** Passes on interim responses (1xx) to clients that know them (RFC 9110 §15.2), and bounds them. */
import type { IncomingMessage, InformationEvent, ServerResponse } from "node:http";

/** What one request may get of them: an upstream must not send them for ever. */
const MAX_INTERIMS = 16;
const MAX_INTERIM_BYTES = 65_536;
/** Of a field's line, beside name and value; and about what the status line takes. */
const LINE_BYTES = 4;

export type Interim = Pick<InformationEvent, "statusCode" | "headers" | "rawHeaders">;

export class Interims {
  private count = 0;
  private bytes = 0;

  /** Counts one; false when it is one too many. */
  take({ rawHeaders }: Interim): boolean {
    for (const text of rawHeaders) this.bytes += text.length + LINE_BYTES;
    return ++this.count <= MAX_INTERIMS && this.bytes <= MAX_INTERIM_BYTES;
  }
}

/** 102 and 103, which Node can write; a 100 the client gets when its body is asked for. */
export function passInterim(
  { statusCode, headers }: Interim,
  { httpVersionMajor, httpVersionMinor }: IncomingMessage,
  response: ServerResponse,
): void {
  if (response.headersSent || httpVersionMajor !== 1 || httpVersionMinor < 1) return;
  if (statusCode === 102) response.writeProcessing();
  if (statusCode !== 103 || headers.link === undefined) return;
  try {
    response.writeEarlyHints({ link: headers.link });
  } catch {
    // A Link that Node does not take for one: it is a hint, and the response will come without it.
  }
}
