/** Resolves a validated configuration to a fleet: defaults, absolute paths, and checks that depend on the machine. */

import { resolve } from "node:path";
import { BALANCER_LIMITS, INSTANCE_LIMITS } from "@paceline/wire/limits";
import { DEPLOY_DEFAULTS } from "../core/deploy.js";
import {
  type BalancerConfig,
  type FleetConfig,
  type FleetUser,
  type LogConfig,
  MAX_INSTANCES,
  type PoolConfig,
  type ProcessPolicy,
  type RelayTraits,
  type RuntimeName,
  type ScalingConfig,
} from "../core/model.js";
import type { Runtimes } from "../runtime/runtimes.js";
import { resolveAccessLog } from "./access-log.js";
import { findUser } from "./accounts.js";
import { relayedPolicy } from "./balancing.js";
import { resolveEjection } from "./ejection.js";
import { errorPages } from "./error-pages.js";
import { defaultsOf, processCount } from "./fields.js";
import { resolveAdmin, resolveAgentCheck, resolveProbes, resolveProxied } from "./fronts.js";
import { resolveHealth, resolveWarmup } from "./health.js";
import { resolveHooks } from "./hooks.js";
import { defaultPoolOf, KIND_NAMES, resolveKind } from "./kinds/index.js";
import { type KindResult, stickyRule } from "./kinds/kind.js";
import { readListen } from "./listen-address.js";
import { resolveOverload } from "./overload.js";
import { resolveFolder } from "./paths.js";
import { resolveRateLimits } from "./rate-limits.js";
import { readEnvironment } from "./read-file.js";
import { resolveRecycle } from "./recycle.js";
import { resolveIdentity } from "./request-identity.js";
import { readRoute, routeKey } from "./route.js";
import { resolveScaling } from "./scaling.js";
import {
  balancerFields,
  DEFAULT_LISTEN,
  type FleetInput,
  fleetFields,
  logFields,
  ownPoolFields,
  type PoolInput,
  policyFields,
  poolFields,
  RESERVED_POOL_NAMES,
} from "./schema.js";
import { readSecrets, resolveToken } from "./secrets.js";
import { readTrustedProxies } from "./trusted-proxies.js";
import type { Finding } from "./validate.js";

interface ResolveContext {
  /** The folder that relative paths start from. */
  baseDir: string;
  /** The folder for relative sockets in `listen`: the same folder, with symbolic links kept. */
  listenDir: string;
  /** Of 127.0.0.1. Default: that of DEFAULT_LISTEN. */
  defaultPort?: number | undefined;
  /** The fleet's default name. */
  defaultName: string;
  runtimes: Runtimes;
  /** $CREDENTIALS_DIRECTORY, if it is set. */
  credentialsDir?: string | undefined;
  /** Nothing is started, so secrets for the fleet's user alone are no problem. */
  isOnlyChecked?: boolean | undefined;
  /** The problems found so far. Each key is reported at most once. */
  findings: Finding[];
}

type PolicyInput = Pick<PoolInput, keyof ProcessPolicy>;

const policyDefaults = defaultsOf(policyFields);
const backoffDefaults = defaultsOf(fieldsOf(policyFields.backoff)) as unknown as ProcessPolicy["backoff"];
const budgetDefaults = defaultsOf(fieldsOf(policyFields.restartBudget)) as unknown as ProcessPolicy["restartBudget"];

