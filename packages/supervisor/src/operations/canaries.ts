/**
 * Tries a release: starts its canaries, sets their share of requests, compares them, and checks them before the release is promoted.
 */
import type { DeployStatus, OperationResult, ProgressListener } from "../control/api.js";
import {
  canaryPercentNow,
  comparisonTexts,
  type DeployConfig,
  expectationText,
  FIRST_STEP,
  isPointless,
  type Judgement,
  LONGEST_FACTOR,
  mayPromote,
  type NextStep,
  nextStep,
  steered,
} from "../core/deploy.js";
import { findPool, occupants, processId } from "../core/fleet.js";
import type { PoolConfig } from "../core/model.js";
import { seconds } from "../core/words.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { Rollouts } from "./rollouts.js";
import type { WarmMemory } from "./warm-memory.js";
/** The processes that a deploy compares, by id. */
export interface Arms {
  canary: string[];
  /** The processes of the generation in service. */
  old: string[];
  /** Those of them that were started together with the canaries, for figures that depend on age. */
  fresh: string[];
}

/** Compares the arms of one pool from its creation until `close`. Called about twice a second. */
export interface PoolJudge {
  look(arms: Arms): Judgement;
  close(): void;
}

export interface CanariesOptions {
  runner: FleetRunner;
  rollouts: Rollouts;
  /** Returns when a process was started, by performance.now(). */
  spawnedAt(id: string): number | undefined;
  /** Checks a process. Returns what is wrong with it; undefined if it responds and is healthy. */
  examine(id: string): Promise<string | undefined>;
  /** Returns the requests per second to a pool, by the last report. */
  rateOf(pool: string): number;
  publish(): void;
  /** How often the canaries are compared, in milliseconds. Default: twice a second. */
  periodMs?: number | undefined;
}

const SECONDARY = "another pool was rolled back";
const PERIOD_MS = 500;
/** How long the canaries wait for a process of the version in service if none is ready, in milliseconds. */
const ALONE_MS = 5000;
const NO_PROGRESS = { elapsedMs: 0, isDoubtful: false, isClear: false };
/** How long a canary that does not respond before the promotion may take to recover, in milliseconds. */
const RECOVER_MS = 10_000;

/** A pool of a deploy. */
export interface Part {
  name: string;
  before: PoolConfig;
  after: PoolConfig;
  former: number;
  next: number;
  slots: number[];
  /** The number of instances after a return to the former version. */
  size: number;
  /** The number that the deploy sets, unless an operator scales it meanwhile. */
  nextSize: number;
  /** Whether it has canaries. */
  isTried: boolean;
}

/** Its rollout. */
interface Roll {
  part: Part;
  result: Promise<OperationResult>;
}

type FinalStep = Exclude<NextStep, { do: "wait" }>;

export interface Trial {
  parts: readonly Part[];
  config: DeployConfig;
  readonly since: number;
  phase: DeployStatus["phase"];
  /** The start of the comparison, and its end; null before it. */
  judgedSince: number | null;
  judgeBy: number | null;
  readonly judgements: Map<string, Judgement>;
  /** The pools whose rollout has started, until the deploy is in service or rolled back. */
  readonly begun: Set<string>;
  /** The operator's reason for rolling back; undefined if nobody has requested it. */
  rolledBack: string | undefined;
  /** Whether an operator wants the deploy to wait after the verdict, and whether to continue without a verdict. */
  isHeld: boolean;
  wantsPromotion: boolean;
  /** Whether all slots have, or had, the release. */
  isWhole: boolean;
  /** Aborts the loading of the release's config. */
  readonly loading: AbortController;
  wake(): void;
}

export class Canaries {
  constructor(
    private readonly options: CanariesOptions,
    private readonly warm: WarmMemory,
  ) {}

