/** Serves a fetch app with Bun.serve. */
import { withPrivateUmask } from "@paceline/wire";
import { fileBodyOf } from "../kinds/static/file-body.js";
import { RequestCounter } from "../process/request-counter.js";
import { ConnectionInfo, ForwardedInfo, type RequestSource } from "../process/request-info.js";
import type { AppServer, FetchHandler } from "../shared/app.js";
import { BunBodyWatch, SMALL_BODY_BYTES } from "./bun-body-watch.js";
import { BunSendWatch } from "./bun-send-watch.js";
import { HostCheck } from "./host-check.js";
import {
  listenError,
  ownServers,
  type RunningServer,
  type RuntimeOptions,
  type ServeAddress,
} from "./running-server.js";

type BunServer = Bun.Server<undefined>;

const SLASH = 0x2f;
/** Bun's longest timeout, in seconds. */
const MAX_TIMEOUT_SECONDS = 255;

/**
 * Starts the server. Bun closes HTTP/1.0 connections after one response. It also closes a connection on an unknown method, or on a second
 * request during a streaming response (the balancer sends none). After a failed body, Bun closes the connection and writes the error to
 * stderr.
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export function serveOnBun(handler: FetchHandler, options: RuntimeOptions, appServer?: AppServer): RunningServer {
  const { limits, address } = options;
  const inFlight = () => server.pendingRequests + (appServer === undefined ? 0 : server.pendingWebSockets);
  const counter = new RequestCounter(inFlight);
  const fetch = foldHandler(options, counter, appServer);
  const common = {
    development: false,
    // Outside development, Bun shares the port by default, and a second server would get half of the requests.
    reusePort: false,
    idleTimeout: idleSeconds(options),
    maxRequestBodySize: limits.maxBodyBytes,
    fetch: fetch.handlerOf(handler),
    error(error: unknown) {
      counter.errors++;
      const own = appServer?.options.error;
      if (own !== undefined) return own.call(appServer, error);
      options.onError(error);
      return new Response("Internal Server Error\n", { status: 500, headers: fetch.closing() });
    },
  };
  const ofApp = () => (appServer === undefined ? {} : optionsOfApp(appServer, fetch.handlerOf));
  const server = listen(address, { ...common, ...ofApp() });
  appServer?.attach(server, () => void server.reload({ ...common, ...ofApp() } as never));
  return {
    address: address.kind === "tcp" ? { ...address, port: server.port ?? address.port } : address,
    inFlight,
    activity: () => 2 * counter.started - inFlight(),
    onNext: (wake) => counter.onNext(wake),
    takeStats: () => counter.take(),
    markResponsesClose: fetch.markClose,
    stopAccepting: () => void server.stop(),
    closeNow: () => {
      fetch.resetAtClose();
      void server.stop(true);
    },
  };
}

/** Creates the functions that run for every request. */
function foldHandler(options: RuntimeOptions, counter: RequestCounter, appServer: AppServer | undefined) {
  const { limits, behindBalancer } = options;
  const Info = behindBalancer ? ForwardedInfo : ConnectionInfo;
  let serving: BunServer | undefined;
  // Bun's idle timeout would close the connection.
  const bodies = new BunBodyWatch(behindBalancer ? 0 : limits.bodyTimeoutMs, (request) => serving?.timeout(request, 1));
  const idle = idleSeconds(options);
  const hosts = behindBalancer ? undefined : new HostCheck();
  let close = false;

  const sends = behindBalancer ? undefined : new BunSendWatch(limits.sendTimeoutMs);

  function finish(response: Response, startedAtMs: number, request: Request): Response {
    if (!(response instanceof Response)) throw new TypeError("the handler did not return a Response");
    const nowMs = performance.now();
    const staysOpen = sends === undefined || serving === undefined || sends.add(request, serving, nowMs);
    counter.latency.record((nowMs - startedAtMs) * 1000);
    if (response.status >= 500) counter.errors++;
    const sent = fileBodyOf(response)?.onBun(response) ?? response;
    return close || !staysOpen ? withClose(sent) : sent;
  }

  /** Waits for the handler without the idle timer, which would cut off a slow one. */
  async function wait(promise: Promise<Response>, request: Request, server: BunServer): Promise<Response> {
    server.timeout(request, 0);
    try {
      return await promise;
    } finally {
      server.timeout(request, idle);
    }
  }

  /** @param isRoute whether Bun's router calls it: its requests have parameters and cookies that a copy would lack */
  const handlerOf = (handler: FetchHandler, isRoute = false) =>
    function handle(request: Request, server: BunServer): Response | Promise<Response> {
      const startedAtMs = performance.now();
      counter.begin();
      if (server.pendingRequests > limits.maxConnections) return refuse(counter);
      if (hosts?.acceptsUrl(request) === false) return badRequest();
      // An HTTP/1.0 request without Host: `new URL(request.url)` has to work in apps.
      const absolute = request.url.charCodeAt(0) === SLASH ? absoluteRequest(request) : request;
      serving = server;
      const forwarded = behindBalancer && !isRoute ? askedFor(absolute) : absolute;
      const asked = isWatched(request) ? bodies.watch(forwarded, request) : forwarded;
      const info = new Info(new BunSource(request, server));
      appServer?.remember(asked, request, info);
      const result = handler(asked, info);
      // An upgrade has no response.
      if (result === undefined && appServer !== undefined) return result as never;
      if (result instanceof Response) return finish(result, startedAtMs, request);
      const promise = Promise.resolve(result);
      const waited = behindBalancer ? promise : wait(promise, request, server);
      return waited.then((response) =>
        response === undefined && appServer !== undefined ? response : finish(response, startedAtMs, request),
      );
    };

  /** Behind a balancer, only bodies are watched that Bun may leave partly unread. */
  function isWatched(request: Request): boolean {
    if (!hasBody(request)) return false;
    return behindBalancer ? mayBeLarge(request) : limits.bodyTimeoutMs > 0 || mayBeLarge(request);
  }

  return {
    handlerOf,
    markClose: () => {
      close = true;
    },
    resetAtClose: () => sends?.resetAtClose(),
    closing: (): Record<string, string> => (close ? { connection: "close" } : {}),
  };
}

