/** Handles one request of the control socket or of the admin listener: admits it, reads it and passes it to its route. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "../core/history.js";
import type { OperationResult, SupervisorApi } from "./api.js";
import { StatusStream, sendPage } from "./page.js";
import { ControlError, lines, operation, sendJson, sendMetrics } from "./responses.js";
import { type BodyShape, bodyProblems, matchPath, type Route, type RouteInput } from "./route.js";
import { routes } from "./routes.js";

/** Decides who may request what. Both methods throw a ControlError to refuse. */
export interface Gate {
  /** Checks the origin of a request, before anything about its path is revealed. */
  admitFrom(request: IncomingMessage): void;
  /** Returns the keys that the body may have. */
  admitTo(route: Route, request: IncomingMessage): BodyShape;
  callerOf(request: IncomingMessage): Caller;
}

/** The maximum number of running operations of one route, including those whose client has left. */
const MAX_OPERATIONS = 64;

interface DispatcherOptions {
  supervisor: SupervisorApi;
  gate: Gate;
  maxBodyBytes: number;
  /** How long a body may take to arrive, in milliseconds. */
  bodyTimeoutMs: number;
  /** The maximum number of clients that follow lines. */
  maxFollowers: number;
  /** Whether a connection may carry a further request. */
  keepsAlive: boolean;
}

export class Dispatcher {
  private readonly stream: StatusStream;
  private readonly closing = new Set<() => void>();
  /** The number of running operations, by the path of their route. */
  private readonly operations = new Map<string, number>();

  constructor(private readonly options: DispatcherOptions) {
    this.stream = new StatusStream(options.supervisor);
  }

  /** Ends the responses that would otherwise continue. */
  endStreams(): void {
    for (const end of [...this.closing]) end();
    this.stream.close();
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that disconnects needs no response.
    request.on("error", () => {});
    response.on("error", () => {});
    if (!this.options.keepsAlive) response.setHeader("Connection", "close");
    response.setHeader("Cache-Control", "no-store");
    response.setHeader("X-Content-Type-Options", "nosniff");
    // Bun may send the head of a destroyed response, which must not report success.
    response.statusCode = 400;
    try {
      await this.respond(request, response);
    } catch (error) {
      sendError(response, error);
    }
  }

  private async respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { supervisor, gate } = this.options;
    gate.admitFrom(request);
    const url = parseTarget(request.url ?? "/");
    const { route, params } = findRoute(request.method ?? "", url.pathname);
    const shape = gate.admitTo(route, request);
    checkQuery(route, url.searchParams);
    const body = parseBody(shape, await readBody(request, this.options));
    const by = gate.callerOf(request);
    const input = { supervisor, params, query: url.searchParams, body, by } as RouteInput<never>;
    const isHead = request.method === "HEAD";
    const { reply } = route;
    switch (reply.kind) {
      case "document":
        return sendJson(response, 200, await reply.read(input));
      case "metrics":
        return sendMetrics(response, request.headers.accept ?? "", supervisor, isHead);
      case "page":
        return sendPage(response, String(request.headers["accept-encoding"] ?? ""), isHead);
      case "stream":
        return this.stream.open(response);
      case "operation":
        return operation(response, url.searchParams, (onProgress) =>
          this.count(route.path, () => reply.run(input, onProgress)),
        );
      case "lines": {
        if (this.closing.size >= this.options.maxFollowers)
          throw new ControlError(503, "busy", `${this.options.maxFollowers} clients follow lines already`);
        return lines(response, url.searchParams, reply.open(input), {
          onServerClose: (end) => {
            this.closing.add(end);
            return () => this.closing.delete(end);
          },
          readers: () => this.closing.size,
        });
      }
      default:
        return reply satisfies never;
    }
  }

  /** @throws ControlError `busy` */
  private async count(path: string, run: () => Promise<OperationResult>): Promise<OperationResult> {
    const { operations } = this;
    const running = operations.get(path) ?? 0;
    if (running >= MAX_OPERATIONS) throw new ControlError(503, "busy", `${running} requests of ${path} are under way`);
    operations.set(path, running + 1);
    try {
      return await run();
    } finally {
      operations.set(path, (operations.get(path) ?? 1) - 1);
    }
  }
}

function parseTarget(target: string): URL {
  try {
    return new URL(target, "http://localhost");
  } catch (error) {
    throw new ControlError(400, "invalid", `${target} is not a path: ${(error as Error).message}`);
  }
}

/** Kinds of replies that can also be a head alone. */
const WITH_HEAD: readonly Route["reply"]["kind"][] = ["metrics", "page"];

function findRoute(method: string, path: string): { route: Route; params: Record<string, string> } {
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, path);
    if (params === undefined) continue;
    const methods = WITH_HEAD.includes(route.reply.kind) ? [route.method, "HEAD"] : [route.method];
    if (methods.includes(method)) return { route, params };
    allowed.push(...methods);
  }
  if (allowed.length === 0) throw new ControlError(404, "not_found", `no such endpoint: ${path}`);
  throw new ControlError(405, "method_not_allowed", `${path} accepts ${allowed.join(" and ")}, not ${method}`);
}

function checkQuery(route: Route, query: URLSearchParams): void {
  for (const [name, value] of query) {
    if (!route.query.includes(name)) throw new ControlError(400, "invalid", `${route.path} has no parameter "${name}"`);
    const isNumber = name === "timeoutMs" || name === "lines" || name === "since";
    if (isNumber && !/^\d{1,15}$/.test(value)) throw new ControlError(400, "invalid", `${name} must be a whole number`);
  }
}

/**
 * Reads the body by its events. On Bun, the stream's iterator ends normally even if the request is destroyed or its client leaves.
 * @throws ControlError `late`, `too_large` or `incomplete`
 */
function readBody(
  request: IncomingMessage,
  { maxBodyBytes, bodyTimeoutMs }: Pick<DispatcherOptions, "maxBodyBytes" | "bodyTimeoutMs">,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = (status: number, code: string, message: string) => {
      clearTimeout(timer);
      request.off("data", onData).pause();
      reject(new ControlError(status, code, message));
    };
    // Bun's server applies its timeout to the head only.
    const timer = setTimeout(
      () => refuse(408, "late", `the body did not arrive within ${bodyTimeoutMs / 1000} s`),
      bodyTimeoutMs,
    );
    const onData = (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBodyBytes) return refuse(413, "too_large", `a request body must not exceed ${maxBodyBytes} bytes`);
      chunks.push(chunk);
    };
    const incomplete = () => refuse(400, "incomplete", "the body is incomplete");
    request.on("data", onData);
    request.once("end", () => {
      const { "content-length": length = size } = request.headers;
      if (!request.complete || size !== Number(length)) return incomplete();
      clearTimeout(timer);
      resolve(Buffer.concat(chunks).toString("utf8"));
    });
    request.once("close", incomplete);
  });
}

function parseBody(shape: BodyShape, text: string): unknown {
  let value: unknown = {};
  try {
    if (text.trim() !== "") value = JSON.parse(text);
  } catch (error) {
    throw new ControlError(400, "invalid", `the body is not JSON: ${(error as Error).message}`);
  }
  const problems = bodyProblems(shape, value);
  if (problems.length === 0) return value;
  throw new ControlError(400, "invalid", `invalid body: ${problems.join("; ")}`);
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  // The rest of the request may not have been read.
  response.setHeader("Connection", "close");
  const known = error instanceof ControlError;
  const message = error instanceof Error ? error.message : String(error);
  sendJson(response, known ? error.status : 500, { error: { code: known ? error.code : "internal", message } });
}
