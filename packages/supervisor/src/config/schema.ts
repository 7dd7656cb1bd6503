/** Every config key with its check, unit, default and description. docs/configuration.md is generated from it. */
import { z } from "zod";
import { MAX_INSTANCES } from "../core/model.js";
import { accessLog, identityFields, rateLimits } from "./balancer-keys.js";
import { balancingFields, overloadFields } from "./balancing.js";
import { ejectionFields } from "./ejection.js";
import {
  addresses,
  bytes,
  count,
  countOrShare,
  expected,
  flag,
  fraction,
  milliseconds,
  nameOrNumber,
  processes,
  table,
  text,
  textLike,
  texts,
  variables,
  word,
} from "./fields.js";
import { adminFields, agentCheck, frontFields } from "./fronts.js";
import { healthFields } from "./health.js";
import { DEFAULT_POOL, kindFields } from "./kinds/index.js";
import { balancerLimitFields, instanceLimitFields } from "./limit-fields.js";
import { modeFields } from "./mode.js";
import { alertsField, otlpFields } from "./receivers.js";
import { recycleFields } from "./recycle.js";
import { deployLimitFields, hookFields } from "./releases.js";
import { compressField, errorPagesField } from "./responses.js";
import { instances } from "./scaling.js";
import { tlsFields } from "./tls.js";

/** Names that pools cannot have, because they have another meaning. */
export const RESERVED_POOL_NAMES = ["all", "balancer", "paceline"];

export const DEFAULT_LISTEN = "127.0.0.1:8080";

