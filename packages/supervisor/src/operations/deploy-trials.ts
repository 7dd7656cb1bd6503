/** Tries a loaded release, then puts it into service in all pools or rolls it back. */
import type { OperationResult } from "../control/api.js";
import { failingText } from "../core/deploy.js";
import { findPool } from "../core/fleet.js";
import type { FleetConfig } from "../core/model.js";
import type { VerdictLimits } from "../core/verdict-model.js";
import { seconds } from "../core/words.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import {
  type Canaries,
  type CanariesOptions,
  firstFailureOf,
  type Part,
  type PoolJudge,
  type Trial,
} from "./canaries.js";
import { addedPools, type DeployPlan, untriedText } from "./deploy-plan.js";
import type { HookContext } from "./hooks.js";
import { sizeOf } from "./pool-changes.js";
import type { Rollbacks, RollbacksOptions } from "./rollbacks.js";
import { STOPPING } from "./scale-and-restart.js";
import type { BeforeDeploy } from "./state-keeper.js";

/** What a deploy loads: the configuration, and the sources that later reloads read if it succeeds, or after a rollback. */
export type DeployLoad =
  | { ok: true; config: FleetConfig; deployed: Deployed; former: Deployed; note?: string | undefined }
  | { ok: false; problems: string[] };

export interface DeployTrialsOptions extends CanariesOptions, RollbacksOptions {
  openJudge(pool: string, limits: VerdictLimits): PoolJudge;
  /** Returns a function that returns whether a client's request of that process was reported. It also works after the process's exit. */
  watchRequests(pool: string, id: string): () => boolean;
  isStopping(): boolean;
  /** Resolves when the state is written, so that the next supervisor would continue from here. */
  saveState(): Promise<void>;
}

/** How often processes report, in milliseconds. */
const REPORT_MS = 1000;

export class DeployTrials {
  /** For the state file: set from the time when all slots have the release until its hooks succeed, or it is rolled back. */
  undecided: BeforeDeploy | undefined;

  constructor(
    private readonly options: DeployTrialsOptions,
    private readonly canaries: Canaries,
    private readonly planning: DeployPlan,
    private readonly last: Rollbacks,
  ) {}

  /** The caller of a deploy can see by the code whether the release has had a client's request. */
  async run(trial: Trial, loaded: DeployLoad & { ok: true }, about: HookContext): Promise<OperationResult> {
    const { openJudge, publish, runner, periodMs = REPORT_MS } = this.options;
    const serving = trial.parts.filter(({ after }) => after.serves);
    const judges = serving.map((part) => {
      return { part, judge: openJudge(part.name, trial.config.limits), seen: new Map<string, () => boolean>() };
    });
    // The balancers start to count with the next snapshot.
    if (judges.length > 0) publish();
    const note = () => {
      for (const { part, seen } of judges)
        for (const id of this.canaries.armsOf(part, trial.since).canary)
          if (!seen.has(id)) seen.set(id, this.options.watchRequests(part.name, id));
    };
    const unwatch = runner.watch(note);
    const wasSeen = () => judges.some(({ seen }) => [...seen.values()].some((had) => had()));
    try {
      const result = await this.tryRelease(
        trial,
        loaded,
        about,
        judges.filter(({ part }) => part.isTried),
      );
      if (result.ok || !isOfRelease(result.code)) return result;
      // The last requests of a process are reported after it has exited. A process that was never ready had no client. A release that was
      // in all slots counts as seen.
      const isAsked = trial.rolledBack !== undefined;
      const isInService = trial.isWhole && isAsked;
      const hadCanaries = judges.some(({ seen }) => seen.size > 0);
      if (hadCanaries && !isInService && !wasSeen()) await new Promise((resolve) => setTimeout(resolve, 2 * periodMs));
      return asSeen(result, isInService || wasSeen(), isAsked);
    } finally {
      trial.begun.clear();
      unwatch();
      for (const { judge } of judges) judge.close();
    }
  }

