/** Assembles the status document. */
import { availableParallelism } from "node:os";
import { rssBytes as ownRssBytes, STATUS_CLASSES } from "@paceline/wire";
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type {
  BalancerStatus,
  InstanceStatus,
  LogStatus,
  PoolStatus,
  Status,
  TemplateStatus,
  WatchStatus,
} from "../control/api.js";
import type { CertificateSummary } from "../core/certificates.js";
import { howItDied } from "../core/deaths.js";
import {
  type Fleet,
  FULL_WEIGHT,
  findPool,
  isCanary,
  outOfTurn,
  type Pool,
  processId,
  type Slot,
} from "../core/fleet.js";
import { marksOf, mediansOf } from "../core/marks.js";
import { unservedReason } from "../core/serving.js";
import { slownessOf, slowRoutes } from "../core/slowness.js";
import type { Children } from "../processes/children.js";
import type { DeathReporter } from "../processes/death-reporter.js";
import { outForHealth } from "../processes/ejections.js";
import { BALANCER_POOL, type LiveProcess, shimKey, type Template } from "../processes/live-process.js";
import type { LivenessWatch } from "../processes/liveness-watch.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SlotBook } from "../processes/slot-book.js";
import { latenciesOf, type StatsBook } from "../stats/stats.js";
import type { RouteTotals } from "../stats/totals.js";
import type { PssSampler, UsageSampler } from "../stats/usage.js";
import type { Autoscaling } from "./autoscaling.js";
import type { Deploys } from "./deploys.js";
import type { FleetLocking } from "./fleet-locking.js";
import {
  armFigures,
  armsOf,
  balancerFigures,
  figuresOf,
  instanceFigures,
  poolFigures,
  processesOf,
  secondsSince,
} from "./measures.js";
import type { Recycling } from "./recycling.js";
import type { Rollouts } from "./rollouts.js";
import type { SeriesKeeper } from "./series-keeper.js";
import { machineMemory } from "./warm-memory.js";

interface StatusSources {
  version: string;
  startedAt: number;
  state: Status["state"];
  listen: string[];
  watch: WatchStatus | null;
  problem: string | null;
  logStatus: LogStatus | null;
  rolledBack: Status["rolledBack"];
  fleet: Fleet;
  configs: PoolConfigs;
  children: Children;
  coordination: BalancerCoordination;
  rollouts: Rollouts;
  deploys: Deploys;
  recycling: Recycling;
  autoscaling: Autoscaling;
  slots: SlotBook;
  stats: StatsBook;
  routes: RouteTotals;
  usage: UsageSampler;
  liveness: LivenessWatch;
  pss: PssSampler;
  deaths: DeathReporter;
  series: SeriesKeeper;
  locking: FleetLocking;
  certificates: { readonly summary: CertificateSummary } | undefined;
}

export function buildStatus(sources: StatusSources): Status {
  const now = performance.now();
  const { fleet, configs, stats } = sources;
  const { bun, node } = process.versions;
  const fronts = frontsOf(sources).map(({ name }) => stats.totals(name, now));
  return {
    version: sources.version,
    name: configs.fleet.name,
    pid: process.pid,
    runtime: bun === undefined ? `node ${node}` : `bun ${bun}`,
    uptimeSeconds: secondsSince(sources.startedAt, now),
    state: sources.state,
    listen: sources.listen,
    requestsTotal: sum(fronts, ({ requestsTotal }) => requestsTotal),
    errorsTotal: sum(fronts, ({ errorsTotal }) => errorsTotal),
    ...memoryOfAll(sources),
    cpuPercent: sources.series.cpuPercent,
    traffic: trafficOf(sources, now),
    machine: { cpus: CPUS, ...machineBytes() },
    limits: { connections: configs.balancerLimits.maxConnections, queue: configs.balancerLimits.maxQueue },
    watch: sources.watch,
    problem: sources.problem ?? unserved(sources) ?? null,
    log: sources.logStatus,
    rolledBack: sources.rolledBack,
    lastDeath: lastDeathOf(sources),
    lock: sources.locking.status,
    ...(sources.certificates !== undefined && { certificates: sources.certificates.summary }),
    balancers: fleet.pools
      .filter((pool) => pool.name === BALANCER_POOL)
      .flatMap((pool) => pool.slots.map((slot) => balancerStatus(sources, slot, pool, now))),
    pools: fleet.pools.filter((pool) => pool.name !== BALANCER_POOL).map((pool) => poolStatus(sources, pool, now)),
  };
}

