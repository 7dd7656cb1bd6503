/** Builds the command lines and environments of all child processes. */

import {
  BUN_LATE_FTL,
  BUN_ONE_READER,
  BUN_PURGE_SOON,
  CHANNEL_ENVIRONMENT,
  type ChildSpec,
  type InstanceLimits,
  type RestartCommand,
  SPAWN_TAG,
  type TcpAddress,
} from "@paceline/wire";

import type { FleetEffect } from "../core/fleet-changes.js";
import type { PoolConfig, ProcessPolicy, RuntimeName } from "../core/model.js";
import { PacelineError } from "../errors.js";
import { builtFile, version } from "../package.js";
import type { RunDirPaths } from "../run-dir/run-dir-files.js";

import { environmentOf, forRuntime, inheritable, processTitle, runtimeCommand } from "../runtime/runtimes.js";
import { newTag, planCommand } from "./command-plan.js";
import { BALANCER_POOL } from "./live-process.js";
import type { Generation, PoolConfigs } from "./pool-configs.js";

export interface SpawnPlan {
  command: string;
  args: string[];
  /** Its argv[0]; undefined for Python, which finds its virtual environment by argv[0] and shows the title itself. */
  title?: string | undefined;
  cwd: string;
  environment: Record<string, string>;
  runtime: RuntimeName;
  maxOutputBytes: number;
  /** The unix socket that an instance listens on; null for a balancer or a worker. */
  socket: string | null;
  /** The TCP address that it listens on instead of a socket. */
  tcp: TcpAddress | null;
  /** The spawn tag of a command's processes; null if there is none. */
  commandTag: string | null;
  /**
   * The spawn tag of the processes that an instance starts, to find them after the instance has exited. Null if it starts none, or if a
   * shim handles them.
   */
  tag: string | null;
  /** The maximum number of requests that a balancer sends to it at once; null: only the balancer's own limits apply. */
  maxInFlight: number | null;
  /** The variables that differ between forks of one template; null if the process is not forked. */
  own: Record<string, string> | null;
  /** Whether a connection to it may carry requests of only one client. */
  perClient: boolean;
}

/** The input that all plans have in common. */
export interface SpawnSettings {
  configs: PoolConfigs;
  runDir: RunDirPaths;
  /** The absolute paths of the programs. */
  runtimes: { bun?: string; node: string };
  entries: Record<"balancer" | "server" | "shim", string>;
  /** The command that starts the supervisor again after a kill; undefined for a fleet that ends with the process that started it. */
  restart: RestartCommand | undefined;
  /** Returns a free TCP port of the loopback interface that no other child uses. */
  takePort(): number;
  /** NODE_ENV of JavaScript apps, if neither the caller nor the configuration sets it. */
  nodeEnv: "production" | "development";
}

/**
 * Plans the process of a `spawn` effect.
 * @throws PacelineError `ENORUNTIME`, `ENOCONFIG`
 */
export function planSpawn(settings: SpawnSettings, effect: FleetEffect, token: string): SpawnPlan {
  const { configs, runDir } = settings;
  const identity = {
    [BUN_ONE_READER]: "1",
    PACELINE_POOL: effect.pool,
    PACELINE_INSTANCE: effect.name,
    PACELINE_INDEX: String(effect.index),
    PACELINE_GENERATION: String(effect.generation),
    [CHANNEL_ENVIRONMENT.channel]: runDir.channelSocket,
    [CHANNEL_ENVIRONMENT.token]: token,
    [CHANNEL_ENVIRONMENT.attempt]: String(effect.attempt),
  };
  if (effect.pool === BALANCER_POOL) return planBalancer(settings, identity);
  const generation = configs.generation(effect.pool, effect.generation);
  if (generation === undefined) throw new PacelineError("ENOCONFIG", `no generation ${effect.generation}`);
  const { launch } = generation.pool;
  return "entry" in launch && launch.entry === "shim"
    ? planShim(settings, effect, generation, identity)
    : planInstance(settings, effect, generation, identity);
}

type Environment = Record<string, string>;

