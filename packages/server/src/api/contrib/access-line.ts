/** Formats one request as an access-log line of printable ASCII. No client can start a line or control a terminal. Pure. */

/** The end of a response. */
export type Outcome =
  /** All bytes were sent. */
  | "whole"
  /** The client left earlier. */
  | "aborted"
  /** The handler or the body failed. */
  | "failed";

export interface AccessEntry {
  /** The time of the request, in milliseconds since 1970. */
  timeMs: number;
  clientAddress: string;
  /** `http` or `https`, as used by the client. */
  protocol: string;
  httpVersion: string;
  host: string;
  method: string;
  /** Path and query. */
  target: string;
  status: number;
  /** The number of body bytes sent; undefined if unknown. */
  bytes: number | undefined;
  durationMs: number;
  outcome: Outcome;
  requestId: string | undefined;
  referer: string | undefined;
  userAgent: string | undefined;
}

export type AccessLogFormat = "combined" | "json";

/** nginx's status for a client that left before the full response. */
const CLIENT_CLOSED_REQUEST = 499;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Returns the line, with its newline. */
export function accessLine(format: AccessLogFormat, entry: AccessEntry): string {
  switch (format) {
    case "combined":
      return combinedLine(entry);
    case "json":
      return jsonLine(entry);
    default:
      return format satisfies never;
  }
}

/** Formats a line like Apache and nginx; the time is UTC, and an aborted request has status 499. */
function combinedLine(entry: AccessEntry): string {
  const { clientAddress, timeMs, method, target, httpVersion, bytes, outcome, referer, userAgent } = entry;
  const status = outcome === "aborted" ? CLIENT_CLOSED_REQUEST : entry.status;
  const request = quoted(`${method} ${target} HTTP/${httpVersion}`);
  const address = escaped(clientAddress.replaceAll(" ", "")) || "-";
  return `${address} - - [${clock(timeMs)}] ${request} ${status} ${bytes ?? "-"} ${quoted(referer)} ${quoted(userAgent)}\n`;
}

function jsonLine({ timeMs, durationMs, ...rest }: AccessEntry): string {
  const entry = {
    time: new Date(timeMs).toISOString(),
    ...rest,
    durationMs: Math.round(durationMs * 1000) / 1000,
  };
  // JSON escapes only C0; a terminal also obeys C1, and some readers treat U+2028 as a newline.
  return `${JSON.stringify(entry).replace(/[^\x20-\x7e]/g, unicodeEscape)}\n`;
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function quoted(text: string | undefined): string {
  return `"${text === undefined || text === "" ? "-" : escaped(text)}"`;
}

/** Escapes like nginx: quotes, backslashes and non-printable bytes become \xHH. A character of a field is a byte. */
function escaped(text: string): string {
  return text.replace(/[^\x20-\x7e]|["\\]/gu, (character) => {
    const bytes = Buffer.from(character, character <= "\xff" ? "latin1" : "utf8");
    return [...bytes].map((byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}

/** Formats a time as `10/Oct/2000:13:55:36 +0000`. */
function clock(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  return `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
}
