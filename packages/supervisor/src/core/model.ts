/** The words of the control plane as types: what a fleet is configured to be. Pure; imported by every other part. */

/** The most instances a pool can have. */
export const MAX_INSTANCES = 1024;

/** An address the fleet listens on. */
export type ListenAddress = { kind: "tcp"; host: string; port: number } | UnixAddress;

export interface UnixAddress {
  kind: "unix";
  /** Absolute. */
  path: string;
  /** Permissions of the socket file; 0600 unless set. */
  mode?: number;
  /** Its group; that of the process unless set. */
  group?: { name: string; gid: number };
}

export type RuntimeName = "bun" | "node";

/** Exponential backoff with jitter. */
export interface BackoffPolicy {
  initialMs: number;
  maxMs: number;
  factor: number;
  /** The share of a delay that is random, 0 to 1. */
  jitter: number;
}

/** How many failures a slot may have within a period before it is `failed`. */
export interface RestartBudget {
  maxFailures: number;
  periodMs: number;
}

/** The deadlines and the budget that one slot's process lives by. */
export interface ProcessPolicy {
  readyTimeoutMs: number;
  /** Ready for this long: the failures before it are forgotten. */
  stableAfterMs: number;
  drainTimeoutMs: number;
  /** From SIGTERM to SIGKILL. */
  termTimeoutMs: number;
  /** From SIGKILL to a warning that the process does not die. */
  killTimeoutMs: number;
  /** A replacement has to stay ready for this long before the old process leaves. */
  minReadyMs: number;
  /** How many slots a rollout replaces at once: a count, or a share of the pool such as `25%`. */
  maxSurge: number | string;
  /** An event loop that has not turned for this long; 0: however long it takes. */
  hangAfterMs: number;
  backoff: BackoffPolicy;
  restartBudget: RestartBudget;
}

/** What an instance is started as. */
export type Launch =
  /** A program of ours, on the pool's runtime: the server, or the shim of a command. */
  | { entry: "server" | "shim"; bunfig?: string }
  /** Another program: an absolute path or a name that is found on PATH, and its arguments. */
  | { command: string; args: string[] };

/** How the instances of a pool are asked whether they are ready and well. */
export interface HealthConfig {
  readyPath?: string;
  healthPath?: string;
  healthIntervalMs: number;
  healthTimeoutMs: number;
  /** Failures in a row with which one counts as sick. */
  healthFailures: number;
  /** The Host field of these requests. */
  checkHost: string;
}

/** When a process is replaced for what it has done, and not for its code. */
export interface RecycleLimits {
  /** 0: however many it has had. */
  maxRequests: number;
  /** Each process has a limit that is lower by a random share, up to this one, 0 to 1. */
  jitter: number;
}

/** What a balancer has to know of a pool's kind; see SnapshotPool in @paceline/wire. */
export interface RelayTraits {
  internalRoots?: string[];
  sendsFiles?: boolean;
  takesAllRequests?: boolean;
}

/** One pool as configured, with every default filled in and every path absolute. */
export interface PoolConfig {
  name: string;
  /** Which of the kinds in config/kinds/ it is. */
  kind: string;
  /** What it runs, for people; an absolute path where it is one. */
  source: string;
  relayed: RelayTraits;
  /** What the ChildSpec of its instances has of its kind. */
  workload: Record<string, unknown>;
  launch: Launch;
  /** Whether one process loads what it runs, and forks the instances. */
  preload: boolean;
  /** Requests that a balancer may have under way at one instance; null: as many as its own limits allow. */
  maxInFlight: number | null;
  /** How long an instance that limits its concurrency may send nothing of a response that it owes; 0: for ever. */
  requestTimeoutMs: number;
  instances: number;
  /** See SnapshotPool.routes in @paceline/wire. */
  routes: string[];
  /** Whether its instances see paths without the prefix of the route. */
  stripPrefix: boolean;
  runtime: RuntimeName;
  /** What a fetch app speaks with the balancers. */
  protocol: "lane" | "http1";
  /** The folder that its relative paths were taken from, symbolic links followed. */
  release: string;
  /** The working directory, absolute. */
  cwd: string;
  /** From env files and the `env` key; laid over the caller's environment. */
  env: Record<string, string>;
  /** Those of its env files, absolute. */
  envFiles: string[];
  policy: ProcessPolicy;
  recycle: RecycleLimits;
  health: HealthConfig;
  /** InstanceLimits of @paceline/wire, all filled in. */
  limits: Record<string, number>;
  /** How much of what a process wrote may be unread, in bytes. */
  maxOutputBytes: number;
}

/** The balancers as configured; they form a pool of their own named `balancer`. */
export interface BalancerConfig {
  processes: number;
  runtime: RuntimeName;
  trustedProxies: string[];
  /** The folder for large bodies of slow clients, absolute; null: one in the run directory. */
  spoolDir: string | null;
  /** Whether each request is a line of the log. */
  accessLog: boolean;
  policy: ProcessPolicy;
  /** BalancerLimits of @paceline/wire, all filled in. */
  limits: Record<string, number>;
  maxOutputBytes: number;
}

/** How the log is kept in files. */
export interface LogConfig {
  maxFileBytes: number;
  maxFiles: number;
  maxTotalBytes: number;
}

/** A whole fleet as configured: what `paceline check` accepts and the supervisor runs. */
export interface FleetConfig {
  name: string;
  listen: ListenAddress[];
  orphanGraceMs: number;
  log: LogConfig;
  balancer: BalancerConfig;
  pools: PoolConfig[];
}

/** The states of DESIGN's table; `docs/architecture.md` has it in full. */
export type ProcessState = "stopped" | "starting" | "ready" | "draining" | "killing" | "backoff" | "failed";

/** How a process ended; both null when nobody could wait for it. */
export interface ExitStatus {
  code: number | null;
  signal: string | null;
}
