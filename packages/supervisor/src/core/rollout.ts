/** A reload or restart as a pure state machine: replaces a few slots at a time and restores old processes if a new one fails. */
import { unreachable } from "./process.js";

export interface Rollout {
  readonly kind: "reload" | "restart" | "recycle";
  /** The indexes of slots to be replaced, the next one first. */
  readonly waiting: readonly number[];
  /** The slots being replaced, at most `maxSurge`; each has a second process. */
  readonly current: readonly SlotAtWork[];
  /** The slots that have their new process, in order of completion. */
  readonly done: readonly number[];
  readonly total: number;
  readonly maxSurge: number;
  /** `back`: a new process failed, and completed slots return to the former generation. */
  readonly direction: "forward" | "back";
  /** Whether there is a former generation to return to. */
  readonly canGoBack: boolean;
  /** The old process ends before the new one starts, and the slot never has two. */
  readonly inPlace: boolean;
  /** Why it returns to the former generation. */
  readonly failure: string | null;
  readonly outcome: { readonly ok: true } | { readonly ok: false; readonly reason: string } | null;
}

interface SlotAtWork {
  readonly index: number;
  /**
   * The replacement is starting, has to stay ready for a while, or is being announced to the balancers; or the outgoing process
   * is draining. In place, `starting` begins with the end of the old process, and the slot is done once it is proven.
   */
  readonly step: "starting" | "proving" | "joining" | "leaving";
}

export type RolloutEvent =
  | { type: "begin" }
  | { type: "replacementReady"; index: number }
  /** It has stayed ready and healthy for `minReadyMs`. */
  | { type: "proven"; index: number }
  /** It exited, was not ready in time, or is unhealthy. */
  | { type: "replacementLost"; index: number; reason: string }
  /** Every balancer that responds in time has the replacement. */
  | { type: "applied"; index: number }
  | { type: "outgoingGone"; index: number }
  /** The fleet is stopping. */
  | { type: "abandon"; reason: string };

export type RolloutAction =
  /** `back`: of the former generation. */
  | { type: "startReplacement"; index: number; direction: Rollout["direction"] }
  | { type: "prove"; index: number }
  | { type: "awaitApplied"; index: number }
  | { type: "swap"; index: number }
  | { type: "discardReplacement"; index: number };

interface RolloutStep {
  rollout: Rollout;
  actions: RolloutAction[];
}

interface RolloutOptions {
  maxSurge: number;
  canGoBack: boolean;
  /** Default: no. */
  inPlace?: boolean;
}

/** Returns a rollout over these slots, in this order. The event `begin` starts it. */
export function newRollout(kind: Rollout["kind"], slots: readonly number[], options: RolloutOptions): Rollout {
  return {
    kind,
    waiting: slots,
    current: [],
    done: [],
    total: slots.length,
    maxSurge: Math.max(1, options.maxSurge),
    direction: "forward",
    canGoBack: options.canGoBack,
    inPlace: options.inPlace ?? false,
    failure: null,
    outcome: null,
  };
}

/** Applies an event. An event that does not fit the slot's step changes nothing. */
export function advance(rollout: Rollout, event: RolloutEvent): RolloutStep {
  if (rollout.outcome !== null) return { rollout, actions: [] };
  switch (event.type) {
    case "begin":
      return fill(rollout);
    case "replacementReady":
      return step(rollout, event.index, "starting", "proving", "prove");
    case "proven":
      // No balancer has to know it, and nothing is left to end.
      if (rollout.inPlace)
        return stepOf(rollout, event.index) === "proving" ? finishSlot(rollout, event.index) : { rollout, actions: [] };
      return step(rollout, event.index, "proving", "joining", "awaitApplied");
    case "applied":
      return step(rollout, event.index, "joining", "leaving", "swap");
    case "outgoingGone":
      return stepOf(rollout, event.index) === "leaving" ? finishSlot(rollout, event.index) : { rollout, actions: [] };
    case "replacementLost":
      return lose(rollout, event.index, event.reason);
    case "abandon":
      return {
        rollout: { ...rollout, current: [], outcome: { ok: false, reason: event.reason } },
        actions: discardAll(rollout),
      };
    default:
      return unreachable(event);
  }
}

function stepOf({ current }: Rollout, index: number): SlotAtWork["step"] | undefined {
  return current.find((slot) => slot.index === index)?.step;
}

/** Starts replacing as many slots as `maxSurge` allows, and completes the rollout when none is left. */
function fill(rollout: Rollout): RolloutStep {
  const { direction } = rollout;
  const fresh = rollout.waiting.slice(0, Math.max(0, rollout.maxSurge - rollout.current.length));
  const current = [...rollout.current, ...fresh.map((index): SlotAtWork => ({ index, step: "starting" }))];
  const outcome = current.length > 0 ? null : outcomeOf(rollout);
  return {
    rollout: { ...rollout, waiting: rollout.waiting.slice(fresh.length), current, outcome },
    actions: fresh.map((index) => ({ type: "startReplacement", index, direction })),
  };
}

function outcomeOf({ failure }: Rollout): Rollout["outcome"] {
  return failure === null ? { ok: true } : { ok: false, reason: failure };
}

function step(
  rollout: Rollout,
  index: number,
  from: SlotAtWork["step"],
  to: SlotAtWork["step"],
  action: "prove" | "awaitApplied" | "swap",
): RolloutStep {
  if (stepOf(rollout, index) !== from) return { rollout, actions: [] };
  const current = rollout.current.map((slot) => (slot.index === index ? { index, step: to } : slot));
  return { rollout: { ...rollout, current }, actions: [{ type: action, index }] };
}

function finishSlot(rollout: Rollout, index: number): RolloutStep {
  const current = rollout.current.filter((slot) => slot.index !== index);
  const done =
    rollout.direction === "forward" ? [...rollout.done, index] : rollout.done.filter((each) => each !== index);
  return fill({ ...rollout, current, done });
}

function lose(rollout: Rollout, index: number, reason: string): RolloutStep {
  const at = stepOf(rollout, index);
  if (at === undefined || at === "leaving") return { rollout, actions: [] };
  if (rollout.direction === "back") {
    // The slot keeps its serving process, which was healthy when it was started. In place, it goes on trying by itself.
    const current = rollout.current.filter((slot) => slot.index !== index);
    const next = fill({ ...rollout, current });
    const discard: RolloutAction[] = rollout.inPlace ? [] : [{ type: "discardReplacement", index }];
    return { rollout: next.rollout, actions: [...discard, ...next.actions] };
  }
  const discards = discardAll(rollout);
  // Slots whose outgoing process is draining already have the new process; in place, no slot has its old one.
  const changed = rollout.current
    .filter((slot) => rollout.inPlace || slot.step === "leaving")
    .map((slot) => slot.index);
  const done = [...rollout.done, ...changed];
  const back = fill({
    ...rollout,
    direction: "back",
    done,
    waiting: rollout.canGoBack ? done.toReversed() : [],
    current: [],
    failure: reason,
  });
  return { rollout: back.rollout, actions: [...discards, ...back.actions] };
}

function discardAll({ current, inPlace }: Rollout): RolloutAction[] {
  if (inPlace) return [];
  return current.filter((slot) => slot.step !== "leaving").map(({ index }) => ({ type: "discardReplacement", index }));
}
