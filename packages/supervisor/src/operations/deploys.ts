/** Deploy and rollback: one at a time, with its status and an operator's commands; deploy-trials.ts tries the release. */
import type { DeployRequest, DeployStatus, DeploySteering, OperationResult, ProgressListener } from "../control/api.js";
import { DEPLOY_DEFAULTS } from "../core/deploy.js";
import { findPool } from "../core/fleet.js";
import type { FleetConfig } from "../core/model.js";
import type { EventLog } from "../logs/event-log.js";
import { Canaries, type Trial } from "./canaries.js";
import { DeployPlan, settings } from "./deploy-plan.js";
import { asked, type DeployLoad, DeployTrials, type DeployTrialsOptions } from "./deploy-trials.js";
import type { HookContext, Hooks } from "./hooks.js";
import { isSamePlace, Rollbacks, type RollbacksOptions } from "./rollbacks.js";
import { STOPPING } from "./scale-and-restart.js";
import type { BeforeDeploy } from "./state-keeper.js";
import { WarmMemory } from "./warm-memory.js";

interface DeploysOptions extends DeployTrialsOptions {
  hooks: Hooks;
  log: EventLog;
  source: RollbacksOptions["source"] & {
    /**
     * @param name the fleet's name, which stays
     * @param wanted aborts the load
     */
    load(request: DeployRequest, name: string, wanted: AbortSignal): Promise<DeployLoad>;
  };
  isReloading(): boolean;
}

const STEERED: Record<DeploySteering, string> = {
  promote: "promoted by an operator, without waiting for the verdict",
  hold: "held by an operator: it waits after the verdict",
  resume: "no longer held",
};
/** The results of a deploy about which an operator is alerted. */
const FAILED_CODES: ReadonlySet<string> = new Set(["failed", "release-refused", "taken-back", "undecided"]);
const RELOADING = { ok: false, code: "busy", message: "a reload is under way" } as const;

export class Deploys {
  private trial: Trial | undefined;
  /** The folder or config file of the deploy in progress. */
  private named: string | undefined;
  private ended: Promise<OperationResult> | undefined;
  /** Receive the progress of the deploy: its own caller, and the caller of a rollback. */
  private readonly listeners = new Set<ProgressListener>();
  /** The result of earlier deploys. */
  readonly last: Rollbacks;
  private readonly canaries: Canaries;
  private readonly planning: DeployPlan;
  private readonly trials: DeployTrials;

  constructor(private readonly options: DeploysOptions) {
    this.canaries = new Canaries(options, new WarmMemory(options.runner, options.log));
    this.planning = new DeployPlan(options);
    this.last = new Rollbacks(options);
    this.trials = new DeployTrials(options, this.canaries, this.planning, this.last);
  }

  /** For the state file: set from the time when all slots have the release until its hooks succeed, or it is rolled back. */
  get undecided(): BeforeDeploy | undefined {
    return this.trials.undecided;
  }

  /** Why another operation on the whole fleet cannot start; undefined if it can. */
  get refusal(): (OperationResult & { ok: false }) | undefined {
    const { isUnderWay } = this.last;
    if (this.trial === undefined && !isUnderWay) return undefined;
    const what = isUnderWay ? "a rollback" : "a deploy";
    const hint = isUnderWay ? "" : ": wait for it, or end it with paceline rollback";
    return { ok: false, code: "busy", message: `${what} is under way${hint}` };
  }

  /** Whether a deploy is replacing that pool: until it is in service in all pools, or rolled back. */
  holds(pool: string): boolean {
    return this.trial?.begun.has(pool) ?? false;
  }

