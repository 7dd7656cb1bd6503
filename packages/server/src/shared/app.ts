/** What an app is to the server: the two styles it is called in, and what a handler is told of a request. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** What is known of a request beside the request itself. */
export interface RequestInfo {
  /** The client's IP address; `unknown` when nobody knows it, empty when it came over a unix socket without a balancer. */
  readonly clientAddress: string;
  /** As the client spoke it: `http` or `https`. */
  readonly protocol: string;
  /** The Host that the client asked for, with its port if it named one; `localhost` when it named none. */
  readonly host: string;
  /** What was spoken to Paceline, perhaps by a proxy in `trustedProxies`: `http`. */
  readonly innerProtocol: string;
  /** The Host that Paceline was asked for, perhaps by such a proxy. */
  readonly innerHost: string;
  /** The X-Request-Id that the client sent, as it came; when it sent none, one made here that no other request has. */
  readonly requestId: string;
  /** Aborts when the client goes before its response has left. Made when it is first asked for. */
  readonly signal: AbortSignal;
  /** Aborts when the instance begins to drain: end early what would go on for long. The same signal for all requests. */
  readonly draining: AbortSignal;
  /**
   * Takes the upgrade that the client asks for (RFC 9110 §7.8), with these fields in the 101; return its `response`.
   * Undefined when the client asks for none, or where a fetch app cannot take one: in `paceline serve`, and in a pool
   * with `protocol: "http1"`.
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

/** Takes a request, gives the response: the shape of WinterTC, which Hono and others export too. */
export type FetchHandler = (request: Request, info: RequestInfo) => Response | Promise<Response>;

/** The handler of node:http: an Express app, Koa's callback, Connect. */
export type NodeHandler = (request: IncomingMessage, response: ServerResponse) => unknown;

/** Takes a connection whose client asked for an upgrade, as the `upgrade` event of node:http does. */
export type NodeUpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => unknown;

/** How an app is called: `(request, info)`, or `(req, res)` as node:http does it. */
export type AppStyle = "fetch" | "node";

/** What an app does before its first request and after its last one. */
export interface AppLifecycle {
  /** Waited for before the server listens. */
  start?: () => unknown;
  /** Called when a drain begins: on a stop, a reload, a scale-down. Requests go on meanwhile. */
  beforeDrain?: () => unknown;
  /** Waited for when the last response has left, within the drain's deadline. */
  stop?: () => unknown;
}

/** What Paceline uses of the options of Bun.serve; those of address, TLS and timeouts are its own. */
export interface BunServeOptions {
  port?: number | string;
  hostname?: string;
  unix?: string;
  fetch?(this: unknown, request: Request, server: unknown): Response | Promise<Response>;
  error?(this: unknown, error: unknown): Response | Promise<Response> | undefined;
  routes?: Readonly<Record<string, unknown>>;
  websocket?: object;
}

/** The server object that an app for Bun.serve holds. */
export interface AppServer {
  readonly options: BunServeOptions;
  /** @param onReload is called when the app has replaced its options. */
  attach(real: unknown, onReload: () => void): void;
  /** `original` is the request as Bun knows it, where Paceline has changed it. */
  remember(request: Request, original: Request, info: RequestInfo): void;
}

export interface FetchApp extends AppLifecycle {
  style: "fetch";
  handler: FetchHandler;
  /** Of an app for Bun.serve: its routes and WebSockets need Bun's own server. */
  bunServer?: AppServer;
}

export interface NodeApp extends AppLifecycle {
  style: "node";
  handler: NodeHandler;
  /** What takes upgrades, asked for once, when the app has started; without it they are requests as all others. */
  upgrade?: () => NodeUpgradeHandler | undefined;
}

/** An app, ready to be called. */
export type App = FetchApp | NodeApp;

/** Takes a handler, gives one that does more: `compression()(handler)`. */
export type Wrapper = (handler: FetchHandler) => FetchHandler;
