/** Carries out the actions of a rollout on its slots, and reports the state of the slots to it. */
import type { BalancerCoordination } from "../channel/balancer-coordination.js";
import type { ProgressListener } from "../control/api.js";
import { type Fleet, findSlot, processId, type Slot } from "../core/fleet.js";
import { discardReplacement, renew, replaceInPlace, swap } from "../core/fleet-changes.js";
import { FOLLOW_TIMEOUT_MS, type SlotPolicy, unreachable } from "../core/process.js";
import type { Rollout, RolloutAction, RolloutEvent } from "../core/rollout.js";
import { seconds } from "../core/words.js";
import type { EventLog } from "../logs/event-log.js";
import type { Children } from "../processes/children.js";
import type { FleetRunner } from "../processes/fleet-runner.js";
import type { LiveProcess } from "../processes/live-process.js";
import type { SlotBook } from "../processes/slot-book.js";

export interface RolloutSlotsOptions {
  runner: FleetRunner;
  children: Children;
  coordination: BalancerCoordination;
  slots: SlotBook;
  log: EventLog;
  policyOf(pool: string, generation: number): SlotPolicy;
  /** Returns what is wrong with a process that has been ready for minReadyMs; undefined if it is healthy. */
  examine(child: LiveProcess): Promise<string | undefined>;
}

/** The options in which a rollout differs from a reload. */
export interface RolloutWays {
  /** The generation to which completed slots return if a replacement fails. Default: none. */
  formerGeneration?: number | undefined;
  /** The percentage of the slots that become canaries, and the percentage of the requests that they get, until `promote` or `rollBack`. */
  canary?: { ofSlots: number; percent: number; hasControls: boolean; onHeld(): void } | undefined;
  /** Returns how long a replaced process is kept warm from now on, in milliseconds. Default: not at all. */
  keepWarmMs?(): number;
  /** Whether a warm process of the wanted generation takes its slot again without a start. */
  usesWarm?: boolean;
}

/** A rollout in progress. */
export interface Running {
  rollout: Rollout;
  readonly ways: RolloutWays;
  readonly generation: number;
  /** Slots that wait until their second process exits, before they get a replacement. */
  readonly awaited: Set<number>;
  /** Slots whose new process is being started, or whose warm process is returning. */
  readonly renewing: Set<number>;
  /** In place: the attempt of the process that each slot will lose. */
  readonly former: Map<number, number>;
  /** Resolves when the rollout has ended. */
  readonly ended: Promise<void>;
  /** The last lines of the failed replacement. */
  lastLines: string[];
  send(event: RolloutEvent): void;
  onProgress: ProgressListener;
}

type RolloutStep = Rollout["current"][number]["step"];

interface Loss {
  reason: string;
  lastLines: string[];
}

/** A drain that takes longer than this is reported, in milliseconds. */
const LONG_DRAIN_MS = 2_000;

/** A replacement that fails its check may be about to exit; this is how long to wait for that, in milliseconds. */
const EXIT_GRACE_MS = 500;
const LOOK_EVERY_MS = 20;

export class RolloutSlots {
  constructor(private readonly options: RolloutSlotsOptions) {}

  act(pool: string, action: RolloutAction, state: Running): void {
    const { runner, coordination, log } = this.options;
    const { index } = action;
    switch (action.type) {
      case "startReplacement":
        if (state.rollout.inPlace) this.startInPlace(pool, index, state);
        else this.renew(pool, index, state);
        return;
      case "prove":
        void this.prove(pool, index, state);
        return;
      case "awaitApplied":
        void coordination.whenApplied(coordination.version, FOLLOW_TIMEOUT_MS).then((late) => {
          if (late.length > 0)
            log.event("warn", pool, `continues although ${late.join(", ")} did not apply the change in time`);
          state.send({ type: "applied", index });
        });
        return;
      case "swap":
        if (state.rollout.kind === "recycle") this.options.slots.of(`${pool}.${index}`).recycles++;
        runner.change((fleet, context) => swap(fleet, pool, index, context, this.keepWarmMs(index, state)));
        // The outgoing process may already have exited, in which case nothing more happens in this slot.
        this.observe(pool, state);
        setTimeout(() => this.reportDrain(pool, index, state), LONG_DRAIN_MS).unref();
        return;
      case "discardReplacement":
        state.awaited.delete(index);
        runner.change((fleet, context) => discardReplacement(fleet, pool, index, context));
        return;
      default:
        unreachable(action);
    }
  }

