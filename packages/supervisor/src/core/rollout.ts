/**
 * A reload, restart or deploy as a pure state machine. Replaces a few slots at a time, and restores the old processes if a new one fails.
 */
import { unreachable } from "./process.js";

export interface Rollout {
  readonly kind: "reload" | "restart" | "recycle" | "deploy" | "rollback";
  /** The indexes of the slots that are still to be replaced, next one first. */
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
  /** Whether the old process exits before the new one starts, so that a slot never has two. */
  readonly inPlace: boolean;
  /** Set for a deploy, whose first slots are held while their old processes serve beside them. Null for other rollouts. */
  readonly canary: CanaryStep | null;
  /** Why it returns to the former generation. */
  readonly failure: string | null;
  readonly outcome: { readonly ok: true } | { readonly ok: false; readonly reason: string } | null;
}

interface CanaryStep {
  readonly slots: readonly number[];
  /** Other slots, whose processes are restarted in the former generation to be compared with the canaries. */
  readonly controls: readonly number[];
  /** Whether the trial of the canaries is over. From then on, the rollout continues like any other. */
  readonly isOver: boolean;
  /** Whether any canary has been ready, and so has had requests. */
  readonly hadRequests: boolean;
}

interface SlotAtWork {
  readonly index: number;
  /**
   * The replacement is starting, has to stay ready for a while, or is being announced to the balancers; or the outgoing process is
   * draining. In place, `starting` begins with the exit of the old process, and the slot is done once the new one is proven. A canary is
   * `held` beside the old process until the verdict.
   */
  readonly step: "starting" | "proving" | "joining" | "held" | "leaving";
  /** Whether its replacement is of the former generation. */
  readonly isControl?: true;
}

export type RolloutEvent =
  | { type: "begin" }
  | { type: "replacementReady"; index: number }
  /** The replacement has stayed ready and healthy for `minReadyMs`. */
  | { type: "proven"; index: number }
  /** The replacement exited, was not ready in time, or is unhealthy. */
  | { type: "replacementLost"; index: number; reason: string }
  /** Every balancer that responded in time has the replacement. */
  | { type: "applied"; index: number }
  | { type: "outgoingGone"; index: number }
  /** The former process, which was kept warm, serves again. */
  | { type: "restored"; index: number }
  /** The verdict on a deploy whose canaries are all held: it continues with the other slots. */
  | { type: "promote" }
  /** A deploy returns to the former generation, at any time before its end. */
  | { type: "rollBack"; reason: string }
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
  /** How many of the first slots are canaries of a deploy, and which slots are restarted as controls. Default: no canaries. */
  canaries?: number;
  controls?: readonly number[];
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
    canary: canaryOf(slots, options),
    failure: null,
    outcome: null,
  };
}

/** Returns the canaries of a deploy. In place, there are none, because no process can be held beside the old one. */
function canaryOf(
  slots: readonly number[],
  { canaries = 0, controls = [], inPlace }: RolloutOptions,
): CanaryStep | null {
  if (canaries === 0 || inPlace || slots.length === 0) return null;
  const tried = slots.slice(0, canaries);
  const others = controls.filter((index) => !tried.includes(index));
  return { slots: tried, controls: others, isOver: false, hadRequests: false };
}

/** Returns how many slots become canaries at this percentage, and the slots of as many controls, or fewer if there are not enough. */
export function canaryPlan(slots: readonly number[], percent: number): { canaries: number; controls: number[] } {
  const canaries = Math.min(slots.length, Math.max(1, Math.ceil((slots.length * percent) / 100)));
  return { canaries, controls: slots.slice(canaries, 2 * canaries) };
}

/** Whether all canaries are held, waiting for the verdict. */
export function isHeld({ canary, current, outcome }: Rollout): boolean {
  return (
    outcome === null &&
    canary !== null &&
    !canary.isOver &&
    canary.slots.every((index) => current.some((slot) => slot.index === index && slot.step === "held"))
  );
}

