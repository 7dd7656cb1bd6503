/** What an app is to the server: the two shapes its module may have, and what a handler is told of a request. */
import type { IncomingMessage, ServerResponse } from "node:http";

/** What is known of a request beside the request itself. */
export interface RequestInfo {
  /** The client's IP address; empty when it came over a unix socket without a balancer. */
  readonly clientAddress: string;
  /** As the client spoke it: `http` or `https`. */
  readonly protocol: string;
  /** The Host that the client asked for, with its port if it named one; `localhost` when it named none. */
  readonly host: string;
  /** The request's id, when the balancer or the client gave one in X-Request-Id. */
  readonly requestId: string | undefined;
  /**
   * Takes the upgrade that the client asks for (RFC 9110 §7.8), with these fields in the 101; return its `response`.
   * Undefined when the client asks for none, or where a fetch app cannot take one: in `paceline serve`, and in a pool
   * with `link: "http1"`.
   */
  readonly upgrade?: ((fields?: Readonly<Record<string, string>>) => Upgrade) | undefined;
}

/** A connection that was upgraded: bytes both ways, as whatever protocol it now speaks. */
export interface Upgrade {
  /** What the handler has to return. */
  response: Response;
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
}

/** Takes a request, gives the answer: the shape of WinterTC, which Hono and others export too. */
export type FetchHandler = (request: Request, info: RequestInfo) => Response | Promise<Response>;

/** The handler of node:http: an Express app, Koa's callback, Connect. */
export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => unknown;

/** An app, ready to be called. */
export type App = { style: "fetch"; handler: FetchHandler } | { style: "node"; handler: NodeHandler };

/**
 * The app that a module's default export is: an object with a `fetch` method, or a Node `(req, res)` function.
 * Undefined when it is neither.
 */
export function appFrom(exported: unknown): App | undefined {
  if (typeof exported === "function") return { style: "node", handler: exported as NodeHandler };
  if (typeof exported !== "object" || exported === null) return undefined;
  const { fetch } = exported as { fetch?: unknown };
  if (typeof fetch !== "function") return undefined;
  return { style: "fetch", handler: (fetch as FetchHandler).bind(exported) };
}
