/** Deploy and rollback: a generation is tried beside the one in service, then takes its place or goes. */
import { existsSync } from "node:fs";
import type { DeployRequest, DeployStatus, OperationResult, ProgressListener } from "../control/api.js";
import {
  canaryPercentNow,
  DEPLOY_DEFAULTS,
  type DeployConfig,
  FIRST_STEP,
  type Judgement,
  type NextStep,
  NO_PROGRESS,
  nextStep,
} from "../core/deploy.js";
import { findPool, occupants, type Pool, processId } from "../core/fleet.js";
import type { FleetConfig, PoolConfig } from "../core/model.js";
import type { VerdictLimits } from "../core/verdict.js";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { PoolConfigs } from "../processes/pool-configs.js";
import type { Deployed } from "../run-dir/fleet-state.js";
import { sizeWithin } from "./autoscaling.js";
import { counted } from "./fleet-questions.js";
import type { HookContext, Hooks } from "./hooks.js";
import { type Operations, STOPPING, wantedIndexes } from "./operations.js";
import { type Reload, sizeOf } from "./reload.js";
import type { Rollouts } from "./rollouts.js";
import { isWarm, WarmMemory } from "./warm-memory.js";

/** The processes that a deploy compares, by id. */
export interface Arms {
  canary: string[];
  /** Of the generation in service. */
  old: string[];
  /** Those of them that were started beside the canaries, for figures that depend on age. */
  fresh: string[];
}

/** Compares the arms of one pool from its creation until `close`; called about once a second. */
export interface PoolJudge {
  look(arms: Arms): {
    judgement: Judgement;
    /** Whether a test that waits is likely to fail. */
    isDoubtful: boolean;
  };
  close(): void;
}

/** What a deploy loads: the configuration, and what later reloads read if it succeeds, or after a rollback. */
export type DeployLoad =
  | { ok: true; config: FleetConfig; deployed: Deployed; former: Deployed; note?: string | undefined }
  | { ok: false; problems: string[] };

interface DeploysOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  operations: Operations;
  reload: Reload;
  hooks: Hooks;
  configs: PoolConfigs;
  log: EventLog;
  source: {
    /** @param name the fleet's name, which stays */
    load(request: DeployRequest, name: string): Promise<DeployLoad>;
    /** Reloads read this from now on, until the fleet's own path leads elsewhere than now. Returns it with that. */
    set(deployed: Deployed | undefined): Deployed | undefined;
  };
  /** Returns when a process was started, by performance.now(). */
  spawnedAt(id: string): number | undefined;
  openJudge(pool: string, limits: VerdictLimits): PoolJudge;
  /** Returns what reads how many requests of clients that process has had, as far as is reported, also after its end. */
  countRequests(pool: string, id: string): () => number;
  /** Asks a process, and returns what is wrong with it; undefined if it responds and is healthy. */
  examine(id: string): Promise<string | undefined>;
  isStopping(): boolean;
  isReloading(): boolean;
  publish(): void;
  publishOnce(change: () => void): void;
  /** How often it looks. Default: once a second. */
  periodMs?: number | undefined;
}

const RELOADING = { ok: false, code: "busy", message: "a reload is under way" } as const;
const SECONDARY = "another pool was taken back";
const PERIOD_MS = 1000;
/** A canary that does not respond when the release is to go on may recover for so long. */
const RECOVER_MS = 10_000;

/** A pool of a deploy. */
interface Part {
  name: string;
  before: PoolConfig;
  after: PoolConfig;
  former: number;
  next: number;
  slots: number[];
  /** The number of instances that it has after a return. */
  size: number;
  /** Whether canaries are tried. */
  isTried: boolean;
}

/** Its rollout. */
interface Roll {
  part: Part;
  result: Promise<OperationResult>;
}

type Told = Exclude<NextStep, { do: "wait" }>;

interface Trial {
  parts: readonly Part[];
  config: DeployConfig;
  readonly since: number;
  phase: DeployStatus["phase"];
  /** Until when the canaries are compared; null before they are. */
  judgeBy: number | null;
  readonly judgements: Map<string, Judgement>;
  /** Set if an operator wants it taken back. */
  takenBack: string | undefined;
  wake(): void;
}

export class Deploys {
  private trial: Trial | undefined;
  private ended: Promise<OperationResult> | undefined;
  private isRollingBack = false;
  /** Whether the last deploy was rolled back. */
  private isRolledBack = false;
  /** What reloads read now, and would read after a rollback. */
  private deployed: Deployed | undefined;
  private formerly: Deployed | undefined;
  private readonly warm: WarmMemory;

