/** Reload: loads the config again and changes the fleet to match it, pool by pool, without losing a request. */
import { isDeepStrictEqual } from "node:util";
import { formatListenAddress } from "../config/listen-address.js";
import type { OperationResult, ProgressListener } from "../control/api.js";
import { type Fleet, findPool, isDown } from "../core/fleet.js";
import { addPool, removePool, resize, setGeneration } from "../core/fleet-changes.js";
import type { FleetConfig, ListenAddress, PoolConfig } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { BALANCER_POOL } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SlotBook } from "../processes/slot-book.js";
import type { StatsBook } from "../stats/stats.js";
import { firstSizeOf, sizeWithin } from "./autoscaling.js";
import { counted, generationsInUse, longestEndMs } from "./fleet-questions.js";
import type { HookContext, Hooks } from "./hooks.js";
import { type Operations, STOPPING, wantedIndexes } from "./operations.js";
import type { Rollouts } from "./rollouts.js";

export type ConfigLoader = () => Promise<
  /** `note`: a hint that the operator may not expect. */
  { ok: true; config: FleetConfig; note?: string | undefined } | { ok: false; problems: string[] }
>;

interface ReloadOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  operations: Operations;
  configs: PoolConfigs;
  slots: SlotBook;
  stats: StatsBook;
  log: EventLog;
  loadConfig: ConfigLoader;
  hooks: Hooks;
  /** Sends a snapshot of the current fleet to the balancers. */
  publish(): void;
  isStopping(): boolean;
}

type Environment = Record<string, string>;

type Failure = OperationResult & { ok: false };

/** A completed step of a reload, and how to undo it if a later step fails. */
interface Done {
  pool: string;
  /** The message after undoing it, such as `returned to /srv/shop/releases/6`. */
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

export class Reload {
  /** A reload ended between two balancers, or is at them, so no config describes all of them. */
  areBalancersMixed = false;
  /** Whether a reload of all pools has reached the balancers, near its end. Before that, others may restart or scale them. */
  isAtBalancers = false;

  constructor(private readonly options: ReloadOptions) {}

  /** @param environment replaces the caller's environment for new processes; unchanged if undefined */
  async run(
    poolName: string | undefined,
    environment: Environment | undefined,
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { isStopping, loadConfig, operations } = this.options;
    if (isStopping()) return STOPPING;
    if (poolName !== undefined && findPool(this.options.runner.fleet, poolName) === undefined)
      return operations.unknown(poolName);
    onProgress("reading the config");
    const loaded = await loadConfig();
    if (isStopping()) return STOPPING;
    if (!loaded.ok) return { ok: false, code: "config", message: loaded.problems.join("\n") };
    if (loaded.note !== undefined) {
      onProgress(loaded.note);
      this.options.log.event("warn", "paceline", loaded.note);
    }
    const refusal = this.refusal(loaded.config, poolName);
    if (refusal !== undefined) return refusal;
    const next = environment ?? this.options.configs.environment;
    const pools = poolName === undefined ? loaded.config.pools.map(({ name }) => name) : [poolName];
    const generation = this.options.configs.nextGeneration(pools[0] ?? "");
    const { config } = loaded;
    const about: HookContext = { reason: "reload", config, environment: next, generation, pools, onProgress };
    return this.options.hooks.around(about, "failed", () => this.change(about, poolName, environment));
  }

  private async change(
    about: HookContext,
    poolName: string | undefined,
    environment: Environment | undefined,
  ): Promise<OperationResult> {
    const { configs, isStopping } = this.options;
    const done: Done[] = [];
    const result = poolName === undefined ? await this.all(about, done) : await this.one(about, poolName, done);
    if (result.ok && environment !== undefined) configs.environment = environment;
    const outcome = result.ok || isStopping() ? result : await this.undo(done, result, about.onProgress);
    // Until here a pool might have had to go back.
    this.prune(poolName);
    return outcome;
  }

  /** Forgets the generations that nothing uses or returns to. */
  prune(poolName?: string): void {
    const { configs, runner } = this.options;
    for (const { name } of runner.fleet.pools)
      if (poolName === undefined || name === poolName) configs.prune(name, generationsInUse(runner.fleet, name));
  }

  /** The pools are of these generations from now on, which their processes are already. */
  enter(goals: readonly { config: PoolConfig; generation: number }[]): void {
    const { runner, configs, publish } = this.options;
    for (const { config, generation } of goals) {
      runner.set(setGeneration(runner.fleet, config.name, generation));
      configs.setPool(config);
      configs.setRoutes(config);
    }
    publish();
  }

  /** Does what is left of a reload when the existing pools are new. If it fails, the added pools are removed again. */
  async rest(about: HookContext): Promise<OperationResult> {
    const done: Done[] = [];
    const result = await this.steps(about, [], done);
    return result.ok || this.options.isStopping() ? result : this.undo(done, result, about.onProgress);
  }

  /** Returns completed pools to their former version, the last one first, so that all pools end up with the same version. */
  private async undo(done: readonly Done[], failure: Failure, onProgress: ProgressListener): Promise<OperationResult> {
    const outcomes: string[] = [];
    for (const { pool, undone, undo } of [...done].reverse()) {
      if (undo === null) {
        outcomes.push(`${pool} stays new: its folder and configuration did not change`);
        continue;
      }
      onProgress(`${pool}: restoring the former version`);
      const result = await undo();
      const outcome = result.ok ? undone : `stays new because it could not go back: ${result.message}`;
      this.options.log.event(result.ok ? "warn" : "error", pool, `${outcome}, because the reload failed`);
      outcomes.push(`${pool} ${outcome}`);
    }
    return { ...failure, message: [failure.message, ...outcomes].join("; ") };
  }