  /** Starts a slot's new process, or returns its warm one, only once: an action on another slot may already have led here. */
  private renew(pool: string, index: number, state: Running): void {
    if (!state.awaited.has(index) || state.renewing.has(index)) return;
    const { runner } = this.options;
    const usesWarm = state.ways.usesWarm === true || state.rollout.direction === "back";
    const wanted = { generation: this.generationOf(state, index), usesWarm };
    let step: ReturnType<typeof renew>["step"] = "waits";
    state.renewing.add(index);
    runner.change((fleet, context) => {
      const change = renew(fleet, pool, index, wanted, context);
      step = change.step;
      if (step !== "waits") state.awaited.delete(index);
      return change;
    });
    state.renewing.delete(index);
    if ((step as string) === "restored") state.send({ type: "restored", index });
    else this.observeSlot(pool, runner.fleet, state, { index });
  }

  /** Returns 0 for a slot with a control. Its process is replaced by one of the same generation, which a return does not need. */
  private keepWarmMs(index: number, { rollout, ways }: Running): number {
    const isControl = rollout.current.some((slot) => slot.index === index && slot.isControl);
    return isControl || rollout.direction === "back" ? 0 : (ways.keepWarmMs?.() ?? 0);
  }

  /** Reports which requests an outgoing process still has to finish. */
  private reportDrain(pool: string, index: number, { rollout, onProgress }: Running): void {
    const { runner, log, policyOf } = this.options;
    const slot = findSlot(runner.fleet, pool, index);
    const isLeaving = rollout.current.some((each) => each.index === index && each.step === "leaving");
    if (!isLeaving || slot?.other?.role !== "outgoing") return;
    const inFlight = this.childOf(slot, slot.other.process.attempt)?.stats.last?.inFlight ?? 0;
    if (inFlight === 0) return;
    const requests = inFlight === 1 ? "1 request" : `${inFlight} requests`;
    const left = seconds(policyOf(pool, slot.other.generation).drainTimeoutMs);
    const text = `the outgoing process has ${requests} in flight and ${left} at most to finish`;
    log.event("info", slot.name, text);
    onProgress(`${slot.name}: ${text}`);
  }

  /** Waits until the replacement has stayed ready for a while, then checks its health. `observe` notices if it exits meanwhile. */
  private async prove(pool: string, index: number, state: Running): Promise<void> {
    const { runner, policyOf, examine } = this.options;
    const slot = findSlot(runner.fleet, pool, index);
    const proved = state.rollout.inPlace ? slot?.member : slot?.other;
    const child = slot === undefined || proved == null ? undefined : this.childOf(slot, proved.process.attempt);
    const { minReadyMs } = policyOf(pool, proved?.generation ?? state.generation);
    if (minReadyMs > 0) await new Promise((resolve) => setTimeout(resolve, minReadyMs));
    const problem = child === undefined || child.exit !== null ? undefined : await examine(child);
    if (child === undefined || problem === undefined) return state.send({ type: "proven", index });
    // `observe` reports how it has exited, which is more helpful than a check without a response.
    for (let waitedMs = 0; child.exit === null && waitedMs < EXIT_GRACE_MS; waitedMs += LOOK_EVERY_MS)
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    if (child.exit !== null) return;
    const reason = `the new ${slot?.name} is ready, but ${problem}`;
    state.lastLines = [...child.output.lastLines];
    state.send({ type: "replacementLost", index, reason });
  }

  /** Reports the state of the slots being replaced to the rollout. */
  observe(pool: string, state: Running): void {
    // An action for one slot may change the fleet, and so the following slots.
    for (const { index } of state.rollout.current) this.observeSlot(pool, this.options.runner.fleet, state, { index });
  }

