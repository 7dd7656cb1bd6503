/** The steps of a reload for one pool: brings it to a new version, adds or removes it, or replaces the balancers. */
import { isDeepStrictEqual } from "node:util";
import type { OperationResult, ProgressListener } from "../control/api.js";
import { type Fleet, findPool, isDown } from "../core/fleet.js";
import { addPool, removePool, resize, setGeneration } from "../core/fleet-changes.js";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { BALANCER_POOL } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SlotBook } from "../processes/slot-book.js";
import type { StatsBook } from "../stats/stats.js";
import { firstSizeOf, sizeWithin } from "./autoscaling.js";
import { counted, generationsInUse, longestEndMs } from "./fleet-questions.js";
import type { Rollouts } from "./rollouts.js";
import { type ScaleAndRestart, STOPPING, wantedIndexes } from "./scale-and-restart.js";

export interface PoolChangesOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  operations: ScaleAndRestart;
  configs: PoolConfigs;
  slots: SlotBook;
  stats: StatsBook;
  /** Sends a snapshot of the current fleet to the balancers. */
  publish(): void;
  isStopping(): boolean;
}

export type Environment = Record<string, string>;

/** A completed step of a reload, and how to undo it if a later step fails. */
export interface Done {
  pool: string;
  /** The message after undoing it, for example `returned to /srv/shop/releases/6`. */
  undone: string;
  /** Null if the configuration and code of its processes did not change. */
  undo: (() => Promise<OperationResult>) | null;
}

/** The target state of a pool: its config, generation and number of slots. */
interface PoolGoal {
  config: PoolConfig;
  generation: number;
  size: number;
}

export class PoolChanges {
  /** Whether a reload ended between two balancers, or is replacing them, so that no config describes all of them. */
  areBalancersMixed = false;
  /** Whether a reload of all pools has reached the balancers, near its end. Before that, other operations may restart or scale them. */
  isAtBalancers = false;

  constructor(private readonly options: PoolChangesOptions) {}

  /** Puts these generations of the pools into service. All processes already belong to them. */
  enter(goals: readonly { config: PoolConfig; generation: number }[]): void {
    const { runner, configs, publish } = this.options;
    for (const { config, generation } of goals) {
      runner.set(setGeneration(runner.fleet, config.name, generation));
      configs.setPool(config);
      configs.setRoutes(config);
    }
    publish();
  }

  async existing(
    config: FleetConfig,
    name: string,
    environment: Environment,
    done: Done[],
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { runner, rollouts, configs, operations } = this.options;
    // A restart of this pool may be running; it ends within bounded time.
    rollouts.endRecycling(name);
    await rollouts.whenFree(name);
    const refusal = operations.refusalToRoll(name);
    if (refusal !== undefined) return refusal;
    const pool = findPool(runner.fleet, name);
    if (name === BALANCER_POOL)
      return rollouts.run("reload", name, pool === undefined ? [] : wantedIndexes(pool), 1, onProgress);
    const next = config.pools.find((p) => p.name === name);
    if (pool === undefined || next === undefined) return operations.unknown(name);
    const before = configs.pool(name);
    const size = sizeOf(next, before, pool.wanted);
    const goal = { config: next, generation: configs.addGeneration(next, environment), size };
    const former = { config: before ?? next, generation: pool.generation, size: pool.wanted };
    const isSame = environment === configs.environment && isDeepStrictEqual(next, before);
    const isMoved = next.release !== former.config.release;
    return this.bring(goal, former, onProgress, () =>
      done.push({
        pool: name,
        undone: `returned to ${isMoved ? former.config.release : "its previous configuration"}`,
        undo: isSame ? null : () => this.bring(former, goal, onProgress),
      }),
    );
  }

  /** Replaces a pool's processes, then scales it. Calls `onRolled` in between. */
  private async bring(
    goal: PoolGoal,
    from: PoolGoal,
    onProgress: ProgressListener,
    onRolled = () => {},
  ): Promise<OperationResult> {
    const { runner, rollouts, operations } = this.options;
    const { config, generation, size } = goal;
    const { name } = config;
    const pool = findPool(runner.fleet, name);
    if (pool === undefined) return operations.unknown(name);
    const slots = wantedIndexes(pool).filter((index) => index <= size);
    const ways = { formerGeneration: from.generation };
    const rolled = await rollouts.run("reload", name, slots, generation, onProgress, ways);
    if (!rolled.ok) return rolled;
    this.enter([goal]);
    onRolled();
    const now = findPool(runner.fleet, name);
    if (now === undefined || size === now.wanted) return rolled;
    const resized = await operations.resize(now, size, onProgress);
    return resized.ok && slots.length > 0 ? { ok: true, message: `${rolled.message}; ${resized.message}` } : resized;
  }

