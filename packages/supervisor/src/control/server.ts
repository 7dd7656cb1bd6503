/** Serves the control routes as HTTP and JSON on a unix socket that only its owner can access. */
import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { readCaller } from "../core/history.js";
import { PacelineError } from "../errors.js";
import { limitConnections } from "../sockets/giving-way.js";
import type { SupervisorApi } from "./api.js";
import { CALLER_FIELD } from "./caller.js";
import { ControlError, lines, operation, sendJson, sendMetrics } from "./responses.js";
import { bodyProblems, matchPath, type Route, type RouteInput, routes } from "./routes.js";

/** The maximum length of a request body in bytes: room for a whole environment. */
const MAX_BODY_BYTES = 4 << 20;
const MAX_HEAD_BYTES = 16_384;
/** The oldest that has sent no request gives way to a further one. */
const MAX_CONNECTIONS = 128;
/** How long `close` waits for responses in progress, in milliseconds. */
const CLOSE_GRACE_MS = 1_000;

interface ControlServerOptions {
  /** How long the head and the body of a request may each take to arrive, in milliseconds. Default: 10,000. */
  requestTimeoutMs?: number;
}

export class ControlServer {
  readonly #supervisor: SupervisorApi;
  readonly #path: string;
  readonly #requestTimeoutMs: number;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new Set<() => void>();

  constructor(supervisor: SupervisorApi, path: string, { requestTimeoutMs = 10_000 }: ControlServerOptions = {}) {
    this.#supervisor = supervisor;
    this.#path = path;
    this.#requestTimeoutMs = requestTimeoutMs;
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEAD_BYTES,
        headersTimeout: requestTimeoutMs,
        requestTimeout: requestTimeoutMs,
        // This interval runs for as long as the server does.
        connectionsCheckingInterval: requestTimeoutMs / 2,
      },
      (request, response) => void this.#serve(request, response),
    );
    limitConnections(this.#server, MAX_CONNECTIONS, true);
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
  }

  /** @throws PacelineError `control` if the socket cannot be created */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(this.#path, resolve);
    }).catch((error: Error) => {
      throw new PacelineError("control", `cannot serve ${this.#path}: ${error.message}`, { cause: error });
    });
    // A connection that cannot be accepted must not end the fleet.
    this.#server.on("error", () => {});
    chmodSync(this.#path, 0o600);
  }

  /** Ends streams, waits briefly for responses in progress, and removes the socket. */
  async close(): Promise<void> {
    for (const end of [...this.#closing]) end();
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy();
    }, CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that disconnects needs no response.
    request.on("error", () => {});
    response.on("error", () => {});
    response.setHeader("Connection", "close");
    // Bun may send the head of a destroyed response, which must not report success.
    response.statusCode = 400;
    try {
      const url = parseTarget(request.url ?? "/");
      const { route, params } = findRoute(request.method ?? "", url.pathname);
      checkQuery(route, url.searchParams);
      const body = parseBody(route, await readBody(request, this.#requestTimeoutMs));
      const by = readCaller(String(request.headers[CALLER_FIELD] ?? ""));
      const input = { supervisor: this.#supervisor, params, query: url.searchParams, body, by } as RouteInput<never>;
      const { reply } = route;
      switch (reply.kind) {
        case "document":
          return sendJson(response, 200, await reply.read(input));
        case "metrics":
          return sendMetrics(response, request.headers.accept ?? "", this.#supervisor);
        case "operation":
          return await operation(response, url.searchParams, (onProgress) => reply.run(input, onProgress));
        case "lines":
          return lines(response, url.searchParams, reply.open(input), (end) => {
            this.#closing.add(end);
            return () => this.#closing.delete(end);
          });
        default:
          return reply satisfies never;
      }
    } catch (error) {
      sendError(response, error);
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

function findRoute(method: string, path: string): { route: Route; params: Record<string, string> } {
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, path);
    if (params === undefined) continue;
    if (route.method === method) return { route, params };
    allowed.push(route.method);
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

async function readBody(request: IncomingMessage, timeoutMs: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // Bun's server applies its timeout to the head only.
  const timer = setTimeout(() => {
    request.destroy(new ControlError(408, "late", `the body did not arrive within ${timeoutMs / 1000} s`));
  }, timeoutMs);
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_BODY_BYTES) {
        throw new ControlError(413, "too_large", `a request body may have ${MAX_BODY_BYTES} bytes`);
      }
      chunks.push(chunk);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseBody(route: Route, text: string): unknown {
  let value: unknown = {};
  try {
    if (text.trim() !== "") value = JSON.parse(text);
  } catch (error) {
    throw new ControlError(400, "invalid", `the body is not JSON: ${(error as Error).message}`);
  }
  const problems = bodyProblems(route.body, value);
  if (problems.length === 0) return value;
  throw new ControlError(400, "invalid", `invalid body: ${problems.join("; ")}`);
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const known = error instanceof ControlError;
  const message = error instanceof Error ? error.message : String(error);
  sendJson(response, known ? error.status : 500, { error: { code: known ? error.code : "internal", message } });
}
