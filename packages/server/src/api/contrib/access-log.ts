/** An access log, as lines or as JSON: writes one entry per request, after its response was sent. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { FetchHandler, RequestInfo, Wrapper } from "../../shared/app.js";
import { type BlockSource, blocksOf, toBytes } from "../../shared/blocks.js";
import { hasEnded } from "../../shared/bridge.js";
import { KEPT_BODY, type KeptBody, keptBody, rememberBodies } from "../../shared/kept-body.js";
import { type AccessEntry, type AccessLogFormat, accessLine, type Outcome } from "./access-line.js";
import { piecesOf, streamOf } from "./blocks.js";
import { LogWriter, type LogWriterOptions, openLog } from "./log-writer.js";

export interface AccessLogOptions extends LogWriterOptions {
  /** `combined`, as in Apache and nginx, or `json`, one object per line. Default: combined. */
  format?: AccessLogFormat;
  /** The file to append to, created with mode 0600. Default: stdout. */
  file?: string;
  /** Receives each line, with its newline, in place of file and stdout. */
  write?: (line: string) => void;
}

/**
 * Wraps a handler and logs its requests.
 *
 * @throws the system's error when the file cannot be opened
 */
export function accessLog(options: AccessLogOptions = {}): Wrapper {
  return new AccessLog(options).wrap;
}

const SWITCHED = 101;

/** One log, for handlers of either style. */
export class AccessLog {
  private readonly format: AccessLogFormat;
  private readonly writer: LogWriter | undefined;
  private readonly writeLine: (line: string) => void;

  /** @throws the system's error when the file cannot be opened */
  constructor(options: AccessLogOptions) {
    rememberBodies();
    this.format = options.format ?? "combined";
    if (options.write === undefined) {
      const writer = new LogWriter(openLog(options.file), options);
      this.writer = writer;
      this.writeLine = (line) => writer.write(line);
    } else {
      this.writeLine = options.write;
    }
  }

  readonly wrap: Wrapper = (handler) => (request, info) => this.handle(handler, request, info);

  private handle(handler: FetchHandler, request: Request, info: RequestInfo): Response | Promise<Response> {
    const ended = this.begin(request, info);
    const watched = (response: Response): Response =>
      watchResponse(request, info, response, (outcome, bytes) => ended(response.status ?? SWITCHED, outcome, bytes));
    const failed = (error: unknown): never => {
      ended(500, request.signal.aborted ? "aborted" : "failed", 0);
      throw error;
    };
    let result: Response | Promise<Response>;
    try {
      result = handler(request, info);
    } catch (error) {
      return failed(error);
    }
    return result instanceof Response ? watched(result) : Promise.resolve(result).then(watched, failed);
  }

  /** Reads the facts at the start, because some are gone at the end. */
  private begin(request: Request, { clientAddress, protocol, host, requestId }: RequestInfo) {
    const startedAtMs = performance.now();
    const timeMs = Date.now();
    const { method, url, headers } = request;
    const referer = headers.get("referer") ?? undefined;
    const userAgent = headers.get("user-agent") ?? undefined;
    return (status: number, outcome: Outcome, bytes: number | undefined) =>
      this.log({
        timeMs,
        clientAddress,
        protocol,
        // A fetch handler does not know the version.
        httpVersion: "1.1",
        host,
        method,
        target: url.slice(url.indexOf("/", url.indexOf("//") + 2)),
        status,
        bytes,
        durationMs: performance.now() - startedAtMs,
        outcome,
        requestId,
        referer,
        userAgent,
      });
  }

  /** Logs a request of node:http after its response has ended. */
  watch(request: IncomingMessage, response: ServerResponse): () => void {
    let hasFailed = false;
    const startedAtMs = performance.now();
    const timeMs = Date.now();
    const { method = "", url = "", httpVersion, headers } = request;
    const clientAddress = request.socket.remoteAddress ?? "";
    const bytes = countBody(method, response);
    response.once("close", () =>
      this.log({
        timeMs,
        clientAddress,
        protocol: "http",
        httpVersion,
        host: headers.host ?? "",
        method,
        target: url,
        status: response.statusCode,
        bytes: bytes(),
        durationMs: performance.now() - startedAtMs,
        outcome: hasFailed ? "failed" : response.writableFinished ? "whole" : "aborted",
        requestId: headers["x-request-id"] as string | undefined,
        referer: headers.referer,
        userAgent: headers["user-agent"],
      }),
    );
    return () => {
      hasFailed = true;
    };
  }

  log(entry: AccessEntry): void {
    this.writeLine(accessLine(this.format, entry));
  }

  /** Resolves when everything is written or the deadline has passed. */
  async flush(deadlineMs: number): Promise<void> {
    await this.writer?.flush(deadlineMs);
  }
}