/** Resolves `input` to a fleet. Problems are added to `context.findings`. */
export function resolveFleet(input: FleetInput, context: ResolveContext): FleetConfig {
  const pools = poolInputs(input, context).map(({ path, name, pool }) => resolvePool(name, path, pool, input, context));
  checkRoutes(pools, input.pools !== undefined, context);
  checkCookies(pools, context);
  // Without requests nothing listens, and there is nothing to balance.
  const serves = pools.length === 0 || pools.some((pool) => pool.serves);
  if (!serves && input.listen !== undefined)
    find(context, ["listen"], `is not valid without a pool that gets requests: ${kindsOf(pools)} pools do not listen`);
  const balancer = resolveBalancer(input, context);
  const listen = serves
    ? readListen(input.listen ?? [`${context.defaultPort ?? DEFAULT_LISTEN}`], context.listenDir, (at, problem) =>
        find(context, at === undefined ? ["listen"] : ["listen", at], problem),
      )
    : [];
  const proxied = resolveProxied(input.balancer ?? {}, listen, context.listenDir, (at, message) =>
    find(context, ["balancer", "proxyProtocol", ...at], message),
  );
  if (!serves && input.agentCheck !== undefined)
    find(context, ["agentCheck"], "is not valid without a pool that gets requests");
  const { baseDir } = context;
  const searchPath = pools[0]?.env.PATH ?? process.env.PATH ?? "";
  const hooks = resolveHooks(input.hooks, { baseDir, searchPath }, (path, problem) => find(context, path, problem));
  return {
    name: input.name ?? context.defaultName,
    listen,
    agentCheck: resolveAgentCheck(input.agentCheck, listen, (at, message) =>
      find(context, ["agentCheck", ...at], message),
    ),
    admin: resolveAdmin(input.admin, resolveTokenFile(input, context), listen, (at, message) =>
      find(context, ["admin", "listen", ...at], message),
    ),
    user: resolveUser(input, context),
    restartSupervisor: input.restartSupervisor ?? true,
    orphanGraceMs: input.orphanGraceMs ?? defaultOf(fleetFields, "orphanGraceMs"),
    deploy: {
      ...DEPLOY_DEFAULTS,
      ...defined(input.deploy),
      limits: { ...DEPLOY_DEFAULTS.limits, ...defined(input.deploy?.limits) },
    },
    log: { ...(defaultsOf(logFields) as unknown as LogConfig), ...defined(input.log) },
    ...(hooks !== undefined && { hooks }),
    balancer: serves ? { ...balancer, ...(proxied.length > 0 && { proxied }) } : { ...balancer, processes: 0 },
    pools,
  };
}

function resolveTokenFile({ admin }: FleetInput, context: ResolveContext): string | null {
  const { baseDir, credentialsDir, isOnlyChecked = false } = context;
  const report = (at: (string | number)[], message: string) => find(context, at, message);
  return resolveToken(admin?.token, ["admin", "token"], { baseDir, credentialsDir, isOnlyChecked, report });
}

function resolveUser({ user, group }: FleetInput, context: ResolveContext): FleetUser | null {
  if (user === undefined) {
    if (group !== undefined) find(context, ["group"], "needs `user`");
    return null;
  }
  const found = findUser(user, group);
  if (!("problem" in found)) return found;
  find(context, [found.key], found.problem);
  return null;
}

function kindsOf(pools: readonly PoolConfig[]): string {
  return [...new Set(pools.map(({ kind }) => `\`${kind}\``))].join(" and ");
}

interface NamedPool {
  path: string[];
  name: string;
  pool: PoolInput;
}

function poolInputs(input: FleetInput, context: ResolveContext): NamedPool[] {
  if (input.pools === undefined) {
    if (context.findings.some(({ path }) => path[0] === "pools")) return [];
    return [{ path: [], name: defaultPoolOf(input), pool: input }];
  }
  for (const key of Object.keys(ownPoolFields)) {
    if (input[key as keyof FleetInput] !== undefined)
      find(context, [key], "must be in one of the `pools`, not at the top level");
  }
  const entries = Object.entries(input.pools);
  if (entries.length === 0) find(context, ["pools"], "must have at least one pool");
  return entries.map(([name, pool]) => {
    const path = ["pools", name];
    if (!/^[a-z][a-z0-9-]{0,31}$/.test(name)) {
      find(
        context,
        path,
        "a pool's name must be a lower-case letter, then lower-case letters, digits or -, at most 32 characters",
      );
    } else if (RESERVED_POOL_NAMES.includes(name)) find(context, path, `a pool cannot be named "${name}"`);
    return { path, name, pool };
  });
}

