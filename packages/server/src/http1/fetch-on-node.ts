/** Adapts a fetch handler to node:http requests. */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { MAX_TRAILERS, mayBeTrailer, takesTrailers } from "@paceline/wire";
import { REASONS } from "@paceline/wire/reasons";
import { fileBodyOf } from "../kinds/static/file-body.js";
import type { RequestCounter } from "../process/request-counter.js";
import { ConnectionInfo, ForwardedInfo, type RequestSource } from "../process/request-info.js";
import { AddedTrailers, type TrailerFields } from "../shared/added-trailers.js";
import type { FetchHandler, NodeHandler } from "../shared/app.js";
import { toBytes } from "../shared/blocks.js";
import { isTurnOver, nextShare } from "../shared/turn-share.js";

/** Returns a Node handler that calls a fetch handler and writes its Response. Its promise rejects if either fails. */
export function fetchAsNodeHandler(
  handler: FetchHandler,
  behindBalancer: boolean,
  counter: RequestCounter,
  draining: { readonly closeResponses: boolean },
): NodeHandler {
  const Info = behindBalancer ? ForwardedInfo : ConnectionInfo;
  return async (incoming, outgoing) => {
    const startedAtMs = performance.now();
    const request = toRequest(incoming, outgoing, behindBalancer);
    const source = new NodeSource(incoming, outgoing, request);
    const response = await handler(request, new Info(source));
    if (!(response instanceof Response)) throw new TypeError("the handler did not return a Response");
    counter.latency.record((performance.now() - startedAtMs) * 1000);
    await writeResponse(response, incoming, outgoing, draining.closeResponses, source);
  };
}

class NodeSource implements RequestSource {
  private trailers: AddedTrailers | undefined;

  constructor(
    private readonly incoming: IncomingMessage,
    private readonly outgoing: ServerResponse,
    private readonly request: Request,
  ) {}

  header(name: string): string | undefined {
    const value = this.incoming.headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  remoteAddress(): string | undefined {
    return this.incoming.socket.remoteAddress;
  }

  signal(): AbortSignal {
    return this.request.signal;
  }

  requestTrailers(): Headers {
    const received = pairs(this.incoming.rawTrailers);
    // Behind a balancer, the trailers have passed its rules, which are the same.
    return new Headers(received.length > MAX_TRAILERS ? [] : received.filter(([name]) => mayBeTrailer(name)));
  }

  addTrailers(fields: TrailerFields): void {
    if (this.outgoing.writableEnded || this.outgoing.destroyed) return;
    this.trailers ??= new AddedTrailers();
    this.trailers.add(fields);
    // Node sends trailers only after chunks, as it must, but also to clients that do not accept them.
    if (takesTrailers(this.header("te") ?? "")) this.outgoing.addTrailers(this.trailers.pairs);
  }

  get hasTrailers(): boolean {
    return this.trailers !== undefined;
  }
}

/** A Request with a lazy signal: creating one costs as much as the rest. */
class IncomingRequest extends Request {
  #controller: AbortController | undefined;
  #outgoing: ServerResponse | undefined;

  static from(url: string, init: RequestInit, outgoing: ServerResponse): IncomingRequest {
    const request = new IncomingRequest(url, init);
    request.#outgoing = outgoing;
    return request;
  }

  static {
    // In the types `signal` is a plain property, which an accessor in a class body may not override.
    Object.defineProperty(IncomingRequest.prototype, "signal", {
      configurable: true,
      enumerable: true,
      get(this: IncomingRequest) {
        return this.abortSignal();
      },
    });
  }

  private abortSignal(): AbortSignal {
    const outgoing = this.#outgoing;
    if (this.#controller === undefined) {
      const controller = new AbortController();
      this.#controller = controller;
      if (outgoing?.destroyed && !outgoing.writableFinished) controller.abort();
      else outgoing?.once("close", () => outgoing.writableFinished || controller.abort());
    }
    return this.#controller.signal;
  }
}

function toRequest(incoming: IncomingMessage, outgoing: ServerResponse, behindBalancer: boolean): Request {
  const target = incoming.url ?? "/";
  const isAbsolute = !target.startsWith("/") && target !== "*";
  const url = isAbsolute ? target : `${originOf(incoming.headers, behindBalancer)}${target === "*" ? "/*" : target}`;
  const method = incoming.method ?? "GET";
  const init: RequestInit & { duplex?: "half" } = { method, headers: pairs(incoming.rawHeaders) };
  if (method !== "GET" && method !== "HEAD") {
    // An unread or partly read body must not destroy the connection, which the response needs.
    init.body = incoming.iterator({ destroyOnReturn: false }) as unknown as NonNullable<RequestInit["body"]>;
    init.duplex = "half";
  }
  return IncomingRequest.from(url, init, outgoing);
}

/** Returns the client's origin: behind the balancer from its fields, which may come from a proxy in front of it. */
function originOf(headers: IncomingHttpHeaders, behindBalancer: boolean): string {
  const host = headers.host || "localhost";
  if (!behindBalancer) return `http://${host}`;
  const scheme = headers["x-forwarded-proto"] === "https" ? "https" : "http";
  return `${scheme}://${headers["x-forwarded-host"] || host}`;
}

function pairs(raw: string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) list.push([raw[at] as string, raw[at + 1] as string]);
  return list;
}

