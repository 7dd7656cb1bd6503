import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  advance,
  canaryPlan,
  isHeld,
  newRollout,
  type Rollout,
  type RolloutAction,
  type RolloutEvent,
} from "./rollout.js";

function play(rollout: Rollout, events: RolloutEvent[]): { rollout: Rollout; actions: string[] } {
  const actions: string[] = [];
  let now = rollout;
  for (const event of events) {
    const step = advance(now, event);
    now = step.rollout;
    actions.push(...step.actions.map(textOf));
  }
  return { rollout: now, actions };
}

function textOf(action: RolloutAction): string {
  return `${action.type} ${action.index}${"direction" in action && action.direction === "back" ? " back" : ""}`;
}

const turn = (index: number): RolloutEvent[] => [
  { type: "replacementReady", index },
  { type: "proven", index },
  { type: "applied", index },
  { type: "outgoingGone", index },
];
const began: RolloutEvent = { type: "begin" };
const one = { maxSurge: 1, canGoBack: true };

test("handles the slots one after the other, each only when the one before is done", () => {
  const { rollout, actions } = play(newRollout("reload", [1, 2], one), [began, ...turn(1), ...turn(2)]);
  expect(actions).toEqual(
    [1, 2].flatMap((n) => [`startReplacement ${n}`, `prove ${n}`, `awaitApplied ${n}`, `swap ${n}`]),
  );
  expect(rollout).toMatchObject({ done: [1, 2], total: 2, outcome: { ok: true } });
});

test("handles maxSurge slots at a time, and the next one when any is done", () => {
  const { actions } = play(newRollout("reload", [1, 2, 3, 4], { ...one, maxSurge: 2 }), [began, ...turn(2)]);
  expect(actions).toEqual([
    ...["startReplacement 1", "startReplacement 2", "prove 2", "awaitApplied 2", "swap 2", "startReplacement 3"],
  ]);
});

test("ends at the first lost replacement, proven or not, and the finished slots are rolled back", () => {
  for (const before of [[], [turn(2)[0]], turn(2).slice(0, 2)] as RolloutEvent[][]) {
    const lost: RolloutEvent = { type: "replacementLost", index: 2, reason: "exited with code 1" };
    const { rollout, actions } = play(newRollout("reload", [1, 2, 3], one), [began, ...turn(1), ...before, lost]);
    expect(actions.slice(-2)).toEqual(["discardReplacement 2", "startReplacement 1 back"]);
    expect(rollout.outcome).toBeNull();
    const back = play(rollout, turn(1));
    expect(back.rollout).toMatchObject({ done: [], outcome: { ok: false, reason: "exited with code 1" } });
  }
});

test("a slot whose old process is already leaving counts as done, and is rolled back when that process is gone", () => {
  const { rollout, actions } = play(newRollout("reload", [1, 2], { ...one, maxSurge: 2 }), [
    began,
    ...turn(1).slice(0, 3),
    { type: "replacementLost", index: 2, reason: "x" },
  ]);
  expect(actions.slice(-2)).toEqual(["discardReplacement 2", "startReplacement 1 back"]);
  expect(rollout.done).toEqual([1]);
});

test("a slot that cannot be rolled back keeps its process; a restart has nothing to roll back to", () => {
  const lost = (index: number): RolloutEvent => ({ type: "replacementLost", index, reason: `lost ${index}` });
  const failed = [began, ...turn(1), lost(2)];
  const { rollout } = play(newRollout("reload", [1, 2], one), [...failed, lost(1)]);
  expect(rollout).toMatchObject({ done: [1], outcome: { ok: false, reason: "lost 2" } });
  const restart = play(newRollout("restart", [1, 2], { ...one, canGoBack: false }), failed);
  expect(restart.rollout).toMatchObject({ done: [1], outcome: { ok: false, reason: "lost 2" } });
});

const anyEvent: fc.Arbitrary<RolloutEvent> = fc.oneof(
  { weight: 1, arbitrary: fc.constant<RolloutEvent>(began) },
  {
    weight: 12,
    arbitrary: fc
      .tuple(
        fc.constantFrom("replacementReady", "proven", "applied", "outgoingGone" as const),
        fc.integer({ min: 1, max: 4 }),
      )
      .map(([type, index]) => ({ type, index }) as RolloutEvent),
  },
  {
    weight: 1,
    arbitrary: fc
      .integer({ min: 1, max: 4 })
      .map((index): RolloutEvent => ({ type: "replacementLost", index, reason: "x" })),
  },
);