type HandlerOf = ReturnType<typeof foldHandler>["handlerOf"];

/** Returns the options of an app for Bun.serve: routes, counted like other requests, and WebSockets. */
function optionsOfApp(appServer: AppServer, handlerOf: HandlerOf): object {
  const { routes, websocket } = appServer.options;
  return {
    ...(routes !== undefined && { routes: mapValues(routes, (each) => routeOf(each, appServer, handlerOf)) }),
    ...(websocket !== undefined && { websocket }),
  };
}

function routeOf(route: unknown, appServer: AppServer, handlerOf: HandlerOf): unknown {
  if (typeof route === "function") return handlerOf((request) => route.call(appServer, request, appServer), true);
  const isByMethod = typeof route === "object" && route !== null && Object.getPrototypeOf(route) === Object.prototype;
  // Everything else is handled by Bun: a Response, to which it adds an ETag, or an imported page. No code is called that could count them.
  return isByMethod ? mapValues(route, (each) => routeOf(each, appServer, handlerOf)) : route;
}

function mapValues(object: object, map: (value: unknown) => unknown): Record<string, unknown> {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, map(value)]));
}

class BunSource implements RequestSource {
  constructor(
    private readonly request: Request,
    private readonly server: BunServer,
  ) {}

  header(name: string): string | null {
    return this.request.headers.get(name);
  }

  remoteAddress(): string | undefined {
    return this.server.requestIP(this.request)?.address;
  }

  /** Bun forgets a request's address after its response. Over a unix socket there is none. */
  hasEnded(): boolean {
    return this.server.requestIP(this.request) === null;
  }

  signal(): AbortSignal {
    return this.request.signal;
  }
}

function listen(address: ServeAddress, common: object): BunServer {
  const serve = (where: object) => {
    const options = { ...common, ...where };
    ownServers.add(options);
    return Bun.serve(options as never);
  };
  try {
    if (address.kind !== "unix") return serve({ hostname: address.host, port: address.port });
    return withPrivateUmask(() => serve({ unix: address.path }));
  } catch (cause) {
    throw listenError(address, cause);
  }
}

function refuse(counter: RequestCounter): Response {
  counter.errors++;
  return new Response("Too many requests at once\n", {
    status: 503,
    headers: { connection: "close", "retry-after": "1" },
  });
}

function hasBody(request: Request): boolean {
  return request.method !== "GET" && request.method !== "HEAD";
}

function mayBeLarge({ headers }: Request): boolean {
  const length = headers.get("content-length");
  return length === null ? headers.has("transfer-encoding") : Number(length) > SMALL_BODY_BYTES;
}

function absoluteRequest(request: Request): Request {
  return new Request(`http://localhost${request.url}`, request);
}

/** Returns the request with the client's scheme and host, if a proxy in front of the balancer reported them. */
function askedFor(request: Request): Request {
  const { headers, url } = request;
  const host = headers.get("x-forwarded-host");
  const isHttps = headers.get("x-forwarded-proto") === "https";
  if (!isHttps && (host === null || host === headers.get("host"))) return request;
  const [origin = "", inner = ""] = /^http:\/\/([^/?#]*)/.exec(url) ?? [];
  return new Request(`${isHttps ? "https" : "http"}://${host ?? inner}${url.slice(origin.length)}`, request);
}

function badRequest(): Response {
  return new Response("Bad Request\n", { status: 400, headers: { connection: "close" } });
}

function withClose(response: Response): Response {
  try {
    response.headers.set("connection", "close");
    return response;
  } catch {
    // The headers of a fetch() response are immutable.
    const copy = new Response(response.body, response);
    copy.headers.set("connection", "close");
    return copy;
  }
}

/** Returns Bun's timer for idle connections in seconds; 0 for none. */
function idleSeconds({ behindBalancer, limits }: RuntimeOptions): number {
  return behindBalancer ? 0 : seconds(limits.keepAliveTimeoutMs);
}

function seconds(ms: number): number {
  return Math.min(MAX_TIMEOUT_SECONDS, Math.ceil(ms / 1000));
}
