/** The responses that the balancer gives itself: refused heads, no instance ready, an upstream that failed. */

import { REASONS } from "@paceline/wire/reasons";

export type LocalStatus = 400 | 404 | 408 | 413 | 414 | 417 | 431 | 501 | 502 | 503 | 504 | 505;

export interface LocalResponseOptions {
  keepAlive: boolean;
  clientMinorVersion: 0 | 1;
  /** A HEAD gets the head alone. */
  isHead: boolean;
}

/** Seconds after which a client that got a 503 may try again: about the time an instance takes to come back. */
const RETRY_AFTER_SECONDS = 1;

/** A line of text. */
function bodyOf(status: LocalStatus): string {
  return `${status} ${REASONS[status]}\n`;
}

/** How long its body is as it is sent. */
export function localBodyBytes(status: LocalStatus, isHead: boolean): number {
  return isHead ? 0 : bodyOf(status).length;
}

/** Those of this second: a client may ask for nothing but refusals. */
const built = new Map<number, Uint8Array>();
let builtInSecond = 0;

/** The whole response, head and a line of text. Its bytes are shared with other clients. */
export function localResponse(status: LocalStatus, options: LocalResponseOptions): Uint8Array {
  const second = Math.floor(Date.now() / 1000);
  if (second !== builtInSecond) built.clear();
  builtInSecond = second;
  const key = 8 * status + (options.keepAlive ? 4 : 0) + 2 * options.clientMinorVersion + (options.isHead ? 1 : 0);
  let response = built.get(key);
  if (response === undefined) {
    response = build(status, options);
    built.set(key, response);
  }
  return response;
}

function build(status: LocalStatus, options: LocalResponseOptions): Uint8Array {
  const body = bodyOf(status);
  const connection = options.keepAlive ? (options.clientMinorVersion === 0 ? "keep-alive" : "") : "close";
  const lines = [
    `HTTP/1.1 ${status} ${REASONS[status]}`,
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${body.length}`,
    `Date: ${new Date().toUTCString()}`,
  ];
  if (status === 503) lines.push(`Retry-After: ${RETRY_AFTER_SECONDS}`);
  if (connection !== "") lines.push(`Connection: ${connection}`);
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${options.isHead ? "" : body}`, "latin1");
}
