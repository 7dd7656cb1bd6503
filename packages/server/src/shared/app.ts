/** The server's view of an app: its two styles, and the facts of a request for a handler. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** Facts about a request in addition to the request itself. */
export interface RequestInfo {
  /** The client's IP address; `unknown` if not known; empty over a unix socket without a balancer. */
  readonly clientAddress: string;
  /** The client's protocol: `http` or `https`. */
  readonly protocol: string;
  /** The Host the client requested, with its port if any; `localhost` if it named none. */
  readonly host: string;
  /** The protocol of the connection to Paceline, which may come from a proxy in `trustedProxies`: `http`. */
  readonly innerProtocol: string;
  /** The Host requested from Paceline, possibly by such a proxy. */
  readonly innerHost: string;
  /** The client's X-Request-Id, unchanged; without one, a new unique id. */
  readonly requestId: string;
  /** Aborts when the client leaves before its response was sent. Created on first use. */
  readonly signal: AbortSignal;
  /** Aborts when the instance starts to drain, so that long responses can end early. The same signal for all requests. */
  readonly draining: AbortSignal;
  /**
   * The trailers of the request (RFC 9110 §6.5), available when its body has been read to the end; empty before, and if there are none.
   * Undefined on Bun over HTTP/1.1, which drops them: in `paceline serve`, and in a pool with `protocol: "http1"`.
   */
  readonly trailers?: Headers | undefined;
  /**
   * Adds trailers to the response, until its body has ended. They are dropped if the client does not accept them (`TE: trailers`), if the
   * response has a Content-Length, or if the field is not allowed as a trailer. Undefined if `trailers` is.
   * @throws TypeError for more than 32 trailers or 8,192 bytes, and for invalid trailers
   */
  readonly addTrailers?: ((fields: Headers | Readonly<Record<string, string>>) => void) | undefined;
  /**
   * Accepts the client's upgrade (RFC 9110 §7.8), with these fields in the 101; the handler must return its `response`. Undefined if the
   * client requested no upgrade, or if fetch apps cannot upgrade: in `paceline serve`, and in a pool with `protocol: "http1"`.
   */
  readonly upgrade?: ((fields?: Readonly<Record<string, string>>) => Upgrade) | undefined;
}

/** An upgraded connection: bytes both ways, in the new protocol. */
export interface Upgrade {
  /** The handler's return value. */
  response: Response;
  readable: ReadableStream<Uint8Array>;
  writable: WritableStream<Uint8Array>;
}

/** Takes a request and returns the response: the signature of WinterTC, also exported by Hono and others. */
export type FetchHandler = (request: Request, info: RequestInfo) => Response | Promise<Response>;

/** A handler of node:http: an Express app, Koa's callback, Connect. */
export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => unknown;

/** Takes a connection whose client requested an upgrade, like the `upgrade` event of node:http. */
export type NodeUpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => unknown;

/** The signature of an app: `(request, info)`, or `(req, res)` as in node:http. */
export type AppStyle = "fetch" | "node";

/** The app's code before its first request and after its last one. */
export interface AppLifecycle {
  /** Awaited before the server listens. */
  start?: () => unknown;
  /** Called when a drain starts: on a stop, a reload, a scale-down. Requests continue meanwhile. */
  beforeDrain?: () => unknown;
  /** Awaited after the last response was sent, within the drain's deadline. */
  stop?: () => unknown;
}

/** The Bun.serve options that Paceline uses; it sets address, TLS and timeouts itself. */
export interface BunServeOptions {
  port?: number | string;
  hostname?: string;
  unix?: string;
  tls?: unknown;
  fetch?(this: unknown, request: Request, server: unknown): Response | Promise<Response>;
  error?(this: unknown, error: unknown): Response | Promise<Response> | undefined;
  routes?: Readonly<Record<string, unknown>>;
  websocket?: object;
}

/** The server object of an app for Bun.serve. */
export interface AppServer {
  readonly options: BunServeOptions;
  /** @param onReload called after the app has replaced its options */
  attach(real: unknown, onReload: () => void): void;
  /** Notes the `original` request if Paceline has passed a changed one to the app. */
  remember(request: Request, original: Request, info: RequestInfo): void;
}

export interface FetchApp extends AppLifecycle {
  style: "fetch";
  handler: FetchHandler;
  /** Set for an app for Bun.serve, whose routes and WebSockets need Bun's own server. */
  bunServer?: AppServer;
}

export interface NodeApp extends AppLifecycle {
  style: "node";
  handler: NodeHandler;
  /** Returns the handler of upgrades. Called once, after the start. Without a handler, upgrades are treated as ordinary requests. */
  upgrade?: () => NodeUpgradeHandler | undefined;
}

/** A callable app. */
export type App = FetchApp | NodeApp;

/** Wraps a handler to extend it: `compression()(handler)`. */
export type Wrapper = (handler: FetchHandler) => FetchHandler;