function resolvePool(
  name: string,
  path: string[],
  pool: PoolInput,
  input: FleetInput,
  context: ResolveContext,
): PoolConfig {
  const cwdAt = pool.cwd === undefined ? [] : path;
  const cwd = pool.cwd ?? input.cwd;
  const folder = cwd === undefined ? context.baseDir : resolveFolder(cwd, context.baseDir);
  if (folder === undefined) find(context, [...cwdAt, "cwd"], `there is no such folder: ${cwd}`);
  const envPath = pool.env === undefined ? [] : path;
  // A pool's own files and variables override those of the top level.
  const envFiles = [
    ...(input.envFiles ?? []).map((file, at) => ({ file, path: ["envFiles", at] })),
    ...(path.length === 0 ? [] : (pool.envFiles ?? []).map((file, at) => ({ file, path: [...path, "envFiles", at] }))),
  ];
  const routes = (pool.routes ?? defaultOf<string[]>(poolFields, "routes")).map((route, at) => {
    const read = readRoute(route);
    if ("route" in read) return read.route;
    find(context, [...path, "routes", at], read.problem);
    return route;
  });
  const report = (at: (string | number)[], message: string) => find(context, at, message);
  const { baseDir, credentialsDir, isOnlyChecked = false } = context;
  const given = { ...input.env, ...pool.env };
  const { variables, secrets } = readSecrets(given, [...envPath, "env"], {
    ...{ baseDir, credentialsDir, isOnlyChecked, report },
  });
  const env = readEnvironment({ baseDir, files: envFiles, variables, secrets, path: [...envPath, "env"], report });
  const kind = resolveKind({ ...pool }, path.length === 0, {
    routes,
    cwd: folder ?? context.baseDir,
    env: Object.fromEntries(
      Object.entries(pool.env ?? {}).flatMap(([at, value]) => (typeof value === "string" ? [[at, value]] : [])),
    ),
    searchPath: env.PATH ?? process.env.PATH ?? "",
    baseDir: context.baseDir,
    runtimes: context.runtimes,
    stripPrefix: pool.stripPrefix,
    report: (at, message) => find(context, [...path, ...at], message),
    isReported: () =>
      context.findings.some(
        ({ path: at }) => path.every((part, index) => part === at[index]) && KIND_NAMES.includes(`${at[path.length]}`),
      ),
  });
  const { maxInstances = MAX_INSTANCES } = kind;
  const scaling = resolveSize(pool, kind, (at, message) => find(context, [...path, ...at], message));
  const instances = scaling?.min ?? processCount((pool.instances as number | "cpus") ?? kind.defaultInstances);
  if (instances > maxInstances)
    find(context, [...path, "instances"], `cannot be more than ${maxInstances} with \`cron\`: a run happens once`);
  const runtime = resolveRuntime(kind.runtime ?? pool.runtime, input.runtime, path, context);
  if (pool.bunfig !== undefined && runtime !== "bun") find(context, [...path, "bunfig"], 'needs the runtime "bun"');
  return {
    name,
    kind: kind.kind,
    source: kind.source,
    workload: kind.workload,
    relayed: {
      ...kind.relayed,
      ...resolveSticky(name, path, pool, context),
      ...resolveBalancing(path, pool, context),
      ...(kind.serves && resolvePages(path, pool, input, context)),
      ...(kind.serves && resolveEjection(pool, (at, message) => find(context, [...path, ...at], message))),
      ...resolveOverload(pool, (at, message) => find(context, [...path, ...at], message)),
    },
    launch: kind.launch ?? { entry: "server" },
    backups: resolveBackups(pool.backups ?? 0, instances, (message) => find(context, [...path, "backups"], message)),
    preload: kind.preload ?? false,
    maxInFlight: kind.maxInFlight ?? null,
    requestTimeoutMs: requestTimeoutOf(pool, kind, input),
    instances,
    scaling,
    serves: kind.serves,
    maxInstances,
    cron: kind.cron ?? null,
    overlap: kind.overlap ?? true,
    routes: kind.serves ? routes : [],
    stripPrefix: pool.stripPrefix ?? defaultOf<boolean>(poolFields, "stripPrefix"),
    runtime,
    protocol: pool.protocol ?? input.protocol ?? "lane",
    release: context.baseDir,
    cwd: folder ?? context.baseDir,
    env,
    secrets,
    envFiles: envFiles.map(({ file }) => resolve(context.baseDir, file)),
    policy: resolvePolicy(input, pool),
    recycle: resolveRecycle(input, pool, kind.cron !== undefined, (isOwn, key, message) =>
      find(context, [...(isOwn ? path : []), key], message),
    ),
    warmup: resolveWarmup(pool, (at, message) => find(context, [...path, ...at], message)),
    health: resolveHealth(pool, (at, message) => find(context, [...path, ...at], message)),
    limits: {
      ...INSTANCE_LIMITS,
      ...defined(input.limits),
      ...defined(pool.limits),
    },
    maxOutputBytes: pool.maxOutputBytes ?? input.maxOutputBytes ?? defaultOf(poolFields, "maxOutputBytes"),
  };
}

