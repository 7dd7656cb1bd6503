/** The supervisor's variables in a child's environment. The child reads them and removes the secret ones. */
import { badLimit, INSTANCE_LIMITS, type InstanceLimits, MAX_TIMER_MS } from "../limits.js";
import { ChannelError, isAmount } from "./checks.js";
import type { SocketAddress, TcpAddress, UpstreamProtocol } from "./protocol.js";
import type { ProxyVersion } from "./snapshot.js";

/** The supervisor's variables in the environment of every child, which removes them before it loads an app. */
export const CHANNEL_ENVIRONMENT = {
  /** The path of channel.sock. */
  channel: "PACELINE_CHANNEL",
  token: "PACELINE_TOKEN",
  attempt: "PACELINE_ATTEMPT",
  /** A ChildSpec as JSON. */
  spec: "PACELINE_SPEC",
} as const;

/**
 * Makes Bun read modules on the main thread only, because its extra threads would take 0.15 MB in each process. Set for Paceline's
 * processes, and removed from their environment so that programs they start do not inherit it.
 */
export const BUN_ONE_READER = "BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER";

/**
 * Makes Bun's last and most expensive compiler (JavaScriptCore's FTL) wait for code that is sixty times hotter than usual. A short handler
 * is compiled after about 270,000 requests, when it has saved as much time as its compilation takes. A computing loop is still compiled
 * within milliseconds. Otherwise many instances would each compile for seconds to handle a few thousand requests. With sixteen instances on
 * two CPUs, this reduces the CPU time of the first hundred thousand requests to two thirds, and their p99 to a sixth. Set for instances
 * unless the user has set it, and removed from their environment.
 */
export const BUN_LATE_FTL = { name: "BUN_JSC_thresholdForFTLOptimizeAfterWarmUp", value: "4000000" } as const;

/**
 * Makes Bun return freed memory to the system after 50 ms instead of a second, for balancers: after a load of many connections they then
 * take 9 MB less. Removed from the environment.
 */
export const BUN_PURGE_SOON = { name: "MIMALLOC_PURGE_DELAY", value: "50" } as const;

/** A folder of files that an instance serves. */
export interface StaticSpec {
  /** An absolute path. */
  root: string;
  /** StaticOptions of packages/server. */
  options: object;
}

/** The random part of the time between two health checks: up to this fraction more or less. */
export const HEALTH_JITTER = 0.1;

/** The readiness and health checks of a pool's instances. */
export interface HealthConfig {
  readyPath?: string;
  healthPath?: string;
  /** Without `healthPath`: whether a TCP or unix connection is checked at intervals. */
  healthConnects?: boolean;
  healthIntervalMs: number;
  healthTimeoutMs: number;
  /** The number of consecutive failed checks after which an instance is killed; 0: never. */
  healthFailures: number;
  /** After this many consecutive failed checks, the instance gets no new requests. If absent, it gets requests until it is killed. */
  healthFall?: number;
  /** After this many consecutive good checks, the instance gets requests again. */
  healthRise?: number;
  /** The Host field of check requests. */
  checkHost: string;
}

/** A program that a shim runs; docs/commands.md and docs/workers.md explain the settings. */
export interface CommandSpec extends HealthConfig {
  /** The absolute path of the program, and its arguments. */
  args: string[];
  /** Its working directory. */
  cwd: string;
  /** Overrides the shim's environment. */
  env: Record<string, string>;
  /** The address on which the program serves; absent for a worker, which serves nothing. */
  address?: SocketAddress;
  /** The version of the PROXY header that the program expects on each connection. */
  sendProxy?: ProxyVersion;
  stopSignal: string;
  /** The time from `stopSignal` to SIGKILL, in milliseconds. */
  termTimeoutMs: number;
  /** The time after which the supervisor stops waiting for the program to become ready, in milliseconds. */
  readyTimeoutMs: number;
  /** Set for a worker. */
  worker?: WorkerSpec;
}

/** How a shim runs a program that serves nothing. */
export interface WorkerSpec {
  /** How long the program must run to count as ready, in milliseconds. */
  readyAfterMs: number;
  /** Whether the program counts as ready when it has called `process.send("ready")` instead. */
  readySignal: boolean;
  /** If set, the program runs only at these times, and the shim is ready at once. */
  schedule?: ScheduleSpec;
}

