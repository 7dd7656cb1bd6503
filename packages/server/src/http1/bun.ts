/** Serves a fetch app with Bun.serve. */
import { withPrivateUmask } from "@paceline/wire";
import { fileBodyOf } from "../kinds/static/file-body.js";
import { RequestCounter } from "../process/request-counter.js";
import { ConnectionInfo, ForwardedInfo, type RequestSource } from "../process/request-info.js";
import type { FetchHandler } from "../shared/app.js";
import { BunBodyWatch, SMALL_BODY_BYTES } from "./bun-body-watch.js";
import { BunSendWatch } from "./bun-send-watch.js";
import { HostCheck } from "./host-check.js";
import { listenError, type RunningServer, type RuntimeOptions, type ServeAddress } from "./running-server.js";

type BunServer = Bun.Server<undefined>;

const SLASH = 0x2f;
/** Bun's longest. */
const MAX_TIMEOUT_SECONDS = 255;

/**
 * Starts the server. What Bun does by itself: HTTP/1.0 connections are closed after one answer, a method that HTTP does
 * not know closes the connection, and so does a second request that comes while the response to the first still streams
 * (the balancer sends none). A body that fails cuts the connection, before its first block too, and Bun writes the error
 * to stderr.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export function serveOnBun(handler: FetchHandler, options: RuntimeOptions): RunningServer {
  const { limits, address } = options;
  const counter = new RequestCounter(() => server.pendingRequests);
  const fetch = foldHandler(handler, options, counter);
  const common = {
    development: false,
    // Bun shares the port by default outside development, and then a second server would steal half of the requests.
    reusePort: false,
    idleTimeout: idleSeconds(options),
    maxRequestBodySize: limits.maxBodyBytes,
    fetch: fetch.handle,
    error(error: unknown) {
      counter.errors++;
      options.onError(error);
      return new Response("Internal Server Error\n", { status: 500, headers: fetch.closing() });
    },
  };
  const server = listen(address, common);
  return {
    address: address.kind === "tcp" ? { ...address, port: server.port ?? address.port } : address,
    inFlight: () => server.pendingRequests,
    activity: () => 2 * counter.begun - server.pendingRequests,
    onNext: (wake) => counter.onNext(wake),
    takeStats: () => counter.take(),
    markResponsesClose: fetch.markClose,
    stopAccepting: () => void server.stop(),
    closeNow: () => void server.stop(true),
  };
}

/** Makes, once, the function that runs for every request. */
function foldHandler(handler: FetchHandler, options: RuntimeOptions, counter: RequestCounter) {
  const { limits, behindBalancer } = options;
  const Info = behindBalancer ? ForwardedInfo : ConnectionInfo;
  let serving: BunServer | undefined;
  // Bun closes what is idle for its shortest time.
  const bodies = new BunBodyWatch(behindBalancer ? 0 : limits.bodyTimeoutMs, (request) => serving?.timeout(request, 1));
  const idle = idleSeconds(options);
  const hosts = behindBalancer ? undefined : new HostCheck();
  let close = false;

  const sends = behindBalancer ? undefined : new BunSendWatch(limits.sendTimeoutMs);

  function finish(response: Response, begunAtMs: number, request: Request): Response {
    if (!(response instanceof Response)) throw new TypeError("the handler did not return a Response");
    if (sends !== undefined && serving !== undefined) sends.add(request, serving);
    counter.latency.record((performance.now() - begunAtMs) * 1000);
    if (response.status >= 500) counter.errors++;
    const sent = fileBodyOf(response)?.onBun(response) ?? response;
    return close ? withClose(sent) : sent;
  }

  /** Waits for the handler without the timer of idle connections, which would cut one that takes long. */
  async function wait(promise: Promise<Response>, request: Request, server: BunServer): Promise<Response> {
    server.timeout(request, 0);
    try {
      return await promise;
    } finally {
      server.timeout(request, idle);
    }
  }

  function handle(request: Request, server: BunServer): Response | Promise<Response> {
    const begunAtMs = performance.now();
    counter.begin();
    if (server.pendingRequests > limits.maxConnections) return refuse(counter);
    if (hosts?.acceptsUrl(request) === false) return badRequest();
    // An HTTP/1.0 request without Host; new URL(request.url) has to work in apps.
    const absolute = request.url.charCodeAt(0) === SLASH ? absoluteRequest(request) : request;
    serving = server;
    const told = behindBalancer ? askedFor(absolute) : absolute;
    const asked = isWatched(request) ? bodies.watch(told, request) : told;
    const result = handler(asked, new Info(new BunSource(request, server)));
    if (result instanceof Response) return finish(result, begunAtMs, request);
    const promise = Promise.resolve(result);
    const waited = behindBalancer ? promise : wait(promise, request, server);
    return waited.then((response) => finish(response, begunAtMs, request));
  }

  /** Behind a balancer only a body of which Bun may leave some unread. */
  function isWatched(request: Request): boolean {
    if (!hasBody(request)) return false;
    return behindBalancer ? mayBeLarge(request) : limits.bodyTimeoutMs > 0 || mayBeLarge(request);
  }

  return {
    handle,
    markClose: () => {
      close = true;
    },
    closing: (): Record<string, string> => (close ? { connection: "close" } : {}),
  };
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

  /** Bun forgets a request's address when its response has left; over a unix socket there never is one. */
  hasEnded(): boolean {
    return this.server.requestIP(this.request) === null;
  }

  signal(): AbortSignal {
    return this.request.signal;
  }
}

function listen(address: ServeAddress, common: object): BunServer {
  try {
    if (address.kind === "tcp") return Bun.serve({ ...common, hostname: address.host, port: address.port } as never);
    return withPrivateUmask(() => Bun.serve({ ...common, unix: address.path } as never));
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

/** The request with the scheme and host that its client asked for, where a proxy in front of the balancer has told. */
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
    // The response of a fetch() has headers that cannot be changed.
    const copy = new Response(response.body, response);
    copy.headers.set("connection", "close");
    return copy;
  }
}

/** Bun's timer for a connection on which nothing moves, 0 for none. */
function idleSeconds({ behindBalancer, limits }: RuntimeOptions): number {
  return behindBalancer ? 0 : seconds(limits.keepAliveTimeoutMs);
}

function seconds(ms: number): number {
  return Math.min(MAX_TIMEOUT_SECONDS, Math.ceil(ms / 1000));
}
