/** Trailers: their limits, which clients accept them, which are forwarded, and their lines. Pure. */
import { clientFieldRule, HOP_BY_HOP_FIELDS } from "./forwarding.js";

/**
 * The maximum size of a request's or response's trailers in bytes, including line ends, and the maximum number of fields. If a message
 * exceeds them, all trailers are dropped, or the message is refused.
 */
export const MAX_TRAILER_BYTES = 8192;
export const MAX_TRAILERS = 32;

/** The token in a TE field (RFC 9110 §10.1.4). A weight of 0 refuses trailers (RFC 9110 §12.4.2). */
const TAKES_TRAILERS = /(?:^|[\s,])trailers(?![ \t]*;[ \t]*q=0(?:\.0*)?[ \t]*(?:$|,))(?=$|[\s,;])/i;

/** Whether a client with this TE field accepts trailers. */
export function takesTrailers(te: string): boolean {
  return TAKES_TRAILERS.test(te);
}

const LINES = /^(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)+$/;

/** Whether the text consists of `name: value` lines, each with its CRLF (RFC 9110 §5). */
export function areTrailerLines(text: string): boolean {
  return LINES.test(text);
}

/** Returns the names and values of valid lines. */
export function trailersOf(lines: string): [string, string][] {
  return lines
    .split("\r\n")
    .slice(0, -1)
    .map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
}

/**
 * Fields that are not allowed as trailers: for framing, routing, conditions, authentication, the response as a whole and the form of the
 * body.
 */
const FORBIDDEN: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP_FIELDS,
  ...["content-length", "host", "content-encoding", "content-type", "content-range", "content-location"],
  ...["cache-control", "expect", "max-forwards", "pragma", "range", "age", "expires", "date", "location"],
  ...["retry-after", "vary", "warning", "authorization", "www-authenticate", "cookie", "set-cookie", "alt-svc"],
  ...["authentication-info", "proxy-authentication-info", "origin", "referer", "x-api-key", "x-csrf-token"],
  ...["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "strict-transport-security"],
  ...["x-accel-redirect", "x-sendfile", "x-request-id", "traceparent", "tracestate", "x-http-method-override"],
  ...["x-user", "x-user-id", "x-user-name", "x-user-email", "x-user-groups", "x-user-roles", "x-username"],
]);

/** Prefixes of fields by which proxies tell an app who a user is. */
const OF_USER =
  /^(?:x-)?(?:remote|auth|authenticated|webauth|access-token|amzn-oidc|goog-(?:iap|authenticated)|ms-client-principal|ms-token|client-cert|ssl-client)(?:-|$)/;

/** Whether a field may be a trailer. If it has other characters in place of `-`, a program could mistake it for another field. */
export function mayBeTrailer(name: string): boolean {
  const lower = name.toLowerCase();
  const plain = lower.replace(/[^a-z0-9]/g, "-");
  return !FORBIDDEN.has(plain) && !OF_USER.test(plain) && clientFieldRule(lower) === undefined;
}