  constructor(private readonly options: DeploysOptions) {
    this.warm = new WarmMemory(options.runner, options.log);
  }

  /** Why another operation on the whole fleet cannot start; undefined if it can. */
  get refusal(): (OperationResult & { ok: false }) | undefined {
    if (this.trial === undefined && !this.isRollingBack) return undefined;
    const what = this.isRollingBack ? "a rollback" : "a deploy";
    const hint = this.isRollingBack ? "" : ": wait for it, or end it with paceline rollback";
    return { ok: false, code: "busy", message: `${what} is under way${hint}` };
  }

  /** For the state file. */
  get sources(): { deployed: Deployed | undefined; formerlyDeployed: Deployed | undefined } {
    return { deployed: this.deployed, formerlyDeployed: this.formerly };
  }

  restoreSources(deployed: Deployed | undefined, formerly: Deployed | undefined): void {
    this.deployed = deployed;
    this.formerly = formerly;
  }

  /** A reload has put another version of a pool, or of all, in service, which knows no former one. */
  forget(pool: string | undefined): void {
    const { former } = this.options.configs;
    this.isRolledBack = false;
    if (pool === undefined) former.clear();
    else former.delete(pool);
    if (former.size === 0) this.formerly = undefined;
  }

  statusOf(pool: string): DeployStatus | null {
    const { trial } = this;
    const part = trial?.parts.find(({ name }) => name === pool);
    if (trial === undefined || part === undefined) return null;
    const arms = this.armsOf(part);
    const judged = trial.judgements.get(pool);
    return {
      from: part.former,
      to: part.next,
      release: part.after.release,
      phase: trial.phase,
      percent: trial.config.canaryPercent,
      canaries: arms.canary,
      controls: arms.fresh,
      judgeMs: trial.config.judgeMs,
      leftMs: trial.judgeBy === null ? null : Math.max(0, Math.round(trial.judgeBy - performance.now())),
      verdict: judged?.verdict ?? "wait",
      tests: judged?.tests ?? [],
    };
  }

  async run(request: DeployRequest, onProgress: ProgressListener): Promise<OperationResult> {
    const { isStopping, isReloading, log } = this.options;
    if (isStopping()) return STOPPING;
    const refusal = this.refusal ?? (isReloading() ? RELOADING : undefined);
    if (refusal !== undefined) return refusal;
    const trial: Trial = {
      ...{ parts: [], config: DEPLOY_DEFAULTS, since: performance.now(), phase: "loading", judgeBy: null },
      ...{ judgements: new Map(), takenBack: undefined, wake: () => {} },
    };
    this.trial = trial;
    this.ended = this.begin(trial, request, onProgress);
    const result = await this.ended;
    const said = result.ok ? result.message : `deploy: ${result.message}`;
    log.event(result.ok ? "info" : "error", "paceline", said);
    return result;
  }

  private async begin(trial: Trial, request: DeployRequest, onProgress: ProgressListener): Promise<OperationResult> {
    const { source, reload, hooks, configs } = this.options;
    try {
      onProgress("reading the config of the release");
      const loaded = await source.load(request, configs.fleet.name);
      if (!loaded.ok) return { ok: false, code: "release-refused", message: loaded.problems.join("\n") };
      if (loaded.note !== undefined) onProgress(loaded.note);
      const objection =
        reload.refusal(loaded.config, undefined) ?? this.busyPool(loaded.config) ?? this.unjudged(loaded.config);
      if (objection !== undefined && !objection.ok)
        return { ...objection, code: objection.code === "busy" ? "busy" : "release-refused" };
      const about = this.hookContext(loaded.config, onProgress);
      return await hooks.around(about, "release-refused", async () => {
        if (trial.takenBack !== undefined) return { ok: false, code: "release-refused", message: trial.takenBack };
        trial.parts = this.plan(loaded.config);
        trial.config = settings(loaded.config, request);
        return this.deploy(trial, loaded, about);
      });
    } finally {
      this.trial = undefined;
      reload.prune();
    }
  }

  private hookContext(config: FleetConfig, onProgress: ProgressListener): HookContext {
    const { configs } = this.options;
    const pools = config.pools.map(({ name }) => name);
    const generation = configs.nextGeneration(pools[0] ?? "");
    return { reason: "deploy", config, environment: configs.environment, generation, pools, onProgress };
  }

