/**
 * Resolves a validated configuration to a fleet: defaults, absolute paths, and checks that depend on the machine. resolve-pools.ts handles
 * the pools.
 */

import { resolve } from "node:path";
import { BALANCER_LIMITS } from "@paceline/wire/limits";
import { DEPLOY_DEFAULTS } from "../core/deploy.js";
import type { BalancerConfig, FleetConfig, FleetUser, LogConfig, PoolConfig } from "../core/model.js";
import { findUser } from "./accounts.js";
import { resolveAccessLog, resolveIdentity, resolveRateLimits, resolveTrustedProxies } from "./balancer-keys.js";
import { defaultsOf, processCount } from "./fields.js";
import { resolveAdmin, resolveAgentCheck, resolveProbes, resolveProxied } from "./fronts.js";
import { readListen } from "./listen-address.js";
import { splitAddresses, writtenAddresses } from "./mode.js";
import { resolveAlerts, resolveOtlp } from "./receivers.js";
import { resolveHooks } from "./releases.js";
import { defaultOf, defined, find, type ResolveContext, resolvePolicy, resolveRuntime } from "./resolve-context.js";
import { resolvePools } from "./resolve-pools.js";
import { balancerFields, DEFAULT_LISTEN, type FleetInput, fleetFields, logFields } from "./schema.js";
import { resolveToken } from "./secrets.js";
import { resolveTls } from "./tls.js";

/** Resolves `input` to a fleet. Problems are added to `context.findings`. */
export function resolveFleet(input: FleetInput, context: ResolveContext): FleetConfig {
  const resolved = resolvePools(input, context);
  // A fleet without clients does not listen.
  const takesClients = resolved.length === 0 || resolved.some((pool) => pool.serves);
  if (!takesClients && input.listen !== undefined)
    find(
      context,
      ["listen"],
      `is not valid without a pool that gets requests: ${kindsOf(resolved)} pools do not listen`,
    );
  const balancer = resolveBalancer(input, context);
  const pathOf = (pool: string) => (input.pools === undefined ? [] : ["pools", pool]);
  const serving = resolved
    .filter((pool) => pool.serves)
    .map(({ name, mode }) => ({ name, mode, path: pathOf(name), bind: (input.pools?.[name] ?? input).bind }));
  const byDefault = `${context.defaultPort ?? DEFAULT_LISTEN}`;
  const written = writtenAddresses(serving, input.listen, byDefault, (at, message) => find(context, at, message));
  const addresses = takesClients
    ? readListen(written, context.listenDir, (at, problem) => find(context, at ?? ["listen"], problem))
    : [];
  const { listen, pools } = splitAddresses(resolved, addresses, (name, message) =>
    find(context, [...pathOf(name), "bind"], message),
  );
  const { baseDir } = context;
  const tls = resolveTls(input.tls, listen, {
    pathOf: (path) => resolve(baseDir, path),
    isOnlyChecked: context.isOnlyChecked ?? false,
    secretsAt: (key) => ({
      ...{ baseDir, credentialsDir: context.credentialsDir, isOnlyChecked: context.isOnlyChecked ?? false },
      pathOf: (path) => resolve(baseDir, path),
      report: (path, problem) => find(context, ["tls", key, ...path], problem),
    }),
    report: (at, message) => find(context, at, message),
  });
  // Pools in direct mode need no balancer.
  const serves = pools.length === 0 || pools.some((pool) => pool.serves && pool.mode !== "direct");
  const proxied = resolveProxied(input.balancer ?? {}, listen, context.listenDir, (at, message) =>
    find(context, ["balancer", "proxyProtocol", ...at], message),
  );
  if (!serves) refuseBalancerKeys(input, context);
  if (!serves && input.agentCheck !== undefined)
    find(context, ["agentCheck"], "is not valid without a pool that gets requests");
  if (input.user !== undefined && pools.some(({ mode }) => mode === "direct"))
    find(
      context,
      ["user"],
      'is not valid with `mode: "direct"`: sockets of root and of this user cannot share an address',
    );
  const searchPath = pools[0]?.env.PATH ?? process.env.PATH ?? "";
  const hooks = resolveHooks(input.hooks, { baseDir, searchPath }, (path, problem) => find(context, path, problem));
  const secretsAt = (key: string) => ({
    ...{ baseDir, credentialsDir: context.credentialsDir, isOnlyChecked: context.isOnlyChecked ?? false },
    report: (path: (string | number)[], problem: string) => find(context, [key, ...path], problem),
  });
  const alerts = resolveAlerts(input.alerts, searchPath, secretsAt("alerts"));
  const otlp = resolveOtlp(input.otlp, secretsAt("otlp"));
  if (otlp !== undefined && otlp.sampleRatio > 0) {
    balancer.spans = true;
    balancer.trace ??= { keep: "trusted", sampled: otlp.sampleRatio };
  }
  return {
    name: input.name ?? context.defaultName,
    listen,
    ...(tls !== undefined && { tls }),
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
    ...(alerts.length > 0 && { alerts }),
    ...(otlp !== undefined && { otlp }),
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

/** The keys of `balancer` that promise something to clients, or protect against them. */
const ABOUT_CLIENTS = [
  "trustedProxies",
  "rateLimits",
  "accessLog",
  "requestId",
  "trace",
  "proxyProtocol",
  "probes",
] as const;

/** Without a balancer, these promises cannot be kept. */
function refuseBalancerKeys({ balancer = {} }: FleetInput, context: ResolveContext): void {
  const refuse = (...path: string[]) =>
    find(context, ["balancer", ...path], "has no effect: no pool gets its requests from a balancer");
  for (const key of ABOUT_CLIENTS) if (balancer[key] !== undefined && balancer[key] !== false) refuse(key);
  // The default of `requestTimeoutMs` depends on this limit.
  for (const [key, value] of Object.entries(balancer.limits ?? {}))
    if (value !== undefined && key !== "upstreamResponseTimeoutMs") refuse("limits", key);
}

function resolveBalancer(input: FleetInput, context: ResolveContext): BalancerConfig {
  const balancer = input.balancer ?? {};
  const proxies = resolveTrustedProxies(balancer.trustedProxies ?? [], (at, message) =>
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
