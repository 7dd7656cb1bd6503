/** The vocabulary of the control plane as types: the configuration of a fleet. Pure; every other part imports it. */
import type { HealthConfig, IdentityRules, RateLimitRule, SnapshotPool, TlsVersion } from "@paceline/wire";
import type { AccessLogRule } from "@paceline/wire/access-log";
import type { ChallengeKind } from "./acme-plan.js";
import type { AlertRule } from "./alerts.js";
import type { ScalingRules } from "./autoscale.js";
import type { DeployConfig } from "./deploy.js";

/** The most instances a pool can have. */
export const MAX_INSTANCES = 1024;

/** An address that the fleet listens on. */
export type ListenAddress = ({ kind: "tcp"; host: string; port: number } | UnixAddress) & {
  /** The pool in tcp mode that gets its connections; absent: it takes requests. */
  pool?: string;
  /** Clients speak TLS; with `names`, a certificate for each of them is needed. */
  tls?: { names: string[] };
  /** Requests are redirected to https on this port. */
  redirect?: number;
};

export interface UnixAddress {
  kind: "unix";
  /** An absolute path. */
  path: string;
  /** The permissions of the socket file. Default: 0600. */
  mode?: number;
  /** The group of the socket file. Default: that of the process. */
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
  /** After being ready for this long, earlier failures are forgotten. */
  stableAfterMs: number;
  drainTimeoutMs: number;
  /** The time from SIGTERM to SIGKILL. */
  termTimeoutMs: number;
  /** The time from SIGKILL to a warning that the process still exists. */
  killTimeoutMs: number;
  /** How long a replacement has to stay ready before the outgoing process drains. */
  minReadyMs: number;
  /** The number of slots that a rollout replaces at once, or a percentage of the pool such as `25%`. */
  maxSurge: number | string;
  /** An event loop that does not turn for this long counts as hung; 0: no limit. */
  hangAfterMs: number;
  backoff: BackoffPolicy;
  restartBudget: RestartBudget;
}

/** How an instance is started. */
export type Launch =
  /** A program of ours on the pool's runtime: the server, or the shim of a command. */
  | { entry: "server" | "shim"; bunfig?: string }
  /** Another program: an absolute path or a name on PATH, and its arguments. */
  | { command: string; args: string[] };

/** The limits after which a process is replaced although it works. */
export interface RecycleLimits {
  /** In megabytes of 10^6 bytes. 0: no limit, also in the next two. */
  maxMemoryMb: number;
  maxRequests: number;
  maxAgeMs: number;
  /** Shared pages count in full (`rss`) or in proportion (`pss`). */
  memoryMetric: "rss" | "pss";
  /** A cron pattern in local time; null: none. */
  schedule: string | null;
  /** Each process lowers its limits by a random share, at most this one (0 to 1). */
  jitter: number;
}

/** The bounds and the target of a pool whose size follows its load. */
export interface ScalingConfig extends ScalingRules {
  /** Other bounds from the times of a cron pattern on, until another entry begins. */
  readonly schedule: readonly { readonly cron: string; readonly min: number; readonly max: number }[];
  /** The time zone of the patterns; null: the supervisor's. */
  readonly timezone: string | null;
}

/** What a new instance is asked for before it takes traffic. */
export interface WarmupConfig {
  readonly paths: readonly string[];
  readonly timeoutMs: number;
}

/** What a balancer has to know about a pool. */
export type RelayTraits = Pick<
  SnapshotPool,
  | ("mode" | "queueTimeoutMs" | "priority" | "sticky" | "internalRoots" | "sendsFiles" | "takesAllRequests" | "policy")
  | ("errorPages" | "compress" | "ejection" | "slowStartMs" | "retryBudget" | "hedge")
>;

/** Where a secret comes from: a file, or a credential of systemd. */
export type SecretSource = { file: string } | { credential: string };

export type Secret = SecretSource & { value: string };

/** A text of the configuration, or where it is. It is read at each use, so that its value is never stored. */
export type SecretText = string | SecretSource;