  /** Starts the canaries of all pools, and compares them until there is a verdict, the time is over, or one is lost. */
  async try(
    trial: Trial,
    judges: readonly { part: Part; judge: PoolJudge }[],
    onProgress: ProgressListener,
  ): Promise<{ rolls: Roll[]; step: FinalStep }> {
    const tried = judges.map(({ part }) => part);
    const names = (tried.length > 0 ? tried : trial.parts).map(({ name }) => name);
    onProgress(`${FIRST_STEP}${names.join(", ")}`);
    if (tried.length === 0) return { rolls: [], step: { do: "promote", isDecided: true } };
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
      // A canary that is lost ends the rollout of its pool, and so the deploy.
      if (hasEnded) return { rolls, step: { do: "rollBack", isDecided: true, reason: SECONDARY } };
      if (trial.rolledBack !== undefined)
        return { rolls, step: { do: "rollBack", isDecided: true, reason: trial.rolledBack } };
      for (const { part, judge } of judges) this.look(trial, part, judge);
      if (waiting.size === 0 && trial.judgeBy === null) this.beginJudging(trial, onProgress);
      const found = this.stepOf(trial, onProgress);
      const step = steered(found, { ...trial, mayPromote: this.mayPromote(trial, found) });
      const text = verdictText(trial.judgements);
      if (text !== said && trial.judgeBy !== null && trial.config.judgeMs > 0) onProgress(text);
      if (trial.judgeBy !== null) said = text;
      if (step.do === "promote") {
        const problem = await this.problemOf(tried, trial, () => hasEnded);
        if (hasEnded || trial.rolledBack !== undefined || trial.isHeld) continue;
        if (problem !== undefined) return { rolls, step: { do: "rollBack", isDecided: true, reason: problem } };
      }
      if (step.do === "wait") continue;
      if (trial.config.judgeMs > 0)
        for (const [pool, judgement] of trial.judgements)
          for (const line of comparisonTexts(pool, judgement)) onProgress(line);
      return { rolls, step };
    }
  }

  /**
   * Checks the canaries before the release is promoted: a canary that is blocked or unhealthy at that moment is not visible in the counts
   * yet.
   */
  private async problemOf(tried: readonly Part[], trial: Trial, isOver: () => boolean): Promise<string | undefined> {
    const until = performance.now() + RECOVER_MS;
    for (;;) {
      const ids = tried.flatMap((part) => this.armsOf(part, trial.since).canary);
      const found = await Promise.all(
        ids.map(async (id) => {
          const problem = await this.options.examine(id);
          return problem === undefined ? undefined : `${id} ${problem}`;
        }),
      );
      const problem = found.find((each) => each !== undefined);
      if (problem === undefined || isOver() || trial.rolledBack !== undefined || performance.now() >= until)
        return problem;
      await this.pause(trial);
    }
  }

  private beginJudging(trial: Trial, onProgress: ProgressListener): void {
    const { judgeMs, canaryPercent } = trial.config;
    trial.judgedSince = performance.now();
    trial.judgeBy = trial.judgedSince + judgeMs;
    if (judgeMs > 0)
      onProgress(`the canaries get up to ${canaryPercent} % of the requests; judged for ${seconds(judgeMs)}`);
  }

  /** Compares the canaries of a pool, and sets the share of requests that their results allow. */
  private look({ config, judgements, judgedSince, since }: Trial, part: Part, judge: PoolJudge): void {
    const judgement = judge.look(this.armsOf(part, since));
    judgements.set(part.name, judgement);
    const { judgeMs, canaryPercent } = config;
    if (judgeMs === 0) return;
    const elapsedMs = judgedSince === null ? 0 : performance.now() - judgedSince;
    const progress = { ...judgement, elapsedMs, rate: this.options.rateOf(part.name) };
    const percent = canaryPercentNow(progress, canaryPercent, judgeMs);
    if (this.options.rollouts.setCanaryShare(part.name, percent)) this.options.publish();
  }

  /** A worse release is rolled back at once, even before all canaries are ready. */
  private stepOf(trial: Trial, onProgress: ProgressListener): NextStep {
    const { judgements, judgedSince, judgeBy, config } = trial;
    const { judgeMs, onNoTraffic } = config;
    if (judgeBy === null || judgedSince === null) {
      const step = nextStep(judgements, "some", onNoTraffic);
      return step.do === "promote" ? { do: "wait" } : step;
    }
    if (judgeMs === 0) return { do: "promote", isDecided: true };
    const longest = judgedSince + LONGEST_FACTOR * judgeMs;
    const now = performance.now();
    const isPastHope = now >= longest || (now >= judgedSince + ALONE_MS && isPointless(judgements));
    const left = isPastHope ? "none" : now >= judgedSince + judgeMs ? "over" : "some";
    const step = nextStep(judgements, left, onNoTraffic);
    if (step.do === "wait" && left === "over" && judgeBy !== longest) {
      trial.judgeBy = longest;
      onProgress(`a gross fault is not excluded yet: judged for up to ${seconds(longest - now)} more`);
    }
    return step;
  }

  private mayPromote({ judgedSince, judgements }: Trial, { do: next }: NextStep): boolean {
    if (judgedSince === null) return false;
    return next !== "wait" || mayPromote(judgements, performance.now() - judgedSince);
  }

  roll(part: Part, trial: Trial, onProgress: ProgressListener, onHeld?: () => void): Promise<OperationResult> {
    const { name, slots, next, former, before, after } = part;
    const { judgeMs, canaryPercent } = trial.config;
    const rate = this.options.rateOf(name);
    trial.begun.add(name);
    if (onHeld !== undefined && judgeMs > 0) onProgress(expectationText(name, rate, trial.config));
    // If both versions have the same folder, the former code may be gone, and a control would run the new code.
    const hasControls = before.release !== after.release && judgeMs > 0;
    const first = judgeMs === 0 ? canaryPercent : canaryPercentNow({ ...NO_PROGRESS, rate }, canaryPercent, judgeMs);
    // An instance in direct mode would still accept clients while it is kept warm.
    const mayStay = after.serves && before.mode !== "direct";
    return this.options.rollouts.run("deploy", name, slots, next, onProgress, {
      formerGeneration: former,
      ...(onHeld && { canary: { ofSlots: canaryPercent, percent: first, hasControls, onHeld } }),
      keepWarmMs: () => (mayStay && this.warm.hasRoom ? trial.config.keepWarmMs : 0),
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
  async settle(trial: Trial, rolls: readonly Roll[]): Promise<[Part, OperationResult][]> {
    const { rollouts } = this.options;
    const results = rolls.map(async ({ part, result }): Promise<[Part, OperationResult]> => {
      const outcome = await result;
      if (!outcome.ok) for (const { name } of trial.parts) if (name !== part.name) rollouts.rollBack(name, SECONDARY);
      return [part, outcome];
    });
    return Promise.all(results);
  }

  armsOf({ name, next, former }: Part, since: number): Arms {
    const { runner, spawnedAt } = this.options;
    const arms: Arms = { canary: [], old: [], fresh: [] };
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

function verdictText(judgements: ReadonlyMap<string, Judgement>): string {
  return [...judgements]
    .map(([pool, { verdict, tests }]) => {
      const count = (of: string) => tests.filter((test) => test.verdict === of).length;
      return `${pool}: ${verdict} (${count("pass")} pass, ${count("wait")} wait, ${count("fail")} fail)`;
    })
    .join("; ");
}

/** Returns why the deploy failed: the first cause. */
export function firstFailureOf(results: readonly [Part, OperationResult][]): OperationResult | undefined {
  const failures = results.flatMap(([, result]) => (result.ok ? [] : [result]));
  return failures.find(({ message }) => !message.includes(SECONDARY)) ?? failures[0];
}
