/** The config keys of limits, with their ranges and descriptions. The defaults are in packages/wire/src/limits.ts. */
import { BALANCER_LIMITS, type BalancerLimits, INSTANCE_LIMITS, type InstanceLimits } from "@paceline/wire/limits";
import type { z } from "zod";
import { bytes, count, milliseconds } from "./fields.js";

/** The limits of one instance. */
export const instanceLimitFields = {
  maxHeadBytes: bytes(INSTANCE_LIMITS.maxHeadBytes, "The maximum size of a request head; a larger one gets 431.", {
    min: 256,
    max: 1 << 20,
  }),
  maxBodyBytes: bytes(INSTANCE_LIMITS.maxBodyBytes, "The longest request body; a longer one gets 413.", { min: 0 }),
  headTimeoutMs: milliseconds(
    INSTANCE_LIMITS.headTimeoutMs,
    "How long a client may take to send a request head; then it gets 408.",
  ),
  bodyTimeoutMs: milliseconds(
    INSTANCE_LIMITS.bodyTimeoutMs,
    "How long a client may send nothing while the server waits for the request body; then it gets 408.",
  ),
  maxConnections: count(INSTANCE_LIMITS.maxConnections, "The maximum number of open connections; more are closed."),
  maxDeferredJobs: count(INSTANCE_LIMITS.maxDeferredJobs, "The maximum number of queued jobs; then `defer` throws."),
  maxDeferDelayMs: milliseconds(
    INSTANCE_LIMITS.maxDeferDelayMs,
    "How long a deferred job waits for an idle server. After that it runs even if the server is busy.",
    { min: 0 },
  ),
} satisfies Record<keyof InstanceLimits, z.ZodType>;

