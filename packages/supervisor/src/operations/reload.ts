/** Reload: loads the config again and changes the fleet to match it, pool by pool; pool-changes.ts handles each pool. */
import { formatListenAddress } from "../config/listen-address.js";
import type { OperationResult, ProgressListener } from "../control/api.js";
import { findPool } from "../core/fleet.js";
import type { FleetConfig, ListenAddress, PoolConfig } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import { BALANCER_POOL } from "../processes/live-process.js";
import { generationsInUse } from "./fleet-questions.js";
import type { HookContext, Hooks } from "./hooks.js";
import { type Done, type Environment, PoolChanges, type PoolChangesOptions } from "./pool-changes.js";
import { STOPPING } from "./scale-and-restart.js";

export type ConfigLoader = () => Promise<
  /** `note`: a hint about something that the operator may not expect. */
  { ok: true; config: FleetConfig; note?: string | undefined } | { ok: false; problems: string[] }
>;

interface ReloadOptions extends PoolChangesOptions {
  log: EventLog;
  loadConfig: ConfigLoader;
  hooks: Hooks;
}

type Failure = OperationResult & { ok: false };

export class Reload {
  readonly changes: PoolChanges;

  constructor(private readonly options: ReloadOptions) {
    this.changes = new PoolChanges(options);
  }

  /** @param environment replaces the caller's environment for new processes; undefined: it does not change */
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
    const result =
      poolName === undefined
        ? await this.steps(about, about.config.pools, done)
        : await this.one(about, poolName, done);
    if (result.ok && environment !== undefined) configs.environment = environment;
    const outcome = result.ok || isStopping() ? result : await this.undo(done, result, about.onProgress);
    // Only from here on it is certain that no pool returns to a former generation.
    this.prune(poolName);
    return outcome;
  }

  /** Forgets the generations that are neither in use nor needed for a return. */
  prune(poolName?: string): void {
    const { configs, runner } = this.options;
    for (const { name } of runner.fleet.pools)
      if (poolName === undefined || name === poolName) configs.prune(name, generationsInUse(runner.fleet, name));
  }

  /** Does the rest of a reload when the existing pools are new. If it fails, the added pools are removed again. */
  async rest(about: HookContext): Promise<OperationResult> {
    const done: Done[] = [];
    const result = await this.steps(about, [], done);
    return result.ok || this.options.isStopping() ? result : this.undo(done, result, about.onProgress);
  }

  /** Returns completed pools to their former version, last one first, so that all pools end up with the same version. */
  private async undo(done: readonly Done[], failure: Failure, onProgress: ProgressListener): Promise<OperationResult> {
    const outcomes: string[] = [];
    for (const { pool, undone, undo } of [...done].reverse()) {
      if (undo === null) {
        outcomes.push(`${pool} stays new: its folder and configuration did not change`);
        continue;
      }
      onProgress(`${pool}: restoring the old version`);
      const result = await undo();
      const outcome = result.ok ? undone : `stays new because it could not go back: ${result.message}`;
      this.options.log.event(result.ok ? "warn" : "error", pool, `${outcome}, because the reload failed`);
      outcomes.push(`${pool} ${outcome}`);
    }
    return { ...failure, message: [failure.message, ...outcomes].join("; ") };
  }

  /** Returns why this configuration cannot be put into service by a reload. */
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

  /**
   * New pools come first, so that an error in one changes nothing; removed pools come last.
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
        .map((pool) => () => this.changes.add(pool, environment, done, onProgress)),
      ...rolled
        .filter(({ name }) => present.has(name))
        .map(
          ({ name }) =>
            () =>
              this.changes.existing(config, name, environment, done, onProgress),
        ),
      // The hook runs before the balancers are replaced, because they do not return to the former version if it fails.
      () => this.readyHook(about),
      () => this.changes.balancers(config, done, onProgress),
      ...[...present]
        .filter((name) => name !== BALANCER_POOL && !names.has(name))
        .map((name) => () => {
          // All remaining pools are new by now, and a removed pool is not restored.
          done.length = 0;
          return this.changes.remove(name, onProgress);
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
    const result = await this.changes.existing(config, name, environment, done, onProgress);
    if (!result.ok) return result;
    const checked = await this.readyHook(about);
    return checked.ok ? result : checked;
  }

  private async readyHook(about: HookContext): Promise<OperationResult> {
    return (await this.options.hooks.run("afterReady", about)) ?? { ok: true, message: "" };
  }
}

/** Returns all addresses, for display and comparison. */
function addressesIn({ listen, pools }: FleetConfig): string {
  const direct = pools.flatMap(({ bind = [] }) => bind.map((address) => `${describeAddress(address)} (direct mode)`));
  return [...listen.map(describeAddress), ...direct].join(", ");
}

/** For display and comparison. Includes whether a unix socket belongs to a pool in tcp mode. */
function describeAddress(address: ListenAddress): string {
  const { kind, pool } = address;
  return `${formatListenAddress(address)}${kind === "unix" && pool !== undefined ? " (tcp mode)" : ""}`;
}
