/** The long-running operations on a fleet: scale and restart; reload.ts has reload. */

import type { OperationResult, ProgressListener, ScaleChange } from "../control/api.js";
import { type Fleet, findPool, leavesOnlyDrained, type Pool } from "../core/fleet.js";
import { resize } from "../core/fleet-changes.js";
import { unknownName } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import { BALANCER_POOL } from "../processes/live-process.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { SlotBook } from "../processes/slot-book.js";
import { counted, readiness } from "./fleet-questions.js";
import type { Refusal, Rollouts } from "./rollouts.js";

interface OperationsOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  slots: SlotBook;
  log: EventLog;
  isStopping(): boolean;
  isReloading(pool: string): boolean;
  /** Whether a deploy holds that pool: its processes are of another generation than the pool, or a hook decides about them. */
  isDeploying(pool: string): boolean;
  sizesOf: PoolConfigs["sizesOf"];
  /** How many of a pool's instances are backups. */
  backupsOf(pool: string): number;
  /** Makes the size the minimum of an autoscaled pool. Returns the reason if it is out of range; undefined for other pools. */
  setFloor(pool: string, instances: number): string | undefined;
  isAutoscaled(pool: string): boolean;
  /** Returns the number of instances in the pool's config. */
  configuredSizeOf(pool: string): number;
}

export const STOPPING: Refusal = { ok: false, code: "failed", message: "the fleet is stopping" };

export class ScaleAndRestart {
  /** The pools that are being scaled, with the number of operations. */
  private readonly scaling = new Map<string, number>();

  constructor(private readonly options: OperationsOptions) {}

  /** Whether an operation is waiting for a pool to reach its new size. */
  isScaling(pool: string): boolean {
    return this.scaling.has(pool);
  }

  async scale(poolName: string, change: ScaleChange, onProgress: ProgressListener): Promise<OperationResult> {
    const { runner, log } = this.options;
    const pool = findPool(runner.fleet, poolName);
    if (pool === undefined) return this.unknown(poolName);
    const instances = "by" in change ? pool.wanted + change.by : change.instances;
    const { least, most } = this.options.sizesOf(poolName);
    if (!Number.isInteger(instances) || instances < least || instances > most) {
      const range = most === 0 ? "no" : `${least} to ${most}`;
      const from = "by" in change ? `; it has ${pool.wanted} now` : "";
      const message = `${poolName} can have ${range} instances, not ${instances}${from}`;
      return { ok: false, code: "invalid", message };
    }
    const refusal = this.refusal(poolName);
    if (refusal !== undefined) return refusal;
    if (leavesOnlyDrained(pool, instances)) {
      const message = `only drained instances of ${poolName} would be left: run paceline undrain ${poolName}.1 first`;
      return { ok: false, code: "last-available", message };
    }
    const backups = this.options.backupsOf(poolName);
    if (instances > 0 && instances <= backups) {
      const message = `${poolName} has ${backups} of its instances as backups: it can have 0 or from ${backups + 1} instances, not ${instances}`;
      return { ok: false, code: "invalid", message };
    }
    const outOfBounds = this.options.setFloor(poolName, instances);
    if (outOfBounds !== undefined) return { ok: false, code: "invalid", message: outOfBounds };
    log.event("info", poolName, `is being scaled from ${pool.wanted} to ${instances}`);
    const result = await this.resize(pool, instances, onProgress);
    if (!result.ok || !this.options.isAutoscaled(poolName)) return result;
    return {
      ...result,
      message: `${result.message}; it may grow, and has ${instances} at least until the next reload`,
    };
  }

