/** The vocabulary of the control plane as types: the configuration of a fleet. Pure; every other part imports it. */
import type { HealthConfig, IdentityRules, RateLimitRule, SnapshotPool, TlsVersion } from "@paceline/wire";
import type { AccessLogRule } from "@paceline/wire/access-log";
import type { ChallengeKind } from "./acme-plan.js";
import type { AlertRule } from "./alerts.js";
import type { ScalingRules } from "./autoscale.js";
import type { DeployConfig } from "./deploy.js";

/** The maximum number of instances of a pool. */
export const MAX_INSTANCES = 1024;

/** An address that the fleet listens on. */
export type ListenAddress = ({ kind: "tcp"; host: string; port: number } | UnixAddress) & {
  /** The pool in tcp mode that gets its connections; absent: it takes requests. */
  pool?: string;
  /** Set if clients speak TLS; each of the `names` needs a certificate. */
  tls?: { names: string[] };
  /** The https port to which requests are redirected. */
  redirect?: number;
};

export interface UnixAddress {
  kind: "unix";
  /** An absolute path. */
  path: string;
  /** The permissions of the socket file. Default: 0600. */
  mode?: number;
  /** The group of the socket file. Default: the process's group. */
  group?: { name: string; gid: number };
}

export type RuntimeName = "bun" | "node";

/** Exponential backoff with jitter. */
export interface BackoffPolicy {
  initialMs: number;
  maxMs: number;
  factor: number;
  /** The random share of a delay, 0 to 1. */
  jitter: number;
}

/** The number of failures within a period after which a slot is `failed`. */
export interface RestartBudget {
  maxFailures: number;
  periodMs: number;
}

/** The deadlines and the restart budget of a slot's process. */
export interface ProcessPolicy {
  readyTimeoutMs: number;
  /** After being ready for this long, its earlier failures are forgotten, in milliseconds. */
  stableAfterMs: number;
  drainTimeoutMs: number;
  /** The time from SIGTERM to SIGKILL, in milliseconds. */
  termTimeoutMs: number;
  /** The time from SIGKILL to a warning that the process still exists, in milliseconds. */
  killTimeoutMs: number;
  /** How long a replacement has to stay ready before the outgoing process drains, in milliseconds. */
  minReadyMs: number;
  /** The number of slots that a rollout replaces at once, or a percentage of the pool, for example `25%`. */
  maxSurge: number | string;
  /** An event loop that does not turn for this long counts as hung, in milliseconds; 0: no limit. */
  hangAfterMs: number;
  backoff: BackoffPolicy;
  restartBudget: RestartBudget;
}

/** How an instance is started. */
export type Launch =
  /** A program of Paceline on the pool's runtime: the server, or the shim of a command. */
  | { entry: "server" | "shim"; bunfig?: string }
  /** Another program: an absolute path or a name on PATH, and its arguments. */
  | { command: string; args: string[] };

/** The limits after which a process is replaced although it works. */
export interface RecycleLimits {
  /** In megabytes of 10^6 bytes; 0: no limit. So are the next two limits. */
  maxMemoryMb: number;
  maxRequests: number;
  maxAgeMs: number;
  /** Whether shared pages count in full (`rss`) or are divided among the processes that share them (`pss`). */
  memoryMetric: "rss" | "pss";
  /** A cron pattern in local time; null: none. */
  schedule: string | null;
  /** The maximum random share (0 to 1) by which each process lowers its limits. */
  jitter: number;
}

/** The limits and the target of a pool whose size follows its load. */
export interface ScalingConfig extends ScalingRules {
  /** Entries with other limits. An entry applies from the times of its cron pattern until another entry applies. */
  readonly schedule: readonly { readonly cron: string; readonly min: number; readonly max: number }[];
  /** The time zone of the patterns; null: the supervisor's. */
  readonly timezone: string | null;
}

/** The requests that a new instance gets before it takes traffic. */
export interface WarmupConfig {
  readonly paths: readonly string[];
  readonly timeoutMs: number;
}

/** What a balancer needs to know about a pool. */
export type RelayTraits = Pick<
  SnapshotPool,
  | ("mode" | "queueTimeoutMs" | "priority" | "sticky" | "internalRoots" | "sendsFiles" | "takesAllRequests" | "policy")
  | ("errorPages" | "compress" | "ejection" | "slowStartMs" | "retryBudget" | "hedge")
>;

/** Where the value of a secret is: in a file, or in a systemd credential. */
export type SecretSource = { file: string } | { credential: string };

export type Secret = SecretSource & { value: string };