  private async tryRelease(
    trial: Trial,
    { deployed, former }: DeployLoad & { ok: true },
    about: HookContext,
    judges: readonly { part: Part; judge: PoolJudge }[],
  ): Promise<OperationResult> {
    const { rollouts, isStopping } = this.options;
    const { onProgress } = about;
    const tried = trial.parts.filter(({ isTried }) => isTried);
    trial.phase = "canary";
    const added = addedPools(about.config, trial.parts);
    const untried = trial.parts.flatMap((part) => untriedText(part) ?? []);
    for (const text of untried) onProgress(text);
    const { rolls, step } = await this.canaries.try(trial, judges, onProgress);
    trial.phase = step.do === "promote" ? "rolling" : "back";
    if (step.do === "promote") for (const { name } of tried) rollouts.promote(name);
    else for (const { name } of tried) rollouts.rollBack(name, step.reason);
    const results = await this.canaries.settle(trial, rolls);
    if (isStopping()) return STOPPING;
    // Pools without canaries, for example workers, follow when the others have succeeded.
    for (const part of trial.parts.filter(({ isTried }) => !isTried)) {
      if (results.some(([, { ok }]) => !ok) || trial.rolledBack !== undefined) break;
      this.planning.renew(part);
      results.push([part, await this.canaries.roll(part, trial, onProgress)]);
    }
    const failed = firstFailureOf(results);
    const unsaid = step.isDecided ? [] : [`there was no verdict in time: ${step.reason}`];
    const failure = failed ?? (trial.rolledBack === undefined ? undefined : asked(trial.rolledBack));
    if (failure !== undefined && !failure.ok) {
      trial.phase = "back";
      const done = results.flatMap(([part, { ok }]) => (ok ? [part] : []));
      const stuck = await this.last.rollBack(done, onProgress);
      const isUndecided = step.do === "rollBack" && !step.isDecided;
      const outcome = isUndecided ? { ...failure, code: "undecided" as const, message: step.reason } : failure;
      return stuck === undefined ? outcome : { ...outcome, message: `${outcome.message}; ${backText(stuck)}` };
    }
    const rest = await this.commit(trial, about);
    if (!rest.ok) {
      if (isStopping()) return STOPPING;
      trial.phase = "back";
      const stuck = await this.last.rollBack(trial.parts, onProgress);
      this.undecided = undefined;
      return { ...rest, code: "taken-back", message: `${rest.message}; ${backText(stuck)}` };
    }
    this.undecided = undefined;
    this.last.deployed(deployed, former, trial.parts);
    // The hook `after` may take long, and the release is already in service.
    await this.options.saveState();
    const pools = trial.parts.map(({ name, next }) => `${name} generation ${next}`).join(", ");
    const tookMs = performance.now() - trial.since;
    const addition = added.length === 0 ? [] : [`added and not judged: ${added.join(", ")}`];
    const done = `deployed: ${pools || "no pool that existed"}, in ${seconds(tookMs)}`;
    const failing = failingText(trial.judgements);
    return { ok: true, message: [done, ...failing, ...untried, ...addition, ...unsaid].join("; ") };
  }

  /** Puts the new generation of the pools into service; then adds and removes pools, and changes the balancers. */
  private async commit(trial: Trial, about: HookContext): Promise<OperationResult> {
    const { reload, runner, operations, configs } = this.options;
    trial.isWhole = true;
    this.undecided = {
      config: configs.fleet,
      pools: trial.parts.map(({ name, former, before, size }) => {
        return { name, generation: former, size: before.scaling === null ? size : undefined };
      }),
    };
    reload.changes.enter(trial.parts.map(({ after, next }) => ({ config: after, generation: next })));
    for (const { name, before, after } of trial.parts) {
      const pool = findPool(runner.fleet, name);
      const size = pool === undefined ? undefined : sizeOf(after, before, pool.wanted);
      if (pool === undefined || size === undefined || size === pool.wanted) continue;
      const resized = await operations.resize(pool, size, about.onProgress);
      if (!resized.ok) return resized;
    }
    return reload.rest(about);
  }
}

/** @param stuck why a pool could not go back */
function backText(stuck: OperationResult | undefined): string {
  return stuck === undefined
    ? "the old version is restored"
    : `the old version could not be restored: ${stuck.message}`;
}

/** Returns the result of a deploy that an operator has rolled back. */
export function asked(reason: string): OperationResult {
  return { ok: false, code: "taken-back", message: reason };
}

function isOfRelease(code: string): boolean {
  return code === "release-refused" || code === "taken-back";
}

/** A release that had no client's request counts as refused. */
function asSeen(result: OperationResult & { ok: false }, wasSeen: boolean, wasAsked: boolean): OperationResult {
  const [code, from, to] = wasSeen
    ? (["taken-back", ": refused: ", ": rolled back: "] as const)
    : (["release-refused", ": rolled back: ", ": refused: "] as const);
  return { ...result, code, message: wasAsked ? result.message : result.message.replace(from, to) };
}
