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
import { resolvePools } from "./resolve-pools.js";
import { balancerFields, DEFAULT_LISTEN, type FleetInput, fleetFields, logFields } from "./schema.js";
import { resolveToken } from "./secrets.js";
import { resolveTls } from "./tls.js";

/** Resolves `input` to a fleet. Problems are added to `context.findings`. */
export function resolveFleet(input: FleetInput, context: ResolveContext): FleetConfig {
  const { baseDir } = context;
  const { listen, pools } = resolveAddresses(input, context);
  const balancer = resolveBalancer(input, context);
  const tls = resolveTls(input.tls, listen, {
    pathOf: (path) => resolve(baseDir, path),
    isOnlyChecked: context.isOnlyChecked ?? false,
    secretsAt: (key) => ({ ...secretContext(context, "tls", key), pathOf: (path) => resolve(baseDir, path) }),
    report: reporter(context),
  });
  // Pools in direct mode need no balancer.
  const serves = pools.length === 0 || pools.some((pool) => pool.serves && pool.mode !== "direct");
  const reportProxied = reporter(context, "balancer", "proxyProtocol");
  const proxied = resolveProxied(input.balancer ?? {}, listen, context.listenDir, reportProxied);
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
  const hooks = resolveHooks(input.hooks, { baseDir, searchPath }, reporter(context));
  const alerts = resolveAlerts(input.alerts, searchPath, secretContext(context, "alerts"));
  const otlp = resolveOtlp(input.otlp, secretContext(context, "otlp"));
  if (otlp !== undefined && otlp.sampleRatio > 0) {
    balancer.spans = true;
    balancer.trace ??= { keep: "trusted", sampled: otlp.sampleRatio };
  }
  const tokenFile = resolveToken(input.admin?.token, ["admin", "token"], secretContext(context));
  return {
    name: input.name ?? context.defaultName,
    listen,
    ...(tls !== undefined && { tls }),
    agentCheck: resolveAgentCheck(input.agentCheck, listen, reporter(context, "agentCheck")),
    admin: resolveAdmin(input.admin, tokenFile, listen, reporter(context, "admin", "listen")),
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

/** Returns the addresses of the fleet, and the pools, each with the addresses that only it serves. */
function resolveAddresses(input: FleetInput, context: ResolveContext): Pick<FleetConfig, "listen" | "pools"> {
  const resolved = resolvePools(input, context);
  // A fleet without clients does not listen.
  const takesClients = resolved.length === 0 || resolved.some((pool) => pool.serves);
  if (!takesClients && input.listen !== undefined)
    find(
      context,
      ["listen"],
      `is not valid without a pool that gets requests: ${kindsOf(resolved)} pools do not listen`,
    );
  const pathOf = (pool: string) => (input.pools === undefined ? [] : ["pools", pool]);
  const serving = resolved
    .filter((pool) => pool.serves)
    .map(({ name, mode }) => ({ name, mode, path: pathOf(name), bind: (input.pools?.[name] ?? input).bind }));
  const byDefault = `${context.defaultPort ?? DEFAULT_LISTEN}`;
  const written = writtenAddresses(serving, input.listen, byDefault, reporter(context));
  const addresses = takesClients
    ? readListen(written, context.listenDir, (at, problem) => find(context, at ?? ["listen"], problem))
    : [];
  return splitAddresses(resolved, addresses, (name, message) => find(context, [...pathOf(name), "bind"], message));
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
  const report = (key: string) => reporter(context, "balancer", key);
  const accessLogRule = resolveAccessLog(balancer.accessLog, context.baseDir, report("accessLog"));
  return {
    processes: processCount(balancer.processes ?? defaultOf(balancerFields, "processes")),
    runtime: resolveRuntime(balancer.runtime, input.runtime, ["balancer"], context),
    trustedProxies: proxies,
    rateLimits: resolveRateLimits(balancer.rateLimits, report("rateLimits")),
    accessLog: accessLogRule !== undefined,
    ...(accessLogRule !== undefined && { accessLogRule }),
    ...resolveIdentity(balancer),
    probes: resolveProbes(balancer.probes, report("probes")),
    preDrainMs: balancer.preDrainMs ?? defaultOf(balancerFields, "preDrainMs"),
    spoolDir: balancer.spoolDir === undefined ? null : resolve(context.baseDir, balancer.spoolDir),
    policy: resolvePolicy(input, balancer),
    limits: { ...BALANCER_LIMITS, ...defined(balancer.limits) },
    maxOutputBytes: balancer.maxOutputBytes ?? input.maxOutputBytes ?? defaultOf(balancerFields, "maxOutputBytes"),
  };
}
