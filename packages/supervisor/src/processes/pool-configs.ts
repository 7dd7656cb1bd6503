/** The configuration that is in force, by pool and generation: while a rollout runs, two of them are. */
import type { BalancerLimits } from "@paceline/wire";
import type { BalancerConfig, FleetConfig, PoolConfig, RecycleLimits } from "../core/model.js";
import type { SlotPolicy } from "../core/process.js";
import type { PoolRoutes } from "../core/snapshot.js";
import { BALANCER_POOL } from "./live-process.js";

/** What the processes of one generation are spawned from. */
export interface Generation {
  pool: PoolConfig;
  environment: Record<string, string>;
}

export class PoolConfigs {
  /** The config that was read last and applied in full, or as far as it went. */
  fleet: FleetConfig;
  /** The caller's environment. */
  environment: Record<string, string>;
  private readonly generations = new Map<string, Map<number, Generation>>();
  /** The pools that the balancers are told of: one that comes up is not, before it is ready. */
  readonly routes = new Map<string, PoolRoutes>();

  /** @param onForgotten called for each generation that nothing will be spawned from any more */
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

  /** Books the next generation of a pool and returns its number. */
  addGeneration(pool: PoolConfig, environment: Record<string, string>): number {
    const known = this.generations.get(pool.name) ?? new Map<number, Generation>();
    const number = Math.max(0, ...known.keys()) + 1;
    known.set(number, { pool, environment });
    this.generations.set(pool.name, known);
    return number;
  }

  generation(pool: string, number: number): Generation | undefined {
    return this.generations.get(pool)?.get(number);
  }

  /** Forgets the generations of a pool that are not in use; the newest stays, so that numbers are never given twice. */
  prune(pool: string, inUse: ReadonlySet<number>): void {
    const known = this.generations.get(pool);
    if (known === undefined) return;
    const newest = Math.max(...known.keys());
    for (const number of known.keys()) {
      if (number === newest || inUse.has(number)) continue;
      known.delete(number);
      this.onForgotten(pool, number);
    }
  }

  /** The pool as configured now. */
  pool(name: string): PoolConfig | undefined {
    return this.fleet.pools.find((pool) => pool.name === name);
  }

  /** Replaces one pool's config, or adds it; its routes are another matter. */
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
    this.routes.delete(name);
  }

  /** Undefined where processes are not recycled. */
  recycleLimitsOf(pool: string): RecycleLimits | undefined {
    const limits = this.pool(pool)?.recycle;
    return limits === undefined || limits.maxRequests === 0 ? undefined : limits;
  }

  /** Without balancers nothing is served, so they are never given up. They have no generations. */
  policyOf(pool: string, generation: number): SlotPolicy {
    if (pool === BALANCER_POOL) return { ...this.balancer.policy, giveUp: false, isUpstream: false };
    const known = this.generation(pool, generation)?.pool ?? this.pool(pool);
    if (known === undefined) throw new RangeError(`no pool ${pool}`);
    return { ...known.policy, giveUp: true, isUpstream: true };
  }
}
