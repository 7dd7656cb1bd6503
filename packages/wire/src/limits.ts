/**
 * The one list of limits, with their defaults. A new limit is a line here, and its range and description in the
 * configuration's schema; whoever passes limits on, or checks them, goes by this list.
 */

import { isAmount } from "./control/checks.js";

/** The limits of one instance. */
export const INSTANCE_LIMITS = {
  /** The longest request head, in bytes. Bun fixes it when it starts, at 16384 unless the command line says otherwise. */
  maxHeadBytes: 16_384,
  /** The longest request body, in bytes. */
  maxBodyBytes: 100 << 20,
  /** How long a client may take to send a head. Bun has times of its own: 10 to 12 s for the first of a connection. */
  headTimeoutMs: 15_000,
  /** The longest time between two pieces of a request body. On Bun it counts while the app waits, and takes up to 5 s more. */
  bodyTimeoutMs: 60_000,
  /** Connections at once. Bun cannot count them: there it is requests at once, and more get 503 with `Connection: close`. */
  maxConnections: 20_000,
  /** Deferred jobs that may wait. */
  maxDeferredJobs: 50_000,
  /** How long a deferred job waits for an idle server. */
  maxDeferDelayMs: 1000,
};

/** The limits and deadlines of a balancer. */
export const BALANCER_LIMITS = {
  maxHeadBytes: 16_384,
  maxHeaderFields: 100,
  maxBodyBytes: 100 << 20,
  maxConnections: 20_000,
  maxQueue: 1024,
  headTimeoutMs: 15_000,
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
  maxSpoolBytes: 1 << 30,
  stallAfterMs: 50,
  notStartedUnsafeMax: 1,
  idleDrainMs: 2_000,
};

export type InstanceLimits = typeof INSTANCE_LIMITS;
export type BalancerLimits = typeof BALANCER_LIMITS;

/** The longest a timer of either runtime can wait, in milliseconds; one set for longer fires at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/** The first limit of the list that is missing from `limits`, or is no amount. */
export function badLimit(list: InstanceLimits | BalancerLimits, limits: object): string | undefined {
  return Object.keys(list).find((name) => !isAmount((limits as Record<string, unknown>)[name]));
}