function planBalancer(settings: SpawnSettings, identity: Environment): SpawnPlan {
  const program = { entry: settings.entries.balancer, hasUserCode: false, isInspectable: true };
  const { configs, runDir } = settings;
  const { policy, runtime, maxOutputBytes } = configs.balancer;
  const restart = configs.fleet.restartSupervisor ? settings.restart : undefined;
  const holds = { supervisor: process.pid, listens: configs.fleet.listen.length, countsFolder: runDir.outputFolder };
  const spec: ChildSpec = { ...commonSpec(settings, policy), ...holds, ...(restart !== undefined && { restart }) };
  return {
    ...runtimeCommand(settings.runtimes, runtime, program),
    title: titleOf(identity, settings),
    cwd: runDir.path,
    environment: forRuntime(
      clean(
        { [BUN_PURGE_SOON.name]: BUN_PURGE_SOON.value, ...inheritable(configs.environment) },
        { ...identity, [CHANNEL_ENVIRONMENT.spec]: JSON.stringify(spec) },
      ),
      program,
    ),
    runtime,
    maxOutputBytes,
    socket: null,
    tcp: null,
    commandTag: null,
    tag: null,
    maxInFlight: null,
    own: null,
    perClient: false,
  };
}

/**
 * Plans the template that forks the instances of one generation of a pool.
 * @throws PacelineError `ENOCONFIG`
 */
export function planTemplate(
  settings: SpawnSettings,
  template: { id: string; name: string; pool: string; generation: number; attempt: number },
  token: string,
): SpawnPlan {
  const { configs, runDir } = settings;
  const generation = configs.generation(template.pool, template.generation);
  if (generation === undefined) throw new PacelineError("ENOCONFIG", `no generation ${template.generation}`);
  const own = {
    PACELINE_POOL: template.pool,
    PACELINE_INSTANCE: template.name,
    PACELINE_GENERATION: String(template.generation),
    [CHANNEL_ENVIRONMENT.channel]: runDir.channelSocket,
    [CHANNEL_ENVIRONMENT.token]: token,
    [CHANNEL_ENVIRONMENT.attempt]: String(template.attempt),
  };
  const plan = planInstance(settings, template, generation, own, { template: true });
  const { PACELINE_SOCKET: _socket, ...environment } = plan.environment;
  return { ...plan, environment, socket: null, own: null };
}

function planInstance(
  settings: SpawnSettings,
  { id, generation }: Pick<FleetEffect, "id" | "generation">,
  { pool, environment }: Generation,
  identity: Environment,
  more: object = {},
): SpawnPlan {
  const { workload, launch, protocol, policy, runtime, maxOutputBytes, maxInFlight } = pool;
  const socket = settings.runDir.socketPath(id);
  const given = pool.limits as InstanceLimits;
  const limits = { ...given, maxHeadBytes: given.maxHeadBytes + BALANCER_FIELDS_BYTES };
  const cache = "app" in workload && runtime === "node" ? settings.runDir.cachePath(pool.name, generation) : undefined;
  const spec: ChildSpec = {
    ...commonSpec(settings, policy),
    ...workload,
    ...(("app" in workload || !("entry" in launch)) && { readyTimeoutMs: policy.readyTimeoutMs }),
    ...more,
    protocol,
    ...(pool.bind !== undefined && {
      direct: pool.bind.map(({ host, port }) => ({ host, port })),
      // In direct mode no balancer can enforce the limit, so the instance has to.
      ...(pool.requestTimeoutMs > 0 && { requestTimeoutMs: pool.requestTimeoutMs }),
    }),
    limits,
    ...(!("entry" in launch) && { title: titleOf(identity, settings) }),
    ...(cache && { cache }),
  };
  const tag = newTag(id, settings.runDir);
  const own = {
    ...identity,
    [SPAWN_TAG]: tag,
    PACELINE_SOCKET: socket,
    [CHANNEL_ENVIRONMENT.spec]: JSON.stringify(spec),
  };
  const hasUserCode = "app" in workload;
  const all = clean(
    {
      [BUN_LATE_FTL.name]: BUN_LATE_FTL.value,
      ...(hasUserCode && usualVariables(settings, identity)),
      ...fromCaller(environment, pool),
      ...environmentOf(pool),
    },
    own,
  );
  return {
    ...("entry" in launch
      ? runtimeCommand(settings.runtimes, runtime, {
          entry: settings.entries[launch.entry],
          hasUserCode,
          bunfig: launch.bunfig,
          maxHeadBytes: limits.maxHeadBytes,
          // A user who debugs the app has chosen an inspector port.
          isInspectable: !/--inspect/.test(all.NODE_OPTIONS ?? ""),
        })
      : launch),
    title: "entry" in launch ? titleOf(identity, settings) : undefined,
    cwd: pool.cwd,
    environment: "entry" in launch ? forRuntime(all, { hasUserCode }) : all,
    runtime,
    maxOutputBytes,
    socket,
    tcp: null,
    commandTag: null,
    tag,
    maxInFlight,
    own: pool.preload ? own : null,
    // The upstream connections of a proxy belong to its clients; an ASGI app runs in a server that is not ours.
    perClient: "proxy" in workload || "asgi" in workload,
  };
}

