/** A reload or restart as a pure state machine: one surge instance at a time, and the old ones stay if a new one fails. */
import { unreachable } from "./process.js";

export interface Rollout {
  readonly kind: "reload" | "restart";
  /** The slots still to be done, by index, the next one first. */
  readonly waiting: readonly number[];
  /** The slot at work: its successor is coming up, the balancers are being told of it, or the old one is leaving. */
  readonly current: { readonly index: number; readonly step: "starting" | "joining" | "leaving" } | null;
  readonly done: number;
  readonly total: number;
  readonly outcome: { readonly ok: true } | { readonly ok: false; readonly reason: string } | null;
}

export type RolloutEvent =
  | { type: "begin" }
  | { type: "successorReady"; index: number }
  /** It ended, or was not ready in time. */
  | { type: "successorLost"; index: number; reason: string }
  /** Every balancer that answers in time has the successor. */
  | { type: "applied"; index: number }
  | { type: "leaverGone"; index: number }
  /** The fleet is stopping. */
  | { type: "abandon"; reason: string };

export type RolloutAction =
  | { type: "startSuccessor"; index: number }
  | { type: "awaitApplied"; index: number }
  | { type: "swap"; index: number }
  | { type: "discardSuccessor"; index: number };

export interface RolloutStep {
  rollout: Rollout;
  actions: RolloutAction[];
}

/** A rollout over these slots, in this order; it starts with the event `begin`. */
export function newRollout(kind: Rollout["kind"], slots: readonly number[]): Rollout {
  return { kind, waiting: slots, current: null, done: 0, total: slots.length, outcome: null };
}

/** What an event makes of the rollout; one that does not fit the present step changes nothing. */
export function advance(rollout: Rollout, event: RolloutEvent): RolloutStep {
  const { current } = rollout;
  if (rollout.outcome !== null) return { rollout, actions: [] };
  if ("index" in event && event.index !== current?.index) return { rollout, actions: [] };
  switch (event.type) {
    case "begin":
      return current === null ? next(rollout) : { rollout, actions: [] };
    case "successorReady":
      return step(rollout, "starting", "joining", (index) => ({ type: "awaitApplied", index }));
    case "applied":
      return step(rollout, "joining", "leaving", (index) => ({ type: "swap", index }));
    case "leaverGone":
      if (current?.step !== "leaving") return { rollout, actions: [] };
      return next({ ...rollout, current: null, done: rollout.done + 1 });
    case "successorLost":
      if (current === null || current.step === "leaving") return { rollout, actions: [] };
      return end(rollout, event.reason);
    case "abandon":
      return end(rollout, event.reason);
    default:
      return unreachable(event);
  }
}

function next(rollout: Rollout): RolloutStep {
  const [index, ...waiting] = rollout.waiting;
  if (index === undefined) return { rollout: { ...rollout, outcome: { ok: true } }, actions: [] };
  return {
    rollout: { ...rollout, waiting, current: { index, step: "starting" } },
    actions: [{ type: "startSuccessor", index }],
  };
}

function step(
  rollout: Rollout,
  from: "starting" | "joining",
  to: "joining" | "leaving",
  action: (index: number) => RolloutAction,
): RolloutStep {
  const { current } = rollout;
  if (current?.step !== from) return { rollout, actions: [] };
  return { rollout: { ...rollout, current: { index: current.index, step: to } }, actions: [action(current.index)] };
}

function end(rollout: Rollout, reason: string): RolloutStep {
  const { current } = rollout;
  const discard = current !== null && current.step !== "leaving";
  return {
    rollout: { ...rollout, current: null, outcome: { ok: false, reason } },
    actions: discard ? [{ type: "discardSuccessor", index: current.index }] : [],
  };
}
