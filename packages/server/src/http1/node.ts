/** Serves an app with node:http, on Node, and for (req, res) handlers also on Bun. */
import { createServer, type IncomingMessage, type Server, type ServerOptions, ServerResponse } from "node:http";
import { type AddressInfo, Server as NetServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { descriptorLimit, descriptorNotice, maxSockets, mayBeTrailer, withPrivateUmask } from "@paceline/wire";
import { REASONS } from "@paceline/wire/reasons";
import { RequestCounter } from "../process/request-counter.js";
import type { FetchHandler, NodeHandler, NodeUpgradeHandler } from "../shared/app.js";
import { limitBody } from "./body-limit.js";
import { BodyWaits } from "./body-watch.js";
import { leaveConnection, oneAfterTheOther, watchConnection } from "./held-sockets.js";
import { HostCheck } from "./host-check.js";
import {
  cut,
  cutIfPart,
  endConnection,
  holdToLength,
  respondFailure,
  respondPlainly,
  responseOn,
} from "./node-responses.js";
import { SendWatch, UnreadRequests } from "./node-watches.js";
import {
  listenError,
  ownServers,
  type RunningServer,
  type RuntimeOptions,
  type ServeAddress,
} from "./running-server.js";

/** The interval at which Node checks for slow heads, in milliseconds. */
const HEAD_CHECK_INTERVAL_MS = 1000;
/** The length of the accept queue. Node's 511 is less than one burst, and the kernel has its own limit. */
const BACKLOG = 4096;

/**
 * Starts the server.
 *
 * @throws ServerError `address-in-use` or `cannot-listen`
 */
export async function serveOnNode(options: RuntimeOptions): Promise<RunningServer> {
  const { limits, app } = options;
  /** Responses in flight, with the start time of their requests. */
  const active = new Map<ServerResponse, number>();
  const tunnels = new Tunnels();
  const inFlight = () => active.size + tunnels.size;
  const counter = new RequestCounter(inFlight);
  const draining = { closeResponses: false };
  const hosts = options.behindBalancer ? undefined : new HostCheck();
  const isWatched = !options.behindBalancer && limits.bodyTimeoutMs > 0;
  const waits = isWatched ? new BodyWaits<Socket>(limits.bodyTimeoutMs, endConnection) : undefined;
  const unread = new UnreadRequests();
  const isFetch = app.style === "fetch";
  const handler: NodeHandler = isFetch ? await adapt(app.handler, options, counter, draining) : app.handler;

  function ended(this: ServerResponse): void {
    const startedAtMs = active.get(this);
    if (startedAtMs === undefined) return;
    active.delete(this);
    if (!isFetch) counter.latency.record((performance.now() - startedAtMs) * 1000);
    if (this.statusCode >= 500) counter.errors++;
  }

  /** Called when the handler detached the socket of its response, which gets no more events. */
  function detached(this: ServerResponse, socket: Socket): void {
    ServerResponse.prototype.detachSocket.call(this, socket);
    if (this.writableFinished || !active.has(this)) return;
    if (socket.closed) ended.call(this);
    else socket.once("close", () => ended.call(this));
  }

  function handle(request: IncomingMessage, response: ServerResponse): void {
    counter.begin();
    const startedAtMs = performance.now();
    active.set(response, startedAtMs);
    response.on("close", ended);
    response.detachSocket = detached;
    holdToLength(response, options.onError);
    const watched = options.requestLog?.watch(request, response);
    if (draining.closeResponses) response.setHeader("connection", "close");
    if (hosts?.accepts(request) === false) return respondPlainly(response, 400, { connection: "close" });
    if (!limitBody(request, response, limits, waits, unread)) return;
    const mayHaveTrailers = request.headers["transfer-encoding"] !== undefined;
    if (mayHaveTrailers && !isFetch && !options.behindBalancer) request.once("end", dropForbiddenTrailers);
    const failed = (error: unknown) => {
      watched?.();
      if (!isClientGone(request, error)) options.onError(error);
      respondFailure(response, 500);
    };
    try {
      const result = handler(request, response);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
    if (options.onHandled === undefined) return;
    const nowMs = performance.now();
    options.onHandled(nowMs, nowMs - startedAtMs);
  }

  const inTurn = oneAfterTheOther(handle);
  const server = createServer(serverOptions(options), inTurn);
  ownServers.add(server);
  limitConnections(server, options);
  watchConnections(server, options);
  server.on("checkContinue", (request, response) => {
    continueWhenRead(request, response);
    inTurn(request, response);
  });
  server.on("clientError", respondBadRequest);
  const upgrade = isFetch ? undefined : app.upgrade?.();
  if (upgrade !== undefined) {
    server.on("upgrade", (request, socket, head) => {
      if (hosts?.accepts(request) === false) return refuseUpgrade(socket);
      leaveConnection(socket as Socket);
      counter.begin();
      tunnels.take(upgrade, request, socket, head, (error) => {
        counter.errors++;
        options.onError(error);
      });
    });
  }
  const address = await listen(server, options.address);
  return {
    address,
    inFlight,
    activity: () => 2 * counter.started - inFlight(),
    onNext: (wake) => counter.onNext(wake),
    takeStats: () => counter.take(),
    markResponsesClose: () => {
      draining.closeResponses = true;
      for (const response of active.keys()) if (!response.headersSent) response.setHeader("connection", "close");
    },
    // The method of node:http also closes idle connections.
    ...(address.kind === "inherited" && { leaveSocket: () => void NetServer.prototype.close.call(server) }),
    stopAccepting: () => void server.close(),
    closeNow: () => {
      for (const response of active.keys()) cutIfPart(response);
      server.close();
      server.closeAllConnections();
      tunnels.cut();
    },
  };
}

/** Loaded only here: its Request and Response subclasses cost 5 MB on Node, which a (req, res) app does not need. */
async function adapt(
  handler: FetchHandler,
  { behindBalancer }: RuntimeOptions,
  ...rest: AdapterState
): Promise<NodeHandler> {
  const { fetchAsNodeHandler } = await import("./fetch-on-node.js");
  return fetchAsNodeHandler(handler, behindBalancer, ...rest);
}

/** Called when the client has sent FIN: a response that is in progress is abandoned. */
function onClientEnd(this: Socket): void {
  const response = responseOn(this);
  if (response !== undefined) cutIfPart(response, true);
}

function serverOptions({ limits, behindBalancer }: RuntimeOptions): ServerOptions {
  return {
    maxHeaderSize: limits.maxHeadBytes,
    headersTimeout: limits.headTimeoutMs,
    requestTimeout: 0,
    connectionsCheckingInterval: HEAD_CHECK_INTERVAL_MS,
    keepAliveTimeout: behindBalancer ? 0 : limits.keepAliveTimeoutMs,
    noDelay: true,
  };
}

/** Closes connections above the limit at once: the configured one, or the number of free descriptors. */
function limitConnections(server: Server, { limits, onNotice }: RuntimeOptions): void {
  const descriptors = descriptorLimit();
  server.maxConnections = Math.min(limits.maxConnections, maxSockets(descriptors));
  if (server.maxConnections === limits.maxConnections) return;
  server.once("drop", () => onNotice(descriptorNotice(server.maxConnections, descriptors)));
}

function watchConnections(server: Server, { limits, behindBalancer }: RuntimeOptions): void {
  const isNode = process.versions.bun === undefined;
  // On Bun, the sockets of node:http do not show how many bytes are queued for a client.
  if (!behindBalancer && limits.sendTimeoutMs > 0 && isNode) {
    const sends = new SendWatch(limits.sendTimeoutMs);
    server.on("connection", (socket) => sends.add(socket));
  }
  if (isNode) server.on("connection", watchConnection);
  // Before node:http itself sends FIN. Bun closes the connection at once.
  if (!behindBalancer) server.on("connection", (socket) => socket.prependListener("end", onClientEnd));
}

type AdapterState = [RequestCounter, { readonly closeResponses: boolean }];

function listen(server: Server, address: ServeAddress): Promise<ServeAddress> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(listenError(address, error)));
    if (address.kind === "unix") {
      withPrivateUmask(() => server.listen({ path: address.path, backlog: BACKLOG }, () => resolve(address)));
      return;
    }
    if (address.kind === "inherited") {
      server.once("listening", () => resolve(address));
      server.listen({ fd: address.fd }, BACKLOG as never);
      return;
    }
    server.listen({ host: address.host, port: address.port, backlog: BACKLOG }, () =>
      resolve({ ...address, port: (server.address() as AddressInfo).port }),
    );
  });
}

