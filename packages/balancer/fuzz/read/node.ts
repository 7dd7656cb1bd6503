/** Reads the same streams with Node's own HTTP parser, strict like node:http by default. */
import { createRequire } from "node:module";
import type { Field, Reading, SeenMessage } from "../message.js";

interface NodeParser {
  initialize(type: number, resource: object, maxHeaderSize: number, lenientFlags: number): void;
  execute(bytes: Buffer): number | (Error & { code: string });
  finish(): undefined | (Error & { code: string });
  close(): void;
  [callback: number]: unknown;
}

interface NodeParserClass {
  new (): NodeParser;
  REQUEST: number;
  RESPONSE: number;
  kOnMessageBegin: number;
  kOnHeaders: number;
  kOnHeadersComplete: number;
  kOnBody: number;
  kOnMessageComplete: number;
  kLenientNone: number;
}

const common = createRequire(import.meta.url)("_http_common") as { HTTPParser: NodeParserClass; methods: string[] };
const { HTTPParser } = common;

/** Larger than any stream here: Node's own head limit does not matter. */
const MAX_HEADER_BYTES = 1 << 20;

/** The return values of `kOnHeadersComplete`. */
const GO_ON = 0;
const NO_BODY = 1;

/** Reads requests like a node:http server without an `upgrade` listener. */
export function readNodeRequests(pieces: readonly Buffer[]): Reading {
  return read(pieces, HTTPParser.REQUEST, [], false);
}

/** Like `readOurResponses`. */
export function readNodeResponses(pieces: readonly Buffer[], toHead: readonly boolean[]): Reading {
  return read(pieces, HTTPParser.RESPONSE, toHead, true);
}

function read(pieces: readonly Buffer[], type: number, toHead: readonly boolean[], hasEnd: boolean): Reading {
  const reading: Reading = { messages: [], end: "open", used: 0, why: "" };
  const parser = new HTTPParser();
  parser.initialize(type, {}, MAX_HEADER_BYTES, HTTPParser.kLenientNone);
  let current: SeenMessage | undefined;
  let early: string[] = [];
  let earlyUrl = "";
  let answered = 0;
  /** The rest is ignored. */
  let isDone = false;
  parser[HTTPParser.kOnMessageBegin] = () => {
    early = [];
    earlyUrl = "";
  };
  // Many fields arrive here first; after the body these are trailers.
  parser[HTTPParser.kOnHeaders] = (fields: string[], url: string) => {
    if (current !== undefined) return;
    early.push(...fields);
    earlyUrl += url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    _major: number,
    minorVersion: number,
    fields: string[] | undefined,
    method: number | undefined,
    url: string | undefined,
    status: number | undefined,
    reason: string | undefined,
    _isUpgrade: boolean,
    keepAlive: boolean,
  ) => {
    // One call may deliver more than requested.
    if (isDone) return NO_BODY;
    const isInterim = status !== undefined && status < 200 && status !== 101;
    const isToHead = type === HTTPParser.RESPONSE && !isInterim && toHead[answered] === true;
    const seenFields = pairs([...early, ...(fields ?? [])]);
    current = {
      start: 0,
      method: method === undefined ? "" : (common.methods[method] ?? ""),
      // As the balancer forwards non-ASCII bytes.
      target: (url ?? earlyUrl)?.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`),
      host: undefined,
      status: status ?? 0,
      reason: reason ?? "",
      minorVersion,
      // The parser decides before it knows that no body follows; then only Connection counts.
      keepAlive: isInterim || keepAlive || (isToHead && staysOpen(minorVersion, seenFields)),
      fields: seenFields,
      body: "",
      isComplete: false,
    };
    reading.messages.push(current);
    if (type === HTTPParser.RESPONSE && !isInterim) answered++;
    // Like node:http's client for a 1xx.
    return isToHead || isInterim ? NO_BODY : GO_ON;
  };
  parser[HTTPParser.kOnBody] = (bytes: Buffer) => {
    if (current !== undefined) current.body += bytes.toString("latin1");
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    if (current === undefined) return;
    current.isComplete = true;
    if (!current.keepAlive || current.status === 101) reading.end = "closed";
    isDone = reading.end !== "open" || (type === HTTPParser.RESPONSE && answered === toHead.length);
    current = undefined;
  };
  for (const piece of pieces) {
    let rest = piece;
    while (rest.length > 0 && !isDone) {
      const result = parser.execute(rest);
      if (typeof result !== "number") {
        if (!isDone) {
          reading.end = "refused";
          reading.why = result.code;
        }
        isDone = true;
        break;
      }
      if (result === 0) {
        // After a CONNECT there is no more HTTP.
        reading.end = "closed";
        isDone = true;
      }
      // Node stops after an upgrade request, and a server that refuses it continues after it.
      rest = rest.subarray(result);
    }
    if (isDone) break;
  }
  if (hasEnd && !isDone) parser.finish();
  parser.close();
  return reading;
}

function staysOpen(minorVersion: number, fields: readonly Field[]): boolean {
  const options = fields
    .filter(([name]) => /^connection$/i.test(name))
    .flatMap(([, value]) => value.split(",").map((option) => option.trim().toLowerCase()));
  return !options.includes("close") && (minorVersion === 1 || options.includes("keep-alive"));
}

function pairs(list: readonly string[]): Field[] {
  return Array.from({ length: list.length / 2 }, (_, i) => [list[2 * i] as string, list[2 * i + 1] as string]);
}
