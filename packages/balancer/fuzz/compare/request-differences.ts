/** All differences between the balancer's reading of requests and Node's, and why. */
import { METHODS } from "node:http";
import { type SeenMessage, valuesOf } from "../message.js";
import { FUZZ_LIMITS } from "../read/limits.js";
import {
  BODY_DIFFERENCES,
  type Difference,
  PROXY_CONNECTION,
  rawHead,
  rawValues,
  TAB_BEHIND_LENGTH,
  tabBehindChunked,
} from "./difference.js";
import type { Divergence } from "./divergence.js";

/** By Node's own parser of URLs, and the characters of RFC 3986 §3.2.2. */
function isHost(text: string): boolean {
  return text === "" || (/^[A-Za-z0-9\-._~%!$&'()*+;=:[\]]+$/.test(text) && URL.canParse(`http://${text}`));
}

function nonAscii(text: string): number {
  return text.match(/[\x80-\xff]/g)?.length ?? 0;
}

/** Returns an entry for a request that Node accepts and we refuse. */
function weRefuse(
  name: string,
  why: string,
  holds: (node: SeenMessage, divergence: Divergence) => boolean,
): Difference {
  return { name, kind: "we-refuse", why, holds: (divergence) => holds(divergence.node as SeenMessage, divergence) };
}

/** Returns a first line whose target has its non-ASCII bytes percent-encoded, as forwarded. */
function encodeTarget(bytes: string): string {
  const end = bytes.indexOf("\r\n", bytes.search(/[^\r\n]/));
  if (end < 0) return bytes;
  const line = bytes
    .slice(0, end)
    .replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  return line + bytes.slice(end);
}

const NON_ASCII_TARGET: Difference = {
  name: "a target with bytes outside ASCII",
  kind: "node-refuses",
  why: "Browsers percent-encode them, curl sends them as they are; they go on percent-encoded.",
  holds: ({ bytes }) => nonAscii(rawHead(bytes).startLine) > 0,
  mend: encodeTarget,
};

const STRICTER: Difference[] = [
  weRefuse(
    "no Host in HTTP/1.1",
    "RFC 9112 §3.2 wants a 400; Node's server checks it above its parser.",
    (node) => node.minorVersion === 1 && valuesOf(node, "host").length === 0,
  ),
  weRefuse(
    "more than one Host",
    "RFC 9112 §3.2 wants a 400; Node takes the first, and another hop might take the last.",
    (node) => valuesOf(node, "host").length > 1,
  ),
  weRefuse("Host that is none", "RFC 9112 §3.2 wants a 400; routes and caches rest on it.", (node) =>
    valuesOf(node, "host").some((value) => !isHost(value)),
  ),
  weRefuse(
    "target in authority or asterisk form, of another scheme, or none",
    "Only origin-form, absolute http(s) and OPTIONS * can be relayed.",
    ({ target, method }) => !/^(\/|https?:\/\/.)/i.test(target) && !(target === "*" && method === "OPTIONS"),
  ),
  weRefuse(
    "absolute target with a bad authority, or a query and no path",
    "User info and an empty host are never right (RFC 9110 §4.2); `http://h?q` has no origin-form.",
    ({ target }) => {
      const [, authority = "", rest = ""] = /^https?:\/\/([^/?]*)(.*)$/is.exec(target) ?? [undefined, "a"];
      return authority === "" || !isHost(authority) || rest.startsWith("?");
    },
  ),
  weRefuse(
    "target with a fragment or bytes that no URI has",
    "RFC 9112 §3.2: what one hop cuts off, the next may not. Bytes outside ASCII are encoded.",
    ({ target }) => /[^\x21-\x7e]|#/.test(target),
  ),
  weRefuse("CONNECT", "A reverse proxy gives no tunnels: 501.", ({ method }) => method === "CONNECT"),
  weRefuse(
    "HTTP/0.9 and HTTP/2.0 in the form of HTTP/1, and a request line that ends without a version",
    "505 and 400: Node takes them all as if they were 1.x.",
    (_, { bytes }) => !/^[^\n]* HTTP\/1\.[01]$/.test(rawHead(bytes).startLine),
  ),
  weRefuse(
    "unknown expectation",
    "417 (RFC 9110 §10.1.1); Node leaves it to its server, which answers the same.",
    (node) => valuesOf(node, "expect").some((value) => value.toLowerCase() !== "100-continue"),
  ),
  weRefuse(
    "over a limit",
    "The balancer's limits are its own, and count a target as what it is encoded to; Node's are off here.",
    (node, { bytes }) =>
      rawHead(bytes).bytes.length + 2 * nonAscii(rawHead(bytes).startLine) > FUZZ_LIMITS.maxHeadBytes ||
      node.fields.length > FUZZ_LIMITS.maxHeaderFields ||
      valuesOf(node, "content-length").some((value) => Number(value) > FUZZ_LIMITS.maxBodyBytes),
  ),
  weRefuse(
    "a transfer coding other than chunked alone",
    "Nothing but `chunked` can be framed here: 400 or 501, and never a guess.",
    (node) => valuesOf(node, "transfer-encoding").some((value) => value.toLowerCase() !== "chunked"),
  ),
  weRefuse(
    "Transfer-Encoding twice, in HTTP/1.0, or beside Content-Length",
    "RFC 9112 §6.1: each of these is how requests are smuggled.",
    (node) => {
      const codings = valuesOf(node, "transfer-encoding").length;
      return codings > 1 || (codings === 1 && (node.minorVersion === 0 || valuesOf(node, "content-length").length > 0));
    },
  ),
  weRefuse(
    "Content-Length with more than 16 digits",
    "No length needs them, and a double would not hold them.",
    (node) => valuesOf(node, "content-length").some((value) => value.length > 16),
  ),
  weRefuse(
    "more than one space in the request line",
    "RFC 9112 §3 has one; Node passes over any number.",
    (_, { bytes }) => rawHead(bytes).startLine.includes("  "),
  ),
  weRefuse(
    "more than one empty line before the request",
    "RFC 9112 §2.2 speaks of one CRLF; Node passes over any number of CR and LF.",
    (_, { bytes }) => /^(\r\n\r\n|\n|\r[^\n]|\r\n[\r\n])/.test(bytes),
  ),
];

const LOOSER: Difference[] = [
  {
    name: "a method that Node does not know",
    kind: "node-refuses",
    why: "Any token is a method (RFC 9110 §9.1); what an instance does not know it refuses itself.",
    holds: ({ ours }) => !METHODS.includes((ours as SeenMessage).method),
    mend: (bytes) =>
      bytes.replace(/^(\r\n)?([!#$%&'*+\-.^_`|~0-9A-Za-z]+) /, (text, line = "", method) =>
        METHODS.includes(method) ? text : `${line}PUT `,
      ),
  },
  NON_ASCII_TARGET,
  TAB_BEHIND_LENGTH,
];

const BODIES: Difference[] = [
  tabBehindChunked("node-refuses-body"),
  ...BODY_DIFFERENCES,
  {
    name: "a chunked body over the limit",
    kind: "we-refuse-body",
    why: "The balancer's limit; Node leaves it to the app.",
    holds: ({ node }) => (node as SeenMessage).body.length > FUZZ_LIMITS.maxBodyBytes,
  },
];

const CONTENT: Difference[] = [
  PROXY_CONNECTION,
  {
    name: "HTTP/1.0 with keep-alive and close",
    kind: "content",
    why: "RFC 9112 §9.3: close wins; to Node keep-alive does.",
    holds: ({ part, ours, node }) => part === "keepAlive" && node?.minorVersion === 0 && ours?.keepAlive === false,
  },
  {
    name: "Connection: close with a tab behind it",
    kind: "content",
    why: "White space around a value is no part of it (RFC 9110 §5.5): Node overlooks this close.",
    holds: ({ part, bytes }) =>
      part === "keepAlive" && rawValues(rawHead(bytes), "connection").some((value) => /\t/.test(value)),
  },
  {
    name: "QUERY",
    kind: "content",
    why: "Node 20 knows the method and has no name for it.",
    holds: ({ part, ours, node }) => part === "method" && ours?.method === "QUERY" && node?.method === "",
  },
];

export const REQUEST_DIFFERENCES: readonly Difference[] = [...STRICTER, ...LOOSER, ...BODIES, ...CONTENT];