export interface ScheduleSpec {
  /** A cron pattern; see cron.ts. */
  cron: string;
  /** An IANA name. Default: the local time zone. */
  timezone?: string;
  /** A run that takes longer is killed, in milliseconds; 0: no limit. */
  runTimeoutMs: number;
}

/** A variable with a value unique to each spawn, by which the processes of a command are found. */
export const SPAWN_TAG = "PACELINE_SPAWN";

/**
 * The descriptor of a deleted file whose name is the spawn tag. Daemons such as nginx overwrite their environment, but keep this
 * descriptor.
 */
export const TAG_FD = 3;

/** The upstream of a proxy instance. */
export interface ProxySpec {
  /** An http:// or https:// URL. */
  target: string;
  /** ProxyOptions of packages/server. */
  options: object;
}

/** The command that starts a fleet, and continues with processes that are still running. */
export interface RestartCommand {
  command: string;
  args: string[];
  cwd: string;
  /** Variables that decide what is started. Children do not have them. */
  environment?: Record<string, string>;
  /** The file that its output is appended to. */
  output: string;
}

/** The workload and settings of a child; JSON in PACELINE_SPEC. */
export interface ChildSpec {
  orphanGraceMs: number;
  /** The drain time of an orphan, and on SIGTERM. */
  drainTimeoutMs: number;
  /** The version of the Paceline that starts the child. */
  version?: string;
  /** The title of a Python instance in the process list. Other processes have it in argv[0]. */
  title?: string;
  /** For balancers of a detached fleet: the command that restarts the supervisor after it was killed. */
  restart?: RestartCommand;
  /** For balancers: the pid of the supervisor that has started it. */
  supervisor?: number;
  /** For balancers: the number of inherited listening sockets, as fd 3 and up. */
  listens?: number;
  /** For balancers: the absolute path of the folder in which they share counts. */
  countsFolder?: string;
  /** How often a process with news reports, in milliseconds. Default: 1,000. */
  reportEveryMs?: number;
  /** The supervisor's socket files. An orphan removes those on which nobody listens. */
  supervisorSockets?: string[];
  /** The absolute path of the app module; for instances. */
  app?: string;
  /** For apps on Node: a cache folder of their generation for compiled TypeScript. */
  cache?: string;
  /** The shape of the app's default export. Default: detected. */
  style?: "fetch" | "node";
  /** The rest of `process.argv` after the app's path. */
  args?: string[];
  /** For apps: the time in milliseconds after which the supervisor gives up on an instance that is not ready. See `lateAfterMs`. */
  readyTimeoutMs?: number;
  /** Whether an instance becomes ready only when its app has called `process.send("ready")`. */
  readySignal?: boolean;
  /** The folder to serve instead of an app; for instances. */
  static?: StaticSpec;
  /** The program to run instead of an app; for shims. */
  command?: CommandSpec;
  /** The upstream to forward to instead of an app; for instances. */
  proxy?: ProxySpec;
  /** The addresses that an instance in direct mode serves beside its own socket. Their sockets are inherited as fd 3 and up. */
  direct?: TcpAddress[];
  /** How long a request of a Python instance in direct mode may go without response data, in milliseconds. Default: no limit. */
  requestTimeoutMs?: number;
  /** The upstream protocol of a fetch app. Default: `http1`. */
  protocol?: UpstreamProtocol;
  limits?: InstanceLimits;
}

/**
 * How long before the supervisor gives up a child that is not ready reports the reason, in milliseconds. The supervisor started to count
 * earlier than the child.
 */
const WORD_BEFORE_END_MS = 3_000;

/** Returns the time after which a child that is not ready reports why, in milliseconds. */
export function lateAfterMs(readyTimeoutMs: number): number {
  return Math.min(Math.max(readyTimeoutMs - WORD_BEFORE_END_MS, readyTimeoutMs / 2), MAX_TIMER_MS);
}