test("over random histories: never more than maxSurge, no unproven replacement is swapped in, and a loss never leaves two generations without a report", () => {
  fc.assert(
    fc.property(fc.array(anyEvent, { maxLength: 80 }), fc.integer({ min: 1, max: 4 }), (events, maxSurge) => {
      let rollout = newRollout("reload", [1, 2, 3, 4], { maxSurge, canGoBack: true });
      const generation = new Map([1, 2, 3, 4].map((index) => [index, "old"]));
      const coming = new Map<number, { of: string; isProven: boolean }>();
      for (const event of events) {
        const { outcome } = rollout;
        if (event.type === "proven" && rollout.current.some((s) => s.index === event.index && s.step === "proving")) {
          const replacement = coming.get(event.index);
          if (replacement !== undefined) replacement.isProven = true;
        }
        const step = advance(rollout, event);
        if (outcome !== null) expect(step).toEqual({ rollout, actions: [] });
        for (const action of step.actions) {
          const { index } = action;
          if (action.type === "startReplacement") {
            expect(coming.has(index)).toBe(false);
            coming.set(index, { of: action.direction === "forward" ? "new" : "old", isProven: false });
          }
          if (action.type === "swap") {
            expect(coming.get(index)?.isProven).toBe(true);
            generation.set(index, coming.get(index)?.of as string);
            coming.delete(index);
          }
          if (action.type === "discardReplacement") expect(coming.delete(index)).toBe(true);
        }
        expect(coming.size).toBeLessThanOrEqual(maxSurge);
        expect(step.rollout.current.length).toBeLessThanOrEqual(maxSurge);
        rollout = step.rollout;
      }
      if (rollout.outcome === null) return;
      const news = [...generation].filter(([, of]) => of === "new").map(([index]) => index);
      expect([...rollout.done].sort()).toEqual(news);
      expect(coming.size).toBe(0);
      if (rollout.outcome.ok) expect(news).toEqual([1, 2, 3, 4]);
    }),
    { numRuns: 2000 },
  );
});

test("in place, a slot is done when its new process is proven; no balancer is awaited, nothing is swapped", () => {
  const inPlace = { ...one, inPlace: true };
  const proven = (index: number) => turn(index).slice(0, 2);
  const { rollout, actions } = play(newRollout("reload", [1, 2], inPlace), [began, ...proven(1), ...proven(2)]);
  expect(actions).toEqual([1, 2].flatMap((n) => [`startReplacement ${n}`, `prove ${n}`]));
  expect(rollout).toMatchObject({ done: [1, 2], outcome: { ok: true } });
});

test("in place, a failed slot has lost its old process, so it is rolled back like those that were done", () => {
  const inPlace = { ...one, inPlace: true };
  const proven = (index: number) => turn(index).slice(0, 2);
  const lost: RolloutEvent = { type: "replacementLost", index: 2, reason: "exited with code 1" };
  const { rollout, actions } = play(newRollout("reload", [1, 2, 3], inPlace), [began, ...proven(1), lost]);
  expect(actions.slice(-1)).toEqual(["startReplacement 2 back"]);
  const back = play(rollout, [...proven(2), ...proven(1)]);
  expect(back.actions).toEqual(["prove 2", "startReplacement 1 back", "prove 1"]);
  expect(back.rollout).toMatchObject({ done: [], outcome: { ok: false, reason: "exited with code 1" } });
  // The former version fails, too: the slot continues to try by itself, and nothing is discarded.
  expect(play(rollout, [lost, ...proven(1)]).actions).toEqual(["startReplacement 1 back", "prove 1"]);
});