/** Sends 100 Continue when the handler first reads the body: until then it may refuse the request. */
function continueWhenRead(request: IncomingMessage, response: ServerResponse): void {
  const read = request._read;
  request._read = (size) => {
    request._read = read;
    if (!response.headersSent) response.writeContinue();
    request._read(size);
  };
}

/**
 * Whether the handler failed because its client left during the body. That is not the app's fault, and a client could fill the log with it.
 */
function isClientGone(request: IncomingMessage, error: unknown): boolean {
  return error instanceof Error && error === request.errored && "code" in error && error.code === "ECONNRESET";
}

const BAD_REQUEST = `HTTP/1.1 400 ${REASONS[400]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
const BAD_REQUESTS: Readonly<Record<string, number>> = { HPE_HEADER_OVERFLOW: 431, ERR_HTTP_REQUEST_TIMEOUT: 408 };

/** Refuses on a socket without other listeners. */
function refuseUpgrade(socket: Duplex): void {
  socket.on("error", () => {});
  socket.end(BAD_REQUEST, () => socket.destroy());
}

function respondBadRequest(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status = BAD_REQUESTS[error.code ?? ""] ?? 400;
  socket.end(`HTTP/1.1 ${status} ${REASONS[status]}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}

/** Connections that an app has upgraded. They count as in flight until they are closed. */
class Tunnels {
  private readonly sockets = new Set<Duplex>();

  get size(): number {
    return this.sockets.size;
  }

  /** Passes a connection to the app, and closes it if the handler fails. */
  take(
    handler: NodeUpgradeHandler,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    onError: (error: unknown) => void,
  ): void {
    this.sockets.add(socket);
    socket.once("close", () => this.sockets.delete(socket));
    // A reset is not the app's fault. Without a listener it would end the process.
    socket.on("error", () => {});
    const failed = (error: unknown) => {
      onError(error);
      socket.destroy();
    };
    try {
      const result = handler(request, socket, head);
      if (result instanceof Promise) result.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  /** Resets unfinished responses: after a FIN, they could look complete. */
  cut(): void {
    for (const socket of this.sockets) cut(socket);
  }
}

/** Runs before the app's own listeners. Behind a balancer, only allowed trailers arrive. */
function dropForbiddenTrailers(this: IncomingMessage): void {
  const { rawTrailers } = this;
  if (rawTrailers.length === 0) return;
  // Node creates these two when they are first read.
  const { trailers, trailersDistinct } = this;
  for (let at = rawTrailers.length - 2; at >= 0; at -= 2) {
    const name = rawTrailers[at] as string;
    if (mayBeTrailer(name)) continue;
    rawTrailers.splice(at, 2);
    delete trailers[name.toLowerCase()];
    delete trailersDistinct?.[name.toLowerCase()];
  }
}