/** The identity of a child, and what it runs. */
export interface ChildIdentity {
  /** The path of channel.sock. */
  channel: string;
  token: string;
  attempt: number;
  generation: number;
  /** The pool's name; `balancer` for balancers. */
  pool: string;
  /** The slot, for example `web.3`. */
  name: string;
  /** The number in the slot's name, for example 3. */
  index: number;
  /** The socket that an instance serves; absent for a balancer. */
  socket?: string;
  spec: ChildSpec;
}

/**
 * Returns the identity of this child, or undefined if no supervisor started it. Deletes the variables in CHANNEL_ENVIRONMENT from
 * `environment`, so that neither the app nor a program that it starts can act for the slot. PACELINE_POOL and similar variables stay for
 * the app.
 * @throws ChannelError `bad-environment` if a variable is missing or invalid
 */
export function takeChildEnvironment(environment: NodeJS.ProcessEnv = process.env): ChildIdentity | undefined {
  const channel = environment[CHANNEL_ENVIRONMENT.channel];
  if (channel === undefined || channel === "") return undefined;
  const socket = environment.PACELINE_SOCKET;
  const identity: ChildIdentity = {
    channel,
    token: text(environment, CHANNEL_ENVIRONMENT.token),
    attempt: wholeNumber(environment, CHANNEL_ENVIRONMENT.attempt),
    generation: wholeNumber(environment, "PACELINE_GENERATION"),
    pool: text(environment, "PACELINE_POOL"),
    name: text(environment, "PACELINE_INSTANCE"),
    index: wholeNumber(environment, "PACELINE_INDEX"),
    ...(socket ? { socket } : {}),
    spec: childSpec(text(environment, CHANNEL_ENVIRONMENT.spec)),
  };
  for (const name of [...Object.values(CHANNEL_ENVIRONMENT), BUN_ONE_READER]) delete environment[name];
  for (const { name, value } of [BUN_LATE_FTL, BUN_PURGE_SOON])
    if (environment[name] === value) delete environment[name];
  return identity;
}

function text(environment: NodeJS.ProcessEnv, name: string): string {
  const value = environment[name];
  if (value === undefined || value === "") throw new ChannelError("bad-environment", `${name} is not set`);
  return value;
}

function wholeNumber(environment: NodeJS.ProcessEnv, name: string): number {
  const value = text(environment, name);
  if (!/^\d{1,15}$/.test(value)) throw new ChannelError("bad-environment", `${name} is not a whole number: ${value}`);
  return Number(value);
}

function childSpec(json: string): ChildSpec {
  const bad = (what: string, cause?: unknown) =>
    new ChannelError("bad-environment", `${CHANNEL_ENVIRONMENT.spec} ${what}`, { cause });
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw bad("is not JSON", cause);
  }
  if (typeof value !== "object" || value === null) throw bad("is not an object");
  const spec = value as Partial<Record<keyof ChildSpec, unknown>>;
  for (const key of ["orphanGraceMs", "drainTimeoutMs"] as const) {
    if (!isAmount(spec[key])) throw bad(`has an invalid ${key}`);
  }
  for (const key of ["reportEveryMs", "readyTimeoutMs"] as const) {
    if (spec[key] !== undefined && !isAmount(spec[key])) throw bad(`has an invalid ${key}`);
  }
  if (spec.app !== undefined && typeof spec.app !== "string") throw bad("has an app that is not a path");
  if (spec.cache !== undefined && typeof spec.cache !== "string") throw bad("has a cache that is not a path");
  if (spec.args !== undefined && !Array.isArray(spec.args)) throw bad("has args that are not a list");
  if (spec.static !== undefined && typeof (spec.static as { root?: unknown } | null)?.root !== "string") {
    throw bad("has a static without a root");
  }
  if (spec.command !== undefined && !Array.isArray((spec.command as { args?: unknown } | null)?.args)) {
    throw bad("has a command without args");
  }
  const { supervisorSockets: sockets = [] } = spec;
  if (!Array.isArray(sockets) || sockets.some((path) => typeof path !== "string")) {
    throw bad("has supervisorSockets that are not paths");
  }
  if (spec.limits !== undefined) {
    if (typeof spec.limits !== "object" || spec.limits === null) throw bad("has limits that are not an object");
    const limit = badLimit(INSTANCE_LIMITS, spec.limits);
    if (limit !== undefined) throw bad(`has an invalid limits.${limit}`);
  }
  return value as ChildSpec;
}
