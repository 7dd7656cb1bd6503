/** Deploy and rollback: a generation is tried beside the one in service, then takes its place or goes. */
import type { DeployRequest, DeployStatus, DeploySteering, OperationResult, ProgressListener } from "../control/api.js";
import { DEPLOY_DEFAULTS, failingText } from "../core/deploy.js";
import { findPool } from "../core/fleet.js";
import type { FleetConfig } from "../core/model.js";
import type { VerdictLimits } from "../core/verdict-model.js";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import { Canaries, type CanariesOptions, failureOf, type Part, type PoolJudge, type Trial } from "./canaries.js";
import { addedPools, DeployPlan, settings, untriedText } from "./deploy-plan.js";
import type { HookContext, Hooks } from "./hooks.js";
import { STOPPING } from "./operations.js";
import { sizeOf } from "./pool-changes.js";
import { isSamePlace, Rollbacks, type RollbacksOptions } from "./rollbacks.js";
import type { BeforeDeploy } from "./state-keeper.js";
import { WarmMemory } from "./warm-memory.js";

/** What a deploy loads: the configuration, and what later reloads read if it succeeds, or after a rollback. */
export type DeployLoad =
  | { ok: true; config: FleetConfig; deployed: Deployed; former: Deployed; note?: string | undefined }
  | { ok: false; problems: string[] };

interface DeploysOptions extends CanariesOptions, RollbacksOptions {
  hooks: Hooks;
  log: EventLog;
  source: RollbacksOptions["source"] & {
    /** @param name the fleet's name, which stays; `wanted` aborts it */
    load(request: DeployRequest, name: string, wanted: AbortSignal): Promise<DeployLoad>;
  };
  openJudge(pool: string, limits: VerdictLimits): PoolJudge;
  /** Returns what reads whether that process has had a client's request, as far as is reported, also after its end. */
  watchRequests(pool: string, id: string): () => boolean;
  isStopping(): boolean;
  isReloading(): boolean;
  /** Resolves when the next supervisor would go on from here. */
  saveState(): Promise<void>;
}

/** How often processes report. */
const REPORT_MS = 1000;
const STEERED: Record<DeploySteering, string> = {
  promote: "promoted by an operator, without waiting for the verdict",
  hold: "held by an operator: it waits after the verdict",
  resume: "no longer held",
};
/** The results of a deploy that an operator is alerted of. */
const FAILED_CODES: ReadonlySet<string> = new Set(["failed", "release-refused", "taken-back", "untold"]);
const RELOADING = { ok: false, code: "busy", message: "a reload is under way" } as const;
export class Deploys {
  private trial: Trial | undefined;
  /** The folder or config file that it was begun with. */
  private named: string | undefined;
  private ended: Promise<OperationResult> | undefined;
  /** Who began the deploy hears its steps, and who takes it back. */
  private readonly listeners = new Set<ProgressListener>();
  /** For the state file: set from when all slots have the release until its hooks agree, or it is taken back. */
  undecided: BeforeDeploy | undefined;
  /** What earlier deploys have left. */
  readonly last: Rollbacks;
  private readonly canaries: Canaries;
  private readonly planning: DeployPlan;

  constructor(private readonly options: DeploysOptions) {
    this.canaries = new Canaries(options, new WarmMemory(options.runner, options.log));
    this.planning = new DeployPlan(options);
    this.last = new Rollbacks(options);
  }

  /** Why another operation on the whole fleet cannot start; undefined if it can. */
  get refusal(): (OperationResult & { ok: false }) | undefined {
    const { isUnderWay } = this.last;
    if (this.trial === undefined && !isUnderWay) return undefined;
    const what = isUnderWay ? "a rollback" : "a deploy";
    const hint = isUnderWay ? "" : ": wait for it, or end it with paceline rollback";
    return { ok: false, code: "busy", message: `${what} is under way${hint}` };
  }

  /** Whether a deploy replaces that pool: until it is in service in all pools, or taken back. */
  holds(pool: string): boolean {
    return this.trial?.begun.has(pool) ?? false;
  }

  /** Why a slot cannot be drained: its canary would get no requests, and the release would go on without a verdict. */
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