/** @returns a function that returns the number of bytes written so far; 0 if the response has no body */
export function countBody(method: string, response: ServerResponse): () => number {
  let bytes = 0;
  let isEnding = false;
  const { write, end } = response;
  const count = (chunk: unknown, encoding: unknown) => {
    if (typeof chunk === "string")
      bytes += Buffer.byteLength(chunk, typeof encoding === "string" ? (encoding as BufferEncoding) : "utf8");
    else if (chunk instanceof Uint8Array) bytes += chunk.length;
  };
  response.write = function (this: ServerResponse, ...args: unknown[]) {
    // The end of a response may call write() for its last bytes.
    if (!isEnding) count(args[0], args[1]);
    return write.apply(this, args as never);
  } as ServerResponse["write"];
  response.end = function (this: ServerResponse, ...args: unknown[]) {
    if (!isEnding) count(args[0], args[1]);
    isEnding = true;
    return end.apply(this, args as never);
  } as ServerResponse["end"];
  return () => (method === "HEAD" || response.statusCode === 204 || response.statusCode === 304 ? 0 : bytes);
}

/** Called once. `bytes` is the number of body bytes sent; undefined if unknown. */
type OnEnd = (outcome: Outcome, bytes: number | undefined) => void;

/** A body up to this size is sent with its head, in bytes. */
const SMALL_BYTES = 65_536;
/** The interval for checking responses that the platform sends by itself, in milliseconds. */
const LOOK_EVERY_MS = 100;

/** Reports when the response of a fetch handler was sent, and how many bytes of it. Returns the response to send instead. */
function watchResponse(request: Request, info: RequestInfo, response: Response, onEnd: OnEnd): Response {
  // For an upgrade only the head counts.
  if (!(response instanceof Response)) {
    onEnd("whole", 0);
    return response;
  }
  if (request.signal.aborted) {
    onEnd("aborted", 0);
    return response;
  }
  const kept = keptBody(response);
  if (request.method === "HEAD" || (kept === undefined && (response.body === null || response.bodyUsed))) {
    onEnd("whole", 0);
    return response;
  }
  if (kept === undefined) {
    // A Response created by Bun may hold a text, and a copy would lose its Content-Type.
    if (process.versions.bun !== undefined && !(KEPT_BODY in response) && !response.headers.has("content-type")) {
      onEnd("whole", undefined);
      return response;
    }
    return withBody(response, blocksOf(response.body as ReadableStream<Uint8Array>), onEnd);
  }
  const bytes = sizeOf(kept);
  if (hasEnded(info) !== undefined) {
    watchFromOutside(request, info, bytes, onEnd);
    return response;
  }
  if (bytes <= SMALL_BYTES) {
    onEnd("whole", bytes);
    return response;
  }
  const copy = withBody(response, blocksIn(kept), onEnd);
  if (typeof kept === "string" && !copy.headers.has("content-type")) copy.headers.set("content-type", TEXT_TYPE);
  copy.headers.set("content-length", String(bytes));
  return copy;
}

const TEXT_TYPE = "text/plain;charset=utf-8";

function sizeOf(kept: KeptBody): number {
  if (typeof kept === "string") return Buffer.byteLength(kept);
  return kept instanceof Blob ? kept.size : kept.length;
}

function blocksIn(kept: KeptBody): BlockSource {
  if (kept instanceof Blob) return blocksOf(kept.stream() as ReadableStream<Uint8Array>);
  return piecesOf(typeof kept === "string" ? Buffer.from(kept) : kept, SMALL_BYTES);
}

/** Returns the same response with a body that counts the bytes read. */
function withBody(response: Response, source: BlockSource, onEnd: OnEnd): Response {
  const { status, statusText } = response;
  const body = streamOf(new CountedBlocks(source, onEnd));
  return new Response(body, { status, statusText, headers: new Headers(response.headers) });
}

class CountedBlocks implements BlockSource {
  private bytes = 0;
  private hasEnded = false;

  constructor(
    private readonly source: BlockSource,
    private readonly onEnd: OnEnd,
  ) {}

  async next(): Promise<{ done?: boolean; value?: unknown }> {
    try {
      const result = await this.source.next();
      if (result.done) this.end("whole");
      else this.bytes += toBytes(result.value).length;
      return result;
    } catch (error) {
      this.end("failed");
      throw error;
    }
  }

  cancel(): void {
    this.source.cancel();
    this.end("aborted");
  }

  private end(outcome: Outcome): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.onEnd(outcome, this.bytes);
  }
}

/** Watches a response that the platform gets as a whole. Most are sent by the next turn of the event loop. */
function watchFromOutside(request: Request, info: RequestInfo, bytes: number, onEnd: OnEnd): void {
  const look = () => {
    if (!hasEnded(info)) return false;
    const isAborted = request.signal.aborted;
    onEnd(isAborted ? "aborted" : "whole", isAborted ? undefined : bytes);
    return true;
  };
  setImmediate(() => {
    if (look()) return;
    const timer = setInterval(() => {
      if (look()) clearInterval(timer);
    }, LOOK_EVERY_MS);
  });
}