/** The deadlines and the restart budget of each process. */
export const policyFields = {
  readyTimeoutMs: milliseconds(
    30_000,
    "How long a process may take to become ready. A slower process is killed and counts as failed.",
  ),
  stableAfterMs: milliseconds(
    10_000,
    "After being ready for this long, a process is stable, and its earlier failures no longer count.",
  ),
  drainTimeoutMs: milliseconds(
    30_000,
    "How long a draining process may take to finish its requests. Then it gets SIGTERM.",
  ),
  termTimeoutMs: milliseconds(5_000, "The time from SIGTERM to SIGKILL."),
  killTimeoutMs: milliseconds(
    5_000,
    "How long a process may take to exit after SIGKILL. If it takes longer, SIGKILL and a warning are repeated at this interval.",
  ),
  minReadyMs: milliseconds(
    1_000,
    "How long a replacement must stay ready in a reload or restart before the outgoing process drains. If it exits or fails its health check sooner, the reload is aborted and the old version keeps serving.",
    { min: 0 },
  ),
  maxSurge: countOrShare(
    "25%",
    "How many slots a reload or restart replaces at once: a number or a percentage of the pool, rounded down, at least one. Up to that many extra processes run meanwhile.",
    { max: MAX_INSTANCES },
  ),
  hangAfterMs: milliseconds(
    30_000,
    "A process whose event loop is blocked for this long, or that a signal has stopped, is killed and replaced; its exit is reported as `hung`. `0` turns this off, for example for a debugger.",
    { min: 0 },
  ),
  backoff: table(
    {
      initialMs: milliseconds(200, "The first delay."),
      maxMs: milliseconds(10_000, "The longest delay, and the delay after the restart budget is spent."),
      factor: fraction(2, "Each delay is the previous one times this factor.", { min: 1, max: 100 }),
      jitter: fraction(0.2, "The random share of a delay, so that many instances do not restart at the same time.", {
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
        "This many failures within `periodMs` exhaust the budget. Then, if no process of the pool has ever been ready, the slot becomes `failed` until you restart it. Otherwise it restarts every `backoff.maxMs`.",
        { max: 1000 },
      ),
      periodMs: milliseconds(60_000, "The period in which failures count."),
    },
    "How many failures a slot may have before it becomes `failed` or restarts with the longest delay.",
  ),
};

const maxOutputBytes = bytes(
  16 << 20,
  "How much unread output of a process is kept. Beyond this, the oldest lines are dropped and counted. On disk, the output file takes at most 1 MiB more.",
  { min: 4096 },
);

/** The settings of log files. */
export const logFields = {
  maxFileBytes: bytes(10 << 20, "A file that would grow beyond this size is renamed, and a new file is started.", {
    min: 65_536,
  }),
  maxFiles: count(5, "The maximum number of files, including the current one.", { max: 1000 }),
  maxTotalBytes: bytes(50 << 20, "The maximum total size of all files; the oldest are removed.", { min: 65_536 }),
};

const runtime = word(
  ["bun", "node"],
  'The runtime of the processes. Default: `"bun"` if it is installed beside paceline, otherwise `"node"`.',
);

const protocol = word(
  ["lane", "http1"],
  'The upstream protocol of a fetch app: the lane, which multiplexes requests on one connection, or HTTP/1.1. A Node app always uses HTTP/1.1. Default: `"lane"`.',
);

/** The keys of a pool that are also allowed at the top level, as the default of all pools. */
const sharedFields = {
  cwd: text("The working directory of the instances, relative to the config file's folder. Default: that folder."),
  env: variables(
    'Environment variables. They override the caller\'s environment and `envFiles`. The value `{ file: "/run/secrets/token" }` is the text of a file, and `{ credential: "token" }` is that of a systemd credential; see [security.md](security.md#secrets).',
  ),
  envFiles: texts(
    "Files of `NAME=value` lines (dotenv). They override the caller's environment; later files override earlier ones.",
    [],
  ),
  ...policyFields,
  ...recycleFields,
  limits: table(instanceLimitFields, "The limits of one instance."),
  errorPages: errorPagesField,
  compress: compressField,
};

const routes = texts(
  'Which requests the pool gets: a path prefix with an optional host before it, such as `"/"`, `"/api/"`, `"example.com/"` or `"*.example.com/api/"`. See [Routes](#routes).',
  ["/"],
);
const stripPrefix = flag(
  false,
  "Remove the prefix of the route from the path that instances see, and send it in X-Forwarded-Prefix.",
);

/** The keys that apply to one pool: beside `pools` they are not allowed at the top level. */
export const ownPoolFields = {
  ...kindFields,
  ...modeFields,
  ...healthFields,
  ...balancingFields,
  ...ejectionFields,
  ...overloadFields,
  instances,
  routes,
  stripPrefix,
};

/** The keys of a pool that are allowed at the top level beside `pools`, as defaults for all pools. */
export const commonPoolFields = { runtime, protocol, ...sharedFields, maxOutputBytes };

/** All keys of a pool. */
export const poolFields = { ...ownPoolFields, ...commonPoolFields };

/** The keys of `balancer`. */
export const balancerFields = {
  processes: processes(1, "The number of balancer processes that share the listening sockets.", { max: 64 }),
  runtime,
  trustedProxies: texts(
    "The proxies in front of Paceline: addresses, CIDR blocks, and `unix` for clients of a unix socket in `listen`. Paceline trusts fields about the client only from these proxies; see [security.md](security.md#who-is-asking).",
    [],
  ),
  rateLimits,
  accessLog,
  ...identityFields,
  spoolDir: text(
    "The folder for large bodies and for responses to slow clients, relative to the config file's folder; created if missing. The files have no names. Default: `spool` in the run directory. If the run directory is in memory (`/run`), choose a folder on a disk.",
  ),
  ...frontFields,
  limits: table(balancerLimitFields, "The limits of the balancer, and the deadline of each phase."),
  ...policyFields,
  maxOutputBytes,
};

/** The defaults of `paceline deploy`, which its options override. */
export const deployFields = {
  canaryPercent: count(10, "The percentage of a pool's requests that the canaries get together.", { max: 100 }),
  judgeMs: milliseconds(
    60_000,
    "The maximum time for which the canaries are compared with the version in service; up to five times as long while a gross fault is possible. `0`: they only have to become and stay ready.",
    { min: 0 },
  ),
  onNoTraffic: word(
    ["promote", "rollback"],
    'What a deploy does if there is no verdict in time: put the release in service, or roll it back. Default: `"promote"`.',
  ),
  keepWarmMs: milliseconds(
    300_000,
    "How long the processes that a deploy has replaced keep running without requests, so that `paceline rollback` can return to them at once. `0`: not at all. They end earlier if less than a tenth of the machine's memory is available.",
    { min: 0 },
  ),
  limits: table(
    deployLimitFields,
    "By how much a release may be worse; see [deploying.md](deploying.md#how-a-release-is-judged).",
  ),
};

/** The top-level keys of a configuration. */
export const fleetFields = {
  name: textLike(
    /^\P{Cc}+$/u,
    { type: "text", rule: "must be text without control characters" },
    "The name of the fleet. Default: the name of its folder.",
  ),
  listen: addresses(
    'Where to listen: `"127.0.0.1:8080"`, `"8080"` (loopback), `":8080"` (all IPv4 addresses), `"[::1]:8080"`, `"[::]:8080"` (all addresses; only IPv6 if the IPv4 wildcard of the same port is listed too) or `"unix:/path"`. `"unix:/path?mode=660&group=www-data"` sets the permissions (default 600) and the group of the socket file. `"https://127.0.0.1:8443"` serves TLS with the certificates of `tls`; `"https://shop.example"` serves TLS on port 443 of all addresses, for that name. See [tls.md](tls.md).',
    [DEFAULT_LISTEN],
  ),
  tls: table(tlsFields, "The certificates of the https addresses in `listen`. See [tls.md](tls.md)."),
  agentCheck,
  admin: table(
    adminFields,
    "What the supervisor serves in addition to the control socket. See [metrics.md](metrics.md).",
  ),
  user: nameOrNumber(
    "The user that the fleet runs as, by name or number: when root starts the fleet, the supervisor binds `listen`, then becomes this user permanently. Other users cannot start the fleet. See [security.md](security.md#starting-as-root).",
  ),
  group: nameOrNumber(
    "The group that the fleet runs as, together with `user`. Default: the user's own. The fleet also keeps the user's other groups.",
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
      form: "table of pools",
      description: `Pools by name (\`[a-z][a-z0-9-]*\`, at most 32 characters). Without \`pools\`, the keys at the top level define one pool named \`${DEFAULT_POOL}\` (a worker's is named \`worker\`). With \`pools\`, [some top-level keys](#a-pool) are defaults for every pool, and the others are only valid in the pools.`,
    }),
  balancer: table(balancerFields, "The processes that accept connections and distribute requests over the instances."),
  deploy: table(
    deployFields,
    "How [`paceline deploy`](deploying.md) tries a release; options of the command override these keys.",
  ),
  log: table(
    logFields,
    "The limits of the log files in `log/` of the run directory. A reload of all pools applies changes. See [The log](#the-log).",
  ),
  hooks: table(
    hookFields,
    "Commands that run once for each reload or deploy, not for each instance. See [The hooks](#the-hooks).",
  ),
  alerts: alertsField,
  otlp: table(otlpFields, "Send metrics and sampled spans to an OpenTelemetry collector. See [otlp.md](otlp.md)."),
  restartSupervisor: flag(
    true,
    "Whether a balancer starts a new supervisor for a detached fleet after the old one was killed. In the foreground, the program that started the fleet, such as systemd, must do this.",
  ),
  orphanGraceMs: milliseconds(
    60_000,
    "How long instances and balancers keep serving without a supervisor. Then they drain and exit.",
    { min: 0 },
  ),
};

export const fleetSchema = z.strictObject(fleetFields, expected("must be a table of keys"));
const poolSchema = z.strictObject(poolFields);

/** A validated configuration, before defaults are filled in. */
export type FleetInput = z.infer<typeof fleetSchema>;
export type PoolInput = z.infer<typeof poolSchema>;
