/** The results of deploys: the way back to the version before the last one, which is immediate if its processes are warm. */
import { existsSync, realpathSync } from "node:fs";
import type { OperationResult, ProgressListener } from "../control/api.js";
import { findPool, type Pool } from "../core/fleet.js";
import type { PoolConfig } from "../core/model.js";
import { seconds } from "../core/words.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import { sizeWithin } from "./autoscaling.js";
import type { Part } from "./canaries.js";
import { counted } from "./fleet-questions.js";
import type { Reload } from "./reload.js";
import type { Rollouts } from "./rollouts.js";
import { type ScaleAndRestart, wantedIndexes } from "./scale-and-restart.js";
import { isWarm } from "./warm-memory.js";

export interface RollbacksOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  operations: ScaleAndRestart;
  reload: Reload;
  configs: PoolConfigs;
  source: {
    /** Sets the source of reloads, until the fleet's own path points elsewhere than now. Returns the source with that path. */
    set(deployed: Deployed | undefined): Deployed | undefined;
  };
  publishOnce(change: () => void): void;
}

export class Rollbacks {
  isUnderWay = false;
  /** Whether the last deploy was rolled back. */
  private isUndone = false;
  /** What reloads read now, and what they would read after a rollback. */
  private current: Deployed | undefined;
  private formerly: Deployed | undefined;

  constructor(private readonly options: RollbacksOptions) {}

  /** For the state file. */
  get sources(): { deployed: Deployed | undefined; formerlyDeployed: Deployed | undefined } {
    return { deployed: this.current, formerlyDeployed: this.formerly };
  }

  restoreSources(deployed: Deployed | undefined, formerly: Deployed | undefined): void {
    this.current = deployed;
    this.formerly = formerly;
  }

  /** The folder or file that was deployed last. */
  get place(): string | undefined {
    const { kind, file } = (this.current?.source ?? {}) as { kind?: string; file?: string };
    return this.current?.dir ?? (kind === "config" ? file : undefined);
  }

  /** Called when a deploy has put these pools into service. */
  deployed(deployed: Deployed, former: Deployed, parts: readonly Part[]): void {
    const { configs, source } = this.options;
    for (const { name, former: generation, size, nextSize } of parts) {
      configs.former.set(name, generation);
      configs.formerSizes.set(name, [size, nextSize]);
    }
    this.formerly = former;
    this.current = source.set(deployed);
  }

  /** Called when a reload has put another version of a pool, or of all pools, into service, which has no former one. */
  forget(pool: string | undefined): void {
    const { former } = this.options.configs;
    this.isUndone = false;
    if (pool === undefined) former.clear();
    else former.delete(pool);
    if (former.size === 0) this.formerly = undefined;
  }

  /** Returns to the version before the last deploy that succeeded. */
  async undo(onProgress: ProgressListener): Promise<OperationResult> {
    const { configs, runner, operations } = this.options;
    const parts: Part[] = [];
    const notes: string[] = [];
    for (const [name, former] of configs.former) {
      const pool = findPool(runner.fleet, name);
      const after = configs.generation(name, former)?.pool;
      const before = configs.pool(name);
      if (pool === undefined || after === undefined || before === undefined) continue;
      const refusal = operations.refusalToRoll(name);
      if (refusal !== undefined) return refusal;
      const [size, note] = this.sizeBefore(pool, after);
      if (note !== undefined) notes.push(note);
      const slots = warmFirst(
        pool,
        former,
        wantedIndexes(pool).filter((index) => index <= size),
      );
      if (!isWarm(pool, former) && !existsSync(after.release))
        return { ok: false, code: "failed", message: `cannot return to ${after.release}: the folder is gone` };
      parts.push({
        name,
        before: after,
        after: before,
        former,
        next: pool.generation,
        slots,
        size,
        nextSize: size,
        isTried: false,
      });
    }
    if (parts.length === 0) {
      const why = this.isUndone ? "the last one was rolled back already" : "none since the last start or reload";
      return { ok: false, code: "invalid", message: `no deploy to roll back: ${why}` };
    }
    const since = performance.now();
    const failure = await this.rollBack(parts, onProgress);
    if (failure !== undefined) return failure;
    configs.former.clear();
    this.isUndone = true;
    this.current = this.options.source.set(this.formerly);
    this.formerly = undefined;
    this.options.reload.prune();
    const names = parts
      .map(({ name, former, before }) => `${name} generation ${former} (${before.release})`)
      .join(", ");
    const text = `rolled back to ${names} in ${seconds(performance.now() - since)}`;
    return { ok: true, message: [text, ...notes].join("; ") };
  }

  /** Returns how many instances a pool gets by a rollback: as many as before the deploy, unless it was scaled since. */
  private sizeBefore({ name, wanted }: Pool, { scaling }: PoolConfig): [size: number, note?: string] {
    const [before, after] = this.options.configs.formerSizes.get(name) ?? [wanted, wanted];
    if (scaling !== null) return [sizeWithin(scaling, wanted)];
    if (wanted === after || this.options.configs.scalingOf(name) !== null) return [before];
    return [wanted, `${name} keeps ${counted(wanted)}, because it was scaled since the deploy began`];
  }

  /** Returns pools to their former generation: at once if its processes are warm, otherwise like a reload. Returns a failure. */
  async rollBack(parts: readonly Part[], onProgress: ProgressListener): Promise<OperationResult | undefined> {
    const { rollouts, reload, publishOnce, runner, operations } = this.options;
    this.isUnderWay = true;
    try {
      let rolls: Promise<OperationResult>[] = [];
      // One snapshot for all pools.
      publishOnce(() => {
        rolls = parts.map(({ name, slots, former }) =>
          rollouts.run("rollback", name, slots, former, onProgress, { usesWarm: true }),
        );
      });
      const results = await Promise.all(rolls);
      reload.changes.enter(
        parts.flatMap(({ before, former }, at) => (results[at]?.ok ? [{ config: before, generation: former }] : [])),
      );
      const failed = results.find(({ ok }) => !ok);
      if (failed !== undefined) return failed;
      for (const { name, size } of parts) {
        const pool = findPool(runner.fleet, name);
        if (pool === undefined || pool.wanted === size) continue;
        const resized = await operations.resize(pool, size, onProgress);
        if (!resized.ok) return resized;
      }
      return undefined;
    } finally {
      this.isUnderWay = false;
    }
  }
}

/** Puts the slots that can serve again at once first. The others start their processes one after another. */
function warmFirst(pool: Pool, generation: number, slots: readonly number[]): number[] {
  const isAtHand = (index: number) => {
    const warm = pool.slots.find((slot) => slot.index === index)?.warm;
    return warm?.generation === generation && warm.process.state === "warm";
  };
  return [...slots.filter(isAtHand), ...slots.filter((index) => !isAtHand(index))];
}

/** Whether both are the same folder or file, with symbolic links resolved. */
export function isSamePlace(one: string, other: string | undefined): boolean {
  const real = (path: string) => (existsSync(path) ? realpathSync(path) : path);
  return other !== undefined && (one === other || real(one) === real(other));
}
