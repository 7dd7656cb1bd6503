/** Every key a configuration may have, with its check, unit, default and meaning; docs/configuration.md is made from it. */
import { z } from "zod";
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

/** The most instances a pool can have. */
export const MAX_INSTANCES = 1024;

/** The pool that the keys at the top level make when there is no `pools`. */
export const DEFAULT_POOL = "web";

export const DEFAULT_LISTEN = "127.0.0.1:8080";

/** The deadlines and the budget that each process lives by. */
export const policyFields = {
  readyTimeoutMs: milliseconds(
    30_000,
    "How long a process may take to get ready; one that takes longer is killed and counts as a failure.",
  ),
  stableAfterMs: milliseconds(
    10_000,
    "Ready for this long, a process is stable, and the failures before it are forgotten.",
  ),
  drainTimeoutMs: milliseconds(
    30_000,
    "How long a process that leaves may take to finish what is in flight; then it gets SIGTERM.",
  ),
  termTimeoutMs: milliseconds(5_000, "From SIGTERM to SIGKILL."),
  killTimeoutMs: milliseconds(
    5_000,
    "From SIGKILL to a warning that the process does not die; the warning is repeated.",
  ),
  minReadyMs: milliseconds(
    1_000,
    "How long a new process has to stay ready in a reload or restart before the old one leaves; one that ends or fails its health sooner ends the reload, and the old ones stay or come back.",
    { min: 0 },
  ),
  maxSurge: countOrShare(
    "25%",
    "How many slots a reload or restart replaces at once, as a number or as a share of the pool, rounded down; one at least. So many more processes than usual may run meanwhile.",
    { max: MAX_INSTANCES },
  ),
  hangAfterMs: milliseconds(
    30_000,
    "A process whose event loop has not turned for this long, or that a signal has stopped, is killed and replaced; its end is told as `hung`. `0` turns that off, as for a debugger.",
    { min: 0 },
  ),
  backoff: table(
    {
      initialMs: milliseconds(200, "The delay before the first new try."),
      maxMs: milliseconds(10_000, "The longest delay, and the one after the restart budget is spent."),
      factor: fraction(2, "Each delay is the one before it times this.", { min: 1, max: 100 }),
      jitter: fraction(0.2, "The share of a delay that is random, so that many instances do not return all at once.", {
        min: 0,
        max: 1,
      }),
    },
    "How long to wait before a process that failed is started again.",
  ),
  restartBudget: table(
    {
      maxFailures: count(
        5,
        "With so many failures within `periodMs` the budget is spent. If no process of the pool has ever been ready, the slot is `failed` and left alone until you restart it; otherwise it is started again every `backoff.maxMs`.",
        {
          max: 1000,
        },
      ),
      periodMs: milliseconds(60_000, "The period in which failures count."),
    },
    "How often a process may fail before it is given up, or started at the longest delay.",
  ),
};

/** When a process is replaced for what it has done. */
export const recycleFields = {
  maxRequests: count(
    0,
    "A process that has had so many requests is recycled: a new one starts, gets ready and takes its place, and only then the old one drains, as in a restart, `maxSurge` at once. `0`: never. Of a command the balancers' count holds.",
    { min: 0, max: 1_000_000_000 },
  ),
  recycleJitter: fraction(
    0.1,
    "Each process has a limit that is lower by a random share, up to this one, so that they are not recycled together.",
    { min: 0, max: 1 },
  ),
};

/** What one instance takes. */
export const instanceLimitFields = {
  maxHeadBytes: bytes(16_384, "The longest request head; a longer one is answered 431.", { min: 256, max: 1 << 20 }),
  maxBodyBytes: bytes(104_857_600, "The longest request body; a longer one is answered 413.", { min: 0 }),
  headTimeoutMs: milliseconds(15_000, "How long a client may take to send a request head; then 408."),
  bodyTimeoutMs: milliseconds(
    60_000,
    "How long a client may send nothing of a body that it owes and that is waited for; then 408.",
  ),
  maxConnections: count(20_000, "Connections open at once; a new one beyond them is closed."),
  maxDeferredJobs: count(50_000, "Jobs put off by `defer` that may wait; beyond them `defer` throws."),
  maxDeferDelayMs: milliseconds(
    1000,
    "How long a deferred job waits for an idle server; then it runs though the server is busy.",
    { min: 0 },
  ),
};

