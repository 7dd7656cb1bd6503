/** The admin listener: the page and metrics over HTTP on a loopback address, which every user of the machine can reach. */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { readCaller } from "../core/history.js";
import { type HostAndPort, LateListener, limitConnections } from "../sockets/own-servers.js";
import { ADMIN_ROUTES, hasToken, isForeign, isLoopbackHost, narrowed } from "./access.js";
import type { SupervisorApi } from "./api.js";
import { Dispatcher, type Gate } from "./dispatch.js";
import { ControlError } from "./responses.js";
import type { BodyShape, Route } from "./route.js";

interface AdminListenerOptions {
  supervisor: SupervisorApi;
  /** Returns the token for read access; undefined if nothing can be read. */
  token(): string | undefined;
  warn(message: string): void;
  /** The time between two attempts to listen, in milliseconds. Default: 1,000. */
  retryMs?: number;
}

/** The maximum number of connections. For a further one, the oldest connection without the token is closed. */
const MAX_CONNECTIONS = 64;
const MAX_FOLLOWERS = 8;
const MAX_HEAD_BYTES = 8192;
const MAX_BODY_BYTES = 65_536;
/** How long a request may take to arrive, and a connection may be idle, in milliseconds. */
const TIMEOUT_MS = 10_000;

export class AdminListener {
  private readonly listener: LateListener;
  private readonly dispatcher: Dispatcher;
  private server: Server | undefined;

  constructor(private readonly options: AdminListenerOptions) {
    const { retryMs, supervisor } = options;
    this.listener = new LateListener({
      key: "admin.listen",
      warn: (message) => options.warn(message),
      makeServer: () => this.makeServer(),
      ...(retryMs === undefined ? {} : { retryMs }),
    });
    const gate: Gate = {
      admitFrom: (request) => this.admitFrom(request),
      admitTo: (route, request) => this.admitTo(route, request),
      callerOf: () => ({ ...readCaller(undefined), via: "page" }),
    };
    this.dispatcher = new Dispatcher({
      ...{ supervisor, gate, maxBodyBytes: MAX_BODY_BYTES, bodyTimeoutMs: TIMEOUT_MS },
      ...{ maxFollowers: MAX_FOLLOWERS, keepsAlive: true },
    });
  }

  /** Listens on this address from now on; null: on none. */
  listen(address: HostAndPort | null): void {
    const former = this.server;
    if (this.listener.listen(address)) former?.closeAllConnections();
  }

  close(): void {
    this.listener.close();
    this.dispatcher.endStreams();
    this.server?.closeAllConnections();
  }

  private makeServer(): Server {
    const limits = { maxHeaderSize: MAX_HEAD_BYTES, headersTimeout: TIMEOUT_MS, requestTimeout: TIMEOUT_MS };
    const server = createServer(
      { ...limits, keepAliveTimeout: TIMEOUT_MS },
      (request, response) => void this.dispatcher.serve(request, response),
    );
    limitConnections(server, MAX_CONNECTIONS, (request) => this.isKnown(request));
    this.server = server;
    return server;
  }

  private isKnown({ headers }: IncomingMessage): boolean {
    return headers.authorization !== undefined && hasToken(headers.authorization, this.options.token());
  }

  private admitFrom({ headers }: IncomingMessage): void {
    if (!isLoopbackHost(headers.host ?? "")) throw new ControlError(403, "forbidden", "only loopback hosts are served");
  }

  private admitTo(route: Route, request: IncomingMessage): BodyShape {
    const { access, keys } = ADMIN_ROUTES[route.path] ?? {};
    if (access === undefined) throw new ControlError(404, "not_found", `${route.path} is for the control socket only`);
    if (access === "open") return route.body;
    if (isForeign(request.headers)) throw new ControlError(403, "forbidden", "pages of other sites are not served");
    if (!this.isKnown(request))
      throw new ControlError(401, "unauthorized", "this needs the token; paceline page prints the address with it");
    if (access === "write" && !this.options.supervisor.page().mayWrite)
      throw new ControlError(403, "read-only", "the page is read-only: admin.write is not true");
    return narrowed(route, keys);
  }
}