/** A text of the configuration, or the place of its value. The value is read at each use, so that it is never stored. */
export type SecretText = string | SecretSource;

/** The configuration of one pool, with all defaults filled in and all paths absolute. */
export interface PoolConfig {
  name: string;
  /** The kind's name; see config/kinds/. */
  kind: string;
  /** The workload's name, for display. A name that is a path is absolute. */
  source: string;
  relayed: RelayTraits;
  /** How many of the last instances are backups. Missing in the state of an older supervisor. */
  backups?: number;
  /** The kind's part of the instances' ChildSpec. */
  workload: Record<string, unknown>;
  launch: Launch;
  /** Whether a template process loads the app and forks the instances. */
  preload: boolean;
  /** The maximum number of requests that a balancer sends to one instance at once; null: only the balancer's own limits apply. */
  maxInFlight: number | null;
  /** How long an instance with limited concurrency may go without sending response data, in milliseconds; 0: no limit. */
  requestTimeoutMs: number;
  /** The size at the start; for an autoscaled pool the minimum. */
  instances: number;
  /** Null if the number of instances is fixed. */
  scaling: ScalingConfig | null;
  /** Whether its instances get requests. A pool without requests has no routes and no sockets, and is not in the balancers' snapshot. */
  serves: boolean;
  /** The maximum number of its instances. */
  maxInstances: number;
  /** The cron pattern of a worker with a schedule; null: its processes run permanently. */
  cron: string | null;
  /** Whether a reload starts a replacement before the process in service exits, instead of afterwards. */
  overlap: boolean;
  /** See SnapshotPool.routes in packages/wire. Empty if it gets no requests. */
  routes: string[];
  /** How the pool gets its clients; absent: request by request. */
  mode?: "tcp" | "direct";
  /** In direct mode: the addresses that its instances share. */
  bind?: (ListenAddress & { kind: "tcp" })[];
  /** Whether the route's prefix is removed from the paths that instances see. */
  stripPrefix: boolean;
  runtime: RuntimeName;
  /** The upstream protocol of a fetch app. */
  protocol: "lane" | "http1";
  /** The folder from which its relative paths start, with symbolic links resolved. */
  release: string;
  /** The working directory, an absolute path. */
  cwd: string;
  /** The variables of env files and the texts of the `env` key, which override the caller's environment. */
  env: Record<string, string>;
  /** The secrets of the `env` key by the names of their variables. They override `env`, and must never be shown or stored. */
  secrets: Record<string, Secret>;
  /** The absolute paths of its env files. */
  envFiles: string[];
  policy: ProcessPolicy;
  recycle: RecycleLimits;
  /** Null if new instances take traffic without a warm-up. */
  warmup: WarmupConfig | null;
  health: HealthConfig;
  /** InstanceLimits of packages/wire, complete. */
  limits: Record<string, number>;
  /** How many bytes of a process's output may be unread. */
  maxOutputBytes: number;
}

/** The paths of liveness and readiness probes. If a path is missing, there is no such probe. */
export interface ProbePaths {
  live?: string;
  ready?: string;
}

/** The configuration of the balancers, which form a pool named `balancer`. */
export interface BalancerConfig {
  processes: number;
  runtime: RuntimeName;
  trustedProxies: string[];
  rateLimits: RateLimitRule[];
  /** The absolute path of the folder for large bodies of slow clients; null: in the run directory. */
  spoolDir: string | null;
  /** Whether requests are logged. */
  accessLog: boolean;
  /** How requests are logged. Absent in the state of an earlier version: all in the combined format, to the balancer's output. */
  accessLogRule?: AccessLogRule;
  /** The positions of the addresses in `listen` on which each connection starts with a PROXY header; absent: none. */
  proxied?: number[];
  /** Absent: the balancers create no request ids. */
  requestId?: { inResponse: boolean };
  /** Absent: the balancers create no traces. */
  trace?: NonNullable<IdentityRules["trace"]>;
  /** Whether sampled requests are reported for `otlp`. */
  spans?: true;
  /** The paths of requests to which the balancers themselves respond; null: none. */
  probes: ProbePaths | null;
  /** How long the fleet serves without being ready before a stop, in milliseconds. */
  preDrainMs: number;
  policy: ProcessPolicy;
  /** BalancerLimits of packages/wire, complete. */
  limits: Record<string, number>;
  maxOutputBytes: number;
}

/** The settings of log files. */
export interface LogConfig {
  maxFileBytes: number;
  maxFiles: number;
  maxTotalBytes: number;
}

/** The moments of a reload or deploy at which a command may run; config/releases.ts describes them. */
export const HOOK_NAMES = ["before", "afterReady", "after", "onFailure"] as const;

