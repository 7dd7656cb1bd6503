/** Decides what a deploy does with each pool: which pools have canaries, and which releases it refuses because there would be none. */
import type { DeployRequest, OperationResult } from "../control/api.js";
import { DEPLOY_DEFAULTS, type DeployConfig } from "../core/deploy.js";
import { drainedLast, findPool, type Pool } from "../core/fleet.js";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { Part } from "./canaries.js";
import { sizeOf } from "./pool-changes.js";
import { wantedIndexes } from "./scale-and-restart.js";

export class DeployPlan {
  constructor(private readonly options: { runner: FleetRunner; configs: PoolConfigs }) {}

  /** Refuses a release that would replace pools without any comparison. */
  refusal(config: FleetConfig): OperationResult | undefined {
    const { runner, configs } = this.options;
    const names = new Set(config.pools.map(({ name }) => name));
    const present = runner.fleet.pools.filter(({ name }) => configs.pool(name) !== undefined);
    const removed = present.flatMap(({ name }) => (!names.has(name) && configs.pool(name)?.serves ? [name] : []));
    const added = addedPools(config, present);
    const isAnyTried = config.pools.some((after) => {
      const pool = findPool(runner.fleet, after.name);
      return pool !== undefined && this.isTried(after, configs.pool(after.name) ?? after, this.slotsOf(after, pool));
    });
    if (removed.length === 0 && (added.length === 0 || isAnyTried)) return undefined;
    const changes = [
      ...(removed.length > 0
        ? [`removes ${poolsText(removed)}, which ${removed.length === 1 ? "serves" : "serve"}`]
        : []),
      ...(added.length > 0 ? [`adds ${poolsText(added)}`] : []),
    ].join(", and ");
    const why = removed.length > 0 ? "" : ", and no pool is left to compare";
    return {
      ok: false,
      code: "invalid",
      message: `the release ${changes}${why}: nothing was changed; use paceline reload`,
    };
  }

  private slotsOf(after: PoolConfig, pool: Pool): number[] {
    const before = this.options.configs.pool(after.name) ?? after;
    const slots = wantedIndexes(pool).filter((index) => index <= sizeOf(after, before, pool.wanted));
    return drainedLast(pool, slots);
  }

  private isTried(after: PoolConfig, before: PoolConfig, slots: readonly number[]): boolean {
    // Without a balancer, canaries get no share and nothing is counted.
    const areDirect = isDirect(after) || isDirect(before);
    return after.serves && before.serves && after.overlap && !areDirect && slots.length > 0;
  }

  /** Returns the pools that already exist. Pools that the release adds follow when it is in service. */
  plan(config: FleetConfig): Part[] {
    const { runner, configs } = this.options;
    return config.pools.flatMap((after): Part[] => {
      const pool = findPool(runner.fleet, after.name);
      if (pool === undefined) return [];
      const before = configs.pool(after.name) ?? after;
      const slots = this.slotsOf(after, pool);
      const isTried = this.isTried(after, before, slots);
      const next = configs.addGeneration(after, configs.environment);
      const sizes = { size: pool.wanted, nextSize: sizeOf(after, before, pool.wanted) };
      return [{ name: after.name, before, after, former: pool.generation, next, slots, ...sizes, isTried }];
    });
  }

  /** Updates the slots and size of a pool that is replaced later, because it may have been scaled since the plan. */
  renew(part: Part): void {
    const pool = findPool(this.options.runner.fleet, part.name);
    if (pool === undefined) return;
    part.slots = this.slotsOf(part.after, pool);
    part.size = pool.wanted;
  }
}

/** Whether its instances accept clients themselves. */
function isDirect({ mode }: PoolConfig): boolean {
  return mode === "direct";
}

function poolsText(names: readonly string[]): string {
  return `${names.length === 1 ? "the pool" : "the pools"} ${names.join(", ")}`;
}

export function addedPools({ pools }: FleetConfig, present: readonly { name: string }[]): string[] {
  return pools.flatMap(({ name }) => (present.some((each) => each.name === name) ? [] : [name]));
}

/** Returns why a serving pool has no canaries. */
export function untriedText({ name, before, after, slots, isTried }: Part): string | undefined {
  if (isTried || !(after.serves || before.serves)) return undefined;
  const areDirect = isDirect(after) || isDirect(before);
  const whole = areDirect ? "has no balancer" : "runs only one version at a time";
  const why = slots.length === 0 ? "has no instances" : whole;
  return `${name} ${why}, so nothing was tried there`;
}

/** Returns the settings of the release, overridden by those of the command. */
export function settings({ deploy }: FleetConfig, request: DeployRequest): DeployConfig {
  const given = Object.entries(request).filter(([key, value]) => key in DEPLOY_DEFAULTS && value !== undefined);
  return { ...DEPLOY_DEFAULTS, ...deploy, ...Object.fromEntries(given) };
}
