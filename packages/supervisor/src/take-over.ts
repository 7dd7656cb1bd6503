/** How a supervisor takes over the fleet of a killed one, and what its start reports about that. */
import { isDeepStrictEqual } from "node:util";
import type { OperationResult } from "./control/api.js";
import type { FleetConfig } from "./core/model.js";
import type { Process } from "./core/process.js";
import type { FleetAdoption } from "./operations/adoption.js";
import { counted, wantedSlots } from "./operations/fleet-questions.js";
import { STOPPING } from "./operations/scale-and-restart.js";
import { BALANCER_POOL } from "./processes/live-process.js";
import type { FleetParts } from "./wiring.js";

/** A start that takes over the fleet does not wait for a slot with this many consecutive failures. */
const HOPELESS_FAILURES = 2;

interface TakeOverOptions {
  /** The configuration of this start. */
  config: FleetConfig;
  /** Why it could not be loaded. */
  configProblem?: string | undefined;
  /** Whether to reload even if the configuration is the same. */
  reloadsAdopted?: boolean;
  reload(): Promise<OperationResult>;
  /** Whether the running code comes from a deploy, and not from the path that this start names. */
  isDeployed(): boolean;
}

/** Continues with the fleet of a killed supervisor. If this start was given another config, it then changes the fleet as a reload does. */
export class TakeOver {
  /** Resolves when the fleet has the configuration of this start, or keeps its own. */
  private readonly done: Promise<void>;
  /** Why the fleet keeps its own configuration. */
  private keptBecause: string | undefined;

  constructor(
    private readonly parts: FleetParts,
    private readonly adoption: FleetAdoption,
    private readonly options: TakeOverOptions,
  ) {
    const before = parts.configs.fleet;
    adoption.begin();
    const logFailure = (error: unknown) => parts.log.event("error", "paceline", `${error}`);
    this.done = this.run(before).catch(logFailure);
    this.done.then(() => this.restoreCutOff()).catch(logFailure);
    adoption.settled.then(() => parts.turns.resume()).catch(logFailure);
  }

  /** Called when a later reload was successful. */
  reloaded(): void {
    this.keptBecause = undefined;
  }

  private async run(before: FleetConfig): Promise<void> {
    const { parts, adoption, options } = this;
    await adoption.settled;
    this.keptBecause = options.configProblem;
    if (this.keptBecause === undefined && !parts.isStopping) await this.applyConfig(before);
    if (this.keptBecause !== undefined && !parts.isStopping)
      parts.log.event("error", "paceline", `the former configuration stays: ${this.keptBecause}`);
  }

  private async applyConfig(before: FleetConfig): Promise<void> {
    const { parts, options } = this;
    const isChanged =
      parts.reload.changes.areBalancersMixed || (!options.isDeployed() && !isSameConfig(before, options.config));
    if (!isChanged && options.reloadsAdopted !== true) return;
    const why = isChanged ? "the configuration differs from the running one" : "the start requests a reload";
    parts.log.event("info", "paceline", `${why}: reloading`);
    const result = await options.reload();
    if (!result.ok) this.keptBecause = result.message;
  }

  /** Finishes what a killed supervisor had begun: rollouts, and a stop. */
  private async restoreCutOff(): Promise<void> {
    const { parts, adoption } = this;
    for (const { pool, slots, generation } of adoption.unfinished()) {
      if (parts.isStopping || parts.operations.refusal(pool) !== undefined) continue;
      parts.log.event("warn", pool, "its rollout was interrupted; the version in service is restored");
      await parts.rollouts.run("reload", pool, slots, generation, () => {}, { usesWarm: true });
    }
    for (const { pool, slots, generation } of adoption.announced()) {
      if (parts.isStopping || parts.operations.refusal(pool) !== undefined) continue;
      parts.log.event(
        "warn",
        pool,
        "a stop was interrupted after its instances had been told to end; they are restarted",
      );
      await parts.rollouts.run("restart", pool, slots, generation, () => {});
    }
  }

  /** Reports whether everything is ready. A fleet that is taken over must not be stopped because a part of it is not ready. */
  async whenReady(): Promise<OperationResult> {
    const { parts } = this;
    const { runner, sockets } = parts;
    const stopped = async () => void (await runner.until(() => parts.isStopping || undefined));
    await Promise.race([this.done, stopped()]);
    const areAll = (isDone: (process: Process) => boolean) =>
      wantedSlots(runner.fleet).every(({ member }) => isDone(member.process));
    const isReady = ({ state }: Process) => state === "ready";
    const isSettled = (process: Process) =>
      isReady(process) || process.state === "failed" || process.failures >= HOPELESS_FAILURES;
    await runner.until(() => parts.isStopping || areAll(isSettled) || undefined);
    if (parts.isStopping) return STOPPING;
    if (this.keptBecause === undefined)
      return { ok: true, message: areAll(isReady) ? "all ready" : "taken over, but not all of it is ready" };
    const instances = wantedSlots(runner.fleet).filter(({ name }) => !name.startsWith(`${BALANCER_POOL}.`)).length;
    const on = sockets.length === 0 ? "" : ` on ${sockets.map(({ url }) => url).join(", ")}`;
    const message = `taken over with its former configuration, ${counted(instances)}${on}: ${this.keptBecause}`;
    return { ok: false, code: "failed", message };
  }
}

/** Compares the content of two configs; the order of pools has no meaning. */
function isSameConfig(a: FleetConfig, b: FleetConfig): boolean {
  const plain = (config: FleetConfig) => {
    const { pools, ...rest } = JSON.parse(JSON.stringify(config)) as FleetConfig;
    return { ...rest, pools: Object.fromEntries(pools.map((pool) => [pool.name, pool])) };
  };
  return isDeepStrictEqual(plain(a), plain(b));
}