  async add(
    pool: PoolConfig,
    environment: Environment,
    done: Done[],
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { runner, configs, operations, publish } = this.options;
    const { name } = pool;
    const generation = configs.addGeneration(pool, environment);
    configs.setPool(pool);
    runner.set(addPool(runner.fleet, name, generation));
    const empty = findPool(runner.fleet, name);
    if (empty === undefined) return operations.unknown(name);
    const size = firstSizeOf(pool);
    const result = await operations.resize(empty, size, onProgress);
    if (!result.ok) {
      if (!this.options.isStopping()) await this.remove(name, onProgress);
      return result;
    }
    configs.setRoutes(pool);
    publish();
    done.push({ pool: name, undone: "was removed again", undo: () => this.remove(name, onProgress) });
    return { ok: true, message: `${name}: added with ${counted(size)}` };
  }

  async remove(name: string, onProgress: ProgressListener): Promise<OperationResult> {
    const { runner, configs, publish, slots, stats } = this.options;
    const names = findPool(runner.fleet, name)?.slots.map((slot) => slot.name) ?? [];
    configs.routes.delete(name);
    publish();
    onProgress(`${name}: removing`);
    runner.change((fleet, context) => resize(fleet, name, 0, context));
    const gone = (fleet: Fleet) => (isDown(fleet, name) ? true : undefined);
    const ends = [...generationsInUse(runner.fleet, name)].map((generation) => configs.policyOf(name, generation));
    if ((await runner.until(gone, Math.max(...ends.map(longestEndMs)))) === undefined) {
      return { ok: false, code: "failed", message: `${name} could not be stopped` };
    }
    runner.set(removePool(runner.fleet, name));
    configs.removePool(name);
    stats.forget(name);
    for (const slot of names) slots.forget(slot);
    return { ok: true, message: `${name}: removed` };
  }

  async balancers(config: FleetConfig, done: Done[], onProgress: ProgressListener): Promise<OperationResult> {
    this.isAtBalancers = true;
    try {
      // A restart of the balancers may be running; it ends within bounded time.
      await this.options.rollouts.whenFree(BALANCER_POOL);
      return this.options.isStopping() ? STOPPING : await this.bringBalancers(config, done, onProgress);
    } finally {
      this.isAtBalancers = false;
    }
  }

  private async bringBalancers(
    config: FleetConfig,
    done: Done[],
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { runner, rollouts, configs, operations, publish } = this.options;
    const before = configs.fleet;
    const after = config.balancer;
    configs.fleet = { ...config, pools: before.pools };
    publish();
    if (this.areBalancersMixed || !isDeepStrictEqual(forLife(before), forLife(config))) {
      const pool = findPool(runner.fleet, BALANCER_POOL);
      const slots = pool === undefined ? [] : wantedIndexes(pool);
      this.areBalancersMixed = true;
      const rolled = await rollouts.run("reload", BALANCER_POOL, slots, 1, onProgress);
      this.areBalancersMixed = !rolled.ok;
      if (!rolled.ok) {
        // Balancers that were not replaced, and restarted ones, keep the former settings; the next reload tries again.
        configs.fleet = { ...before, pools: configs.fleet.pools };
        publish();
        return rolled;
      }
    }
    const pool = findPool(runner.fleet, BALANCER_POOL);
    if (pool === undefined || before.balancer.processes === after.processes) return { ok: true, message: "" };
    const undo = () => this.balancers(before, [], onProgress);
    done.push({ pool: BALANCER_POOL, undone: "returned to its previous configuration", undo });
    return operations.resize(pool, after.processes, onProgress);
  }
}

/**
 * Returns the size of a pool after a reload. A size that was set with `scale` is kept, unless the configured size has changed. For an
 * autoscaled pool, the size is brought within the limits.
 */
export function sizeOf(next: PoolConfig, before: PoolConfig | undefined, wanted: number): number {
  if (next.scaling !== null) return sizeWithin(next.scaling, wanted);
  const isUnchanged = before === undefined || (before.scaling === null && before.instances === next.instances);
  return isUnchanged ? wanted : next.instances;
}

/** Returns the settings that a running balancer cannot change, so that changing them requires a new process. */
function forLife({ balancer, orphanGraceMs }: FleetConfig) {
  const { runtime, maxOutputBytes, limits, trustedProxies, rateLimits = [], spoolDir, policy } = balancer;
  const { requestId, trace, proxied, accessLog, accessLogRule } = balancer;
  const { drainTimeoutMs } = policy;
  const seen = { requestId, trace, proxied, accessLog, accessLogRule, rateLimits };
  return { orphanGraceMs, runtime, maxOutputBytes, limits, trustedProxies, spoolDir, ...seen, drainTimeoutMs };
}
