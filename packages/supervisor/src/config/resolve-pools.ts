/** Resolves the pools of a validated configuration: each one separately, and the values that no two of them may share. */
import { resolve } from "node:path";
import { INSTANCE_LIMITS } from "@paceline/wire/limits";
import { MAX_INSTANCES, type PoolConfig, type RelayTraits, type ScalingConfig } from "../core/model.js";
import { relayedPolicy, resolveOverload } from "./balancing.js";
import { resolveEjection } from "./ejection.js";
import { readEnvironment } from "./env-files.js";
import { processCount } from "./fields.js";
import { resolveHealth, resolveWarmup } from "./health.js";
import { defaultPoolOf, KIND_NAMES, resolveKind } from "./kinds/index.js";
import { type KindResult, stickyRule } from "./kinds/kind.js";
import { resolveMode } from "./mode.js";
import { resolveFolder } from "./paths.js";
import { resolveRecycle } from "./recycle.js";
import {
  defaultOf,
  defined,
  find,
  type ResolveContext,
  reporter,
  resolvePolicy,
  resolveRuntime,
  secretContext,
} from "./resolve-context.js";
import { errorPages, resolveCompress } from "./responses.js";
import { readRoute, routeKey } from "./route.js";
import { resolveScaling } from "./scaling.js";
import { type FleetInput, ownPoolFields, type PoolInput, poolFields, RESERVED_POOL_NAMES } from "./schema.js";
import { readSecrets } from "./secrets.js";

/** Resolves all pools. Problems are added to `context.findings`. */
export function resolvePools(input: FleetInput, context: ResolveContext): PoolConfig[] {
  const pools = poolInputs(input, context).map(({ path, name, pool }) => resolvePool(name, path, pool, input, context));
  checkRoutes(pools, input.pools !== undefined, context);
  checkCookies(pools, context);
  return pools;
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
  const surroundings = resolveSurroundings(path, pool, input, context);
  const report = reporter(context, ...path);
  const routes = (pool.routes ?? defaultOf<string[]>(poolFields, "routes")).map((route, at) => {
    const read = readRoute(route);
    if ("route" in read) return read.route;
    report(["routes", at], read.problem);
    return route;
  });
  const kind = resolveKind({ ...pool }, path.length === 0, {
    routes,
    cwd: surroundings.cwd,
    env: Object.fromEntries(
      Object.entries(pool.env ?? {}).flatMap(([at, value]) => (typeof value === "string" ? [[at, value]] : [])),
    ),
    searchPath: surroundings.env.PATH ?? process.env.PATH ?? "",
    baseDir: context.baseDir,
    runtimes: context.runtimes,
    stripPrefix: pool.stripPrefix,
    report,
    isReported: () =>
      context.findings.some(
        ({ path: at }) => path.every((part, index) => part === at[index]) && KIND_NAMES.includes(`${at[path.length]}`),
      ),
  });
  const { maxInstances = MAX_INSTANCES } = kind;
  const scaling = resolveSize(pool, kind, report);
  const instances = scaling?.min ?? processCount((pool.instances as number | "cpus") ?? kind.defaultInstances);
  if (instances > maxInstances)
    report(["instances"], `cannot be more than ${maxInstances} with \`cron\`: a run happens once`);
  const runtime = resolveRuntime(kind.runtime ?? pool.runtime, input.runtime, path, context);
  if (pool.bunfig !== undefined && runtime !== "bun") report(["bunfig"], 'needs the runtime "bun"');
  const mode = kind.serves ? resolveMode(pool, kind.kind, context.runtimes, report) : {};
  return {
    name,
    kind: kind.kind,
    source: kind.source,
    workload: kind.workload,
    relayed: {
      ...kind.relayed,
      ...(mode.mode === "tcp" && { mode: mode.mode }),
      ...resolveSticky(name, path, pool, context),
      ...resolveBalancing(path, pool, context),
      ...(kind.serves && resolvePages(path, pool, input, context)),
      ...(kind.serves && mode.mode === undefined && resolveResponses(kind.kind, path, pool, input, context)),
      ...(kind.serves && resolveEjection(pool, report)),
      ...resolveOverload(pool, report),
    },
    launch: kind.launch ?? { entry: "server" },
    backups: resolveBackups(pool.backups ?? 0, instances, (message) => report(["backups"], message)),
    preload: kind.preload ?? false,
    maxInFlight: kind.maxInFlight ?? null,
    requestTimeoutMs: requestTimeoutOf(pool, kind, input),
    instances,
    scaling,
    serves: kind.serves,
    maxInstances,
    cron: kind.cron ?? null,
    overlap: kind.overlap ?? true,
    ...mode,
    routes: kind.serves && mode.mode === undefined ? routes : [],
    stripPrefix: pool.stripPrefix ?? defaultOf<boolean>(poolFields, "stripPrefix"),
    runtime,
    protocol: mode.mode === "direct" ? "http1" : (pool.protocol ?? input.protocol ?? "lane"),
    release: context.baseDir,
    ...surroundings,
    policy: resolvePolicy(input, pool),
    recycle: resolveRecycle(input, pool, kind.cron !== undefined, (isOwn, key, message) =>
      find(context, [...(isOwn ? path : []), key], message),
    ),
    warmup: resolveWarmup(pool, report),
    health: resolveHealth(pool, mode.mode === "tcp", report),
    limits: {
      ...INSTANCE_LIMITS,
      ...defined(input.limits),
      ...defined(pool.limits),
    },
    maxOutputBytes: pool.maxOutputBytes ?? input.maxOutputBytes ?? defaultOf(poolFields, "maxOutputBytes"),
  };
}

/** Returns the working directory of a pool's instances, and their environment. */
function resolveSurroundings(
  path: string[],
  pool: PoolInput,
  input: FleetInput,
  context: ResolveContext,
): Pick<PoolConfig, "cwd" | "env" | "secrets" | "envFiles"> {
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
  const { baseDir } = context;
  const given = { ...input.env, ...pool.env };
  const { variables, secrets } = readSecrets(given, [...envPath, "env"], secretContext(context));
  const env = readEnvironment({
    ...{ baseDir, files: envFiles, variables, secrets, path: [...envPath, "env"] },
    report: reporter(context),
  });
  return {
    cwd: folder ?? baseDir,
    env,
    secrets,
    envFiles: envFiles.map(({ file }) => resolve(baseDir, file)),
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

function resolveResponses(kind: string, path: string[], pool: PoolInput, input: FleetInput, context: ResolveContext) {
  const isOwn = pool.compress !== undefined;
  const [given, at] = isOwn ? [pool.compress, path] : [input.compress, []];
  return resolveCompress(given, kind, isOwn, (key, message) => find(context, [...at, "compress", ...key], message));
}

/** If the response timeout is raised above the default, the process must not be killed earlier than that. */
function requestTimeoutOf(pool: PoolInput, kind: KindResult, input: FleetInput): number {
  if (kind.requestTimeoutMs === undefined) return 0;
  return (
    pool.requestTimeoutMs ?? Math.max(kind.requestTimeoutMs, input.balancer?.limits?.upstreamResponseTimeoutMs ?? 0)
  );
}

function checkRoutes(pools: PoolConfig[], named: boolean, context: ResolveContext): void {
  const owners = new Map<string, string>();
  for (const pool of pools.filter(({ serves }) => serves)) {
    const path = named ? ["pools", pool.name, "routes"] : ["routes"];
    if (pool.mode === undefined && pool.routes.length === 0) find(context, path, "must have at least one route");
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

/** Two pools with the same cookie would overwrite each other's values. */
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