/** Returns the rules of an autoscaled pool; null for a fixed number of instances. */
function resolveSize(
  { instances }: PoolInput,
  { kind, serves }: { kind: string; serves: boolean },
  report: (path: (string | number)[], message: string) => void,
): ScalingConfig | null {
  if (typeof instances !== "object") return null;
  if (serves) return resolveScaling(instances, (at, message) => report(["instances", ...at], message));
  report(["instances"], `must be a number in \`${kind}\` pools: they get no requests to scale by`);
  return null;
}

function resolveSticky(name: string, path: string[], pool: PoolInput, context: ResolveContext): RelayTraits {
  if (pool.sticky === undefined) return {};
  const sticky = stickyRule(name, pool.sticky);
  if (typeof sticky !== "string") return { sticky };
  find(context, [...path, "sticky"], sticky);
  return {};
}

function resolveBackups(backups: number, instances: number, report: (message: string) => void): number {
  if (backups > 0 && backups >= instances) report(`must be below the number of instances, which is ${instances}`);
  return backups;
}

function resolveBalancing(path: string[], { policy, sticky }: PoolInput, context: ResolveContext): RelayTraits {
  const relayed = relayedPolicy(policy ?? "round-robin");
  if (typeof relayed === "string") find(context, [...path, "policy"], relayed);
  else if (relayed.sticky === undefined || sticky === undefined) return relayed;
  else find(context, [...path, "policy"], "a hash cannot be combined with `sticky`: each of them chooses the instance");
  return {};
}

function resolvePages(path: string[], pool: PoolInput, input: FleetInput, context: ResolveContext) {
  const [given, at] = pool.errorPages === undefined ? [input.errorPages, []] : [pool.errorPages, path];
  const report = (status: string, message: string) => find(context, [...at, "errorPages", status], message);
  return errorPages(given, context.baseDir, report);
}

/** Raising the response timeout above the default must not get the process killed earlier. */
function requestTimeoutOf(pool: PoolInput, kind: KindResult, input: FleetInput): number {
  if (kind.requestTimeoutMs === undefined) return 0;
  return (
    pool.requestTimeoutMs ?? Math.max(kind.requestTimeoutMs, input.balancer?.limits?.upstreamResponseTimeoutMs ?? 0)
  );
}

function resolveBalancer(input: FleetInput, context: ResolveContext): BalancerConfig {
  const balancer = input.balancer ?? {};
  const proxies = readTrustedProxies(balancer.trustedProxies ?? [], (at, message) =>
    find(context, ["balancer", "trustedProxies", at], message),
  );
  const accessLogRule = resolveAccessLog(balancer.accessLog, context.baseDir, (at, message) =>
    find(context, ["balancer", "accessLog", ...at], message),
  );
  return {
    processes: processCount(balancer.processes ?? defaultOf(balancerFields, "processes")),
    runtime: resolveRuntime(balancer.runtime, input.runtime, ["balancer"], context),
    trustedProxies: proxies,
    rateLimits: resolveRateLimits(balancer.rateLimits, (at, message) =>
      find(context, ["balancer", "rateLimits", ...at], message),
    ),
    accessLog: accessLogRule !== undefined,
    ...(accessLogRule !== undefined && { accessLogRule }),
    ...resolveIdentity(balancer),
    probes: resolveProbes(balancer.probes, (at, message) => find(context, ["balancer", "probes", ...at], message)),
    preDrainMs: balancer.preDrainMs ?? defaultOf(balancerFields, "preDrainMs"),
    spoolDir: balancer.spoolDir === undefined ? null : resolve(context.baseDir, balancer.spoolDir),
    policy: resolvePolicy(input, balancer),
    limits: { ...BALANCER_LIMITS, ...defined(balancer.limits) },
    maxOutputBytes: balancer.maxOutputBytes ?? input.maxOutputBytes ?? defaultOf(balancerFields, "maxOutputBytes"),
  };
}