const CPUS = availableParallelism();

function machineBytes(): Pick<Status["machine"], "memoryBytes" | "availableBytes"> {
  const { totalBytes: memoryBytes = null, availableBytes = null } = machineMemory() ?? {};
  return { memoryBytes, availableBytes };
}

/** Returns the pools that are connected to the clients: the balancers, and the pools in direct mode. */
function frontsOf({ fleet, configs }: StatusSources): Pool[] {
  return fleet.pools.filter(({ name }) => name === BALANCER_POOL || configs.pool(name)?.mode === "direct");
}

function sum<T>(all: readonly T[], of: (each: T) => number): number {
  return all.reduce((total, each) => total + of(each), 0);
}

function trafficOf(sources: StatusSources, now: number): Status["traffic"] {
  const { fleet, stats, configs, series } = sources;
  const pool = findPool(fleet, BALANCER_POOL);
  let connections = 0;
  let queued = 0;
  const processes = pool === undefined ? [] : processesOf(sources, pool);
  for (const each of processes) {
    if (each.stats.last?.role === "balancer") connections += each.stats.last.connections;
    for (const { name } of configs.fleet.pools) queued += each.stats.relayedLoad(name, now)?.waiting ?? 0;
  }
  const fronts = frontsOf(sources);
  const own = poolFigures(sources, pool ?? { name: BALANCER_POOL, slots: [] }, now);
  const isAll = fronts.length === 1 && fronts[0] === pool;
  const { cpuPercent, rssBytes } = own;
  return {
    ...(isAll ? own : poolFigures(sources, { name: BALANCER_POOL, slots: fronts.flatMap(({ slots }) => slots) }, now)),
    ...{ cpuPercent, rssBytes },
    errorsPerMinute: sum(fronts, ({ name }) => series.errorsPerMinute(name)),
    requestsPerSecond: Math.round(10 * sum(fronts, ({ name }) => stats.totals(name, now).requestsPerSecond)) / 10,
    connections,
    queued: Math.round(queued),
  };
}

/** Once the fleet has started, a pool that should serve requests but cannot is a problem. */
function unserved({ state, fleet, configs }: StatusSources): string | undefined {
  if (state !== "running") return undefined;
  const reasons = fleet.pools.flatMap((pool) =>
    configs.routes.get(pool.name) === undefined ? [] : (unservedReason(pool) ?? []),
  );
  return reasons.length === 0 ? undefined : reasons.join("; ");
}

function lastDeathOf({ deaths: { last } }: StatusSources): Status["lastDeath"] {
  if (last === null) return null;
  const { id, at, name, reason } = last;
  return { id, at, name, how: howItDied(last), reason };
}

/** Returns the memory of the supervisor and of the whole fleet. */
function memoryOfAll({
  children,
  usage,
  pss,
}: StatusSources): Pick<Status, "rssBytes" | "pssBytes" | "pssOfRssBytes" | "supervisor"> {
  const supervisor = { rssBytes: ownRssBytes(), pssBytes: pss.of(process.pid) };
  let { rssBytes } = supervisor;
  let pssBytes: number | null = supervisor.pssBytes;
  let pssOfRssBytes = pss.rssThen(process.pid);
  const pids = [...children.alive()].flatMap(({ pid }) => pid ?? []);
  for (const key of [...pids, ...children.helpers()]) {
    rssBytes += usage.of(key)?.rssBytes ?? 0;
    const own = pss.of(key);
    // A process that was started since the last reading is left out until the next one.
    if (pssBytes === null || own === null) continue;
    pssBytes += own;
    pssOfRssBytes = (pssOfRssBytes ?? 0) + (pss.rssThen(key) ?? 0);
  }
  return { rssBytes, pssBytes, pssOfRssBytes, supervisor };
}