export type HookName = (typeof HOOK_NAMES)[number];

interface HookConfig {
  /** The absolute path of a program, and its arguments. */
  command: string[];
  timeoutMs: number;
}

export type HooksConfig = Partial<Record<HookName, HookConfig>>;

/** The receiver of alerts about the fleet: a webhook or a command. */
export type AlertConfig = AlertRule & {
  /** The time limit of one attempt, in milliseconds. */
  timeoutMs: number;
  /** The number of further attempts. */
  retries: number;
} & ({ webhook: SecretText; headers: Record<string, SecretText> } | { command: string[] });

/** The destination of metrics and spans. */
export interface OtlpConfig {
  endpoint: string;
  headers: Record<string, SecretText>;
  /** The share of requests whose spans are sent. */
  sampleRatio: number;
  /** How often metrics are sent, in milliseconds; 0: never. */
  metricsEveryMs: number;
  timeoutMs: number;
  /** Further attributes of the resource. */
  attributes: Record<string, string>;
}

/** The key `tls.automatic`, with the names of `listen` that have no certificate. */
export interface AutomaticConfig {
  names: string[];
  /** The contact for the CA; null: it gets none. */
  email: string | null;
  /** The URL of the CA's directory. */
  directory: string;
  /** The directory URL for trials; null if there is none. */
  stagingDirectory: string | null;
  /**
   * The absolute path of a file with certificates that are trusted for the directory, in addition to the usual ones; null if there is none.
   */
  caFile: string | null;
  externalAccount: { keyId: string; key: SecretText } | null;
  challenges: ChallengeKind[];
  /** The URL that decides about names on demand; null: there are none. */
  ask: string | null;
}

/** The user as whom a fleet's processes run. */
export interface FleetUser {
  /** The user's name, or the number if the user has no name. */
  name: string;
  uid: number;
  gid: number;
  /** The configured group; null: the user's own. */
  group: string | null;
  /** The user's home directory, if there is one. */
  home: string | null;
}

/** The key `admin`: the page and the metrics over TCP. */
export interface AdminConfig {
  /** The address to listen on; null: none. */
  listen: { host: string; port: number } | null;
  /** The file of the operator's own token; null: a token is created. */
  tokenFile: string | null;
  /** Whether the page may change the fleet. */
  mayWrite: boolean;
}

/** The files of a certificate and its key, as absolute paths. */
export interface CertificateFiles {
  certificate: string;
  key: string;
}

/** The key `tls`. */
export interface TlsConfig {
  certificates: CertificateFiles[];
  /** The source of certificates for names that no file covers; null: there is none. */
  issuer: "self-signed" | "internal" | null;
  /** The names of `listen`. */
  names: string[];
  minVersion: TlsVersion;
  /** The absolute path of the authority certificates for clients; null: clients need no certificate. */
  clientCa: string | null;
  /** Whether clients without a certificate may also connect. */
  isClientOptional: boolean;
  /** The value of Strict-Transport-Security; null: none. */
  hsts: string | null;
  /** Absent: no certificate is ordered. */
  automatic?: AutomaticConfig;
}

/** The configuration of a fleet: the result of `paceline check`, and the input of the supervisor. */
export interface FleetConfig {
  name: string;
  listen: ListenAddress[];
  /** Absent unless an address in `listen` is https. */
  tls?: TlsConfig;
  /** Where the supervisor responds to HAProxy's agent-check; null: nowhere. */
  agentCheck: { host: string; port: number } | null;
  /** Null or absent without the key, or in the state of an earlier version. */
  admin?: AdminConfig | null;
  /** The user that the supervisor becomes after it has bound `listen`; null: it keeps its user. */
  user: FleetUser | null;
  orphanGraceMs: number;
  /** Whether balancers restart a detached fleet's supervisor after it was killed. */
  restartSupervisor: boolean;
  /** The settings of deploys; missing in the state of an earlier version. */
  deploy?: DeployConfig;
  log: LogConfig;
  /** Absent if there are none. */
  hooks?: HooksConfig;
  /** Absent if there are none. */
  alerts?: AlertConfig[];
  /** Absent: metrics and spans are not sent anywhere. */
  otlp?: OtlpConfig;
  balancer: BalancerConfig;
  pools: PoolConfig[];
}

/** The states of a process; the table in `docs/architecture.md` describes them. */
export type ProcessState = "stopped" | "starting" | "ready" | "warm" | "draining" | "killing" | "backoff" | "failed";

/** How a process exited; both are null if its parent was not this process. */
export interface ExitStatus {
  code: number | null;
  signal: string | null;
}