  /** An operator goes on without the verdict, or waits after it. What fails is taken back all the same. */
  steer(what: DeploySteering): OperationResult {
    const { trial } = this;
    if (trial === undefined || trial.phase === "rolling" || trial.phase === "back" || trial.takenBack !== undefined)
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
      ...{ judgedSince: null, judgeBy: null, judgements: new Map(), takenBack: undefined, wake: () => {} },
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
      if (trial.takenBack !== undefined) return { ok: false, code: "release-refused", message: trial.takenBack };
      if (!loaded.ok) return { ok: false, code: "release-refused", message: loaded.problems.join("\n") };
      if (loaded.note !== undefined) onProgress(loaded.note);
      const objection = this.busyPool(loaded.config) ?? this.refusalOf(loaded.config);
      if (objection !== undefined && !objection.ok)
        return { ...objection, code: objection.code === "busy" ? "busy" : "release-refused" };
      const about: HookContext = {
        ...this.hookContext(loaded.config, onProgress),
        takenBack: () => trial.takenBack,
      };
      const result = await hooks.around(about, "release-refused", async () => {
        if (trial.takenBack !== undefined) return { ok: false, code: "release-refused", message: trial.takenBack };
        trial.parts = this.planning.plan(loaded.config);
        trial.config = settings(loaded.config, request);
        return this.unlessTakenBack(trial, await this.deploy(trial, loaded, about), onProgress);
      });
      const outcome = await this.unlessTakenBack(trial, result, onProgress);
      if (result.ok && !outcome.ok) await hooks.run("onFailure", { ...about, failure: outcome.message });
      return outcome;
    } finally {
      this.trial = undefined;
      this.undecided = undefined;
      this.listeners.clear();
      reload.prune();
    }
  }

  /** An operator may ask for it as long as the deploy is under way, also in its last hooks. */
  private async unlessTakenBack(
    trial: Trial,
    result: OperationResult,
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    if (!result.ok || trial.takenBack === undefined || this.options.isStopping()) return result;
    trial.phase = "back";
    const back = await this.last.undo(onProgress);
    if (back.ok) return asked(`${trial.takenBack}: ${back.message}`);
    // The rollback says why.
    return { ...result, message: `${result.message}; not rolled back: ${back.message}` };
  }

  private hookContext(config: FleetConfig, onProgress: ProgressListener): HookContext {
    const { configs } = this.options;
    const pools = config.pools.map(({ name }) => name);
    const generation = configs.nextGeneration(pools[0] ?? "");
    return { reason: "deploy", config, environment: configs.environment, generation, pools, onProgress };
  }

  /** Returns why this configuration cannot be deployed, whatever is under way. */
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

  /** Whoever calls a deploy learns from the code whether the release has had a client's request. */
  private async deploy(trial: Trial, loaded: DeployLoad & { ok: true }, about: HookContext): Promise<OperationResult> {
    const { openJudge, publish, runner, periodMs = REPORT_MS } = this.options;
    const serving = trial.parts.filter(({ after }) => after.serves);
    const judges = serving.map((part) => {
      return { part, judge: openJudge(part.name, trial.config.limits), seen: new Map<string, () => boolean>() };
    });
    // The balancers count from the next snapshot on.
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
      // The last requests of a process are reported after it has ended.
      // A process that was never ready had no client. A release that was in all slots counts as seen.
      const isAsked = trial.takenBack !== undefined;
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
    const { rolls, told } = await this.canaries.try(trial, judges, onProgress);
    trial.phase = told.do === "promote" ? "rolling" : "back";
    if (told.do === "promote") for (const { name } of tried) rollouts.promote(name);
    else for (const { name } of tried) rollouts.takeBack(name, told.reason);
    const results = await this.canaries.settle(trial, rolls);
    if (isStopping()) return STOPPING;
    // Pools without canaries, such as workers, follow when the others are through.
    for (const part of trial.parts.filter(({ isTried }) => !isTried)) {
      if (results.some(([, { ok }]) => !ok) || trial.takenBack !== undefined) break;
      this.planning.renew(part);
      results.push([part, await this.canaries.roll(part, trial, onProgress)]);
    }
    const failed = failureOf(results);
    const unsaid = told.isTold ? [] : [`it could not be told whether it is as good: ${told.reason}`];
    const failure = failed ?? (trial.takenBack === undefined ? undefined : asked(trial.takenBack));
    if (failure !== undefined && !failure.ok) {
      trial.phase = "back";
      const done = results.flatMap(([part, { ok }]) => (ok ? [part] : []));
      const stuck = await this.last.rollBack(done, onProgress);
      const isUntold = told.do === "takeBack" && !told.isTold;
      const outcome = isUntold ? { ...failure, code: "untold" as const, message: told.reason } : failure;
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
    // The hook `after` may take long, and the release is in service by now.
    await this.options.saveState();
    const pools = trial.parts.map(({ name, next }) => `${name} generation ${next}`).join(", ");
    const tookMs = performance.now() - trial.since;
    const addition = added.length === 0 ? [] : [`added and not judged: ${added.join(", ")}`];
    const done = `deployed: ${pools || "no pool that existed"}, in ${seconds(tookMs)}`;
    const failing = failingText(trial.judgements);
    return { ok: true, message: [done, ...failing, ...untried, ...addition, ...unsaid].join("; ") };
  }

  /** The new generation is that of its pools from now on; then adds and removes pools, and changes the balancers. */
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

  // Rollback.

  /** @param release undefined: whatever was deployed last */
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
    trial.takenBack = "rolled back by an operator";
    this.listeners.add(onProgress);
    onProgress(this.options.hooks.takeBack(trial.takenBack) ?? "taking the deploy back");
    trial.loading.abort();
    trial.wake();
    for (const { name } of trial.parts) this.options.rollouts.takeBack(name, trial.takenBack);
    const result = await this.ended;
    // It could not be taken back.
    if (result?.ok) return this.rollback(undefined, onProgress);
    if (this.options.isStopping()) return STOPPING;
    const pools = trial.parts.map(({ name, former, before }) => `${name} generation ${former} (${before.release})`);
    return { ok: true, message: `the deploy was taken back: ${pools.join(", ") || "nothing was changed"}` };
  }
}

/** @param stuck why a pool could not go back */
function backText(stuck: OperationResult | undefined): string {
  return stuck === undefined
    ? "the former version is restored"
    : `the former version could not be restored: ${stuck.message}`;
}

function asked(reason: string): OperationResult {
  return { ok: false, code: "taken-back", message: reason };
}

function isOfRelease(code: string): boolean {
  return code === "release-refused" || code === "taken-back";
}

/** A release that has had no client's request was refused. */
function asSeen(result: OperationResult & { ok: false }, wasSeen: boolean, wasAsked: boolean): OperationResult {
  const [code, from, to] = wasSeen
    ? (["taken-back", ": refused: ", ": taken back: "] as const)
    : (["release-refused", ": taken back: ", ": refused: "] as const);
  return { ...result, code, message: wasAsked ? result.message : result.message.replace(from, to) };
}