describe("a deploy", () => {
  const deploy = (size: number, percent: number, maxSurge = 1) => {
    const slots = Array.from({ length: size }, (_, at) => at + 1);
    return newRollout("deploy", slots, { maxSurge, canGoBack: true, ...canaryPlan(slots, percent) });
  };
  const held = (index: number): RolloutEvent[] => turn(index).slice(0, 3);
  const texts = (actions: string[]) => actions.filter((text) => !/^(prove|await)/.test(text));

  test.each([
    [1, 10, 1, []],
    [2, 10, 1, [2]],
    [4, 10, 1, [2]],
    [8, 25, 2, [3, 4]],
    [3, 60, 2, [3]],
    [3, 100, 3, []],
    [0, 10, 0, []],
  ])(
    "of %i slots tries by %i %% so many: %i, and compares them with fresh ones in %j",
    (size, percent, canaries, controls) => {
      const slots = Array.from({ length: size }, (_, at) => at + 1);
      expect(canaryPlan(slots, percent)).toEqual({ canaries, controls });
    },
  );

  test("holds its canaries beside the old processes, then continues with maxSurge at a time, including the controls", () => {
    const begun = play(deploy(4, 10), [began, ...turn(2)]);
    expect(texts(begun.actions)).toEqual(["startReplacement 1", "startReplacement 2 back", "swap 2"]);
    expect(play(begun.rollout, [{ type: "promote" }]).actions).toEqual([]);
    const { rollout } = play(begun.rollout, held(1));
    expect(isHeld(rollout)).toBe(true);
    expect(rollout).toMatchObject({ done: [], outcome: null, canary: { hadRequests: true } });
    const on = play(rollout, [
      { type: "promote" },
      { type: "outgoingGone", index: 1 },
      ...turn(2),
      ...turn(3),
      ...turn(4),
    ]);
    const one = (n: number) => [`startReplacement ${n}`, `swap ${n}`];
    expect(texts(on.actions)).toEqual(["swap 1", ...[2, 3, 4].flatMap(one)]);
    expect(on.rollout).toMatchObject({ done: [1, 2, 3, 4], outcome: { ok: true } });
  });

  test("can be rolled back at any time: immediately while it is held, slot by slot afterwards; kept processes need no start", () => {
    const rollBack: RolloutEvent = { type: "rollBack", reason: "5xx: +9.8 pp" };
    const { rollout } = play(deploy(4, 10), [began, ...turn(2), ...held(1)]);
    const back = play(rollout, [rollBack]);
    expect(back.actions).toEqual(["discardReplacement 1"]);
    expect(back.rollout).toMatchObject({ done: [], outcome: { ok: false, reason: "5xx: +9.8 pp" } });
    const half = play(rollout, [{ type: "promote" }, { type: "outgoingGone", index: 1 }, ...turn(2), rollBack]);
    expect(half.actions.slice(-3)).toEqual(["startReplacement 3", "discardReplacement 3", "startReplacement 2 back"]);
    const restored = play(half.rollout, [
      { type: "restored", index: 2 },
      { type: "restored", index: 1 },
    ]);
    expect(restored.rollout).toMatchObject({ done: [], outcome: { ok: false } });
  });

  test("whose canary is lost is rolled back, and reports whether it had requests; a lost control is not needed", () => {
    const lost = (index: number): RolloutEvent => ({ type: "replacementLost", index, reason: "exited" });
    const never = play(deploy(4, 10), [began, lost(1)]).rollout;
    expect(never).toMatchObject({ outcome: { ok: false }, canary: { hadRequests: false } });
    const served = play(deploy(4, 10), [began, ...held(1), lost(1)]).rollout;
    expect(served).toMatchObject({ outcome: { ok: false }, canary: { hadRequests: true } });
    const without = play(deploy(4, 10), [began, ...held(1), lost(2)]);
    expect(without.actions.slice(-1)).toEqual(["discardReplacement 2"]);
    expect(isHeld(without.rollout)).toBe(true);
  });

  const deployEvent: fc.Arbitrary<RolloutEvent> = fc.oneof(
    { weight: 12, arbitrary: anyEvent },
    { weight: 2, arbitrary: fc.constant<RolloutEvent>({ type: "promote" }) },
    { weight: 1, arbitrary: fc.constant<RolloutEvent>({ type: "rollBack", reason: "x" }) },
    {
      weight: 1,
      arbitrary: fc.integer({ min: 1, max: 4 }).map((index): RolloutEvent => ({ type: "restored", index })),
    },
  );

  test("over random histories: no slot but the canaries gets the new version before the verdict, and no slot keeps it after a loss", () => {
    fc.assert(
      fc.property(
        fc.array(deployEvent, { maxLength: 80 }),
        fc.integer({ min: 1, max: 4 }),
        fc.constantFrom(10, 25, 50, 100),
        (events, maxSurge, percent) => {
          let rollout = advance(deploy(4, percent, maxSurge), began).rollout;
          const canaries = rollout.canary?.slots ?? [];
          const generation = new Map([1, 2, 3, 4].map((index) => [index, "old"]));
          const coming = new Map(rollout.current.map(({ index, isControl }) => [index, isControl ? "old" : "new"]));
          for (const event of events) {
            const step = advance(rollout, event);
            // The kept process serves in place of the one that was being started.
            if (
              event.type === "restored" &&
              rollout.direction === "back" &&
              rollout.current.some((s) => s.index === event.index && s.step === "starting")
            ) {
              generation.set(event.index, coming.get(event.index) as string);
              coming.delete(event.index);
            }
            for (const action of step.actions) {
              const { index } = action;
              if (action.type === "startReplacement") {
                expect(coming.has(index)).toBe(false);
                coming.set(index, action.direction === "forward" ? "new" : "old");
              }
              if (action.type === "swap") {
                if (coming.get(index) === "new" && !step.rollout.canary?.isOver) throw new Error("swapped while held");
                generation.set(index, coming.get(index) as string);
                coming.delete(index);
              }
              if (action.type === "discardReplacement") expect(coming.delete(index)).toBe(true);
            }
            const news = [...generation].filter(([, of]) => of === "new").map(([index]) => index);
            if (!step.rollout.canary?.isOver) expect(news).toEqual([]);
            if (step.rollout.outcome === null && !step.rollout.canary?.isOver)
              for (const index of coming.keys()) if (coming.get(index) === "new") expect(canaries).toContain(index);
            rollout = step.rollout;
          }
          if (rollout.outcome === null) return;
          const news = [...generation].filter(([, of]) => of === "new").map(([index]) => index);
          expect([...rollout.done].sort()).toEqual(news);
          expect(coming.size).toBe(0);
          if (rollout.outcome.ok) expect(news).toEqual([1, 2, 3, 4]);
        },
      ),
      { numRuns: 2000 },
    );
  });
});
