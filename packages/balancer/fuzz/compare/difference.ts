/** A difference between how we and Node read the same bytes, with the reason why ours is right. */
import { type Field, type Reading, valuesOf } from "../message.js";
import type { Divergence, DivergenceKind } from "./divergence.js";

export interface Difference {
  name: string;
  kind: DivergenceKind;
  /** Why it is right. */
  why: string;
  /** Returns whether this divergence is of that sort; checks the bytes or Node's result, never only our own verdict. */
  holds(divergence: Divergence): boolean;
  /** If we accept what Node refuses or ignores: returns the bytes without it. Node must then see our message. */
  mend?(bytes: string): string;
}

/** Returns the entry that explains a divergence; `readNode` reads bytes from the divergence's start. */
export function explain(
  list: readonly Difference[],
  divergence: Divergence,
  readNode: (bytes: string) => Reading,
): Difference | undefined {
  const { kind, ourWhy, ours, bytes } = divergence;
  if ((kind === "we-refuse" || kind === "we-refuse-body") && ourWhy === "waits") return undefined;
  const difference = list.find((entry) => entry.kind === kind && entry.holds(divergence));
  if (difference === undefined || ours === undefined) return difference;
  if (!kind.startsWith("node-refuses") && difference.mend === undefined) return difference;
  const mended = list.reduce((text, { mend }) => mend?.(text) ?? text, bytes);
  const [node] = readNode(mended).messages;
  if (node === undefined || node.status !== ours.status) return undefined;
  if (kind === "content" && node.keepAlive !== ours.keepAlive) return undefined;
  // Node may accept a body that we refused at its end: ours is the stricter side again.
  const isSame = ours.isComplete ? node.isComplete && node.body === ours.body : node.body.startsWith(ours.body);
  return isSame ? difference : undefined;
}

/** A head split by hand, for explanations: uses no parser of the product. */
export interface RawHead {
  /** Includes the empty line. */
  bytes: string;
  startLine: string;
  /** Names in lower case, values with surrounding white space. */
  fields: Field[];
}

export function rawHead(bytes: string): RawHead {
  const start = bytes.search(/[^\r\n]/);
  const end = bytes.indexOf("\r\n\r\n", Math.max(0, start));
  const head = end < 0 ? bytes : bytes.slice(0, end + 4);
  const [startLine = "", ...lines] = head.slice(Math.max(0, start)).split("\r\n");
  const fields = lines.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, Math.max(0, colon)).toLowerCase(), line.slice(colon + 1)] as const;
  });
  return { bytes: head, startLine, fields };
}

export function rawValues(head: RawHead, name: string): string[] {
  return head.fields.filter(([key]) => key === name).map(([, value]) => value);
}

/** A chunked body split by hand. */
export interface RawChunks {
  head: string;
  /** The line with the size, and the data with its line end. */
  chunks: { line: string; data: string }[];
  /** The lines between the last chunk and the empty line. */
  trailers: string[];
  /** From the empty line on, or from where the body is broken. */
  rest: string;
}

export function rawChunks(bytes: string): RawChunks {
  const head = rawHead(bytes).bytes;
  const chunks: { line: string; data: string }[] = [];
  let at = head.length;
  for (;;) {
    const end = bytes.indexOf("\r\n", at);
    const line = bytes.slice(at, end);
    const size = /^[0-9a-f]+/i.test(line) ? Number.parseInt(line, 16) : Number.NaN;
    if (end < 0 || Number.isNaN(size)) return { head, chunks, trailers: [], rest: bytes.slice(at) };
    at = end + 2;
    chunks.push({ line, data: size === 0 ? "" : bytes.slice(at, at + size + 2) });
    if (size === 0) break;
    at += size + 2;
  }
  const end = bytes.indexOf("\r\n\r\n", at - 2);
  if (end < 0) return { head, chunks, trailers: [], rest: bytes.slice(at) };
  const trailers = end < at ? [] : bytes.slice(at, end).split("\r\n");
  return { head, chunks, trailers, rest: bytes.slice(Math.max(at, end + 2)) };
}

/** Joins the parts again. */
export function joinChunks({ head, chunks, trailers, rest }: RawChunks): string {
  const lines = chunks.map(({ line, data }) => `${line}\r\n${data}`);
  return head + lines.join("") + trailers.map((line) => `${line}\r\n`).join("") + rest;
}