/** The limits of the balancer, including how long it waits in each phase. */
export const balancerLimitFields = {
  maxHeadBytes: bytes(
    BALANCER_LIMITS.maxHeadBytes,
    "The maximum size of a request head; a larger one gets 431. (A response head may have up to 64 KiB and 256 fields; otherwise the client gets 502.)",
    { min: 256, max: 1 << 20 },
  ),
  maxHeaderFields: count(BALANCER_LIMITS.maxHeaderFields, "The maximum number of fields in a head; more get 431.", {
    max: 10_000,
  }),
  maxBodyBytes: bytes(BALANCER_LIMITS.maxBodyBytes, "The longest request body; a longer one gets 413.", { min: 0 }),
  maxConnections: count(
    BALANCER_LIMITS.maxConnections,
    "The maximum number of open client connections. When a further client connects, a connection without a request in progress is closed for it; if there is none, the new client gets 503 and is closed.",
  ),
  maxConnectionsPerAddress: count(
    BALANCER_LIMITS.maxConnectionsPerAddress,
    "The maximum number of open connections of one client address; further ones get 429 and are closed. IPv6 addresses count by their first 64 bits. It does not apply to trusted proxies and unix sockets. `0`: no limit. See [security.md](security.md#limits-for-clients).",
    { min: 0 },
  ),
  maxStreamsPerConnection: count(
    BALANCER_LIMITS.maxStreamsPerConnection,
    "The maximum number of requests that a client has in progress on one HTTP/2 connection; further ones are refused (REFUSED_STREAM), and clients retry them. `0`: clients get HTTP/1.1 only. See [http2.md](http2.md).",
    { min: 0, max: 10_000 },
  ),
  maxQueue: count(
    BALANCER_LIMITS.maxQueue,
    "The maximum number of requests in the request queue of a pool; further ones go to an instance that is ready and below its `maxInFlight` (docs/balancing.md), otherwise they get 503 with Retry-After.",
    { min: 0 },
  ),
  headTimeoutMs: milliseconds(
    BALANCER_LIMITS.headTimeoutMs,
    "How long a client may take to send a request head; then it gets 408.",
  ),
  handshakeTimeoutMs: milliseconds(
    BALANCER_LIMITS.handshakeTimeoutMs,
    "How long the TLS handshake of a client may take; then its connection is reset.",
  ),
  bodyTimeoutMs: milliseconds(
    BALANCER_LIMITS.bodyTimeoutMs,
    "How long a client may send nothing while the server waits for the request body; then it gets 408.",
  ),
  minBodyBytesPerSecond: bytes(
    BALANCER_LIMITS.minBodyBytesPerSecond,
    "The lowest average rate of a request body. The client has `bodyTimeoutMs`, plus a second for every `minBodyBytesPerSecond` bytes that arrive; then it gets 408. The limit does not apply once the response has started, or while the instance does not read the body. After three times `sendTimeoutMs`, it is also the lowest rate at which a client must read a response. `0`: any rate.",
    { min: 0, max: 1 << 30 },
  ),
  keepAliveTimeoutMs: milliseconds(
    BALANCER_LIMITS.keepAliveTimeoutMs,
    "How long a client connection may be idle between requests. Keep it longer than the timeout of a load balancer in front (usually 60 s). Otherwise the load balancer may send a request on a connection that is just closing.",
  ),
  upstreamConnectTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamConnectTimeoutMs,
    "How long connecting to an instance may take, and how long a request may stay in the request queue. Then the request goes to an instance that is ready and below its `maxInFlight` (docs/balancing.md); without one, the client gets 503.",
  ),
  upstreamResponseTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamResponseTimeoutMs,
    "How long an instance may go without sending response data. Then the client gets 504, or a reset if the response had started. While the instance still reads the request's body, every piece that it reads restarts the time. The kernel reports reading in steps, so an instance with large buffers gets up to three times as long (four times if the balancer runs on Node).",
  ),
  sendTimeoutMs: milliseconds(
    BALANCER_LIMITS.sendTimeoutMs,
    "How long a client may read no response data, judged by its kernel's acknowledgements; then the connection is reset. A kernel acknowledges in steps, so a client with large buffers gets up to three times as long (four times on a unix socket if the balancer runs on Node). With the default, a client that reads 1,000 bytes/s is never reset.",
  ),
  tunnelIdleTimeoutMs: milliseconds(
    BALANCER_LIMITS.tunnelIdleTimeoutMs,
    "How long an upgraded connection, such as a WebSocket, may be idle in both directions.",
  ),
  upstreamIdleTimeoutMs: milliseconds(
    BALANCER_LIMITS.upstreamIdleTimeoutMs,
    "How long an idle connection to an instance is kept.",
  ),
  maxConnectionsPerUpstream: count(
    BALANCER_LIMITS.maxConnectionsPerUpstream,
    "The maximum number of connections to one instance.",
  ),
  retryBufferBytes: bytes(
    BALANCER_LIMITS.retryBufferBytes,
    "The largest body of which the balancer keeps a copy. With this copy, it can send the request to another instance if the first one exits before it responds.",
    { min: 0, max: 16 << 20 },
  ),
  bufferBytes: bytes(
    BALANCER_LIMITS.bufferBytes,
    "How much of a slow client's request body, and of its response, is kept in memory for an instance with limited concurrency (`wsgi`, `fapws`, a command with `maxInFlight`). The instance gets a request when the body is complete, and is free when it has responded. Larger bodies, and responses above 128 KiB, are stored on disk (`maxSpoolBytes`).",
    { min: 0, max: 1 << 30 },
  ),
  maxBufferedBytes: bytes(
    BALANCER_LIMITS.maxBufferedBytes,
    "The most memory that a balancer process may use for buffered bodies. This includes copies of bodies, bodies that wait for an instance, body bytes that an upstream has not read yet, and, beyond 4 KiB each, heads and requests that clients send in part or ahead of their responses. If this memory is exhausted, a request gets 503, and a client that sends ahead is reset. Current reads and memory that the runtime has not yet released are not included; during a burst they may add once or twice as much.",
    { min: 0 },
  ),
  maxUnreadBytes: bytes(
    BALANCER_LIMITS.maxUnreadBytes,
    "The most memory that a balancer process may use for response bytes that clients have not read. A client usually gets up to 0.2 MB of it, less if many download at once. Above half of the limit, clients that have read nothing for 26 s or more are reset; above the limit, also those that have not proved that they read 1,000 bytes/s, newcomers first (docs/security.md has the order). Clients that have proved it are counted separately, up to the same limit again. The limit also includes both directions of connections in tcp mode.",
    { min: 0 },
  ),
  maxSpoolBytes: bytes(
    BALANCER_LIMITS.maxSpoolBytes,
    "The maximum size of each balancer process's files in `spoolDir`: bodies above `bufferBytes`, and responses. Responses may use half of it; beyond that they are sent at the client's pace. A larger request body gets 413; if the space is used up, a body gets 503 with Retry-After. `0`: nothing is stored on disk, and bytes beyond `bufferBytes` move at the client's pace and occupy an instance meanwhile.",
    { min: 0 },
  ),
  stickyWaitMs: milliseconds(
    BALANCER_LIMITS.stickyWaitMs,
    "How long a request of a sticky client waits for the client's instance, if that is full or stalled. Then another instance gets the request. `0`: it does not wait.",
    { min: 0 },
  ),
  stallAfterMs: milliseconds(
    BALANCER_LIMITS.stallAfterMs,
    "An instance with requests that sends nothing for this long is stalled if others of its pool respond: it gets no new requests, and in a fetch app its requests that have not started are reassigned. See [operations.md](operations.md#when-something-blocks).",
  ),
  notStartedUnsafeMax: count(
    BALANCER_LIMITS.notStartedUnsafeMax,
    "The maximum number of non-idempotent requests (such as POST) at one instance that have not started; further ones wait in the request queue.",
    { max: 1000 },
  ),
  idleDrainMs: milliseconds(
    BALANCER_LIMITS.idleDrainMs,
    "How long a draining balancer keeps idle client connections open, so that it closes them after a response rather than during a request.",
  ),
  drainClosesPerSecond: count(
    BALANCER_LIMITS.drainClosesPerSecond,
    "How many WebSockets and event streams of draining processes a balancer ends per second, so that their clients do not all reconnect at once. `0`: it ends none; they are cut at the drain's deadline. See [apps.md](apps.md#a-drain-and-long-responses).",
    { min: 0, max: 100_000 },
  ),
  drainCloseDelayMs: milliseconds(
    BALANCER_LIMITS.drainCloseDelayMs,
    "How long a WebSocket or event stream of a draining process may continue before a balancer may end it. Apps can end it themselves in this time.",
    { min: 0 },
  ),
  eventStreamRetryMs: milliseconds(
    BALANCER_LIMITS.eventStreamRetryMs,
    "How long the client of an ended event stream should wait before it reconnects: the balancer sends it this time as `retry`. `0`: no `retry` is sent.",
    { min: 0 },
  ),
} satisfies Record<keyof BalancerLimits, z.ZodType>;
