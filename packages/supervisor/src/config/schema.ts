/** Every key a configuration may have, with its check, unit, default and meaning; docs/configuration.md is made from it. */
import { BALANCER_LIMITS, type BalancerLimits, INSTANCE_LIMITS, type InstanceLimits } from "@paceline/wire/limits";
import { z } from "zod";
import { MAX_INSTANCES } from "../core/model.js";
import {
  bytes,
  count,
  countOrShare,
  expected,
  flag,
  fraction,
  milliseconds,
  processes,
  table,
  text,
  texts,
  textTable,
  word,
} from "./fields.js";
import { healthFields } from "./health.js";
import { kindFields } from "./kinds/index.js";

/** Names that pools cannot have, since they stand for something else. */
export const RESERVED_POOL_NAMES = ["balancer", "paceline"];

/** The pool that the keys at the top level make when there is no `pools`. */
export const DEFAULT_POOL = "web";

export const DEFAULT_LISTEN = "127.0.0.1:8080";

/** The deadlines and the budget that each process lives by. */
export const policyFields = {
  readyTimeoutMs: milliseconds(
    30_000,
    "How long a process may take to become ready. A slower one is killed and counts as a failure.",
  ),
  stableAfterMs: milliseconds(
    10_000,
    "After being ready for this long, a process is stable, and its earlier failures no longer count.",
  ),
  drainTimeoutMs: milliseconds(
    30_000,
    "How long a draining process may take to finish its requests. Then it gets SIGTERM.",
  ),
  termTimeoutMs: milliseconds(5_000, "From SIGTERM to SIGKILL."),
  killTimeoutMs: milliseconds(5_000, "From SIGKILL to a warning that the process does not die; the warning repeats."),
  minReadyMs: milliseconds(
    1_000,
    "How long a replacement must stay ready in a reload or restart before the outgoing process leaves. If it exits or fails its health check sooner, the reload is aborted and the old version serves.",
    { min: 0 },
  ),
  maxSurge: countOrShare(
    "25%",
    "How many slots a reload or restart replaces at once: a number, or a share of the pool, rounded down, but at least one. That many extra processes may run meanwhile.",
    { max: MAX_INSTANCES },
  ),
  hangAfterMs: milliseconds(
    30_000,
    "A process whose event loop has not turned for this long, or that a signal has stopped, is killed and replaced; its exit is reported as `hung`. `0` turns this off, for use with a debugger.",
    { min: 0 },
  ),
  backoff: table(
    {
      initialMs: milliseconds(200, "The first delay."),
      maxMs: milliseconds(10_000, "The longest delay, and the delay after the restart budget is spent."),
      factor: fraction(2, "Each delay is the previous one times this.", { min: 1, max: 100 }),
      jitter: fraction(0.2, "The random share of a delay, so that many instances do not restart all at once.", {
        min: 0,
        max: 1,
      }),
    },
    "The delay before a failed process is started again.",
  ),
  restartBudget: table(
    {
      maxFailures: count(
        5,
        "This many failures within `periodMs` spend the budget. If no process of the pool has ever been ready, the slot is then `failed` until you restart it; otherwise it restarts every `backoff.maxMs`.",
        {
          max: 1000,
        },
      ),
      periodMs: milliseconds(60_000, "The period in which failures count."),
    },
    "How many failures a process may have before it is given up or restarts at the longest delay.",
  ),
};

/** When a process is replaced for what it has done. */
export const recycleFields = {
  maxRequests: count(
    0,
    "Recycle a process after this many requests: start a replacement, and drain the old process when the replacement is ready, as in a restart, `maxSurge` at once. `0`: never. For a command, the balancers count.",
    { min: 0, max: 1_000_000_000 },
  ),
  recycleJitter: fraction(
    0.1,
    "Lower the limit of each process by a random share up to this one, so that they are not recycled together.",
    { min: 0, max: 1 },
  ),
};

/** What one instance takes. */
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

/** What the balancer takes, and how long it waits for each phase. */
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
  unbegunUnsafeMax: count(
    BALANCER_LIMITS.unbegunUnsafeMax,
    "The most requests that are not idempotent (such as POST) that one instance may have before they start; further ones wait in the request queue.",
    { max: 1000 },
  ),
  idleDrainMs: milliseconds(
    BALANCER_LIMITS.idleDrainMs,
    "How long a draining balancer keeps idle client connections, so that it closes them after a response rather than under a request.",
  ),
} satisfies Record<keyof BalancerLimits, z.ZodType>;

const maxOutputBytes = bytes(
  16 << 20,
  "How much unread output of a process is kept; beyond it the oldest lines are dropped and counted. The output file takes at most 1 MiB more on disk.",
  { min: 4096 },
);

/** How the log is kept in files. */
export const logFields = {
  maxFileBytes: bytes(10 << 20, "A file that would grow beyond this is renamed, and a new one begins.", {
    min: 65_536,
  }),
  maxFiles: count(5, "The most files, including the current one.", { max: 1000 }),
  maxTotalBytes: bytes(50 << 20, "The bound of all files together; the oldest are removed.", { min: 65_536 }),
};