/** Entries for both requests and responses, about what is dropped when a body is framed again. */
export const BODY_DIFFERENCES: readonly Difference[] = [
  {
    name: "a chunk extension that is out of grammar, or quoted, or has white space before it",
    kind: "node-refuses-body",
    why: "RFC 9112 §7.1.1 has the white space; extensions are checked for control bytes and dropped, and chunks are framed anew: none goes on.",
    holds: ({ bytes }) => rawChunks(bytes).chunks.some(({ line }) => /^[0-9a-f]+[ \t]*;/i.test(line)),
    mend: (bytes) => {
      if (!isChunked(bytes)) return bytes;
      const raw = rawChunks(bytes);
      const chunks = raw.chunks.map(({ line, data }) => ({
        line: line.replace(/^([0-9a-f]+)[ \t]*;[^\r\n\0]*$/i, "$1"),
        data,
      }));
      return joinChunks({ ...raw, chunks });
    },
  },
  {
    name: "framing fields among the trailers",
    kind: "node-refuses-body",
    why: "Trailers are checked for their form and dropped: none goes on.",
    holds: ({ bytes }) => rawChunks(bytes).trailers.some((line) => FRAMING_TRAILER.test(line)),
    mend: (bytes) => {
      if (!isChunked(bytes)) return bytes;
      const raw = rawChunks(bytes);
      return joinChunks({ ...raw, trailers: raw.trailers.map((line) => line.replace(FRAMING_TRAILER, "x:")) });
    },
  },
  {
    name: "Connection: close among the trailers",
    kind: "node-refuses",
    why: "Trailers are dropped and say nothing of the connection; Node ends it after them.",
    holds: ({ nodeWhy, bytesBefore }) =>
      nodeWhy === "HPE_CLOSED_CONNECTION" &&
      rawChunks(bytesBefore).trailers.some((line) => /^connection:(.*,)?[ \t]*close[ \t]*(,|$)/i.test(line)),
  },
  {
    name: "a chunk size with more than 13 digits",
    kind: "we-refuse-body",
    why: "No size needs them, and zeros without end would be a way to send for ever.",
    holds: ({ bytes }) => rawChunks(bytes).chunks.some(({ line }) => /^[0-9a-f]{14}/i.test(line)),
  },
];

const FRAMING_TRAILER = /^(content-length|transfer-encoding):/i;

function isChunked(bytes: string): boolean {
  return rawValues(rawHead(bytes), "transfer-encoding").some((value) => /^[ \t]*chunked[ \t]*$/i.test(value));
}

/** Removes tabs around a length: Node refuses one followed by a tab. */
export const TAB_BEHIND_LENGTH: Difference = {
  name: "a tab behind the length",
  kind: "node-refuses",
  why: "White space around a value is no part of it (RFC 9110 §5.5), and the head is built anew without it.",
  holds: ({ bytes }) =>
    rawValues(rawHead(bytes), "content-length").some((value) => /^[ \t]*\d+[ \t]*\t[ \t]*$/.test(value)),
  mend: (bytes) => {
    const { length } = rawHead(bytes).bytes;
    const head = bytes.slice(0, length).replace(/(\r\ncontent-length:)[ \t]*(\d+)[ \t]+(?=\r\n)/gi, "$1$2");
    return head + bytes.slice(length);
  },
};

/** Describes how Node reads a tab after `chunked`: it refuses a request's body and reads a response's until the close. */
export function tabBehindChunked(kind: DivergenceKind): Difference {
  return {
    name: "a tab behind chunked",
    kind,
    why: "White space around a value is no part of it (RFC 9110 §5.5), and the head is built anew without it.",
    holds: ({ bytes, part }) => (kind !== "content" || part === "keepAlive") && mendChunked(bytes) !== bytes,
    mend: mendChunked,
  };
}

function mendChunked(bytes: string): string {
  const { length } = rawHead(bytes).bytes;
  const tabbed = /(\r\ntransfer-encoding:[ \t]*chunked)[ \t]*\t[ \t]*(?=\r\n)/gi;
  return bytes.slice(0, length).replace(tabbed, "$1") + bytes.slice(length);
}

export const PROXY_CONNECTION: Difference = {
  name: "Proxy-Connection",
  kind: "content",
  why: "No standard has it: it is dropped, and Connection alone counts; Node takes it for Connection.",
  holds: ({ part, node }) =>
    part === "keepAlive" && node !== undefined && valuesOf(node, "proxy-connection").length > 0,
};