/** The configuration of one pool, with all defaults filled in and all paths absolute. */
export interface PoolConfig {
  name: string;
  /** The kind's name; see config/kinds/. */
  kind: string;
  /** The workload's name, for people; an absolute path if it is one. */
  source: string;
  relayed: RelayTraits;
  /** How many of the instances, the last ones, are backups. An older supervisor writes none into its state. */
  backups?: number;
  /** The kind's part of the instances' ChildSpec. */
  workload: Record<string, unknown>;
  launch: Launch;
  /** Whether a template process loads the app and forks the instances. */
  preload: boolean;
  /** The most requests that a balancer sends to one instance at once; null: only the balancer's own limits apply. */
  maxInFlight: number | null;
  /** How long an instance with limited concurrency may go without sending response data; 0: no limit. */
  requestTimeoutMs: number;
  /** The size at the start; of an autoscaled pool its smallest. */
  instances: number;
  /** Null if the number of instances is fixed. */
  scaling: ScalingConfig | null;
  /** Whether its instances get requests. Without them it has no routes, no sockets and no place in the balancers' snapshot. */
  serves: boolean;
  /** The most instances it can have. */
  maxInstances: number;
  /** The cron pattern of a worker with a schedule; null: its processes stay. */
  cron: string | null;
  /** Whether a reload starts a replacement before the process in service ends; otherwise after that. */
  overlap: boolean;
  /** See SnapshotPool.routes in packages/wire. Empty if it gets no requests. */
  routes: string[];
  /** How it gets its clients; absent: request by request. */
  mode?: "tcp" | "direct";
  /** In direct mode: the addresses that its instances share. */
  bind?: (ListenAddress & { kind: "tcp" })[];
  /** Whether the route's prefix is removed from the paths that instances see. */
  stripPrefix: boolean;
  runtime: RuntimeName;
  /** The upstream protocol of a fetch app. */
  protocol: "lane" | "http1";
  /** The folder that its relative paths start from, with symbolic links resolved. */
  release: string;
  /** The working directory, absolute. */
  cwd: string;
  /** The variables of env files and the texts of the `env` key; they override the caller's environment. */
  env: Record<string, string>;
  /** The secrets of the `env` key by the names of their variables; they override `env`. Their values must never be shown or stored. */
  secrets: Record<string, Secret>;
  /** The absolute paths of its env files. */
  envFiles: string[];
  policy: ProcessPolicy;
  recycle: RecycleLimits;
  /** Null if new instances take traffic as they are. */
  warmup: WarmupConfig | null;
  health: HealthConfig;
  /** InstanceLimits of packages/wire, complete. */
  limits: Record<string, number>;
  /** How many bytes of a process's output may be unread. */
  maxOutputBytes: number;
}

/** The paths of liveness and readiness probes; without one there is no such probe. */
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
  /** How; absent in the state of an earlier version: each in the combined format to the balancer's output. */
  accessLogRule?: AccessLogRule;
  /** The positions in `listen` of those addresses on which each connection begins with a PROXY header; absent: none. */
  proxied?: number[];
  /** Absent: requests get no ids of ours. */
  requestId?: { inResponse: boolean };
  /** Absent: requests get no traces of ours. */
  trace?: NonNullable<IdentityRules["trace"]>;
  /** Whether sampled requests are reported for `otlp`. */
  spans?: true;
  /** The paths that the balancers respond to themselves; null: none. */
  probes: ProbePaths | null;
  /** How long the fleet serves, and is not ready, before a stop. */
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

/** The moments of a reload or deploy at which a command may run; config/hooks.ts describes them. */
export const HOOK_NAMES = ["before", "afterReady", "after", "onFailure"] as const;

export type HookName = (typeof HOOK_NAMES)[number];

interface HookConfig {
  /** The absolute path of a program, and its arguments. */
  command: string[];
  timeoutMs: number;
}

export type HooksConfig = Partial<Record<HookName, HookConfig>>;

/** Who is told what happens to the fleet: a webhook or a command. */
export type AlertConfig = AlertRule & {
  /** How long one attempt may take. */
  timeoutMs: number;
  /** How many further attempts there are. */
  retries: number;
} & ({ webhook: SecretText; headers: Record<string, SecretText> } | { command: string[] });

/** Where metrics and spans are sent. */
export interface OtlpConfig {
  endpoint: string;
  headers: Record<string, SecretText>;
  /** The share of requests whose spans are sent. */
  sampleRatio: number;
  /** 0: metrics are not sent. */
  metricsEveryMs: number;
  timeoutMs: number;
  /** Further attributes of the resource. */
  attributes: Record<string, string>;
}

/** The key `tls.automatic`, with the names of `listen` that have no certificate. */
export interface AutomaticConfig {
  names: string[];
  /** Null: the CA gets none. */
  email: string | null;
  /** The URL of the CA's directory. */
  directory: string;
  /** That of a directory for trials; null: there is none. */
  stagingDirectory: string | null;
  /** The absolute path of the certificates that are trusted for the directory beside the usual ones. */
  caFile: string | null;
  externalAccount: { keyId: string; key: SecretText } | null;
  challenges: ChallengeKind[];
  /** The URL that decides about names on demand; null: there are none. */
  ask: string | null;
}

/** The user whom a fleet's processes run as. */
export interface FleetUser {
  /** Its name; its number if it has none. */
  name: string;
  uid: number;
  gid: number;
  /** The configured group; null: the user's own. */
  group: string | null;
  /** The home directory, if it has one. */
  home: string | null;
}

/** The key `admin`: the page and the metrics over TCP. */
export interface AdminConfig {
  /** Null: nowhere. */
  listen: { host: string; port: number } | null;
  /** The file of the operator's own token; null: one is made. */
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
  /** Where certificates come from for names that no file has; null: from nowhere. */
  issuer: "self-signed" | "internal" | null;
  /** The names of `listen`. */
  names: string[];
  minVersion: TlsVersion;
  /** The absolute path of the certificates of authorities whose clients may connect; null: clients show no certificate. */
  clientCa: string | null;
  /** Whether clients without a certificate may connect, too. */
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
  /** Null or absent, as in the state of an earlier version, without the key. */
  admin?: AdminConfig | null;
  /** The user that the supervisor becomes after it has bound `listen`; null: it stays who it is. */
  user: FleetUser | null;
  orphanGraceMs: number;
  /** Whether balancers start a detached fleet's supervisor again after it was killed. */
  restartSupervisor: boolean;
  /** How deploys go; missing in the state of an earlier version. */
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

/** How a process ended; both null if its parent was not this process. */
export interface ExitStatus {
  code: number | null;
  signal: string | null;
}
