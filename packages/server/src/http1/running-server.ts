/** The seam between the server and the runtime it runs on. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerStats } from "../process/request-counter.js";
import type { App, FetchHandler } from "../shared/app.js";
import { ServerError } from "../shared/errors.js";
import type { ServerLimits } from "../shared/limits.js";

/** Where a server listens. Port 0 takes any free one. */
export type ServeAddress = { kind: "tcp"; host: string; port: number } | { kind: "unix"; path: string };

/** Hears of each request: around a fetch handler, or beside the response of node:http. */
export interface RequestLog {
  wrap(handler: FetchHandler): FetchHandler;
  /** @returns what is called when the handler or the body fails. */
  watch(request: IncomingMessage, response: ServerResponse): () => void;
}

/** What a runtime needs to serve an app. */
export interface RuntimeOptions {
  app: App;
  address: ServeAddress;
  limits: ServerLimits;
  /** Clients are the balancer: its X-Forwarded-* fields are true, and its idle connections are left alone. */
  behindBalancer: boolean;
  /** Default: none. */
  requestLog?: RequestLog | undefined;
  /** Takes the error of a handler or of a body that failed. */
  onError(error: unknown): void;
  /** One line that whoever runs the server should know. */
  onNotice(message: string): void;
  /** A handler held the event loop for more than LONG_TURN_MS, and has let go of it. */
  onLongTurn?(milliseconds: number): void;
}

/** A turn of the event loop that takes longer is told to the balancers, in milliseconds. */
export const LONG_TURN_MS = 20;

/** A server that listens. */
export interface RunningServer {
  /** Where it listens, with the port it got. */
  readonly address: ServeAddress;
  /** Requests that were read and whose responses have not left. */
  inFlight(): number;
  /** A number that grows with each request that begins or ends; cheap. */
  activity(): number;
  /** Calls `wake` at the next request, once. */
  onNext(wake: () => void): void;
  /** The totals so far; latency since the last call. */
  takeStats(): ServerStats;
  /** From now on answers carry `Connection: close`; the server goes on accepting. */
  markResponsesClose(): void;
  /** Closes the listening socket and idle connections; what is in flight goes on. */
  stopAccepting(): void;
  /** Closes everything at once. */
  closeNow(): void;
}

/** One line for people, such as `http://127.0.0.1:3000` or `unix:/run/app.sock`. */
export function describeAddress(address: ServeAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `http://${host}:${address.port}`;
}

/** The ServerError for what a runtime threw when it was to listen. */
export function listenError(address: ServeAddress, cause: unknown): ServerError {
  const where = describeAddress(address);
  const { code, message } = cause as { code?: string; message?: string };
  if (code === "EADDRINUSE") {
    return new ServerError("address-in-use", `cannot listen on ${where}: it is in use`, { cause });
  }
  return new ServerError("cannot-listen", `cannot listen on ${where}: ${message ?? cause}`, { cause });
}
