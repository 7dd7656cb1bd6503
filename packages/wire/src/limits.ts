/**
 * The list of limits with their defaults. A new limit is one line here; its range and description are in config/limit-fields.ts of the supervisor.
 * All code that passes on or checks limits uses this list.
 */

import { isAmount } from "./control/checks.js";

/** The limits of one instance. */
export const INSTANCE_LIMITS = {
  /**
   * The maximum size of a request head in bytes. Bun sets this limit when it starts: to 16384, unless its command line has another value.
   */
  maxHeadBytes: 16_384,
  /** The maximum size of a request body, in bytes. */
  maxBodyBytes: 100 << 20,
  /** How long a client may take to send a head, in milliseconds. Bun has its own limit of 10 to 12 s for the first head of a connection. */
  headTimeoutMs: 15_000,
  /**
   * The maximum time between two pieces of a request body, in milliseconds. On Bun it includes time in which the app waits, and up to 5 s
   * more.
   */
  bodyTimeoutMs: 60_000,
  /**
   * The maximum number of connections. Bun cannot count connections: there it limits the number of requests in flight, and further requests
   * get 503 with `Connection: close`.
   */
  maxConnections: 20_000,
  /** The maximum number of queued deferred jobs. */
  maxDeferredJobs: 50_000,
  /** How long a deferred job waits for an idle server, in milliseconds. */
  maxDeferDelayMs: 1000,
};

/** The limits and deadlines of a balancer. */
export const BALANCER_LIMITS = {
  maxHeadBytes: 16_384,
  maxHeaderFields: 100,
  maxBodyBytes: 100 << 20,
  maxConnections: 20_000,
  maxConnectionsPerAddress: 0,
  /** 0 turns HTTP/2 off. */
  maxStreamsPerConnection: 128,
  maxQueue: 1024,
  headTimeoutMs: 15_000,
  handshakeTimeoutMs: 10_000,
  bodyTimeoutMs: 60_000,
  minBodyBytesPerSecond: 250,
  keepAliveTimeoutMs: 75_000,
  upstreamConnectTimeoutMs: 5_000,
  upstreamResponseTimeoutMs: 60_000,
  sendTimeoutMs: 60_000,
  tunnelIdleTimeoutMs: 3_600_000,
  upstreamIdleTimeoutMs: 30_000,
  maxConnectionsPerUpstream: 1024,
  retryBufferBytes: 65_536,
  bufferBytes: 1 << 20,
  maxBufferedBytes: 32 << 20,
  maxUnreadBytes: 8 << 20,
  maxSpoolBytes: 1 << 30,
  stallAfterMs: 50,
  stickyWaitMs: 2_000,
  notStartedUnsafeMax: 1,
  idleDrainMs: 2_000,
  /** 0: no connections are closed. */
  drainClosesPerSecond: 0,
  drainCloseDelayMs: 1_000,
  eventStreamRetryMs: 1_000,
};

/** How many requests that may have started are sent again, unless a pool has its own rule; see RetryBudgetRule. */
export const RETRY_BUDGET = { percent: 20, minPerSecond: 50 };

export type InstanceLimits = typeof INSTANCE_LIMITS;
export type BalancerLimits = typeof BALANCER_LIMITS;

/** The maximum delay of a timer on both runtimes, in milliseconds. A longer one fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** Returns the first limit in the list that is missing in `limits` or invalid. */
export function badLimit(list: InstanceLimits | BalancerLimits, limits: object): string | undefined {
  return Object.keys(list).find((name) => !isAmount((limits as Record<string, unknown>)[name]));
}
