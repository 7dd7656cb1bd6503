/** Which fields of a trailer section pass (RFC 9110 §6.5): those that say something of the body that came, and decide nothing before it. Pure. */
import { clientFieldRule, HOP_BY_HOP_FIELDS } from "@paceline/wire";

/** Fields for framing, routing, conditions, authentication, the response as a whole and the form of the body. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  ...HOP_BY_HOP_FIELDS,
  ...["content-length", "host", "content-encoding", "content-type", "content-range", "content-location"],
  ...["cache-control", "expect", "max-forwards", "pragma", "range", "te", "age", "expires", "date", "location"],
  ...["retry-after", "vary", "warning", "authorization", "www-authenticate", "cookie", "set-cookie", "alt-svc"],
  ...["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "strict-transport-security"],
  ...["x-accel-redirect", "x-sendfile", "x-request-id", "traceparent", "tracestate"],
]);

const MAX_FIELDS = 32;

/** @param received lines with CRLF, of names and values that are valid. @returns the lines that pass; undefined if none do */
export function passingTrailers(received: Uint8Array): Uint8Array | undefined {
  const lines = Buffer.from(received).toString("latin1").split("\r\n").slice(0, -1);
  const passing = lines.slice(0, MAX_FIELDS).flatMap((line) => {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    // With `_` a program could take it for another field.
    if (FORBIDDEN.has(name.replaceAll("_", "-")) || clientFieldRule(name) !== undefined) return [];
    return `${line.slice(0, colon)}: ${line.slice(colon + 1).trim()}\r\n`;
  });
  return passing.length === 0 ? undefined : Buffer.from(passing.join(""), "latin1");
}
