/** The active configuration by pool and generation; during a rollout a pool has two. */
import type { BalancerLimits } from "@paceline/wire";
import type { PoolRoutes } from "../core/fleet.js";
import {
  type BalancerConfig,
  type FleetConfig,
  MAX_INSTANCES,
  type PoolConfig,
  type RecycleLimits,
  type ScalingConfig,
} from "../core/model.js";
import type { SlotPolicy } from "../core/process.js";
import { seconds } from "../core/words.js";
import { BALANCER_POOL } from "./live-process.js";

/** The configuration from which the processes of one generation are spawned. */
export interface Generation {
  pool: PoolConfig;
  environment: Record<string, string>;
  /** When it began, in Unix time in milliseconds. */
  since: number;
}

/** Even if the deadline of a stop has passed, an instance gets this time to save its state. */
const LEAST_DRAIN_MS = 1000;
/** The maximum time that a new process must stay ready under `start --watch`. */
const WATCHED_MIN_READY_MS = 100;

export class PoolConfigs {
  /** The last config that was read and applied, completely or partly. */
  fleet: FleetConfig;
  /** The environment of the caller. */
  environment: Record<string, string>;
  private readonly generations = new Map<string, Map<number, Generation>>();
  /** The generation of a pool before its last deploy, to which a rollback returns. It is never pruned. */
  readonly former = new Map<string, number>();
  /** The number of instances that a pool had before its last deploy and after it. */
  readonly formerSizes = new Map<string, readonly [before: number, after: number]>();
  /** The pools that balancers know. A new pool is added only when it is ready; a pool without requests or in direct mode is never added. */
  readonly routes = new Map<string, PoolRoutes>();

  /** @param onForgotten called for each generation when no process is spawned from it any more */
  constructor(
    fleet: FleetConfig,
    environment: Record<string, string>,
    private readonly onForgotten: (pool: string, generation: number) => void = () => {},
  ) {
    this.fleet = fleet;
    this.environment = environment;
  }

  get balancer(): BalancerConfig {
    return this.fleet.balancer;
  }

  get balancerLimits(): BalancerLimits {
    return this.fleet.balancer.limits as BalancerLimits;
  }

  /** Adds a generation to a pool and returns its number. */
  addGeneration(pool: PoolConfig, environment: Record<string, string>): number {
    const known = this.generations.get(pool.name) ?? new Map<number, Generation>();
    const number = this.nextGeneration(pool.name);
    known.set(number, { pool, environment, since: Date.now() });
    this.generations.set(pool.name, known);
    return number;
  }

  /** Returns the number that the next generation of a pool will have. */
  nextGeneration(pool: string): number {
    return Math.max(0, ...(this.generations.get(pool)?.keys() ?? [])) + 1;
  }

  /** Continues with the generations and routes of an earlier supervisor. */
  restore(saved: {
    generations: readonly { pool: string; number: number; config: PoolConfig; environment: number; since?: number }[];
    environments: readonly Record<string, string>[];
    routed: readonly string[];
    former?: readonly (readonly [pool: string, generation: number])[];
    formerSizes?: readonly (readonly [pool: string, before: number, after: number])[];
  }): void {
    for (const [pool, ...sizes] of saved.formerSizes ?? []) this.formerSizes.set(pool, sizes);
    for (const [pool, number] of saved.former ?? []) this.former.set(pool, number);
    for (const { pool, number, config, environment: index, since = Date.now() } of saved.generations) {
      const known = this.generations.get(pool) ?? new Map<number, Generation>();
      const environment = index === 0 ? this.environment : (saved.environments[index] ?? this.environment);
      this.generations.set(pool, known.set(number, { pool: config, environment, since }));
    }
    for (const pool of this.fleet.pools) if (saved.routed.includes(pool.name)) this.setRoutes(pool);
  }

  *all(): Iterable<Generation & { name: string; number: number }> {
    for (const [name, known] of this.generations)
      for (const [number, generation] of known) yield { name, number, ...generation };
  }

  generation(pool: string, number: number): Generation | undefined {
    return this.generations.get(pool)?.get(number);
  }

  /** Gives an unknown generation of a pool the config of the generation `known`, until its processes are replaced. */
  assumeGeneration(pool: string, known: number, unknown: number): void {
    const generations = this.generations.get(pool);
    const generation = generations?.get(known);
    if (generation !== undefined && !generations?.has(unknown)) generations?.set(unknown, generation);
  }

