import fc from "fast-check";
import { expect, test } from "vitest";
import { advance, newRollout, type Rollout, type RolloutEvent } from "./rollout.js";

function play(rollout: Rollout, events: RolloutEvent[]): { rollout: Rollout; actions: string[] } {
  const actions: string[] = [];
  let now = rollout;
  for (const event of events) {
    const step = advance(now, event);
    now = step.rollout;
    actions.push(...step.actions.map((action) => `${action.type} ${action.index}`));
  }
  return { rollout: now, actions };
}

const turn = (index: number): RolloutEvent[] => [
  { type: "successorReady", index },
  { type: "applied", index },
  { type: "leaverGone", index },
];

test("takes the slots one after the other, each only when the one before is through", () => {
  const { rollout, actions } = play(newRollout("reload", [1, 2]), [{ type: "begin" }, ...turn(1), ...turn(2)]);
  expect(actions).toEqual(
    [1, 2].flatMap((index) => [`startSuccessor ${index}`, `awaitApplied ${index}`, `swap ${index}`]),
  );
  expect(rollout).toMatchObject({ done: 2, total: 2, outcome: { ok: true } });
});

test("ends at the first successor that fails, and never swaps it in", () => {
  const { rollout, actions } = play(newRollout("reload", [1, 2]), [
    { type: "begin" },
    ...turn(1),
    { type: "successorLost", index: 2, reason: "exited with code 1" },
    ...turn(2),
  ]);
  expect(actions.slice(3)).toEqual(["startSuccessor 2", "discardSuccessor 2"]);
  expect(rollout).toMatchObject({ done: 1, outcome: { ok: false, reason: "exited with code 1" } });
});

test("over random histories there is never a second surge instance, and nothing happens after the end", () => {
  const event: fc.Arbitrary<RolloutEvent> = fc.oneof(
    fc.constant<RolloutEvent>({ type: "begin" }),
    fc
      .tuple(fc.constantFrom("successorReady", "applied", "leaverGone" as const), fc.integer({ min: 1, max: 3 }))
      .map(([type, index]) => ({ type, index }) as RolloutEvent),
    fc.integer({ min: 1, max: 3 }).map((index): RolloutEvent => ({ type: "successorLost", index, reason: "x" })),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 40 }), (events) => {
      let rollout = newRollout("restart", [1, 2, 3]);
      let surge: number | null = null;
      let hasSwapped = false;
      for (const e of events) {
        const ended = rollout.outcome !== null;
        // After the swap the slot has two until the old one is gone.
        if (e.type === "leaverGone" && e.index === surge && hasSwapped) surge = null;
        const step = advance(rollout, e);
        for (const action of step.actions) {
          expect(ended).toBe(false);
          if (action.type === "startSuccessor") {
            expect(surge).toBeNull();
            surge = action.index;
            hasSwapped = false;
            continue;
          }
          expect(action.index).toBe(surge);
          if (action.type === "swap") hasSwapped = true;
          if (action.type === "discardSuccessor") surge = null;
        }
        rollout = step.rollout;
      }
    }),
  );
});
