/** The interface between the server and its runtime. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerStats } from "../process/request-counter.js";
import type { App, FetchHandler } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { ServerLimits } from "../shared/limits.js";

/** The listen address. Port 0 is any free port. `inherited`: the socket of that address is the descriptor `fd`. */
export type ServeAddress =
  | { kind: "tcp"; host: string; port: number }
  | { kind: "unix"; path: string }
  | { kind: "inherited"; fd: number; host: string; port: number };

/** Observes each request: around a fetch handler, or beside the response of node:http. */
export interface RequestLog {
  wrap(handler: FetchHandler): FetchHandler;
  /** @returns a function to call when the handler or the body fails */
  watch(request: IncomingMessage, response: ServerResponse): () => void;
}

/** The options of a runtime for serving an app. */
export interface RuntimeOptions {
  app: App;
  address: ServeAddress;
  limits: ServerLimits;
  /** Whether the balancer is the client. If so, the server trusts its X-Forwarded-* fields and never closes idle connections. */
  behindBalancer: boolean;
  /** Default: none. */
  requestLog?: RequestLog | undefined;
  /** Receives the errors of handlers and bodies. */
  onError(error: unknown): void;
  /** Receives one line for the operator. */
  onNotice(message: string): void;
  /** Called when a handler has returned, with the time (`performance.now`) and how long it took in milliseconds. */
  onHandled?(nowMs: number, tookMs: number): void;
}

/** How long a turn of the event loop must be, in milliseconds, to be reported to the balancers. */
export const LONG_TURN_MS = 20;

/** A listening server. */
export interface RunningServer {
  /** The address, with the actual port. */
  readonly address: ServeAddress;
  /** Returns the number of requests in flight. */
  inFlight(): number;
  /** Returns a number that grows with each request that starts or ends. The call is cheap. */
  activity(): number;
  /** Calls `wake` once, at the next request. */
  onNext(wake: () => void): void;
  /** Returns the totals so far, and the latencies since the last call. */
  takeStats(): ServerStats;
  /** Adds `Connection: close` to all further responses; the server still accepts. */
  markResponsesClose(): void;
  /** For an inherited socket: leaves it to other processes, and keeps all connections. */
  leaveSocket?(): void;
  /** Closes the listening socket and idle connections; requests in flight continue. */
  stopAccepting(): void;
  /** Closes everything at once. */
  closeNow(): void;
}

/** Returns one line for display, such as `http://127.0.0.1:3000` or `unix:/run/app.sock`. */
export function describeAddress(address: ServeAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `http://${host}:${address.port}`;
}

/** Converts a runtime's listen error to a ServerError. */
export function listenError(address: ServeAddress, cause: unknown): ServerError {
  const where = describeAddress(address);
  const { code, message } = cause as { code?: string; message?: string };
  if (code === "EADDRINUSE") {
    return new ServerError("address-in-use", `cannot listen on ${where}: it is in use`, { cause });
  }
  return new ServerError("cannot-listen", `cannot listen on ${where}: ${message ?? cause}`, { cause });
}

/** Paceline's own node:net servers and Bun.serve options. They listen for real, while the servers of an app are adopted. */
export const ownServers = new WeakSet<object>();
