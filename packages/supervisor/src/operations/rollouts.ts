/** Runs the rollouts of all pools, at most one in each; rollout-slots.ts carries out the decisions of their state machine. */

import type { OperationResult, ProgressListener } from "../control/api.js";
import { findPool } from "../core/fleet.js";
import { endWarm, setCanaryShare } from "../core/fleet-changes.js";
import { advance, canaryPlan, isHeld, newRollout, type Rollout } from "../core/rollout.js";
import { readyCount } from "./fleet-questions.js";
import { RolloutSlots, type RolloutSlotsOptions, type RolloutWays, type Running } from "./rollout-slots.js";

interface RolloutsOptions extends RolloutSlotsOptions {
  /** Whether old and new processes of this generation may run at the same time. */
  mayOverlap(pool: string, generation: number): boolean;
}

/** The reason with which a recycling is interrupted. */
const COMES_FIRST = "interrupted by another operation";

export type Refusal = OperationResult & { ok: false };

export class Rollouts {
  private readonly running = new Map<string, Running>();

  private readonly slots: RolloutSlots;

  constructor(private readonly options: RolloutsOptions) {
    this.slots = new RolloutSlots(options);
  }

  /** Returns the rollout running in a pool. */
  of(pool: string): Rollout | undefined {
    return this.running.get(pool)?.rollout;
  }

  /** Returns why a rollout of that pool cannot start, since only one runs at a time. A requested rollout interrupts a recycling. */
  refusal(pool: string): Refusal | undefined {
    this.endRecycling(pool);
    const rollout = this.of(pool);
    if (rollout === undefined) return undefined;
    return { ok: false, code: "busy", message: `a ${rollout.kind} of ${pool} is under way` };
  }

  /** Ends a recycling of that pool; a later one replaces the remaining processes. */
  endRecycling(pool: string): void {
    const running = this.running.get(pool);
    if (running?.rollout.kind === "recycle") running.send({ type: "abandon", reason: COMES_FIRST });
  }

  /** Resolves when no rollout works on that pool. */
  async whenFree(pool: string): Promise<void> {
    for (let state = this.running.get(pool); state !== undefined; state = this.running.get(pool)) await state.ended;
  }

  /** Ends all rollouts; the slots keep their old processes. */
  abandon(reason: string): void {
    for (const { send } of [...this.running.values()]) send({ type: "abandon", reason });
  }

  /** Sets which percentage of the requests the canaries of a pool get. Returns whether that is a change. */
  setCanaryShare(pool: string, percent: number): boolean {
    const { runner } = this.options;
    const before = runner.fleet;
    if (this.of(pool)?.canary?.isOver !== false) return false;
    runner.set(setCanaryShare(before, pool, percent));
    return runner.fleet !== before;
  }

  /** Called with the verdict on the canaries of a pool once they are held: they take their slots, and the rollout continues. */
  promote(pool: string): void {
    const { runner } = this.options;
    runner.set(setCanaryShare(runner.fleet, pool, undefined));
    this.running.get(pool)?.send({ type: "promote" });
  }

  /** Returns the slots of a deploy in progress to the former generation. */
  rollBack(pool: string, reason: string): void {
    this.running.get(pool)?.send({ type: "rollBack", reason });
  }