  private busyPool(config: FleetConfig): OperationResult | undefined {
    for (const { name } of config.pools) {
      const refusal = this.options.operations.refusalToRoll(name);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  /** Refuses a release that would put pools in service in place of others, with nothing to compare. */
  private unjudged(config: FleetConfig): OperationResult | undefined {
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
    return wantedIndexes(pool).filter((index) => index <= sizeOf(after, before, pool.wanted));
  }

  private isTried(after: PoolConfig, before: PoolConfig, slots: readonly number[]): boolean {
    return after.serves && before.serves && after.overlap && slots.length > 0;
  }

  /** Returns the pools that exist already; those that the release adds follow when it is in service. */
  private plan(config: FleetConfig): Part[] {
    const { runner, configs } = this.options;
    return config.pools.flatMap((after): Part[] => {
      const pool = findPool(runner.fleet, after.name);
      if (pool === undefined) return [];
      const before = configs.pool(after.name) ?? after;
      const slots = this.slotsOf(after, pool);
      const isTried = this.isTried(after, before, slots);
      const next = configs.addGeneration(after, configs.environment);
      return [{ name: after.name, before, after, former: pool.generation, next, slots, size: pool.wanted, isTried }];
    });
  }

  /** Whoever calls a deploy learns from the code whether a client may have had a response of the release. */
  private async deploy(trial: Trial, loaded: DeployLoad & { ok: true }, about: HookContext): Promise<OperationResult> {
    const { openJudge, publish, runner, periodMs = PERIOD_MS } = this.options;
    const serving = trial.parts.filter(({ after }) => after.serves);
    const judges = serving.map((part) => {
      return { part, judge: openJudge(part.name, trial.config.limits), counts: new Map<string, () => number>() };
    });
    // The balancers count from the next snapshot on.
    if (judges.length > 0) publish();
    const note = () => {
      for (const { part, counts } of judges)
        for (const id of this.armsOf(part).canary)
          if (!counts.has(id)) counts.set(id, this.options.countRequests(part.name, id));
    };
    const unwatch = runner.watch(note);
    const wasSeen = () => judges.some(({ counts }) => [...counts.values()].some((count) => count() > 0));
    try {
      const result = await this.tryRelease(
        trial,
        loaded,
        about,
        judges.filter(({ part }) => part.isTried),
      );
      if (result.ok || !isOfRelease(result.code)) return result;
      // The last requests of a process are reported after it has ended.
      if (judges.length > 0 && !wasSeen()) await new Promise((resolve) => setTimeout(resolve, 2 * periodMs));
      return asSeen(result, wasSeen(), trial.takenBack !== undefined);
    } finally {
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
    const { rolls, told } = await this.tryCanaries(trial, judges, onProgress);
    trial.phase = told.do === "promote" ? "rolling" : "back";
    if (told.do === "promote") for (const { name } of tried) rollouts.promote(name);
    else for (const { name } of tried) rollouts.takeBack(name, told.reason);
    const results = await this.settle(trial, rolls);
    if (isStopping()) return STOPPING;
    // Pools without canaries, such as workers, follow when the others are through.
    for (const part of trial.parts.filter(({ isTried }) => !isTried)) {
      if (results.some(([, { ok }]) => !ok) || trial.takenBack !== undefined) break;
      results.push([part, await this.roll(part, trial, onProgress)]);
    }
    const failed = failureOf(results);
    const unsaid = told.isTold ? [] : [`it could not be told whether it is as good: ${told.reason}`];
    const failure = failed ?? (trial.takenBack === undefined ? undefined : asked(trial.takenBack));
    if (failure !== undefined && !failure.ok) {
      trial.phase = "back";
      await this.rollBack(
        results.flatMap(([part, { ok }]) => (ok ? [part] : [])),
        onProgress,
      );
      return told.do === "takeBack" && !told.isTold ? { ...failure, code: "untold", message: told.reason } : failure;
    }
    const rest = await this.commit(trial, about);
    if (!rest.ok) {
      trial.phase = "back";
      await this.rollBack(trial.parts, onProgress);
      return { ...rest, code: "taken-back", message: `${rest.message}; the former version is restored` };
    }
    for (const { name, former: generation, size } of trial.parts) {
      this.options.configs.former.set(name, generation);
      this.options.configs.formerSizes.set(name, [size, findPool(this.options.runner.fleet, name)?.wanted ?? size]);
    }
    this.formerly = former;
    this.deployed = this.options.source.set(deployed);
    const pools = trial.parts.map(({ name, next }) => `${name} generation ${next}`).join(", ");
    const tookMs = performance.now() - trial.since;
    const addition = added.length === 0 ? [] : [`added and not judged: ${added.join(", ")}`];
    const done = `deployed: ${pools || "no pool that existed"}, in ${seconds(tookMs)}`;
    return { ok: true, message: [done, ...untried, ...addition, ...unsaid].join("; ") };
  }

  /** Starts the canaries of all pools, and compares them until there is a verdict, the time is over, or one is lost. */
  private async tryCanaries(
    trial: Trial,
    judges: readonly { part: Part; judge: PoolJudge }[],
    onProgress: ProgressListener,
  ): Promise<{ rolls: Roll[]; told: Told }> {
    const tried = judges.map(({ part }) => part);
    const names = (tried.length > 0 ? tried : trial.parts).map(({ name }) => name);
    onProgress(`${FIRST_STEP}${names.join(", ")}`);
    if (tried.length === 0) return { rolls: [], told: { do: "promote", isTold: true } };
    const waiting = new Set(tried.map(({ name }) => name));
    let hasEnded = false;
    const rolls = tried.map((part): Roll => {
      const result = this.roll(part, trial, onProgress, () => {
        waiting.delete(part.name);
        trial.wake();
      });
      void result.then(() => {
        hasEnded = true;
        trial.wake();
      });
      return { part, result };
    });
    for (let said = ""; ; await this.pause(trial)) {
      // A canary that is lost ends the rollout of its pool, and thereby the deploy.
      if (hasEnded) return { rolls, told: { do: "takeBack", isTold: true, reason: SECONDARY } };
      if (trial.takenBack !== undefined)
        return { rolls, told: { do: "takeBack", isTold: true, reason: trial.takenBack } };
      for (const { part, judge } of judges) this.look(trial, part, judge);
      if (waiting.size === 0) trial.judgeBy ??= this.beginJudging(trial, onProgress);
      const step = this.stepOf(trial);
      const text = verdictText(trial.judgements);
      if (text !== said && trial.judgeBy !== null && trial.config.judgeMs > 0) onProgress(text);
      if (trial.judgeBy !== null) said = text;
      if (step.do === "promote") {
        const problem = await this.problemOf(tried, trial, () => hasEnded);
        if (hasEnded || trial.takenBack !== undefined) continue;
        if (problem !== undefined) return { rolls, told: { do: "takeBack", isTold: true, reason: problem } };
      }
      if (step.do !== "wait") return { rolls, told: step };
    }
  }

  /** Asks the canaries before the release goes on: one that is blocked or unhealthy at that moment shows in no count yet. */
  private async problemOf(tried: readonly Part[], trial: Trial, isOver: () => boolean): Promise<string | undefined> {
    const until = performance.now() + RECOVER_MS;
    for (;;) {
      const ids = tried.flatMap((part) => this.armsOf(part).canary);
      const found = await Promise.all(
        ids.map(async (id) => {
          const problem = await this.options.examine(id);
          return problem === undefined ? undefined : `${id} ${problem}`;
        }),
      );
      const problem = found.find((each) => each !== undefined);
      if (problem === undefined || isOver() || trial.takenBack !== undefined || performance.now() >= until)
        return problem;
      await this.pause(trial);
    }
  }

  private beginJudging({ config: { judgeMs, canaryPercent } }: Trial, onProgress: ProgressListener): number {
    if (judgeMs > 0)
      onProgress(`the canaries get up to ${canaryPercent} % of the requests; judged for ${seconds(judgeMs)} at most`);
    return performance.now() + judgeMs;
  }

  /** Compares the canaries of a pool, and gives them the share that they have earned. */
  private look({ config, judgements, judgeBy }: Trial, part: Part, judge: PoolJudge): void {
    const { judgement, isDoubtful } = judge.look(this.armsOf(part));
    judgements.set(part.name, judgement);
    const { judgeMs, canaryPercent } = config;
    if (judgeMs === 0) return;
    const elapsedMs = judgeBy === null ? 0 : judgeMs - (judgeBy - performance.now());
    const percent = canaryPercentNow(
      { elapsedMs, requests: judgement.canaryRequests, isDoubtful },
      canaryPercent,
      judgeMs,
    );
    if (this.options.rollouts.setCanaryShare(part.name, percent)) this.options.publish();
  }

  /** A release that is worse is taken back at once, even before all canaries are up. */
  private stepOf({ judgements, judgeBy, config }: Trial): NextStep {
    const { judgeMs, onNoTraffic } = config;
    if (judgeBy !== null && judgeMs === 0) return { do: "promote", isTold: true };
    const isOver = judgeBy !== null && performance.now() >= judgeBy;
    const step = nextStep(judgements, isOver, onNoTraffic);
    return step.do === "promote" && judgeBy === null ? { do: "wait" } : step;
  }

  private roll(part: Part, trial: Trial, onProgress: ProgressListener, onHeld?: () => void): Promise<OperationResult> {
    const { name, slots, next, former, before, after } = part;
    const { judgeMs, canaryPercent } = trial.config;
    // In place, the former code is gone, and a control would run the new one.
    const hasControls = before.release !== after.release && judgeMs > 0;
    const first = judgeMs === 0 ? canaryPercent : canaryPercentNow(NO_PROGRESS, canaryPercent, judgeMs);
    return this.options.rollouts.run("deploy", name, slots, next, onProgress, {
      formerGeneration: former,
      ...(onHeld && { canary: { ofSlots: canaryPercent, percent: first, hasControls, onHeld } }),
      keepWarmMs: () => (after.serves && this.warm.hasRoom ? trial.config.keepWarmMs : 0),
    });
  }

  private pause(trial: Trial): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        trial.wake = () => {};
        resolve();
      };
      const timer = setTimeout(end, this.options.periodMs ?? PERIOD_MS);
      trial.wake = end;
    });
  }

  /** Waits for all pools. If one fails, the others go back, too. */
  private async settle(trial: Trial, rolls: readonly Roll[]): Promise<[Part, OperationResult][]> {
    const { rollouts } = this.options;
    const results = rolls.map(async ({ part, result }): Promise<[Part, OperationResult]> => {
      const outcome = await result;
      if (!outcome.ok) for (const { name } of trial.parts) if (name !== part.name) rollouts.takeBack(name, SECONDARY);
      return [part, outcome];
    });
    return Promise.all(results);
  }

  /** The new generation is that of its pools from now on; then adds and removes pools, and changes the balancers. */
  private async commit(trial: Trial, about: HookContext): Promise<OperationResult> {
    const { reload, runner, operations } = this.options;
    reload.enter(trial.parts.map(({ after, next }) => ({ config: after, generation: next })));
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

  async rollback(onProgress: ProgressListener): Promise<OperationResult> {
    const { configs, runner, isStopping, isReloading, operations } = this.options;
    if (isStopping()) return STOPPING;
    const { trial } = this;
    if (trial !== undefined) return this.endTrial(trial, onProgress);
    const busy = this.refusal ?? (isReloading() ? RELOADING : undefined);
    if (busy !== undefined) return busy;
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
      const slots = wantedIndexes(pool).filter((index) => index <= size);
      if (!isWarm(pool, former) && !existsSync(after.release))
        return { ok: false, code: "failed", message: `cannot return to ${after.release}: the folder is gone` };
      parts.push({ name, before: after, after: before, former, next: pool.generation, slots, size, isTried: false });
    }
    if (parts.length === 0) {
      const why = this.isRolledBack ? "the last one was rolled back already" : "none since the last start or reload";
      return { ok: false, code: "invalid", message: `no deploy to roll back: ${why}` };
    }
    const since = performance.now();
    const failure = await this.rollBack(parts, onProgress);
    if (failure !== undefined) return failure;
    configs.former.clear();
    this.isRolledBack = true;
    this.deployed = this.options.source.set(this.formerly);
    this.formerly = undefined;
    this.options.reload.prune();
    const names = parts
      .map(({ name, former, before }) => `${name} generation ${former} (${before.release})`)
      .join(", ");
    const text = `rolled back to ${names} in ${seconds(performance.now() - since)}`;
    return { ok: true, message: [text, ...notes].join("; ") };
  }

  /** Returns how many instances a pool gets by a rollback: as before the deploy, unless it was scaled since. */
  private sizeBefore({ name, wanted }: Pool, { scaling }: PoolConfig): [size: number, note?: string] {
    const [before, after] = this.options.configs.formerSizes.get(name) ?? [wanted, wanted];
    if (scaling !== null) return [sizeWithin(scaling, wanted)];
    if (wanted === after || this.options.configs.scalingOf(name) !== null) return [before];
    return [wanted, `${name} keeps ${counted(wanted)}, because it was scaled after the deploy`];
  }

  private async endTrial(trial: Trial, onProgress: ProgressListener): Promise<OperationResult> {
    trial.takenBack = "rolled back by an operator";
    trial.wake();
    for (const { name } of trial.parts) this.options.rollouts.takeBack(name, trial.takenBack);
    const result = await this.ended;
    // It was through already.
    if (result?.ok) return this.rollback(onProgress);
    if (this.options.isStopping()) return STOPPING;
    const pools = trial.parts.map(({ name, former, before }) => `${name} generation ${former} (${before.release})`);
    return { ok: true, message: `the deploy was taken back: ${pools.join(", ") || "nothing was changed"}` };
  }

  /** Returns pools to their former generation: at once where its processes are warm, else like a reload. Returns a failure. */
  private async rollBack(parts: readonly Part[], onProgress: ProgressListener): Promise<OperationResult | undefined> {
    const { rollouts, reload, publishOnce, runner, operations } = this.options;
    this.isRollingBack = true;
    try {
      let rolls: Promise<OperationResult>[] = [];
      // One snapshot for all.
      publishOnce(() => {
        rolls = parts.map(({ name, slots, former }) =>
          rollouts.run("rollback", name, slots, former, onProgress, { usesWarm: true }),
        );
      });
      const results = await Promise.all(rolls);
      reload.enter(
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
      this.isRollingBack = false;
    }
  }

  private armsOf({ name, next, former }: Part): Arms {
    const { runner, spawnedAt } = this.options;
    const arms: Arms = { canary: [], old: [], fresh: [] };
    const since = this.trial?.since ?? 0;
    for (const slot of findPool(runner.fleet, name)?.slots ?? [])
      for (const { occupant } of occupants(slot)) {
        if (occupant.process.state !== "ready") continue;
        const id = processId(slot.name, occupant.process.attempt);
        if (occupant.generation === next) arms.canary.push(id);
        else if (occupant.generation === former) {
          arms.old.push(id);
          if ((spawnedAt(id) ?? 0) >= since) arms.fresh.push(id);
        }
      }
    return arms;
  }
}