  /** Returns why this configuration cannot be put in service by a reload. */
  refusal(config: FleetConfig, poolName: string | undefined): OperationResult | undefined {
    const { configs } = this.options;
    const before = addressesIn(configs.fleet);
    const after = addressesIn(config);
    if (before !== after) {
      const message = `listen changed from ${before || "nothing"} to ${after || "nothing"}, so nothing was changed: stop and start the fleet to apply it`;
      return { ok: false, code: "config", message };
    }
    if (configs.fleet.user?.uid !== config.user?.uid || configs.fleet.user?.gid !== config.user?.gid) {
      const message = "user or group changed, so nothing was changed: stop and start the fleet to apply it";
      return { ok: false, code: "config", message };
    }
    const configured = config.pools.some((pool) => pool.name === poolName);
    if (poolName === undefined || poolName === BALANCER_POOL || configured) return undefined;
    return { ok: false, code: "invalid", message: `${poolName} is no longer in the config: reload without a name` };
  }

  private all(about: HookContext, done: Done[]) {
    return this.steps(about, about.config.pools, done);
  }

  /**
   * New pools first, so that an error in one changes nothing; removed pools last.
   * @param rolled the pools whose processes are replaced if they exist
   */
  private async steps(about: HookContext, rolled: readonly PoolConfig[], done: Done[]) {
    const { runner, isStopping } = this.options;
    const { config, environment, onProgress } = about;
    const messages: string[] = [];
    const names = new Set(config.pools.map((pool) => pool.name));
    const present = new Set(runner.fleet.pools.map((pool) => pool.name));
    const steps: (() => Promise<OperationResult>)[] = [
      ...config.pools
        .filter(({ name }) => !present.has(name))
        .map((pool) => () => this.add(pool, environment, done, onProgress)),
      ...rolled
        .filter(({ name }) => present.has(name))
        .map(
          ({ name }) =>
            () =>
              this.existing(config, name, environment, done, onProgress),
        ),
      // Before the balancers, which do not go back with the pools.
      () => this.readyHook(about),
      () => this.balancer(config, done, onProgress),
      ...[...present]
        .filter((name) => name !== BALANCER_POOL && !names.has(name))
        .map((name) => () => {
          // All remaining pools are new by now, and a removed pool is not restored.
          done.length = 0;
          return this.remove(name, onProgress);
        }),
    ];
    for (const step of steps) {
      const result = isStopping() ? STOPPING : await step();
      if (!result.ok) return result;
      messages.push(result.message);
    }
    return { ok: true, message: messages.filter((message) => message !== "").join("; ") } satisfies OperationResult;
  }

  private async one(about: HookContext, name: string, done: Done[]): Promise<OperationResult> {
    const { config, environment, onProgress } = about;
    const result = await this.existing(config, name, environment, done, onProgress);
    if (!result.ok) return result;
    const checked = await this.readyHook(about);
    return checked.ok ? result : checked;
  }

  private async readyHook(about: HookContext): Promise<OperationResult> {
    return (await this.options.hooks.run("afterReady", about)) ?? { ok: true, message: "" };
  }

  private async existing(
    config: FleetConfig,
    name: string,
    environment: Environment,
    done: Done[],
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { runner, rollouts, configs, operations } = this.options;
    // A restart may be running there; it ends within bounded time.
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
    return resized.ok ? { ok: true, message: `${rolled.message}; ${resized.message}` } : resized;
  }

  private async add(
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

  private async remove(name: string, onProgress: ProgressListener): Promise<OperationResult> {
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

  private async balancer(config: FleetConfig, done: Done[], onProgress: ProgressListener): Promise<OperationResult> {
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
        // Remaining balancers and their restarts keep the former settings; the next reload tries again.
        configs.fleet = { ...before, pools: configs.fleet.pools };
        publish();
        return rolled;
      }
    }
    const pool = findPool(runner.fleet, BALANCER_POOL);
    if (pool === undefined || before.balancer.processes === after.processes) return { ok: true, message: "" };
    const undo = () => this.balancer(before, [], onProgress);
    done.push({ pool: BALANCER_POOL, undone: "returned to its previous configuration", undo });
    return operations.resize(pool, after.processes, onProgress);
  }
}

/** Returns all addresses, for people and to compare. */
function addressesIn({ listen, pools }: FleetConfig): string {
  const direct = pools.flatMap(({ bind = [] }) => bind.map((address) => `${describeAddress(address)} (direct mode)`));
  return [...listen.map(describeAddress), ...direct].join(", ");
}

/** For people, and to compare: also whether a unix socket is one of a pool in tcp mode. */
function describeAddress(address: ListenAddress): string {
  const { kind, pool } = address;
  return `${formatListenAddress(address)}${kind === "unix" && pool !== undefined ? " (tcp mode)" : ""}`;
}

/** A manually scaled size is kept, unless the configured size has changed; that of an autoscaled pool is kept within its bounds. */
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