async function writeResponse(
  response: Response,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  close: boolean,
  source: NodeSource,
): Promise<void> {
  const file = fileBodyOf(response);
  const isStreamed = response.body !== null && incoming.method !== "HEAD" && file === undefined;
  const takesLength = response.headers.has("content-length") && !(isStreamed && isCoded(response));
  const headers = sentFields(response, incoming.method === "HEAD", takesLength);
  if (close) headers.push("connection", "close");
  const writeHead = () => outgoing.writeHead(response.status, response.statusText || REASONS[response.status], headers);
  if (outgoing.destroyed || response.body === null || incoming.method === "HEAD") {
    if (isCancellable(response)) await response.body?.cancel();
    if (!outgoing.destroyed) writeHead().end();
    return;
  }
  if (file !== undefined) {
    writeHead();
    await file.pipe(outgoing);
    return;
  }
  const reader = response.body.getReader();
  const gone = () => {
    if (isCancellable(response)) void reader.cancel(new Error("the client has left")).catch(ignoreCancelFailure);
  };
  outgoing.once("close", gone);
  try {
    const first = await reader.read();
    if (first.done || outgoing.destroyed) {
      writeHead().end();
      return;
    }
    const block = toBytes(first.value);
    // A body that is complete by the next turn is sent in one write with its length.
    let next: ReadResult | undefined;
    const second = reader.read();
    second.then(
      (result) => {
        next = result;
      },
      () => {},
    );
    await new Promise(setImmediate);
    if (next?.done) {
      if (!source.hasTrailers && !takesLength && !response.headers.has("trailer"))
        headers.push("content-length", String(block.byteLength));
      writeHead().end(block);
      return;
    }
    writeHead();
    await writeBlocks(outgoing, reader, block, second);
  } finally {
    outgoing.removeListener("close", gone);
  }
}

/** Whether the body has a coding. Its length may be another one: `fetch` decodes a body, but keeps both fields. */
function isCoded({ headers }: Response): boolean {
  return !/^(?:identity)?$/i.test(headers.get("content-encoding") ?? "");
}

/**
 * Returns the fields as a flat list of lower-case names and values, without framing that would contradict the body.
 *
 * @throws TypeError if the Content-Length is not a number
 */
function sentFields({ status, headers, body }: Response, isHead: boolean, takesLength: boolean): string[] {
  const fields: string[] = [];
  for (const [name, value] of headers) {
    // Node refuses Trailer beside a length.
    if (name === "transfer-encoding" || (name === "trailer" && takesLength)) continue;
    if (name === "content-length") {
      if (!/^\d{1,15}$/.test(value)) throw new TypeError("the response's Content-Length is not a number");
      if (status === 204 || !takesLength) continue;
      // To HEAD, and with 304, it is the length of the body that is left out.
      if (body === null && !isHead && status !== 304) {
        fields.push(name, "0");
        continue;
      }
    }
    fields.push(name, value);
  }
  return fields;
}

/** Whether the body may be cancelled. Not that of a form: Node 26 creates its blocks ahead, and a cancel causes an uncatchable error. */
function isCancellable(response: Response): boolean {
  return !response.headers.get("content-type")?.startsWith("multipart/form-data");
}

type ReadResult = { done: boolean; value?: unknown };
type BlockReader = { read(): Promise<ReadResult> };

async function writeBlocks(
  outgoing: ServerResponse,
  reader: BlockReader,
  first: Uint8Array,
  second: Promise<ReadResult>,
): Promise<void> {
  let block: Uint8Array = first;
  let pending: Promise<ReadResult> | undefined = second;
  while (!outgoing.destroyed) {
    if (!outgoing.write(block)) await drained(outgoing);
    else if (isTurnOver()) await nextShare();
    const result: ReadResult = await (pending ?? reader.read());
    pending = undefined;
    if (result.done) {
      outgoing.end();
      return;
    }
    block = toBytes(result.value);
  }
}

function drained(outgoing: ServerResponse): Promise<void> {
  if (outgoing.destroyed) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      outgoing.removeListener("drain", done);
      outgoing.removeListener("close", done);
      resolve();
    };
    outgoing.on("drain", done);
    outgoing.on("close", done);
  });
}

function ignoreCancelFailure(): void {
  // The cancel failed. The client has left, so the error does not matter.
}