function poolsText(names: readonly string[]): string {
  return `${names.length === 1 ? "the pool" : "the pools"} ${names.join(", ")}`;
}

function addedPools({ pools }: FleetConfig, present: readonly { name: string }[]): string[] {
  return pools.flatMap(({ name }) => (present.some((each) => each.name === name) ? [] : [name]));
}

/** Returns why nothing is tried in a pool that serves. */
function untriedText({ name, before, after, slots, isTried }: Part): string | undefined {
  if (isTried || !(after.serves || before.serves)) return undefined;
  const why = slots.length === 0 ? "has no instances" : "runs only one version at a time";
  return `${name} ${why}, so nothing was tried there`;
}

function settings({ deploy }: FleetConfig, request: DeployRequest): DeployConfig {
  const given = Object.entries(request).filter(([key, value]) => key in DEPLOY_DEFAULTS && value !== undefined);
  return { ...DEPLOY_DEFAULTS, ...deploy, ...Object.fromEntries(given) };
}

function asked(reason: string): OperationResult {
  return { ok: false, code: "taken-back", message: reason };
}

function isOfRelease(code: string): boolean {
  return code === "release-refused" || code === "taken-back";
}

/** A release that no client has had a response of was refused. */
function asSeen(result: OperationResult & { ok: false }, wasSeen: boolean, wasAsked: boolean): OperationResult {
  const [code, from, to] = wasSeen
    ? (["taken-back", ": refused: ", ": taken back: "] as const)
    : (["release-refused", ": taken back: ", ": refused: "] as const);
  return { ...result, code, message: wasAsked ? result.message : result.message.replace(from, to) };
}

/** Returns why the deploy failed, the first cause. */
function failureOf(results: readonly [Part, OperationResult][]): OperationResult | undefined {
  const failures = results.flatMap(([, result]) => (result.ok ? [] : [result]));
  return failures.find(({ message }) => !message.includes(SECONDARY)) ?? failures[0];
}

function verdictText(judgements: ReadonlyMap<string, Judgement>): string {
  return [...judgements]
    .map(([pool, { verdict, tests }]) => {
      const count = (of: string) => tests.filter((test) => test.verdict === of).length;
      return `${pool}: ${verdict} (${count("pass")} pass, ${count("wait")} wait, ${count("fail")} fail)`;
    })
    .join("; ");
}
