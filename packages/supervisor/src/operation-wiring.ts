/** The operations on a fleet, created in dependency order and connected to its other parts. */
import type { BalancerCoordination } from "./channel/balancer-coordination.js";
import type { EventLog } from "./logs/event-log.js";
import { AgentCheck } from "./operations/agent-check.js";
import { Autoscaling } from "./operations/autoscaling.js";
import { Deploys } from "./operations/deploys.js";
import { Dumps } from "./operations/dumps.js";
import { FleetLocking } from "./operations/fleet-locking.js";
import { Hooks } from "./operations/hooks.js";
import { openJudge } from "./operations/judging.js";
import { LoadSamples } from "./operations/load-samples.js";
import type { Publishing } from "./operations/publishing.js";
import { Recycling } from "./operations/recycling.js";
import { Reload } from "./operations/reload.js";
import { ReloadQueue } from "./operations/reload-queue.js";
import { Rollouts } from "./operations/rollouts.js";
import { ScaleAndRestart } from "./operations/scale-and-restart.js";
import { SlotTurns } from "./operations/slot-turns.js";
import type { StateKeeper } from "./operations/state-keeper.js";
import type { Children } from "./processes/children.js";
import type { FleetRunner } from "./processes/fleet-runner.js";
import type { HealthWatch } from "./processes/health-watch.js";
import { BALANCER_POOL, type LiveProcess } from "./processes/live-process.js";
import type { LivenessWatch } from "./processes/liveness-watch.js";
import { type PoolConfigs, whileWatched } from "./processes/pool-configs.js";
import type { SlotBook } from "./processes/slot-book.js";
import type { FleetState } from "./run-dir/fleet-state.js";
import type { JudgedCounts } from "./stats/judged-counts.js";
import type { StatsBook } from "./stats/stats.js";
import type { PssSampler, UsageSampler } from "./stats/usage.js";
import type { PartsOptions } from "./supervisor-options.js";

/** The parts that operations use. */
interface OtherParts {
  readonly log: EventLog;
  readonly slots: SlotBook;
  readonly stats: StatsBook;
  readonly judged: JudgedCounts;
  readonly configs: PoolConfigs;
  readonly runner: FleetRunner;
  readonly coordination: BalancerCoordination;
  readonly publishing: Publishing;
  readonly children: Children;
  readonly health: HealthWatch;
  readonly liveness: LivenessWatch;
  readonly usage: UsageSampler;
  readonly pss: PssSampler;
  /** Exists before an operation runs. */
  readonly state: StateKeeper;
  readonly isStopping: boolean;
}

export type FleetOperations = ReturnType<typeof createOperations>;