function poolStatus(sources: StatusSources, pool: Pool, now: number): PoolStatus {
  const config = sources.configs.pool(pool.name);
  const rollout = sources.rollouts.of(pool.name);
  const routeClasses = sources.routes.of(pool.name, now);
  const instances = pool.slots.map((slot) => instanceStatus(sources, slot, pool, now));
  const slow = slowRoutes({ routeClasses });
  const growths = sources.series.growthsOf(
    pool.name,
    instances.filter(({ pid }) => pid !== null),
  );
  const medians = mediansOf({ instances });
  for (const instance of instances) {
    const beside = { instances, routeClasses };
    instance.slow = slownessOf(instance, beside) ?? null;
    instance.growthBytesPerMinute = growths.get(instance.name) ?? null;
    if (instance.pid !== null) instance.marks = marksOf(instance, beside, medians);
  }
  return {
    name: pool.name,
    kind: config?.kind ?? "app",
    generation: pool.generation,
    release: releaseOf(sources, pool.name, pool.generation),
    cron: config?.cron ?? null,
    wanted: pool.wanted,
    ready: pool.slots.filter((slot) => slot.member.process.state === "ready").length,
    ...(config?.serves === false ? NO_REQUESTS : sources.stats.totals(pool.name, now)),
    ...poolFigures(sources, pool, now),
    routes: [...(config?.routes ?? [])],
    routeClasses: routeClasses.map((each) => ({ ...each, isSlow: slow.includes(each) })),
    ...heldOf(sources, pool.name),
    instances,
    medians,
    templates: [...sources.children.templates.alive()]
      .filter((template) => template.pool === pool.name)
      .map((template) => templateStatus(sources, template, now)),
    ...(config?.relayed.slowStartMs !== undefined && { slowStartMs: config.relayed.slowStartMs }),
    recyclePauseSeconds: sources.recycling.pauseSeconds(pool.name),
    scaling: sources.autoscaling.statusOf(pool.name),
    deploy: deployOf(sources, pool.name, now),
    rollout: rollout === undefined ? null : { kind: rollout.kind, done: rollout.done.length, total: rollout.total },
  };
}

function deployOf(sources: StatusSources, pool: string, now: number): PoolStatus["deploy"] {
  const deploy = sources.deploys.statusOf(pool);
  if (deploy === null) return null;
  const ids = armsOf(sources.fleet, pool, deploy.to, deploy.from);
  return { ...deploy, arms: { old: armFigures(sources, ids.old, now), new: armFigures(sources, ids.new, now) } };
}

const NO_REQUESTS = { requestsTotal: null, requestsPerSecond: null, errorsTotal: null };

function releaseOf({ configs }: StatusSources, pool: string, generation: number): string {
  return (configs.generation(pool, generation)?.pool ?? configs.pool(pool))?.release ?? "";
}

/** Returns the requests and responses that balancers buffer for slow clients of a pool. */
function heldOf({ children }: StatusSources, pool: string): Pick<PoolStatus, "receiving" | "sending"> {
  let receiving = 0;
  let sending = 0;
  for (const { stats } of children.alive()) {
    if (stats.last?.role !== "balancer") continue;
    const held = stats.last.held?.find((each) => each.pool === pool);
    receiving += held?.receiving ?? 0;
    sending += held?.sending ?? 0;
  }
  return { receiving, sending };
}

function instanceStatus(sources: StatusSources, slot: Slot, ofPool: Pool, now: number): InstanceStatus {
  const pool = ofPool.name;
  const child = memberOf(sources, slot);
  const last = child?.stats.last?.role === "instance" ? child.stats.last : null;
  const serves = sources.configs.pool(pool)?.serves ?? true;
  const ejections = ejectionsOf(sources, child, now);
  return {
    ...common(sources, slot, child, now),
    other: otherOf(sources, ofPool, slot, now),
    ...instanceFigures({ ...sources, child, record: sources.slots.of(slot.name), name: slot.name, now }, serves),
    generation: slot.member.generation,
    release: releaseOf(sources, pool, slot.member.generation),
    runtime: child?.runtime ?? sources.configs.pool(pool)?.runtime ?? "bun",
    eventLoopLagMs: last?.eventLoopLagMs ?? null,
    heapBytes: last?.heapBytes ?? null,
    responses: responsesOf(child),
    exposed: child?.exposed ?? [],
    recycles: sources.slots.of(slot.name).recycles,
    recycle: sources.recycling.statusOf(child),
    shim: shimOf(sources, child),
    outOfTurn: outOfTurn(slot.turn, slot.member.process) ?? (child === undefined ? null : outForHealth(child)),
    ejections,
    ejectionsTotal: child?.ejectionsTotal ?? 0,
    slow: null,
    growthBytesPerMinute: null,
    marks: {},
    weight: serves ? (slot.turn?.weight ?? FULL_WEIGHT) : null,
  };
}

