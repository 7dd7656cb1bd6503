/** The config keys of limits: their ranges and descriptions. The defaults are in packages/wire/src/limits.ts. */
import { BALANCER_LIMITS, type BalancerLimits, INSTANCE_LIMITS, type InstanceLimits } from "@paceline/wire/limits";
import type { z } from "zod";
import { bytes, count, milliseconds } from "./fields.js";

/** The limits of one instance. */
export const instanceLimitFields = {
  maxHeadBytes: bytes(INSTANCE_LIMITS.maxHeadBytes, "The longest request head; a longer one gets 431.", {
    min: 256,
    max: 1 << 20,
  }),
  maxBodyBytes: bytes(INSTANCE_LIMITS.maxBodyBytes, "The longest request body; a longer one gets 413.", { min: 0 }),
  headTimeoutMs: milliseconds(
    INSTANCE_LIMITS.headTimeoutMs,
    "How long a client may take to send a request head; then 408.",
  ),
  bodyTimeoutMs: milliseconds(
    INSTANCE_LIMITS.bodyTimeoutMs,
    "How long a client may send no byte of a body that it owes and the server waits for; then 408.",
  ),
  maxConnections: count(INSTANCE_LIMITS.maxConnections, "The most open connections; further ones are closed."),
  maxDeferredJobs: count(INSTANCE_LIMITS.maxDeferredJobs, "The most jobs that `defer` may queue; then `defer` throws."),
  maxDeferDelayMs: milliseconds(
    INSTANCE_LIMITS.maxDeferDelayMs,
    "How long a deferred job waits for an idle server; then it runs even if the server is busy.",
    { min: 0 },
  ),
} satisfies Record<keyof InstanceLimits, z.ZodType>;

/** The limits of the balancer, including how long it waits in each phase. */
export const balancerLimitFields = {
  maxHeadBytes: bytes(
    BALANCER_LIMITS.maxHeadBytes,
    "The longest request head; a longer one gets 431. (A response head may have 64 KiB and 256 fields; beyond them the client gets 502.)",
    { min: 256, max: 1 << 20 },
  ),
  maxHeaderFields: count(BALANCER_LIMITS.maxHeaderFields, "The most fields in a request head; more get 431.", {
    max: 10_000,
  }),
  maxBodyBytes: bytes(BALANCER_LIMITS.maxBodyBytes, "The longest request body; a longer one gets 413.", { min: 0 }),
  maxConnections: count(
    BALANCER_LIMITS.maxConnections,
    "The most open client connections; further ones get 503 and are closed.",
  ),
  maxQueue: count(
    BALANCER_LIMITS.maxQueue,
    "The most requests in the request queue of a pool; further ones get 503 with Retry-After.",
    {
      min: 0,
    },
  ),
  headTimeoutMs: milliseconds(
    BALANCER_LIMITS.headTimeoutMs,
    "How long a client may take to send a request head; then 408.",
  ),
  bodyTimeoutMs: milliseconds(
    BALANCER_LIMITS.bodyTimeoutMs,
    "How long a client may send no byte of a body that it owes and the server waits for; then 408.",
  ),
  minBodyBytesPerSecond: bytes(
    BALANCER_LIMITS.minBodyBytesPerSecond,
    "The lowest rate of a body to an instance with limited concurrency. The client has `bodyTimeoutMs`, plus a second for every `minBodyBytesPerSecond` bytes that arrive; then 408. `0`: any rate.",
    { min: 0, max: 1 << 30 },
  ),
  keepAliveTimeoutMs: milliseconds(
    BALANCER_LIMITS.keepAliveTimeoutMs,
    "How long a client connection may be idle between requests. Keep it longer than the 60 s of common load balancers in front, or they send requests to connections that are just closing.",
  ),
  upstreamConnectTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamConnectTimeoutMs,
    "How long a connection to an instance may take, and how long a request may stay in the request queue; then 503.",
  ),
  upstreamResponseTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamResponseTimeoutMs,
    "How long an instance may send no byte of a response that it owes. Then the client gets 504, or a reset if the response had started. While the instance holds the request's body back, every piece that it takes restarts the time. The kernel reports this in steps, so an instance with large buffers gets up to three times as long (four times if the balancer runs on Node).",
  ),
  sendTimeoutMs: milliseconds(
    BALANCER_LIMITS.sendTimeoutMs,
    "How long a client may leave a response unread, judged by what its kernel acknowledges; then the connection is reset. The kernel acknowledges in steps, so a client with large buffers gets up to three times as long (four times on a unix socket if the balancer runs on Node). With the default, a client that reads 1,000 bytes a second is never cut.",
  ),
  tunnelIdleTimeoutMs: milliseconds(
    BALANCER_LIMITS.tunnelIdleTimeoutMs,
    "How long an upgraded connection, such as a WebSocket, may be silent in both directions.",
  ),
  upstreamIdleTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamIdleTimeoutMs,
    "How long an idle connection to an instance is kept.",
  ),
  maxConnectionsPerUpstream: count(
    BALANCER_LIMITS.maxConnectionsPerUpstream,
    "The most open connections to one instance.",
  ),
  retryBufferBytes: bytes(
    BALANCER_LIMITS.retryBufferBytes,
    "The largest body of which a request copy is kept. With the copy, the request can go to another instance if the first one ends before it responds.",
    { min: 0, max: 16 << 20 },
  ),
  bufferBytes: bytes(
    BALANCER_LIMITS.bufferBytes,
    "How much of a slow client's request body, and of its response, is held in memory for an instance with limited concurrency (`wsgi`, `fapws`, a command with `maxInFlight`). The instance gets a request when its body is complete, and is free when it has responded. Larger bodies, and responses above 128 KiB, go to disk (`maxSpoolBytes`).",
    { min: 0, max: 1 << 30 },
  ),
  maxBufferedBytes: bytes(
    BALANCER_LIMITS.maxBufferedBytes,
    "The bound of all such buffers together. It includes what clients send ahead of their responses, request copies of bodies that arrive in pieces, and body bytes that an upstream does not take; a request that finds no room gets 503. Reads under way and memory that the runtime has not yet returned come on top: under a burst, as much again or twice that.",
    { min: 0 },
  ),
  maxSpoolBytes: bytes(
    BALANCER_LIMITS.maxSpoolBytes,
    "The bound of what each balancer process keeps on disk, in `spoolDir`: bodies above `bufferBytes`, and responses. Responses may use half of it; beyond that they go at the client's pace. A larger request body gets 413; one that finds no room now gets 503 with Retry-After. `0`: nothing goes to disk; what exceeds `bufferBytes` goes at the client's pace and occupies an instance meanwhile.",
    { min: 0 },
  ),
  stallAfterMs: milliseconds(
    BALANCER_LIMITS.stallAfterMs,
    "An instance that has requests and was not heard of for this long is stalled while others of its pool respond: it gets no new requests, and those that have not started are reassigned.",
  ),
  notStartedUnsafeMax: count(
    BALANCER_LIMITS.notStartedUnsafeMax,
    "The most requests that are not idempotent (such as POST) that one instance may have before they start; further ones wait in the request queue.",
    { max: 1000 },
  ),
  idleDrainMs: milliseconds(
    BALANCER_LIMITS.idleDrainMs,
    "How long a draining balancer keeps idle client connections, so that it closes them after a response rather than under a request.",
  ),
} satisfies Record<keyof BalancerLimits, z.ZodType>;
