/** All differences between the balancer's reading of responses and Node's, and why. */
import { MAX_RESPONSE_HEAD_BYTES } from "../../src/http1/response-head.js";
import { type SeenMessage, valuesOf } from "../message.js";
import {
  BODY_DIFFERENCES,
  type Difference,
  PROXY_CONNECTION,
  rawHead,
  rawValues,
  TAB_BEHIND_LENGTH,
  tabBehindChunked,
} from "./difference.js";

export const RESPONSE_DIFFERENCES: readonly Difference[] = [
  ...BODY_DIFFERENCES,
  TAB_BEHIND_LENGTH,
  tabBehindChunked("content"),
  tabBehindChunked("we-refuse-body"),
  PROXY_CONNECTION,
  {
    name: "control bytes in the reason",
    kind: "we-refuse",
    why: "RFC 9112 §4 has none; Node takes all but CR and LF.",
    holds: ({ node }) =>
      [...(node as SeenMessage).reason].some((byte) => byte !== "\t" && (byte < " " || byte === "\x7f")),
  },
  {
    name: "Content-Length with more than 16 digits or past 2^53",
    kind: "we-refuse",
    why: "No length needs them, and a double would not hold them.",
    holds: ({ node }) =>
      valuesOf(node as SeenMessage, "content-length").some(
        (value) => value.length > 16 || !Number.isSafeInteger(Number(value)),
      ),
  },
  {
    name: "a status above 599",
    kind: "we-refuse",
    why: "No class beyond 5xx is defined (RFC 9110 §15).",
    holds: ({ bytes }) => /^HTTP\/1\.[01] [6-9]\d\d/.test(bytes),
  },
  {
    name: "an empty line before the response",
    kind: "we-refuse",
    why: "Only before a request is one passed over (RFC 9112 §2.2): here something is left of the response before.",
    holds: ({ bytes }) => /^[\r\n]/.test(bytes),
  },
  {
    name: "a CR in place of the LF behind the reason",
    kind: "we-refuse",
    why: "RFC 9112 §2.2: a CR alone ends no line; Node takes a second CR for the LF there.",
    holds: ({ bytes }) => /^HTTP\/1\.[01] \d{3}[^\r\n]*\r\r/.test(bytes),
  },
  {
    name: "after a 1xx that says close, or is HTTP/1.0",
    kind: "node-refuses",
    why: "A 1xx ends no connection: the answer that follows it is the request's, and its own fields count.",
    holds: ({ before }) =>
      before !== undefined &&
      before.status < 200 &&
      (before.minorVersion === 0 || valuesOf(before, "connection").some((value) => /close/i.test(value))),
  },
  {
    name: "over a limit",
    kind: "we-refuse",
    why: "The balancer's bounds on an upstream's head are its own; Node's are off here.",
    holds: ({ bytes, node }) =>
      rawHead(bytes).bytes.length > MAX_RESPONSE_HEAD_BYTES || (node as SeenMessage).fields.length > 256,
  },
  {
    name: "a status below 100",
    kind: "we-refuse",
    why: "RFC 9110 §15: the first digit is 1 to 5, and a client has no use for these.",
    holds: ({ node }) => (node as SeenMessage).status < 100,
  },
  {
    name: "a version other than HTTP/1.0 and HTTP/1.1",
    kind: "we-refuse",
    why: "Node takes 0.9 and 2.0 as if they were 1.x.",
    holds: ({ bytes }) => /^HTTP\/(0\.9|2\.0) /.test(rawHead(bytes).startLine),
  },
  {
    name: "a transfer coding other than chunked alone",
    kind: "we-refuse",
    why: "Nothing else can be framed anew for the client.",
    holds: ({ node }) =>
      valuesOf(node as SeenMessage, "transfer-encoding").some((value) => value.toLowerCase() !== "chunked"),
  },
  {
    name: "Transfer-Encoding twice or beside Content-Length",
    kind: "we-refuse",
    why: "RFC 9112 §6.3: how responses are split.",
    holds: ({ node }) =>
      valuesOf(node as SeenMessage, "transfer-encoding").length +
        valuesOf(node as SeenMessage, "content-length").length >
      1,
  },
  {
    name: "Content-Length twice, alike",
    kind: "node-refuses",
    why: "RFC 9110 §8.6 lets a recipient take equal lengths for one; the head is built anew with one.",
    holds: ({ bytes }) => rawValues(rawHead(bytes), "content-length").length > 1,
    mend: (bytes) => {
      const raw = rawHead(bytes);
      const [length, ...more] = rawValues(raw, "content-length").map((value) => value.trim());
      // `31` and `031` are the same number.
      if (!more.every((value) => Number(value) === Number(length))) return bytes;
      let isFirst = true;
      const head = raw.bytes.replace(/\r\ncontent-length:[^\r]*(?=\r\n)/gi, (line) => {
        if (!isFirst) return "";
        isFirst = false;
        return line;
      });
      return head + bytes.slice(raw.bytes.length);
    },
  },
  {
    name: "Connection: close with a tab behind it",
    kind: "content",
    why: "White space around a value is no part of it (RFC 9110 §5.5): Node overlooks this close.",
    holds: ({ part, bytes }) =>
      part === "keepAlive" && rawValues(rawHead(bytes), "connection").some((value) => /\t/.test(value)),
    mend: (bytes) => {
      const head = rawHead(bytes).bytes;
      const plain = head.replace(/\r\nconnection:[^\r]*(?=\r\n)/gi, (line) => line.replaceAll("\t", " "));
      return plain + bytes.slice(head.length);
    },
  },
  {
    name: "HTTP/1.0 with keep-alive and close",
    kind: "content",
    why: "RFC 9112 §9.3: close wins; to Node keep-alive does.",
    holds: ({ part, ours, node }) =>
      part === "keepAlive" &&
      ours?.keepAlive === false &&
      node?.minorVersion === 0 &&
      valuesOf(node, "connection").some((value) => /close/i.test(value)),
  },
  {
    name: "HTTP/1.0 with Transfer-Encoding",
    kind: "content",
    why: "RFC 9112 §6.1: its framing is not to be trusted, so the connection is not used again.",
    holds: ({ part, ours, node }) =>
      part === "keepAlive" &&
      ours?.keepAlive === false &&
      node?.minorVersion === 0 &&
      valuesOf(node, "transfer-encoding").length > 0,
  },
];