const runtime = word(
  ["bun", "node"],
  'The runtime of the processes. Default: `"bun"` if it is installed beside paceline, else `"node"`.',
);

const protocol = word(
  ["lane", "http1"],
  'The upstream protocol of a fetch app: the lane, which multiplexes requests on one connection, or HTTP/1.1. A Node app always uses HTTP/1.1. Default: `"lane"`.',
);

/** What every pool may say, and the top level for all pools that do not say it. */
const sharedFields = {
  cwd: text("The working directory of the instances, relative to the config file's folder. Default: that folder."),
  env: textTable("Environment variables. They override the caller's environment and `envFiles`."),
  envFiles: texts(
    "Files of `NAME=value` lines (dotenv). They override the caller's environment; later files override earlier ones.",
    [],
  ),
  ...policyFields,
  ...recycleFields,
  limits: table(instanceLimitFields, "The limits of one instance."),
};

const instances = processes(
  undefined,
  'The number of instances; `"cpus"`: one for each processor that Paceline may use. Default: 4 for an app in any language; 1 for a folder of files, a command or a proxy. 0: none until you run `paceline scale`; requests get 503.',
  { min: 0, max: MAX_INSTANCES },
);
const routes = texts(
  'Which requests the pool gets: a path prefix with an optional host before it, such as `"/"`, `"/api/"`, `"example.com/"` or `"*.example.com/api/"`. See [Routes](#routes).',
  ["/"],
);
const stripPrefix = flag(
  false,
  "Remove the prefix of the route from the path that instances see, and send it in X-Forwarded-Prefix.",
);

/** The keys of one pool that hold for no other: beside `pools` they cannot stand at the top level. */
export const ownPoolFields = { ...kindFields, ...healthFields, instances, routes, stripPrefix };

/** The keys of a pool that at the top level, beside `pools`, hold for each pool that does not say otherwise. */
export const commonPoolFields = { runtime, protocol, ...sharedFields, maxOutputBytes };

/** The keys of one pool. */
export const poolFields = { ...ownPoolFields, ...commonPoolFields };

/** The keys of `balancer`. */
export const balancerFields = {
  processes: processes(1, "The number of balancer processes that share the listening sockets.", { max: 64 }),
  runtime,
  trustedProxies: texts(
    "The proxies in front of Paceline: addresses, CIDR blocks, and `unix` for clients of a unix socket in `listen`. Paceline believes the client fields of these alone, as [security.md](security.md#who-is-asking) describes.",
    [],
  ),
  accessLog: flag(
    false,
    "Log a line for each request to every kind of pool: the combined format of Apache and nginx, then the duration in seconds and the instance. See [operations.md](operations.md#the-access-log).",
  ),
  spoolDir: text(
    "The folder for large bodies and for responses to slow clients, relative to the config file's folder; created if missing. Its files have no names. Default: `spool` in the run directory. If the run directory is in memory (`/run`), choose a folder on a disk.",
  ),
  limits: table(balancerLimitFields, "The limits of the balancer, and the deadline of each phase."),
  ...policyFields,
  maxOutputBytes,
};

/** The keys of a configuration's top level. */
export const fleetFields = {
  name: text("The name of the fleet. Default: the name of its folder."),
  listen: texts(
    'Where to listen: `"127.0.0.1:8080"`, `"8080"` (loopback), `":8080"` (all IPv4 addresses), `"[::1]:8080"`, `"[::]:8080"` (all addresses; IPv6 alone if the IPv4 wildcard of the same port is listed too) or `"unix:/path"`. `"unix:/path?mode=660&group=www-data"` sets the permissions (default 600) and the group of the socket file.',
    [DEFAULT_LISTEN],
  ),
  ...poolFields,
  pools: z
    .record(
      z.string(),
      z.strictObject(poolFields, expected("must be a table of keys")),
      expected("must be a table of pools"),
    )
    .optional()
    .meta({
      type: "table of pools",
      description: `Pools by name (\`[a-z][a-z0-9-]*\`, 32 characters at most). Without it, the keys at the top level define one pool named \`${DEFAULT_POOL}\`. With it, [some of them](#a-pool) are defaults for every pool, and the others are only valid in the pools.`,
    }),
  balancer: table(balancerFields, "The processes that accept connections and spread requests over the instances."),
  log: table(
    logFields,
    "The bounds of the log files in `log/` of the run directory. A reload of all pools applies changes. See [The log](#the-log).",
  ),
  orphanGraceMs: milliseconds(
    60_000,
    "How long instances and balancers keep serving after the supervisor is lost. Then they drain and exit.",
    { min: 0 },
  ),
};

export const fleetSchema = z.strictObject(fleetFields, expected("must be a table of keys"));
export const poolSchema = z.strictObject(poolFields);

/** A configuration as it was checked, before defaults are filled in. */
export type FleetInput = z.infer<typeof fleetSchema>;
export type PoolInput = z.infer<typeof poolSchema>;
/** A configuration as people write it. */
export type FleetDocument = z.input<typeof fleetSchema>;