function resolvePolicy(outer: PolicyInput, inner: PolicyInput): ProcessPolicy {
  const merged = { ...policyDefaults, ...defined(pickPolicy(outer)), ...defined(pickPolicy(inner)) };
  return {
    ...(merged as unknown as ProcessPolicy),
    backoff: { ...backoffDefaults, ...defined(outer.backoff), ...defined(inner.backoff) },
    restartBudget: { ...budgetDefaults, ...defined(outer.restartBudget), ...defined(inner.restartBudget) },
  };
}

function pickPolicy(input: PolicyInput): PolicyInput {
  const keys = Object.keys(policyFields) as (keyof ProcessPolicy)[];
  return Object.fromEntries(keys.map((key) => [key, input[key]])) as PolicyInput;
}

function resolveRuntime(
  own: RuntimeName | undefined,
  shared: RuntimeName | undefined,
  path: string[],
  context: ResolveContext,
): RuntimeName {
  const wanted = own ?? shared;
  if (wanted === undefined) return context.runtimes.preferred;
  const at = [...(own === undefined ? [] : path), "runtime"];
  if (context.runtimes[wanted] === undefined) find(context, at, `${wanted} is not installed here`);
  return wanted;
}

function checkRoutes(pools: PoolConfig[], named: boolean, context: ResolveContext): void {
  const owners = new Map<string, string>();
  for (const pool of pools.filter(({ serves }) => serves)) {
    const path = named ? ["pools", pool.name, "routes"] : ["routes"];
    if (pool.routes.length === 0) find(context, path, "must have at least one route");
    const isInternal = pool.relayed.internalRoots !== undefined;
    for (const route of pool.routes) {
      // Client routes and internal routes are separate.
      const key = `${isInternal ? "internal " : ""}${routeKey(route)}`;
      const owner = owners.get(key);
      if (owner === pool.name) find(context, path, `has the route ${JSON.stringify(route)} twice`);
      else if (owner !== undefined)
        find(context, path, `the pool ${owner} already has the route ${JSON.stringify(route)}`);
      else owners.set(key, pool.name);
    }
  }
}

/** Two pools with one cookie would replace each other's. */
function checkCookies(pools: PoolConfig[], context: ResolveContext): void {
  const owners = new Map<string, string>();
  for (const { name: pool, relayed } of pools) {
    const { by, name } = relayed.sticky ?? {};
    if (by !== "cookie" || name === undefined) continue;
    const owner = owners.get(name);
    if (owner !== undefined)
      find(context, ["pools", pool, "sticky"], `the pool ${owner} already has the cookie ${name}`);
    else owners.set(name, pool);
  }
}

/** Adds a problem, unless the key or a table around it already has one. */
function find({ findings }: ResolveContext, path: (string | number)[], message: string): void {
  const known = findings.some((finding) => finding.path.every((part, at) => part === path[at]));
  if (!known) findings.push({ path, message });
}

function defaultOf<T = number>(fields: Record<string, Parameters<typeof defaultsOf>[0][string]>, key: string): T {
  return defaultsOf(fields)[key] as T;
}

function fieldsOf(field: typeof policyFields.backoff | typeof policyFields.restartBudget) {
  return field.unwrap().shape as Parameters<typeof defaultsOf>[0];
}

/** Returns `values` without undefined keys, ready to be spread over defaults. */
function defined<T extends object>(values: T | undefined): Partial<{ [K in keyof T]-?: NonNullable<T[K]> }> {
  const entries = Object.entries(values ?? {}).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as Partial<{ [K in keyof T]-?: NonNullable<T[K]> }>;
}
