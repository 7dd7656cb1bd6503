/** The limits of one server, with defaults that are safe on an open network. */
import type { InstanceLimits } from "@paceline/wire";

/** What a server accepts; `serve` takes any part of it and fills in the rest. */
export interface ServerLimits extends InstanceLimits {
  /**
   * The longest request head, in bytes; longer ones are answered 431. Default 16384. Bun fixes it when it starts, at
   * 16384 unless the command line has `--max-http-header-size`.
   */
  maxHeadBytes: number;
  /** The longest request body, in bytes; longer ones are answered 413. Default 100 MiB. */
  maxBodyBytes: number;
  /**
   * Milliseconds a client may take to send a head. Default 15000. Bun has a time of its own for the first head on a
   * connection, 10 to 12 s, and for the next ones that of idle connections.
   */
  headTimeoutMs: number;
  /**
   * Milliseconds between two pieces of a request body. Default 60000. On Bun it counts while the app waits for a piece, and
   * takes up to five seconds more.
   */
  bodyTimeoutMs: number;
  /**
   * Connections at once; more are closed at once. Default 20000. Bun cannot count connections: there it is the number
   * of requests at once, and more are answered 503 with `Connection: close`.
   */
  maxConnections: number;
  /** Deferred jobs that may wait; `defer` throws beyond them. Default 50000. */
  maxDeferredJobs: number;
  /** Milliseconds a deferred job waits for an idle server; then it runs though the server is busy. Default 1000. */
  maxDeferDelayMs: number;
  /**
   * Milliseconds a connection may stay idle between two requests; 0 is for ever. Default 75000. Behind a balancer it is
   * 0, since only the balancer may close its connections. On Bun rounded up to seconds, 255 s at most, and there it also
   * bounds a pause in the body of an answer.
   */
  keepAliveTimeoutMs: number;
  /**
   * Milliseconds a client may take nothing of what waits for it; 0 is for ever. Default 60000. Whoever takes 1,000 bytes a
   * second is never cut. Behind a balancer its own counts. On Bun `keepAliveTimeoutMs` bounds
   * this for a fetch app, and nothing for a `(req, res)` handler.
   */
  sendTimeoutMs: number;
}

export const DEFAULT_LIMITS: Readonly<ServerLimits> = {
  maxHeadBytes: 16_384,
  maxBodyBytes: 100 << 20,
  headTimeoutMs: 15_000,
  bodyTimeoutMs: 60_000,
  maxConnections: 20_000,
  maxDeferredJobs: 50_000,
  maxDeferDelayMs: 1000,
  keepAliveTimeoutMs: 75_000,
  sendTimeoutMs: 60_000,
};