/** Applies an event. An event that does not match the slot's step changes nothing. */
export function advance(rollout: Rollout, event: RolloutEvent): RolloutStep {
  if (rollout.outcome !== null) return { rollout, actions: [] };
  switch (event.type) {
    case "begin":
      return tryCanaries(rollout) ?? fill(rollout);
    case "replacementReady":
      return step(noteRequests(rollout, event.index), event.index, "starting", "proving", "prove");
    case "proven":
      // No balancer needs to be notified, and no old process is left.
      if (rollout.inPlace)
        return stepOf(rollout, event.index) === "proving" ? finishSlot(rollout, event.index) : { rollout, actions: [] };
      return step(rollout, event.index, "proving", "joining", "awaitApplied");
    case "applied":
      return mustHold(rollout, event.index)
        ? step(rollout, event.index, "joining", "held")
        : step(rollout, event.index, "joining", "leaving", "swap");
    case "restored":
      return restored(rollout, event.index);
    case "promote":
      return promote(rollout);
    case "rollBack":
      return rollout.direction === "forward" ? goBack(rollout, event.reason) : { rollout, actions: [] };
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

/** Starts all canaries and the processes for the comparison at the same time; undefined if there are none to start. */
function tryCanaries(rollout: Rollout): RolloutStep | undefined {
  const { canary } = rollout;
  if (canary === null || canary.isOver || rollout.direction === "back" || rollout.current.length > 0) return undefined;
  const { slots, controls } = canary;
  const current = [
    ...slots.map((index): SlotAtWork => ({ index, step: "starting" })),
    ...controls.map((index): SlotAtWork => ({ index, step: "starting", isControl: true })),
  ];
  return {
    rollout: { ...rollout, waiting: rollout.waiting.filter((index) => !slots.includes(index)), current },
    actions: current.map(({ index, isControl }): RolloutAction => {
      return { type: "startReplacement", index, direction: isControl ? "back" : "forward" };
    }),
  };
}

function slotAt({ current }: Rollout, index: number): SlotAtWork | undefined {
  return current.find((slot) => slot.index === index);
}

/** A canary is in the pool as soon as it is ready. */
function noteRequests(rollout: Rollout, index: number): Rollout {
  const { canary } = rollout;
  if (canary === null || canary.hadRequests || !canary.slots.includes(index)) return rollout;
  return { ...rollout, canary: { ...canary, hadRequests: true } };
}

function mustHold(rollout: Rollout, index: number): boolean {
  const { canary, direction } = rollout;
  return canary !== null && !canary.isOver && direction === "forward" && canary.slots.includes(index);
}

/** Called when the former process is back in a slot. Only a rollback can end that way: a deploy continues with new processes. */
function restored(rollout: Rollout, index: number): RolloutStep {
  const isForwardDeploy = rollout.canary !== null && rollout.direction === "forward";
  if (isForwardDeploy || stepOf(rollout, index) !== "starting") return { rollout, actions: [] };
  return finishSlot(rollout, index);
}

function promote(rollout: Rollout): RolloutStep {
  const { canary } = rollout;
  if (canary === null || !isHeld(rollout)) return { rollout, actions: [] };
  const current = rollout.current.map((slot): SlotAtWork => {
    return slot.step === "held" ? { index: slot.index, step: "leaving" } : slot;
  });
  const swaps = canary.slots.map((index): RolloutAction => ({ type: "swap", index }));
  const next = fill({ ...rollout, canary: { ...canary, isOver: true }, current });
  return { rollout: next.rollout, actions: [...swaps, ...next.actions] };
}

/** Starts replacing as many slots as `maxSurge` allows, and completes the rollout when none is left. */
function fill(rollout: Rollout): RolloutStep {
  const { direction } = rollout;
  const isTrying = direction === "forward" && rollout.canary?.isOver === false;
  const isBusy = (index: number) => rollout.current.some((slot) => slot.index === index);
  const room = isTrying ? 0 : Math.max(0, rollout.maxSurge - rollout.current.length);
  // The outgoing process of a control may still be draining; its slot waits until it has exited.
  const fresh = rollout.waiting.filter((index) => !isBusy(index)).slice(0, room);
  const current = [...rollout.current, ...fresh.map((index): SlotAtWork => ({ index, step: "starting" }))];
  const outcome = current.length > 0 ? null : outcomeOf(rollout);
  return {
    rollout: { ...rollout, waiting: rollout.waiting.filter((index) => !fresh.includes(index)), current, outcome },
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
  action?: "prove" | "awaitApplied" | "swap",
): RolloutStep {
  if (stepOf(rollout, index) !== from) return { rollout, actions: [] };
  const current = rollout.current.map((slot) => (slot.index === index ? { ...slot, step: to } : slot));
  return { rollout: { ...rollout, current }, actions: action === undefined ? [] : [{ type: action, index }] };
}

function finishSlot(rollout: Rollout, index: number): RolloutStep {
  const isControl = slotAt(rollout, index)?.isControl;
  const current = rollout.current.filter((slot) => slot.index !== index);
  if (isControl) return fill({ ...rollout, current });
  const done =
    rollout.direction === "forward" ? [...rollout.done, index] : rollout.done.filter((each) => each !== index);
  return fill({ ...rollout, current, done });
}

function lose(rollout: Rollout, index: number, reason: string): RolloutStep {
  const at = stepOf(rollout, index);
  if (at === undefined || at === "leaving") return { rollout, actions: [] };
  if (rollout.direction === "back") {
    // The slot keeps its serving process, which was healthy when that process was started. In place, it continues to try by itself.
    const current = rollout.current.filter((slot) => slot.index !== index);
    const next = fill({ ...rollout, current });
    const discard: RolloutAction[] = rollout.inPlace ? [] : [{ type: "discardReplacement", index }];
    return { rollout: next.rollout, actions: [...discard, ...next.actions] };
  }
  if (slotAt(rollout, index)?.isControl) {
    // The former version does not start any more. The new version is not to blame for that, and is judged without this process.
    const next = fill({ ...rollout, current: rollout.current.filter((slot) => slot.index !== index) });
    return { rollout: next.rollout, actions: [{ type: "discardReplacement", index }, ...next.actions] };
  }
  return goBack(rollout, reason);
}

/** Stops the processes that are starting. Slots that already have their new process go back to the former generation. */
function goBack(rollout: Rollout, reason: string): RolloutStep {
  const discards = discardAll(rollout);
  // Slots whose outgoing process is draining already have the new process. In place, no slot has its old one.
  const changed = rollout.current
    .filter((slot) => !slot.isControl && (rollout.inPlace || slot.step === "leaving"))
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
