/** The admin listener: metrics by HTTP on a loopback address, for scrapers that cannot use the control socket. It changes nothing. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { limitConnections } from "../sockets/giving-way.js";
import { type HostAndPort, LateListener } from "../sockets/late-listener.js";
import { type Metrics, sendMetrics } from "./responses.js";

interface AdminListenerOptions extends Metrics {
  warn(message: string): void;
  /** Milliseconds between two attempts to listen. Default: a second. */
  retryMs?: number;
}

/** The oldest gives way to a further one: every user of the machine can open them. */
const MAX_CONNECTIONS = 32;
const MAX_HEAD_BYTES = 8192;
/** How long a request may take to arrive, and a connection be idle. */
const TIMEOUT_MS = 10_000;

export class AdminListener {
  private readonly listener: LateListener;
  private server: Server | undefined;

  constructor(private readonly options: AdminListenerOptions) {
    const { retryMs } = options;
    this.listener = new LateListener({
      key: "admin.listen",
      warn: (message) => options.warn(message),
      makeServer: () => this.makeServer(),
      ...(retryMs === undefined ? {} : { retryMs }),
    });
  }

  /** Listens on this address from now on; null: on none. */
  listen(address: HostAndPort | null): void {
    const former = this.server;
    if (this.listener.listen(address)) former?.closeAllConnections();
  }

  close(): void {
    this.listener.close();
    this.server?.closeAllConnections();
  }

  private makeServer(): Server {
    const limits = { maxHeaderSize: MAX_HEAD_BYTES, headersTimeout: TIMEOUT_MS, requestTimeout: TIMEOUT_MS };
    const server = createServer({ ...limits, keepAliveTimeout: TIMEOUT_MS }, (request, response) =>
      this.respond(request, response),
    );
    limitConnections(server, MAX_CONNECTIONS, false);
    this.server = server;
    return server;
  }

  private respond(request: IncomingMessage, response: ServerResponse): void {
    request.on("error", () => {});
    response.on("error", () => {});
    request.resume();
    const path = (request.url ?? "/").split("?")[0];
    if (!isLoopbackHost(request.headers.host ?? "")) return refuse(response, 403, "only loopback hosts are served");
    if (path !== "/metrics") return refuse(response, 404, "there is only /metrics");
    if (request.method !== "GET" && request.method !== "HEAD")
      return refuse(response, 405, "/metrics accepts GET and HEAD");
    sendMetrics(response, request.headers.accept ?? "", this.options, request.method === "HEAD");
  }
}

/** A page of another site whose name resolves to a loopback address would send that name (DNS rebinding). */
function isLoopbackHost(host: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?$/i.test(host);
}

function refuse(response: ServerResponse, status: number, text: string): void {
  const fields = { "Content-Type": "text/plain; charset=utf-8", "Content-Length": Buffer.byteLength(text) + 1 };
  response.writeHead(status, { ...fields, ...(status === 405 && { Allow: "GET, HEAD" }) });
  response.end(`${text}\n`);
}