/** What the balancer takes, and how long it waits for each phase. */
export const balancerLimitFields = {
  maxHeadBytes: bytes(
    16_384,
    "The longest request head; a longer one is answered 431. (A response head may have 64 KiB and 256 fields; beyond them the client gets 502.)",
    { min: 256, max: 1 << 20 },
  ),
  maxHeaderFields: count(100, "The most fields in a head; more are answered 431.", { max: 10_000 }),
  maxBodyBytes: bytes(104_857_600, "The longest request body; a longer one is answered 413.", { min: 0 }),
  maxConnections: count(20_000, "Client connections open at once; one beyond them is answered 503 and closed."),
  maxQueue: count(
    1024,
    "Requests that wait for an instance with room; beyond them the answer is 503 with Retry-After.",
    { min: 0 },
  ),
  headTimeoutMs: milliseconds(15_000, "How long a client may take to send a request head; then 408."),
  bodyTimeoutMs: milliseconds(
    60_000,
    "How long a client may send nothing of a body that it owes and that is waited for; then 408.",
  ),
  minBodyBytesPerSecond: bytes(
    250,
    "The least rate of a body, where an instance takes few requests at once: its client may take `bodyTimeoutMs`, and a second more for each so many bytes that came; then 408. `0`: any rate.",
    { min: 0, max: 1 << 30 },
  ),
  keepAliveTimeoutMs: milliseconds(
    75_000,
    "How long a client connection may be idle between requests; more than the 60 s of common load balancers in front, which then never send a request to a connection that is just being closed.",
  ),
  upstreamConnectTimeoutMs: milliseconds(
    5_000,
    "How long a connection to an instance, or a wait for one with room, may take; then 503.",
  ),
  upstreamResponseTimeoutMs: milliseconds(
    60_000,
    "How long an instance may send nothing of a response it owes; then 504, or the connection is reset when the response had begun. While it holds a request's body back, every piece of the body that it takes renews the time; what a kernel tells of that comes in steps, so that an instance with large ones gets up to three times as long (four times where the balancer runs on Node).",
  ),
  sendTimeoutMs: milliseconds(
    60_000,
    "How long a client may take nothing of the response that waits for it, judged by what its kernel acknowledges; then the connection is reset. A kernel acknowledges reading in steps: a client with large ones gets up to three times as long (four times on a unix socket where the balancer runs on Node), so that at the default whoever reads 1,000 bytes a second is not cut.",
  ),
  tunnelIdleTimeoutMs: milliseconds(
    3_600_000,
    "How long an upgraded connection, such as a WebSocket, may be silent in both directions.",
  ),
  upstreamIdleTimeoutMs: milliseconds(30_000, "How long an idle connection to an instance is kept."),
  maxConnectionsPerUpstream: count(1024, "Connections to one instance open at once."),
  retryBufferBytes: bytes(
    65_536,
    "A request whose body fits in this can be sent to another instance when the first one ends before it responds.",
    { min: 0, max: 16 << 20 },
  ),
  bufferBytes: bytes(
    1 << 20,
    "What is held in memory of a request's body, and of a response, for a client that is slow, where an instance takes few requests at once (`wsgi`, `fapws`, a command with `maxInFlight`): it is asked when the body has come, and is free when it has responded. What is larger waits on disk (`maxSpoolBytes`), of responses what is above 128 KiB.",
    { min: 0, max: 1 << 30 },
  ),
  maxBufferedBytes: bytes(
    32 << 20,
    "The bound of what is held so for all clients together, with what they send ahead of their responses and copies of bodies that come in pieces, and with what has come of a body and waits for an upstream that does not take it: a request for which nothing is left is answered 503. It counts what is held alone: while much comes at once, reads that are under way and memory that the runtime has not given back yet are as much again, or twice that.",
    { min: 0 },
  ),
  maxSpoolBytes: bytes(
    1 << 30,
    "The bound of what each balancer process keeps on disk, in `spoolDir`: bodies above `bufferBytes`, and responses, which may use half of it and then go at the client's pace. A request whose body is larger than this is answered 413, one for which there is no room now 503 with Retry-After. `0`: nothing is kept on disk, and what is above `bufferBytes` goes at the client's pace, which holds an instance as long.",
    { min: 0 },
  ),
  stallAfterMs: milliseconds(
    50,
    "An instance of which nothing is heard for this long, though it has requests, is passed over while others of its pool answer; requests that it has not begun go to them.",
  ),
  unbegunUnsafeMax: count(
    1,
    "Requests that must not be sent twice (such as POST) that may wait at one instance before their handler is called; the others wait in the queue.",
    { max: 1000 },
  ),
  idleDrainMs: milliseconds(
    2_000,
    "How long a balancer that leaves keeps idle client connections, to close them with an answer and not under a request.",
  ),
};

const maxOutputBytes = bytes(
  16 << 20,
  "How much of what a process wrote may be unread; beyond it the oldest lines are left out and counted. The file that holds its output takes 1 MiB more of the disk at most.",
  { min: 4096 },
);