  /** Scales a pool and waits until all its slots are ready and surplus ones are removed. */
  async resize(pool: Pool, instances: number, onProgress: ProgressListener): Promise<OperationResult> {
    const { runner, slots: book, log } = this.options;
    const { name } = pool;
    const endProgress = log.onEvent(({ subject, message }) => {
      if (subject.startsWith(`${name}.`)) onProgress(`${subject} ${message}`);
    });
    const settled = (fleet: Fleet): OperationResult | undefined => {
      if (this.options.isStopping()) return STOPPING;
      const now = findPool(fleet, name);
      if (now === undefined || now.wanted !== instances) {
        return { ok: false, code: "failed", message: `another command has scaled ${name} in the meantime` };
      }
      if (now.slots.length > instances) return undefined;
      return readiness(now.slots, book, `${name}: ${counted(instances)}`, { areNew: true });
    };
    this.scaling.set(name, (this.scaling.get(name) ?? 0) + 1);
    try {
      runner.change((fleet, context) => resize(fleet, name, instances, context));
      // This ends, because starting, draining and killing have deadlines, and failures have a budget.
      return (await runner.until(settled)) ?? STOPPING;
    } finally {
      endProgress();
      const left = (this.scaling.get(name) ?? 1) - 1;
      if (left > 0) this.scaling.set(name, left);
      else this.scaling.delete(name);
    }
  }

  /** Starts a stopped pool with the number of instances in its config. */
  private startStopped(name: string, onProgress: ProgressListener): Promise<OperationResult> | Refusal {
    const instances = this.options.configuredSizeOf(name);
    if (instances > 0) return this.scale(name, { instances }, onProgress);
    return { ok: false, code: "failed", message: `${name} has no instances: paceline scale ${name} N starts it` };
  }

  /** Replaces processes by new ones of the same generation, one after another. A pool that is named and has no instances is started. */
  async restart(target: string | undefined, onProgress: ProgressListener): Promise<OperationResult> {
    const { runner, rollouts } = this.options;
    if (target !== undefined && target !== BALANCER_POOL && findPool(runner.fleet, target)?.wanted === 0)
      return this.startStopped(target, onProgress);
    const targets = this.resolve(target);
    if (targets === undefined) return this.unknown(target ?? "");
    for (const { pool } of targets) {
      const refusal = this.refusal(pool.name);
      if (refusal !== undefined) return refusal;
    }
    const messages: string[] = [];
    for (const { pool, slots } of targets) {
      // Another command may have started on this pool while earlier pools were restarting.
      const refusal = this.refusal(pool.name);
      if (refusal !== undefined) return refusal;
      const { generation } = findPool(runner.fleet, pool.name) ?? pool;
      const result = await rollouts.run("restart", pool.name, slots, generation, onProgress);
      if (!result.ok) return result;
      messages.push(result.message);
    }
    return { ok: true, message: messages.join("; ") || "nothing to restart" };
  }

  /** Returns why an operation on this pool cannot start now. */
  refusal(pool: string): Refusal | undefined {
    const busy = this.refusalToRoll(pool);
    if (busy !== undefined) return busy;
    const { isReloading, isDeploying } = this.options;
    const what = isReloading(pool) ? "a reload" : isDeploying(pool) ? "a deploy" : undefined;
    return what && { ok: false, code: "busy", message: `${what} of ${pool} is under way` };
  }

  /** Returns why a rollout of this pool cannot start now. A running reload checks only this. */
  refusalToRoll(pool: string): Refusal | undefined {
    return this.options.isStopping() ? STOPPING : this.options.rollouts.refusal(pool);
  }

  unknown(name: string): Refusal {
    const { pools } = this.options.runner.fleet;
    const wantedSlots = (pool: Pool) => pool.slots.filter((slot) => slot.index <= pool.wanted);
    const names = pools.flatMap((pool) => [pool.name, ...wantedSlots(pool).map((slot) => slot.name)]);
    return { ok: false, code: "invalid", message: unknownName(name, names) };
  }

  /** Resolves a name to pools and slots. "All pools" excludes the balancers' pool. */
  private resolve(target: string | undefined): { pool: Pool; slots: number[] }[] | undefined {
    const { pools } = this.options.runner.fleet;
    if (target === undefined) {
      return pools.filter(({ name }) => name !== BALANCER_POOL).map((pool) => ({ pool, slots: wantedIndexes(pool) }));
    }
    for (const pool of pools) {
      if (pool.name === target) return [{ pool, slots: wantedIndexes(pool) }];
      const slot = pool.slots.find(({ name, index }) => name === target && index <= pool.wanted);
      if (slot !== undefined) return [{ pool, slots: [slot.index] }];
    }
    return undefined;
  }
}

export function wantedIndexes(pool: Pool): number[] {
  return pool.slots.filter((slot) => slot.index <= pool.wanted).map((slot) => slot.index);
}