/** Variables that JavaScript apps commonly read; the caller's and the configuration's variables take precedence. */
function usualVariables({ nodeEnv }: SpawnSettings, { PACELINE_INDEX }: Environment): Environment {
  return {
    NODE_ENV: nodeEnv,
    // The name that PM2 uses for the number of an instance, counted from 0.
    ...(PACELINE_INDEX !== undefined && { NODE_APP_INSTANCE: String(Number(PACELINE_INDEX) - 1) }),
  };
}

function planShim(
  settings: SpawnSettings,
  { id, name }: FleetEffect,
  { pool, environment }: Generation,
  identity: Environment,
): SpawnPlan {
  const { policy, runtime, maxOutputBytes, maxInFlight } = pool;
  const socket = settings.runDir.socketPath(id);
  const usual = "module" in (pool.workload.command as object) ? usualVariables(settings, identity) : {};
  const given = { ...usual, ...fromCaller(environment, pool), ...environmentOf(pool) };
  const plan = planCommand(pool, { id, name, socket }, given, settings);
  const { address } = plan.spec;
  const tcp = typeof address === "string" ? null : (address ?? null);
  const isOnSocket = address === socket;
  const spec: ChildSpec = { ...commonSpec(settings, policy), command: plan.spec };
  const program = { entry: settings.entries.shim, hasUserCode: false };
  const own = {
    ...identity,
    [SPAWN_TAG]: plan.commandTag,
    ...(isOnSocket && { PACELINE_SOCKET: socket }),
    [CHANNEL_ENVIRONMENT.spec]: JSON.stringify(spec),
  };
  return {
    ...runtimeCommand(settings.runtimes, runtime, program),
    title: titleOf(identity, settings),
    cwd: settings.runDir.path,
    environment: forRuntime(clean(plan.environment, own), program),
    runtime,
    maxOutputBytes,
    socket: address === undefined ? null : socket,
    tcp,
    commandTag: plan.commandTag,
    tag: null,
    maxInFlight,
    own: null,
    perClient: true,
  };
}

/** Returns the part of the ChildSpec that every child gets. */
function commonSpec({ configs, runDir }: SpawnSettings, { drainTimeoutMs }: ProcessPolicy): ChildSpec {
  // Tests set a shorter interval than one second.
  const reportEveryMs = Number(configs.environment.PACELINE_REPORT_EVERY_MS);
  return {
    orphanGraceMs: configs.fleet.orphanGraceMs,
    version: version(),
    ...(reportEveryMs > 0 && { reportEveryMs }),
    supervisorSockets: [runDir.controlSocket, runDir.channelSocket],
    drainTimeoutMs,
  };
}

function titleOf({ PACELINE_INSTANCE = "" }: Environment, { configs }: SpawnSettings): string {
  return processTitle(PACELINE_INSTANCE, configs.fleet.name);
}

/** Space for the fields that the balancer adds to a head of maximum size. */
const BALANCER_FIELDS_BYTES = 4096;

/** PWD would name the folder where the fleet was started, which may be another release by now. */
function fromCaller(environment: Record<string, string>, { cwd }: { cwd: string }): Record<string, string> {
  return { ...inheritable(environment), ...(environment.PWD !== undefined && { PWD: cwd }) };
}

/** Adds our variables last, and removes the caller's PACELINE_ variables, which exist if a process of one fleet starts another fleet. */
function clean(base: Record<string, string>, own: Record<string, string>): Record<string, string> {
  const inherited = Object.entries(base).filter(([name]) => !name.startsWith("PACELINE_"));
  return { ...Object.fromEntries(inherited), ...own };
}

/** Returns the environment of a command that runs once for a new generation of a pool. */
export function hookEnvironment(pool: PoolConfig, environment: Environment, own: Environment): Environment {
  return clean({ ...fromCaller(environment, pool), ...environmentOf(pool) }, own);
}

/** Returns the programs that children run. */
export function defaultEntries(): SpawnSettings["entries"] {
  return {
    server: builtFile("programs/server/bin.js"),
    shim: builtFile("programs/command/bin.js"),
    balancer: builtFile("programs/balancer/bin.js"),
  };
}