/** How the log is kept in files. */
export const logFields = {
  maxFileBytes: bytes(10 << 20, "A file that would grow beyond this is renamed, and a new one begins.", {
    min: 65_536,
  }),
  maxFiles: count(5, "How many files there are at most, the one that is written to included.", { max: 1000 }),
  maxTotalBytes: bytes(50 << 20, "The bound of all files together; the oldest are removed.", { min: 65_536 }),
};

const runtime = word(
  ["bun", "node"],
  'What the processes run on. Default: `"bun"` where it is installed beside paceline, else `"node"`.',
);

const link = word(
  ["lane", "http1"],
  'What the balancer speaks with the instances of a fetch app: the lane, which carries many requests at once on one connection, or HTTP/1.1. A Node app is spoken to in HTTP/1.1. Default: `"lane"`.',
);

/** What every pool may say, and the top level for all pools that do not say it. */
const sharedFields = {
  cwd: text("The working directory of the instances, from the config file's folder. Default: that folder."),
  env: textTable("Environment variables, laid over the caller's environment and `envFiles`."),
  envFiles: texts("Files of `NAME=value` lines (dotenv), laid over the caller's environment; the later one wins.", []),
  ...policyFields,
  ...recycleFields,
  limits: table(instanceLimitFields, "What one instance takes."),
};

const instances = processes(
  undefined,
  'How many instances; `"cpus"`: as many as there are processors for us. Default: 4 of an app, in whatever language, 1 of a folder of files, a command or a proxy. 0: none until `paceline scale` says otherwise; its requests are answered 503.',
  { min: 0, max: MAX_INSTANCES },
);
const routes = texts(
  'Which requests the pool gets: a path prefix with an optional host before it, such as `"/"`, `"/api/"`, `"example.com/"` or `"*.example.com/api/"`. See [Routes](#routes).',
  ["/"],
);
const stripPrefix = flag(
  false,
  "Whether the instances see paths without the prefix of the route, which X-Forwarded-Prefix then tells.",
);

/** The keys of one pool that hold for no other: beside `pools` they cannot stand at the top level. */
export const ownPoolFields = { ...kindFields, ...healthFields, instances, routes, stripPrefix };

/** The keys of a pool that at the top level, beside `pools`, hold for each pool that does not say otherwise. */
export const commonPoolFields = { runtime, link, ...sharedFields, maxOutputBytes };

/** The keys of one pool. */
export const poolFields = { ...ownPoolFields, ...commonPoolFields };

/** The keys of `balancer`. */
export const balancerFields = {
  processes: processes(1, "How many balancer processes share the listening sockets.", { max: 64 }),
  runtime,
  trustedProxies: texts(
    "The proxies in front of us: addresses, CIDR blocks, and `unix` for whoever connects to a unix socket in `listen`. What they say of their clients is believed, as docs/security.md has it; of all others nothing is.",
    [],
  ),
  accessLog: flag(
    false,
    "Write a line for each request, of every kind of pool, into the log: the combined format of Apache and nginx, then the seconds that it took and the instance. See [operations.md](operations.md#the-access-log).",
  ),
  spoolDir: text(
    "The folder for large bodies and responses of slow clients, from the config file's folder; made if it is missing. Its files have no names. Default: `spool` in the run directory. Choose one on a disk where the run directory is in memory (`/run`).",
  ),
  limits: table(balancerLimitFields, "What the balancer takes, and how long it waits for each phase."),
  ...policyFields,
  maxOutputBytes,
};

/** The keys of a configuration's top level. */
export const fleetFields = {
  name: text("What the fleet is called. Default: the name of its folder."),
  listen: texts(
    'Where to listen: `"127.0.0.1:8080"`, `"8080"` (loopback), `":8080"` (all IPv4 addresses), `"[::1]:8080"`, `"[::]:8080"` (all addresses; IPv6 alone if the IPv4 wildcard of the same port is listed too) or `"unix:/path"`, with options as `"unix:/path?mode=660&group=www-data"`: permissions (default 600) and group of the socket file.',
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
      description: `Pools by name (\`[a-z][a-z0-9-]*\`, 32 characters at most). Without it, the keys at the top level make one pool named \`${DEFAULT_POOL}\`; with it, [some of them](#a-pool) hold for each pool that does not say otherwise, and the others belong into the pools.`,
    }),
  balancer: table(balancerFields, "The processes that accept connections and spread requests over the instances."),
  log: table(
    logFields,
    "How the log is kept in files, in `log/` of the run directory; a reload of all pools takes it over. See [The log](#the-log).",
  ),
  orphanGraceMs: milliseconds(
    60_000,
    "How long instances and balancers go on serving when the supervisor is lost; then they drain and exit.",
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
