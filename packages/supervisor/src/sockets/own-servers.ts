/** The supervisor's own servers: each can start on an address that an earlier supervisor may still hold, and limits its connections. */
import type { Server as HttpServer, IncomingMessage } from "node:http";
import type { Server, Socket } from "node:net";

export interface HostAndPort {
  host: string;
  port: number;
}

interface LateListenerOptions {
  /** The config key of the address, for messages. */
  key: string;
  warn(message: string): void;
  makeServer(): Server;
  /** The time between two attempts to listen, in milliseconds. Default: one second. */
  retryMs?: number;
}

const RETRY_MS = 1000;

/** A TCP server on a configured address, which an earlier supervisor of this fleet may hold for a moment. */
export class LateListener {
  private address: HostAndPort | null = null;
  private server: Server | undefined;
  private retry: NodeJS.Timeout | undefined;

  constructor(private readonly options: LateListenerOptions) {}

  /** Listens on this address from now on; with null, on none. Returns false if nothing changes. */
  listen(address: HostAndPort | null): boolean {
    if (address?.host === this.address?.host && address?.port === this.address?.port) return false;
    this.close();
    this.address = address;
    if (address !== null) this.open(address, false);
    return true;
  }

  close(): void {
    clearTimeout(this.retry);
    this.server?.close();
    this.server = undefined;
    this.address = null;
  }

  private open(address: HostAndPort, hasWarned: boolean): void {
    const { key, warn, makeServer, retryMs = RETRY_MS } = this.options;
    const server = makeServer();
    this.server = server;
    const { host, port } = address;
    server.on("error", (error: NodeJS.ErrnoException) => {
      // The error is about a connection that could not be accepted.
      if (server.listening || this.server !== server) return;
      const at = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
      const why = `${key} cannot listen on ${at} (${error.code ?? error.message}); it tries again each second`;
      if (!hasWarned) warn(why);
      this.retry = setTimeout(() => this.open(address, true), retryMs);
      this.retry.unref();
    });
    server.listen({ host, port }, () => server.unref());
  }
}

/**
 * Limits the connections of an HTTP server so that idle connections keep nobody out: if there are more than `max`, closes the oldest one.
 * @param isKept whether a connection that has sent this request stays. If all connections stay, the new one is closed
 */
export function limitConnections(server: HttpServer, max: number, isKept: (request: IncomingMessage) => boolean): void {
  const open = new Set<Socket>();
  const kept = new WeakSet<Socket>();
  server.on("request", (request: IncomingMessage) => {
    if (!kept.has(request.socket) && isKept(request)) kept.add(request.socket);
  });
  server.on("connection", (socket: Socket) => {
    open.add(socket);
    socket.on("close", () => open.delete(socket));
    if (open.size <= max) return;
    for (const oldest of open) {
      if (kept.has(oldest)) continue;
      open.delete(oldest);
      oldest.destroy();
      return;
    }
  });
}
