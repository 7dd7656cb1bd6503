/** Reads what the supervisor put into a child's environment, and takes the secret part out of it. */
import { ChannelError } from "../errors.js";
import { badLimit, INSTANCE_LIMITS } from "../limits.js";
import { isAmount } from "./checks.js";
import { BUN_LATE_FTL, BUN_ONE_READER, CHANNEL_ENVIRONMENT, type ChildSpec } from "./messages.js";

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