function responsesOf(child: LiveProcess | undefined): InstanceStatus["responses"] {
  const counts = child?.stats.statuses;
  if (counts === undefined) return null;
  return Object.fromEntries(STATUS_CLASSES.map((name, at) => [name, counts[at] ?? 0])) as InstanceStatus["responses"];
}

function ejectionsOf({ children }: StatusSources, child: LiveProcess | undefined, now: number) {
  return [...(child?.ejections ?? [])].map(([id, { reason, until }]) => ({
    balancer: children.get(id)?.name ?? id,
    reason,
    forSeconds: secondsSince(now, until),
  }));
}

function templateStatus({ usage, pss }: StatusSources, template: Template, now: number): TemplateStatus {
  const { name, pid, isReady, generation, spawnedAt } = template;
  return {
    ...{ name, pid, generation },
    state: isReady ? "ready" : "loading",
    uptimeSeconds: secondsSince(spawnedAt, now),
    rssBytes: pid === null ? null : (usage.of(pid)?.rssBytes ?? null),
    pssBytes: pid === null ? null : pss.of(pid),
  };
}

/** Returns the memory of a command's parent process. */
function shimOf({ usage, pss }: StatusSources, child: LiveProcess | undefined): InstanceStatus["shim"] {
  if (child?.pid == null || child.commandTag === null) return null;
  const key = shimKey(child.pid);
  return { rssBytes: usage.of(key)?.rssBytes ?? null, pssBytes: pss.of(key) };
}

function balancerStatus(sources: StatusSources, slot: Slot, pool: Pool, now: number): BalancerStatus {
  const child = memberOf(sources, slot);
  const last = child?.stats.last?.role === "balancer" ? child.stats.last : null;
  return {
    ...common(sources, slot, child, now),
    other: otherOf(sources, pool, slot, now),
    ...balancerFigures({ ...sources, child, record: sources.slots.of(slot.name), name: slot.name, now }),
    runtime: child?.runtime ?? sources.configs.balancer.runtime,
    connections: last?.connections ?? 0,
    connectionsTotal: last?.connectionsTotal ?? 0,
    retriesTotal: last?.retriesTotal ?? 0,
    hedgesTotal: last?.hedgesTotal ?? 0,
    hedgesWonTotal: last?.hedgesWonTotal ?? 0,
    spoolBytes: last?.spoolBytes ?? 0,
    unreadEndedTotal: last?.unreadEndedTotal ?? 0,
    noRoomTotal: last?.noRoomTotal ?? 0,
    snapshotVersion: child === undefined ? 0 : sources.coordination.appliedVersion(child.id),
  };
}

/** Returns the fields that instances and balancers share. */
function common(sources: StatusSources, slot: Slot, child: LiveProcess | undefined, now: number) {
  const record = sources.slots.of(slot.name);
  return {
    name: slot.name,
    pid: child?.pid ?? null,
    state: slot.member.process.state,
    attempt: slot.member.process.attempt,
    version: child?.version ?? null,
    stalledMs: child === undefined ? null : sources.liveness.stalledMs(child.id),
    pssBytes: child?.pid == null ? null : sources.pss.of(child.pid),
    errorsTotal: child?.stats.last?.errorsTotal ?? 0,
    ...latenciesOf(child?.stats.recentLatencies(now) ?? []),
    lastExit: record.lastExit,
    linesTotal: record.linesTotal,
    linesLost: record.linesLost,
  };
}

function otherOf(sources: StatusSources, pool: Pool, slot: Slot, now: number): InstanceStatus["other"] {
  const shown = slot.other ?? (slot.warm && { role: "warm" as const, ...slot.warm });
  if (shown == null) return null;
  const { role, process, generation } = shown;
  const child = sources.children.get(processId(slot.name, process.attempt));
  const isTried = role === "replacement" && isCanary(pool, role, shown);
  return {
    ...{ role, pid: child?.pid ?? null, state: process.state, attempt: process.attempt, generation },
    isCanary: isTried,
    ...(isTried && child?.exit === null && figuresOf(sources, [child], now)),
  };
}

/** Returns the slot's process while it is running. */
function memberOf(sources: StatusSources, slot: Slot): LiveProcess | undefined {
  const child = sources.children.get(processId(slot.name, slot.member.process.attempt));
  return child?.exit === null ? child : undefined;
}
