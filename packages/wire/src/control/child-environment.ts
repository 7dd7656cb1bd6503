/** What the supervisor puts into a child's environment; the child reads it, and takes the secret part out of it. */
import { badLimit, INSTANCE_LIMITS, type InstanceLimits } from "../limits.js";
import { ChannelError, isAmount } from "./checks.js";
import type { SocketAddress, UpstreamProtocol } from "./protocol.js";

/** What the supervisor puts in the environment of every child of ours; the child removes it before it loads an app. */
export const CHANNEL_ENVIRONMENT = {
  /** The path of channel.sock. */
  channel: "PACELINE_CHANNEL",
  token: "PACELINE_TOKEN",
  attempt: "PACELINE_ATTEMPT",
  /** A ChildSpec as JSON. */
  spec: "PACELINE_SPEC",
} as const;

/**
 * Has Bun read modules on the main thread alone: the threads that it would start for that keep 0.15 MB in each process.
 * Set for our own processes, and taken out of their environment lest others inherit it.
 */
export const BUN_ONE_READER = "BUN_FEATURE_FLAG_DISABLE_ASYNC_TRANSPILER";

/**
 * Has Bun's last and dearest compiler (JavaScriptCore's FTL) take what is sixteen times as hot as usual: a loop that computes
 * still gets there within milliseconds, but many instances do not each compile for seconds what serves a few thousand requests. With
 * sixteen of them on two processors the first hundred thousand requests cost two thirds, and their p99 is a sixth.
 * Set for instances where the user has not set it, and taken out of their environment.
 */
export const BUN_LATE_FTL = { name: "BUN_JSC_thresholdForFTLOptimizeAfterWarmUp", value: "1000000" } as const;

/** A folder of files that an instance serves. */
export interface StaticSpec {
  /** An absolute path. */
  root: string;
  /** StaticOptions of @paceline/server. */
  options: object;
}

/** A program that a shim runs; all that its keys mean is in docs/commands.md. */
export interface CommandSpec {
  /** The absolute path of the program, and its arguments. */
  args: string[];
  /** Its working directory. */
  cwd: string;
  /** Laid over the shim's environment. */
  env: Record<string, string>;
  address: SocketAddress;
  readyPath?: string;
  healthPath?: string;
  healthIntervalMs: number;
  healthTimeoutMs: number;
  /** Failures in a row with which it counts as sick. */
  healthFailures: number;
  /** The Host field of these requests. */
  checkHost: string;
  stopSignal: string;
  /** From that signal to SIGKILL. */
  termTimeoutMs: number;
  /** When the supervisor gives up waiting for it. */
  readyTimeoutMs: number;
}

/** By this variable, whose value is unique to a spawn, the processes of a command are found wherever they have gone. */
export const SPAWN_MARK = "PACELINE_SPAWN";

/** A deleted file of that name is open here: a daemon that overwrites its environment, as nginx does, still has what it came with. */
export const MARK_FD = 3;

/** An upstream elsewhere that an instance is a proxy for. */
export interface ProxySpec {
  /** An http:// or https:// URL. */
  target: string;
  /** ProxyOptions of @paceline/server. */
  options: object;
}

/** What a child is to run; JSON in PACELINE_SPEC. */
export interface ChildSpec {
  orphanGraceMs: number;
  /** For an orphan that must end by itself, and for SIGTERM: how long a drain may take. */
  drainTimeoutMs: number;
  /** How often a process that has something to report does so; 1,000 unless told. */
  reportEveryMs?: number;
  /** Socket files of the supervisor; an orphan removes those on which nobody listens. */
  supervisorSockets?: string[];
  /** The app module's absolute path; for instances. */
  app?: string;
  /** A folder of its generation for what is translated from TypeScript; for apps on Node. */
  cache?: string;
  /** What the app's default export is to be taken for; unless told, its shape tells. */
  style?: "fetch" | "node";
  /** What `process.argv` has after its path. */
  args?: string[];
  /** Whether an instance is ready only when its app has called `process.send("ready")`. */
  readySignal?: boolean;
  /** The folder to serve in the place of an app; for instances. */
  static?: StaticSpec;
  /** The program to run in the place of an app; for shims. */
  command?: CommandSpec;
  /** The upstream to pass requests on to, in the place of an app; for instances. */
  proxy?: ProxySpec;
  /** What a fetch app is to speak with its balancers; `http1` unless told. */
  protocol?: UpstreamProtocol;
  limits?: InstanceLimits;
}

/** Who a child is and what it is to run. */
export interface ChildIdentity {
  /** The path of channel.sock. */
  channel: string;
  token: string;
  attempt: number;
  generation: number;
  /** The pool's name; `balancer` for balancers. */
  pool: string;
  /** The slot, such as `web.3`. */
  name: string;
  /** The number in the slot's name, such as 3. */
  index: number;
  /** The socket an instance serves on; absent for a balancer. */
  socket?: string;
  spec: ChildSpec;
}

/**
 * The identity of this child, or undefined when no supervisor started it. The variables in CHANNEL_ENVIRONMENT are deleted
 * from `environment`, so that neither the app nor a program it starts can speak for the slot; PACELINE_POOL and its like
 * stay for the app to read.
 *
 * @throws ChannelError `bad-environment` when a variable is missing or cannot be understood.
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
  if (environment[BUN_LATE_FTL.name] === BUN_LATE_FTL.value) delete environment[BUN_LATE_FTL.name];
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
  if (spec.reportEveryMs !== undefined && !isAmount(spec.reportEveryMs)) throw bad("has an invalid reportEveryMs");
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