  /** Replaces the slots' processes by ones of that generation, `maxSurge` at a time. */
  run(
    kind: Rollout["kind"],
    pool: string,
    slots: readonly number[],
    generation: number,
    onProgress: ProgressListener,
    ways: RolloutWays = {},
  ): Promise<OperationResult> {
    const { runner, log, policyOf, mayOverlap } = this.options;
    const { formerGeneration, canary } = ways;
    const refusal = this.refusal(pool);
    if (refusal !== undefined) return Promise.resolve(refusal);
    const plan = canary === undefined ? undefined : canaryPlan(slots, canary.ofSlots);
    let markEnded = () => {};
    const ended = new Promise<void>((resolve) => {
      markEnded = resolve;
    });
    return new Promise((resolve) => {
      const state: Running = {
        rollout: newRollout(kind, slots, {
          maxSurge: surgeOf(policyOf(pool, generation).maxSurge, findPool(runner.fleet, pool)?.wanted ?? slots.length),
          canGoBack: formerGeneration !== undefined,
          // In place only if both generations forbid an overlap: if one of them serves requests, none may be lost.
          inPlace: !mayOverlap(pool, generation) && !mayOverlap(pool, formerGeneration ?? generation),
          ...(plan && { canaries: plan.canaries, controls: canary?.hasControls ? plan.controls : [] }),
        }),
        ...{ generation, ways, awaited: new Set(), renewing: new Set(), former: new Map(), ended, lastLines: [] },
        send: () => {},
        onProgress,
      };
      const finish = () => {
        const { outcome } = state.rollout;
        if (outcome === null || this.running.get(pool) !== state) return;
        unwatch();
        this.running.delete(pool);
        runner.set(setCanaryShare(runner.fleet, pool, undefined));
        markEnded();
        const isServing = readyCount(runner.fleet, pool) > 0;
        const { level, text, result } = endOf(pool, state.rollout, outcome, { isServing, lastLines: state.lastLines });
        const isAlert = level === "error" && (kind === "reload" || kind === "restart");
        log.event(level, pool, text, isAlert ? "reload-failed" : undefined);
        resolve(result);
      };
      state.send = (event) => {
        if (state.rollout.outcome !== null) return;
        const before = state.rollout;
        const { rollout, actions } = advance(state.rollout, event);
        state.rollout = rollout;
        if (rollout.direction !== before.direction && rollout.outcome === null) {
          log.event("error", pool, `${rollout.failure}; restoring the old version`);
          onProgress(`${pool}: ${rollout.failure}; restoring the old version`);
        } else if (rollout.done !== before.done && rollout.outcome?.ok !== false)
          onProgress(`${pool}: ${rollout.done.length} of ${rollout.total}`);
        // Registers all rollouts before the first one starts, because a start triggers an observation.
        for (const { type, index } of actions) if (type === "startReplacement") state.awaited.add(index);
        for (const action of actions) this.slots.act(pool, action, state);
        if (isHeld(rollout) && !isHeld(before)) canary?.onHeld();
        finish();
      };
      const unwatch = runner.watch(() => this.slots.observe(pool, state));
      this.running.set(pool, state);
      if (canary !== undefined) runner.set(setCanaryShare(runner.fleet, pool, canary.percent));
      // Warm processes belong to an earlier deploy, unless this rollout uses them.
      if (kind !== "recycle" && kind !== "restart" && !ways.usesWarm)
        runner.change((fleet, context) => endWarm(fleet, pool, context));
      // A recycling has already reported its reason and its slot.
      if (kind !== "recycle") log.event("info", pool, `${kind} of ${slots.length}`);
      state.send({ type: "begin" });
    });
  }
}

/** Returns how many slots may have a second process at once. */
function surgeOf(maxSurge: number | string, wanted: number): number {
  if (typeof maxSurge === "number") return maxSurge;
  return Math.max(1, Math.floor((Number.parseInt(maxSurge, 10) * wanted) / 100));
}

interface End {
  level: "info" | "error";
  /** The text of the event. */
  text: string;
  result: OperationResult;
}

/**
 * Returns the message for an operator at the end of a rollout.
 * @param known whether the pool has a ready instance, and the last lines of the failed replacement
 */
function endOf(
  pool: string,
  rollout: Rollout,
  outcome: NonNullable<Rollout["outcome"]>,
  known: { isServing: boolean; lastLines: string[] },
): End {
  const { kind, done, total } = rollout;
  if (outcome.ok) {
    if (total === 0) {
      // Its requests get 503 as before.
      const text = `${kind} done; it has no instances: paceline restart ${pool} starts it`;
      return { level: "info", text, result: { ok: true, message: `${pool}: ${text}` } };
    }
    const result: OperationResult = { ok: true, message: `${pool}: ${kind} done, ${total} of ${total}` };
    return { level: "info", text: `${kind} done: ${total} of ${total}`, result };
  }
  const old = known.isServing ? keeping(rollout.inPlace) : "no instance is ready";
  const left = done.length === 0 ? old : `${done.length} of ${total} are new`;
  const isAside = outcome.reason === COMES_FIRST;
  const code = isAside ? "busy" : codeOf(rollout);
  const what = {
    "release-refused": "refused",
    "taken-back": "rolled back",
    failed: `${kind} failed`,
    busy: `${kind} failed`,
  };
  const text = `${what[code]}: ${outcome.reason}; ${left}`;
  const result: OperationResult = { ok: false, code, message: `${pool}: ${text}`, lastLines: known.lastLines };
  return isAside ? { level: "info", text: `recycle ends: ${COMES_FIRST}`, result } : { level: "error", text, result };
}

/** Returns the code of a failed rollout. A deploy whose canaries had no client's request has a code of its own. */
function codeOf({ kind, canary }: Rollout): "failed" | "release-refused" | "taken-back" {
  if (kind !== "deploy") return "failed";
  return canary?.hadRequests === false ? "release-refused" : "taken-back";
}

function keeping(inPlace: boolean): string {
  return inPlace ? "the old version runs again" : "the old instances keep serving";
}