/** @param adopted the state of the fleet of a killed supervisor */
export function createOperations(parts: OtherParts, options: PartsOptions, adopted: FleetState | undefined) {
  const { log, slots, stats, configs, runner, coordination, children, judged, usage, publishing } = parts;
  const { runDir, loadConfig } = options;
  const publish = () => publishing.publish();
  const isStopping = () => parts.isStopping;
  const isReloading = (pool: string): boolean =>
    pool === BALANCER_POOL ? reload.changes.isAtBalancers : reloads.isRunning(pool);
  const isDeploying = (pool: string): boolean => deploys.holds(pool);
  const periodMs = Number(options.environment.PACELINE_REPORT_EVERY_MS) || undefined;

  const rollouts = new Rollouts({
    ...{ runner, children, coordination, slots, log },
    policyOf: (pool, generation) => {
      const policy = configs.policyOf(pool, generation);
      return options.watch === undefined ? policy : whileWatched(policy);
    },
    mayOverlap: (pool, generation) => configs.generation(pool, generation)?.pool.overlap ?? true,
    examine: (child) => parts.health.examine(child),
  });
  const operations = new ScaleAndRestart({
    ...{ runner, rollouts, slots, log, isStopping, isReloading, isDeploying },
    sizesOf: (pool) => configs.sizesOf(pool),
    backupsOf: (pool) => configs.pool(pool)?.backups ?? 0,
    setFloor: (pool, instances) => {
      const problem = autoscaling.setFloor(pool, instances);
      parts.state.changed();
      return problem;
    },
    isAutoscaled: (pool) => configs.scalingOf(pool) !== null,
    configuredSizeOf: (pool) => configs.pool(pool)?.instances ?? 0,
  });
  const turns = new SlotTurns({
    ...{ runner, coordination, log, publish, isStopping },
    healthOf: (id) => {
      const { ejections, failsChecks = false } = children.get(id) ?? {};
      return (ejections?.size ?? 0) > 0 ? "ejected" : failsChecks ? "failing" : undefined;
    },
    getsRequests: (pool) => configs.routes.get(pool) !== undefined,
    stickyOf: (pool) => configs.routes.get(pool)?.relayed?.sticky,
  });
  const dumps = new Dumps({
    children,
    folder: runDir.outputFolder,
    names: () => [...runner.fleet.pools.flatMap(({ name, slots }) => [name, ...slots.map((slot) => slot.name)])],
    stalledMs: (id) => parts.liveness.stalledMs(id),
  });

  const hooks = new Hooks(log, runDir.path);
  const locking = new FleetLocking(runDir.path, log);
  const reload = new Reload({
    ...{ runner, rollouts, operations, configs, slots, stats, log, hooks },
    ...{ loadConfig, publish, isStopping },
  });
  const reloads = new ReloadQueue((...args) => reload.run(...args));
  const deploys = new Deploys({
    ...{ runner, rollouts, operations, reload, configs, log, publish, isStopping, hooks, periodMs },
    source: options.deploySource,
    spawnedAt: (id) => children.get(id)?.spawnedAt,
    examine: async (id) => {
      const child = children.get(id);
      if (child === undefined || child.exit !== null) return undefined;
      return (await parts.liveness.ask(child)) ?? (await parts.health.examine(child));
    },
    openJudge: (pool, limits) => {
      const routesOf = () => configs.routes.get(pool)?.routes ?? [];
      return openJudge(pool, limits, { children, routesOf, counts: judged, usage });
    },
    watchRequests: (pool, id) => {
      const process = children.get(id);
      if (process !== undefined) judged.know(process);
      // A balancer forgets a process that has left; an instance has a final report, a command has none.
      return () => judged.hadRequest(pool, id) || (process?.stats.last?.requestsTotal ?? 0) > 0;
    },
    rateOf: (pool) => stats.totals(pool, performance.now()).requestsPerSecond,
    isReloading: () => reloads.isBusy,
    saveState: () => {
      parts.state.changed();
      return parts.state.saved();
    },
    publishOnce: (change) => publishing.publishOnce(change),
  });
  deploys.last.restoreSources(adopted?.deployed, adopted?.formerlyDeployed);

  const recycling = new Recycling({
    ...{ children, rollouts, log },
    fleet: () => runner.fleet,
    limitsOf: (pool) => configs.recycleLimitsOf(pool),
    mayBegin: (pool) => !isStopping() && !isReloading(pool) && !isDeploying(pool),
    memoryOf: (child, metric) => memoryOf(parts, child, metric),
    requestsOf: (pool) => stats.totals(pool, performance.now()).requestsTotal,
  });
  const autoscaling = new Autoscaling({
    ...{ runner, rollouts, log, isStopping, periodMs },
    samples: new LoadSamples({ children, usage }),
    configOf: (pool) => configs.scalingOf(pool),
    isBusy: (pool) => {
      const rollout = rollouts.of(pool)?.kind ?? "recycle";
      return isReloading(pool) || isDeploying(pool) || operations.isScaling(pool) || rollout !== "recycle";
    },
  });
  autoscaling.restoreFloors(adopted?.floors ?? []);
  const serving = () => runner.fleet.pools.filter(({ name }) => configs.routes.get(name) !== undefined);
  const agentCheck = new AgentCheck({
    ...{ log, isStopping, pools: serving },
    loads: (now) =>
      [...children.alive()].flatMap(({ stats }) => serving().flatMap(({ name }) => stats.relayedLoad(name, now) ?? [])),
  });
  return {
    ...{ rollouts, operations, turns, dumps, hooks, locking, reload, reloads, deploys },
    ...{ recycling, autoscaling, agentCheck },
  };
}

function memoryOf(
  { usage, pss }: OtherParts,
  { pid }: LiveProcess,
  metric: "rss" | "pss",
): { bytes: number; at: number } | undefined {
  if (pid === null) return undefined;
  if (metric === "pss") return pss.follow(pid) ?? undefined;
  const sample = usage.peek(pid);
  return sample && { bytes: sample.rssBytes, at: sample.at };
}