  /** Forgets the unused generations of a pool. The newest one is kept, so that numbers are never used again. */
  prune(pool: string, inUse: ReadonlySet<number>): void {
    const known = this.generations.get(pool);
    if (known === undefined) return;
    const newest = Math.max(...known.keys());
    for (const number of known.keys()) {
      if (number === newest || inUse.has(number) || number === this.former.get(pool)) continue;
      known.delete(number);
      this.onForgotten(pool, number);
    }
  }

  /** From now on balancers know the pool by these routes, if the pool gets requests. */
  setRoutes(pool: PoolConfig): void {
    if (pool.serves && pool.mode !== "direct") this.routes.set(pool.name, pool);
    else this.routes.delete(pool.name);
  }

  /** Returns the minimum and maximum number of instances of a pool. Balancers run only if the fleet listens somewhere. */
  sizesOf(pool: string): { least: number; most: number } {
    if (pool !== BALANCER_POOL) return { least: 0, most: this.pool(pool)?.maxInstances ?? MAX_INSTANCES };
    return this.fleet.listen.length === 0 ? { least: 0, most: 0 } : { least: 1, most: MAX_INSTANCES };
  }

  /** The pools that balancers know. A new pool is added only when it is ready. A pool without requests or in direct mode is never added. */
  scalingOf(pool: string): ScalingConfig | null {
    return this.pool(pool)?.scaling ?? null;
  }

  pool(name: string): PoolConfig | undefined {
    return this.fleet.pools.find((pool) => pool.name === name);
  }

  /** Adds or replaces the config of one pool, but not its routes. */
  setPool(pool: PoolConfig): void {
    const known = this.pool(pool.name) !== undefined;
    const { pools } = this.fleet;
    this.fleet = {
      ...this.fleet,
      pools: known ? pools.map((p) => (p.name === pool.name ? pool : p)) : [...pools, pool],
    };
  }

  removePool(name: string): void {
    this.fleet = { ...this.fleet, pools: this.fleet.pools.filter((p) => p.name !== name) };
    for (const number of this.generations.get(name)?.keys() ?? []) this.onForgotten(name, number);
    this.generations.delete(name);
    this.former.delete(name);
    this.formerSizes.delete(name);
    this.routes.delete(name);
  }

  /** Returns undefined if processes of the pool are not recycled. */
  recycleLimitsOf(pool: string): RecycleLimits | undefined {
    const limits = this.pool(pool)?.recycle;
    const { maxMemoryMb, maxRequests, maxAgeMs, schedule } = limits ?? {};
    return maxMemoryMb || maxRequests || maxAgeMs || schedule ? limits : undefined;
  }

  /** Balancers have no generations, and are started again without limit, because nothing is served without them. */
  policyOf(pool: string, generation: number): SlotPolicy {
    if (pool === BALANCER_POOL) return { ...this.balancer.policy, giveUp: false, isUpstream: false };
    const known = this.generation(pool, generation)?.pool ?? this.pool(pool);
    if (known === undefined) throw new RangeError(`no pool ${pool}`);
    return { ...known.policy, giveUp: true, isUpstream: known.serves };
  }
}

/**
 * During a stop, a drain has the time that is left until the deadline of the stop (a value of performance.now()), but at least
 * `LEAST_DRAIN_MS`.
 */
export function endingBy(stopBy: number | undefined, policy: SlotPolicy): SlotPolicy {
  if (stopBy === undefined) return policy;
  const leftMs = Math.max(LEAST_DRAIN_MS, Math.round(stopBy - performance.now()));
  if (leftMs >= policy.drainTimeoutMs) return policy;
  const hasRestOfStop = seconds(leftMs) !== seconds(policy.drainTimeoutMs);
  return { ...policy, drainTimeoutMs: leftMs, hasRestOfStop };
}

/** Shortens `minReadyMs` under --watch, where a developer waits for each reload. Crashes right after the start are still detected. */
export function whileWatched(policy: SlotPolicy): SlotPolicy {
  return { ...policy, minReadyMs: Math.min(policy.minReadyMs, WATCHED_MIN_READY_MS) };
}