  private observeSlot(pool: string, fleet: Fleet, state: Running, { index }: { index: number }): void {
    const { current } = state.rollout;
    const step = current.find((slot) => slot.index === index)?.step;
    if (step === undefined || state.renewing.has(index)) return;
    if (state.rollout.inPlace) return this.observeInPlace(pool, fleet, state, index);
    const slot = findSlot(fleet, pool, index);
    const other = slot?.other ?? null;
    if (step === "leaving") {
      if (other === null) state.send({ type: "outgoingGone", index });
      return;
    }
    if (state.awaited.has(index) && slot !== undefined) {
      // This ends, because a process that drains in the slot is killed at its deadline.
      const isLeftOver = other?.role === "replacement" && other.process.goal === "up";
      if (other === null || isLeftOver) this.renew(pool, index, state);
      return;
    }
    if (slot === undefined || other === null || other.role !== "replacement") {
      state.send({ type: "replacementLost", index, reason: `${pool}.${index} was removed` });
      return;
    }
    const { process } = other;
    if (process.state === "ready") state.send({ type: "replacementReady", index });
    else if (process.state !== "starting") {
      const { reason, lastLines } = this.lossOf(slot, process.attempt, step, process.state);
      state.lastLines = lastLines;
      state.send({ type: "replacementLost", index, reason });
    }
  }

  private startInPlace(pool: string, index: number, state: Running): void {
    const { runner } = this.options;
    const { attempt } = findSlot(runner.fleet, pool, index)?.member.process ?? { attempt: 0 };
    state.awaited.delete(index);
    state.former.set(index, attempt);
    const generation = this.generationOf(state, index);
    runner.change((now, context) => replaceInPlace(now, pool, index, generation, context));
    this.observeInPlace(pool, runner.fleet, state, index);
  }

  /** Reports the state of a slot whose old process exits before its new one starts. */
  private observeInPlace(pool: string, fleet: Fleet, state: Running, index: number): void {
    const former = state.former.get(index);
    const slot = findSlot(fleet, pool, index);
    if (former === undefined) return;
    if (slot === undefined || slot.member.process.goal === "down") {
      state.send({ type: "replacementLost", index, reason: `${pool}.${index} was stopped` });
      return;
    }
    const { process } = slot.member;
    const step = state.rollout.current.find((each) => each.index === index)?.step;
    // The old process has not exited yet.
    if (process.attempt === former || step === undefined) return;
    if (process.state === "ready") return state.send({ type: "replacementReady", index });
    if (process.state === "starting" && step === "starting") return;
    const { reason, lastLines } = this.lossOf(slot, process.attempt, step, process.state);
    state.lastLines = lastLines;
    state.send({ type: "replacementLost", index, reason });
  }

  private generationOf({ rollout, generation, ways: { formerGeneration } }: Running, index: number): number {
    const isControl = rollout.current.some((slot) => slot.index === index && slot.isControl);
    return rollout.direction === "forward" && !isControl ? generation : (formerGeneration ?? generation);
  }

  private childOf(slot: Slot, attempt: number): LiveProcess | undefined {
    return this.options.children.get(processId(slot.name, attempt));
  }

  /** Returns why the new process of a slot was lost, and its last lines. */
  private lossOf(slot: Slot, attempt: number, step: RolloutStep, processState: string): Loss {
    const ending = this.options.slots.of(slot.name).endings.get(attempt);
    // The process, if it is still known.
    const live = this.childOf(slot, attempt);
    const ours = [live?.verdict, live?.fault].filter((text) => text != null).join(": ");
    const why = ours || (ending?.reason ?? `it is ${processState}`);
    const what = step === "starting" ? "failed to start" : "was ready, but did not stay ready";
    const lastLines = ending?.lastLines ?? [...(live?.output.lastLines ?? [])];
    return { reason: `the new ${slot.name} ${what}: ${why}`, lastLines };
  }
}
