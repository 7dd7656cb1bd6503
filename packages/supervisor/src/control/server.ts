/** Serves the control routes as HTTP and JSON on a unix socket that only its owner can access. */
import { chmodSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Socket } from "node:net";
import { type Caller, readCaller } from "../core/history.js";
import { PacelineError } from "../errors.js";
import { limitConnections } from "../sockets/own-servers.js";
import { isForeign, isSocketHost } from "./access.js";
import type { SupervisorApi } from "./api.js";
import { CALLER_FIELD } from "./caller.js";
import { Dispatcher, type Gate } from "./dispatch.js";
import { ControlError } from "./responses.js";
import type { Route } from "./route.js";

/** The maximum length of a request body in bytes, with room for a whole environment. */
const MAX_BODY_BYTES = 4 << 20;
const MAX_HEAD_BYTES = 16_384;
/** The maximum number of connections. For a further one, the oldest connection that has sent no request is closed. */
const MAX_CONNECTIONS = 128;
/** How long `close` waits for responses in progress, in milliseconds. */
const CLOSE_GRACE_MS = 1_000;

interface ControlServerOptions {
  /** How long the head and the body of a request may each take to arrive, in milliseconds. Default: 10,000. */
  requestTimeoutMs?: number;
}

export class ControlServer {
  private readonly path: string;
  private readonly server: Server;
  private readonly dispatcher: Dispatcher;
  private readonly sockets = new Set<Socket>();

  constructor(supervisor: SupervisorApi, path: string, { requestTimeoutMs = 10_000 }: ControlServerOptions = {}) {
    this.path = path;
    this.dispatcher = new Dispatcher({
      ...{ supervisor, gate: OWNER_GATE, maxBodyBytes: MAX_BODY_BYTES, bodyTimeoutMs: requestTimeoutMs },
      ...{ maxFollowers: MAX_CONNECTIONS, keepsAlive: false },
    });
    this.server = createServer(
      {
        maxHeaderSize: MAX_HEAD_BYTES,
        headersTimeout: requestTimeoutMs,
        requestTimeout: requestTimeoutMs,
        // This interval runs as long as the server does.
        connectionsCheckingInterval: requestTimeoutMs / 2,
      },
      (request, response) => void this.dispatcher.serve(request, response),
    );
    limitConnections(this.server, MAX_CONNECTIONS, () => true);
    this.server.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.on("close", () => this.sockets.delete(socket));
    });
  }

  /** @throws PacelineError `control` if the socket cannot be created */
  async listen(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.server.once("error", reject);
      this.server.listen(this.path, resolve);
    }).catch((error: Error) => {
      throw new PacelineError("control", `cannot serve ${this.path}: ${error.message}`, { cause: error });
    });
    // A connection that cannot be accepted must not stop the fleet.
    this.server.on("error", () => {});
    chmodSync(this.path, 0o600);
  }

  /** Ends streams, waits briefly for responses in progress, and removes the socket. */
  async close(): Promise<void> {
    this.dispatcher.endStreams();
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    this.server.closeIdleConnections();
    const timers: NodeJS.Timeout[] = [];
    timers.push(
      setTimeout(() => {
        for (const socket of this.sockets) socket.destroy();
      }, CLOSE_GRACE_MS),
    );
    // The runtime may have accepted a connection that it has not reported yet.
    const late = new Promise<void>((resolve) => timers.push(setTimeout(resolve, 2 * CLOSE_GRACE_MS)));
    await Promise.race([closed, late]);
    for (const timer of timers) clearTimeout(timer);
  }
}

/**
 * Anyone who can open the socket may do everything. The exception is a page of another site, in the browser of a user who has forwarded the
 * socket to a port.
 */
const OWNER_GATE: Gate = {
  admitFrom({ headers, url }: IncomingMessage): void {
    if (!isSocketHost(headers.host ?? "")) throw new ControlError(403, "forbidden", "only loopback hosts are served");
    // A link may point to the page itself.
    if (url !== "/" && isForeign(headers))
      throw new ControlError(403, "forbidden", "pages of other sites are not served");
  },
  admitTo: ({ body }: Route) => body,
  callerOf({ headers }: IncomingMessage): Caller {
    const caller = readCaller(String(headers[CALLER_FIELD] ?? ""));
    return headers.origin === undefined ? caller : { ...caller, via: "page" };
  },
};
