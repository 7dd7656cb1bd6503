/** Writes one request as a line of an access log, of printable ASCII alone: no client can begin a line or move a terminal. Pure. */

/** How a response ended. */
export type Outcome =
  /** All of it left. */
  | "whole"
  /** The client went before. */
  | "aborted"
  /** The handler or the body failed. */
  | "failed";

export interface AccessEntry {
  /** When the request came, in milliseconds since 1970. */
  timeMs: number;
  clientAddress: string;
  /** `http` or `https`, as the client spoke it. */
  protocol: string;
  httpVersion: string;
  host: string;
  method: string;
  /** Path and query. */
  target: string;
  status: number;
  /** Of the body, as far as it left; undefined where nobody counted. */
  bytes: number | undefined;
  durationMs: number;
  outcome: Outcome;
  requestId: string | undefined;
  referer: string | undefined;
  userAgent: string | undefined;
}

export type AccessLogFormat = "combined" | "json";

/** nginx's own status for a client that went before its response was whole. */
const CLIENT_CLOSED_REQUEST = 499;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The line, with its end. */
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

/** The format of Apache and nginx; the time is UTC, and what was aborted has status 499. */
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
  // JSON escapes C0 alone; a terminal obeys C1 too, and some readers take U+2028 for the end of a line.
  return `${JSON.stringify(entry).replace(/[^\x20-\x7e]/g, unicodeEscape)}\n`;
}

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function quoted(text: string | undefined): string {
  return `"${text === undefined || text === "" ? "-" : escaped(text)}"`;
}

/**
 * As nginx escapes: each byte that is a quote, a backslash or not printable ASCII becomes \xHH. A character of a field is a
 * byte.
 */
function escaped(text: string): string {
  return text.replace(/[^\x20-\x7e]|["\\]/gu, (character) => {
    const bytes = Buffer.from(character, character <= "\xff" ? "latin1" : "utf8");
    return [...bytes].map((byte) => `\\x${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  });
}

/** `10/Oct/2000:13:55:36 +0000`. */
function clock(timeMs: number): string {
  const date = new Date(timeMs);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${two(date.getUTCDate())}/${MONTHS[date.getUTCMonth()]}/${date.getUTCFullYear()}`;
  return `${day}:${two(date.getUTCHours())}:${two(date.getUTCMinutes())}:${two(date.getUTCSeconds())} +0000`;
}