  /** Returns why a slot cannot be drained. Its canary would get no requests, and the release would be promoted without a verdict. */
  refusalToDrain(name: string): (OperationResult & { ok: false }) | undefined {
    const { trial } = this;
    const isTried = trial?.parts.some((part) => {
      const rollout = this.options.rollouts.of(part.name);
      const slots = rollout?.canary?.isOver === false ? rollout.canary.slots : [];
      return slots.some((index) => `${part.name}.${index}` === name);
    });
    if (isTried !== true) return undefined;
    const hint = "drain another instance, or end the deploy with paceline rollback";
    return { ok: false, code: "busy", message: `a canary is being tried in ${name}: ${hint}` };
  }

  statusOf(pool: string): Omit<DeployStatus, "arms"> | null {
    const { trial } = this;
    const part = trial?.parts.find(({ name }) => name === pool);
    if (trial === undefined || part === undefined) return null;
    const arms = this.canaries.armsOf(part, trial.since);
    const judged = trial.judgements.get(pool);
    return {
      from: part.former,
      to: part.next,
      release: part.after.release,
      phase: trial.phase,
      percent: trial.config.canaryPercent,
      percentNow: findPool(this.options.runner.fleet, pool)?.canaryShare ?? null,
      isHeld: trial.isHeld,
      canaries: arms.canary,
      controls: arms.fresh,
      judgeMs: trial.config.judgeMs,
      leftMs: trial.judgeBy === null ? null : Math.max(0, Math.round(trial.judgeBy - performance.now())),
      verdict: judged?.verdict ?? "wait",
      tests: judged?.tests ?? [],
    };
  }

  /** Lets an operator continue without the verdict, or wait after it. A failing release is rolled back in any case. */
  steer(what: DeploySteering): OperationResult {
    const { trial } = this;
    if (trial === undefined || trial.phase === "rolling" || trial.phase === "back" || trial.rolledBack !== undefined)
      return { ok: false, code: "invalid", message: "no canary is being judged" };
    if (what !== "resume") trial.wantsPromotion = what === "promote";
    trial.isHeld = what === "hold";
    const message = STEERED[what];
    for (const listener of this.listeners) listener(message);
    this.options.log.event("info", "paceline", `deploy: ${message}`);
    trial.wake();
    return { ok: true, message };
  }

  async run(request: DeployRequest, onProgress: ProgressListener): Promise<OperationResult> {
    const { isStopping, isReloading, log } = this.options;
    if (isStopping()) return STOPPING;
    const refusal = this.refusal ?? (isReloading() ? RELOADING : undefined);
    if (refusal !== undefined) return refusal;
    const trial: Trial = {
      ...{ parts: [], config: DEPLOY_DEFAULTS, since: performance.now(), phase: "loading" },
      ...{ judgedSince: null, judgeBy: null, judgements: new Map(), rolledBack: undefined, wake: () => {} },
      ...{ isHeld: false, wantsPromotion: false, isWhole: false, begun: new Set(), loading: new AbortController() },
    };
    this.trial = trial;
    this.named = request.dir ?? request.config;
    this.listeners.add(onProgress);
    this.ended = this.begin(trial, request, (text) => {
      for (const listener of this.listeners) listener(text);
    });
    const result = await this.ended;
    const said = result.ok ? result.message : `deploy: ${result.message}`;
    const isFailed = !result.ok && FAILED_CODES.has(result.code);
    log.event(result.ok ? "info" : "error", "paceline", said, isFailed ? "deploy-failed" : undefined);
    return result;
  }

