/** Drives the rollout state machine with what happens to the fleet. */
import type { OperationResult, ProgressListener } from "../control/api.js";
import { discardSuccessor, type Fleet, findSlot, processId, startSuccessor, swap } from "../core/fleet.js";
import { unreachable } from "../core/process.js";
import { advance, newRollout, type Rollout, type RolloutAction, type RolloutEvent } from "../core/rollout.js";
import type { BalancerCoordination } from "./balancer-coordination.js";
import type { Children } from "./children.js";
import { APPLY_TIMEOUT_MS } from "./effects.js";
import type { EventLog } from "./event-log.js";
import type { FleetRunner } from "./fleet-runner.js";
import type { SlotBook } from "./slot-book.js";

export interface RolloutsOptions {
  runner: FleetRunner;
  children: Children;
  coordination: BalancerCoordination;
  slots: SlotBook;
  log: EventLog;
}

export type Refusal = OperationResult & { ok: false };

interface Running {
  rollout: Rollout;
  readonly generation: number;
  /** The slot at work has still to get its successor: it waits for what an earlier rollout left there to end. */
  isSlotAwaited: boolean;
  /** What the successor that was lost had written last. */
  lastLines: string[];
  send(event: RolloutEvent): void;
}

export class Rollouts {
  private readonly running = new Map<string, Running>();

  constructor(private readonly options: RolloutsOptions) {}

  /** The rollout under way in a pool. */
  of(pool: string): Rollout | undefined {
    return this.running.get(pool)?.rollout;
  }

  /** Why a rollout of that pool may not begin now: one at a time. */
  refusal(pool: string): Refusal | undefined {
    const rollout = this.of(pool);
    if (rollout === undefined) return undefined;
    return { ok: false, code: "busy", message: `a ${rollout.kind} of ${pool} is under way` };
  }

  /** Ends all that are under way; the old processes of their slots stay as they are. */
  abandon(reason: string): void {
    for (const { send } of [...this.running.values()]) send({ type: "abandon", reason });
  }

  /** Replaces the slots' processes by ones of that generation, one after the other. */
  run(
    kind: Rollout["kind"],
    pool: string,
    slots: readonly number[],
    generation: number,
    onProgress: ProgressListener,
  ): Promise<OperationResult> {
    const { runner, log } = this.options;
    const refusal = this.refusal(pool);
    if (refusal !== undefined) return Promise.resolve(refusal);
    return new Promise((resolve) => {
      const state: Running = {
        ...{ rollout: newRollout(kind, slots), generation, isSlotAwaited: false, lastLines: [] },
        send: () => {},
      };
      const finish = () => {
        const { outcome, done, total } = state.rollout;
        if (outcome === null || this.running.get(pool) !== state) return;
        unwatch();
        this.running.delete(pool);
        if (outcome.ok) {
          log.event("info", pool, `${kind} done: ${total} of ${total}`);
          resolve({ ok: true, message: `${pool}: ${kind} done, ${total} of ${total}` });
          return;
        }
        const message = `${pool}: ${kind} ended after ${done} of ${total}: ${outcome.reason}`;
        log.event("error", pool, message.slice(pool.length + 2));
        resolve({ ok: false, code: "failed", message, lastLines: state.lastLines });
      };
      state.send = (event) => {
        if (state.rollout.outcome !== null) return;
        const before = state.rollout.done;
        const { rollout, actions } = advance(state.rollout, event);
        state.rollout = rollout;
        if (rollout.done > before) onProgress(`${pool}: ${rollout.done} of ${rollout.total}`);
        for (const action of actions) this.act(pool, action, state);
        finish();
      };
      const unwatch = runner.watch(() => this.observe(pool, runner.fleet, state));
      this.running.set(pool, state);
      log.event("info", pool, `${kind} of ${slots.length}`);
      state.send({ type: "begin" });
    });
  }

  private act(pool: string, action: RolloutAction, state: Running): void {
    const { runner, coordination, log } = this.options;
    const { index } = action;
    switch (action.type) {
      case "startSuccessor":
        state.isSlotAwaited = true;
        this.observe(pool, runner.fleet, state);
        return;
      case "awaitApplied":
        void coordination.whenApplied(coordination.version, APPLY_TIMEOUT_MS).then((late) => {
          if (late.length > 0) log.event("warn", pool, `goes on although ${late.join(", ")} did not follow in time`);
          state.send({ type: "applied", index });
        });
        return;
      case "swap":
        runner.change((fleet, context) => swap(fleet, pool, index, context));
        // The old one may have been down already, and then nothing more happens in this slot.
        this.observe(pool, runner.fleet, state);
        return;
      case "discardSuccessor":
        runner.change((fleet, context) => discardSuccessor(fleet, pool, index, context));
        return;
      default:
        unreachable(action);
    }
  }

  /** Tells the rollout what it sees in the slot at work. */
  private observe(pool: string, fleet: Fleet, state: Running): void {
    const { current } = state.rollout;
    if (current === null) return;
    const { index, step } = current;
    const slot = findSlot(fleet, pool, index);
    const other = slot?.other ?? null;
    if (step === "leaving") {
      if (other === null) state.send({ type: "leaverGone", index });
      return;
    }
    if (state.isSlotAwaited && slot !== undefined) {
      // Ends in bounded time: what drains there has its deadline, and is killed after it.
      if (other !== null) return;
      state.isSlotAwaited = false;
      this.options.runner.change((now, context) => startSuccessor(now, pool, index, state.generation, context));
      return;
    }
    if (slot === undefined || other === null || other.role !== "successor") {
      state.send({ type: "successorLost", index, reason: `slot ${index} is gone` });
      return;
    }
    const { process } = other;
    if (process.state === "ready") state.send({ type: "successorReady", index });
    else if (process.state !== "starting") {
      const { reason, lastLines } = this.lossOf(slot.name, process.attempt, process.state);
      state.lastLines = lastLines;
      state.send({ type: "successorLost", index, reason });
    }
  }

  private lossOf(slotName: string, attempt: number, processState: string): { reason: string; lastLines: string[] } {
    const ending = this.options.slots.of(slotName).endings.get(attempt);
    const live = this.options.children.get(processId(slotName, attempt));
    const why = ending?.reason ?? (processState === "killing" ? "it was not ready in time" : `it is ${processState}`);
    return {
      reason: `the new ${slotName} did not get ready: ${live?.fault ?? why}`,
      lastLines: ending?.lastLines ?? [...(live?.output.lastLines ?? [])],
    };
  }
}