  private async begin(trial: Trial, request: DeployRequest, onProgress: ProgressListener): Promise<OperationResult> {
    const { source, reload, hooks, configs } = this.options;
    try {
      onProgress("reading the config of the release");
      const loaded = await source.load(request, configs.fleet.name, trial.loading.signal);
      if (trial.rolledBack !== undefined) return { ok: false, code: "release-refused", message: trial.rolledBack };
      if (!loaded.ok) return { ok: false, code: "release-refused", message: loaded.problems.join("\n") };
      if (loaded.note !== undefined) onProgress(loaded.note);
      const objection = this.busyPool(loaded.config) ?? this.refusalOf(loaded.config);
      if (objection !== undefined && !objection.ok)
        return { ...objection, code: objection.code === "busy" ? "busy" : "release-refused" };
      const about: HookContext = {
        ...this.hookContext(loaded.config, onProgress),
        rolledBack: () => trial.rolledBack,
      };
      const result = await hooks.around(about, "release-refused", async () => {
        if (trial.rolledBack !== undefined) return { ok: false, code: "release-refused", message: trial.rolledBack };
        trial.parts = this.planning.plan(loaded.config);
        trial.config = settings(loaded.config, request);
        return this.unlessRolledBack(trial, await this.trials.run(trial, loaded, about), onProgress);
      });
      const outcome = await this.unlessRolledBack(trial, result, onProgress);
      if (result.ok && !outcome.ok) await hooks.run("onFailure", { ...about, failure: outcome.message });
      return outcome;
    } finally {
      this.trial = undefined;
      this.trials.undecided = undefined;
      this.listeners.clear();
      reload.prune();
    }
  }

  /** Rolls back a deploy that has succeeded if an operator requested that meanwhile, even during the last hooks. */
  private async unlessRolledBack(
    trial: Trial,
    result: OperationResult,
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    if (!result.ok || trial.rolledBack === undefined || this.options.isStopping()) return result;
    trial.phase = "back";
    const back = await this.last.undo(onProgress);
    if (back.ok) return asked(`${trial.rolledBack}: ${back.message}`);
    // The rollback reports the reason.
    return { ...result, message: `${result.message}; not rolled back: ${back.message}` };
  }

  private hookContext(config: FleetConfig, onProgress: ProgressListener): HookContext {
    const { configs } = this.options;
    const pools = config.pools.map(({ name }) => name);
    const generation = configs.nextGeneration(pools[0] ?? "");
    return { reason: "deploy", config, environment: configs.environment, generation, pools, onProgress };
  }

  /** Returns why this configuration cannot be deployed, whatever is in progress. */
  refusalOf(config: FleetConfig): OperationResult | undefined {
    return this.options.reload.refusal(config, undefined) ?? this.planning.refusal(config);
  }

  private busyPool(config: FleetConfig): OperationResult | undefined {
    for (const { name } of config.pools) {
      const refusal = this.options.operations.refusalToRoll(name);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  // Rollback:

  /** @param release undefined: the last deploy, whatever it deployed */
  async rollback(release: string | undefined, onProgress: ProgressListener): Promise<OperationResult> {
    const { isStopping, isReloading } = this.options;
    if (isStopping()) return STOPPING;
    const { trial } = this;
    if (release !== undefined && !isSamePlace(release, trial === undefined ? this.last.place : this.named))
      return { ok: false, code: "invalid", message: `${release} is neither being deployed nor what was deployed last` };
    if (trial !== undefined) return this.endTrial(trial, onProgress);
    const busy = this.refusal ?? (isReloading() ? RELOADING : undefined);
    return busy ?? this.last.undo(onProgress);
  }

  private async endTrial(trial: Trial, onProgress: ProgressListener): Promise<OperationResult> {
    trial.rolledBack = "rolled back by an operator";
    this.listeners.add(onProgress);
    onProgress(this.options.hooks.rollBack(trial.rolledBack) ?? "rolling the deploy back");
    trial.loading.abort();
    trial.wake();
    for (const { name } of trial.parts) this.options.rollouts.rollBack(name, trial.rolledBack);
    const result = await this.ended;
    // The deploy could not be rolled back while it was in progress.
    if (result?.ok) return this.rollback(undefined, onProgress);
    if (this.options.isStopping()) return STOPPING;
    const pools = trial.parts.map(({ name, former, before }) => `${name} generation ${former} (${before.release})`);
    return { ok: true, message: `the deploy was rolled back: ${pools.join(", ") || "nothing was changed"}` };
  }
}
