import fc from "fast-check";
import { expect, it } from "vitest";
import { Handful } from "./handful.js";

/** Plays turns with that many picks each; returns the lengths of the handfuls of each turn. */
function play(processors: number, turns: readonly number[], perWake = 1): number[][] {
  const handful = new Handful(processors);
  return turns.map((picks, turn) => {
    const lengths: number[] = [];
    for (let n = 0; n < picks; n++) {
      if (handful.take(turn, perWake)) lengths[lengths.length - 1] = (lengths.at(-1) as number) + 1;
      else lengths.push(1);
    }
    return lengths;
  });
}

it.each([
  ["requests one at a time", 2, 1, [1]],
  ["two at once on two processors", 2, 2, [1, 1]],
  ["sixteen", 2, 16, [8, 8]],
  ["a hundred, at most 32 each", 2, 100, [32, 32, 32, 4]],
  ["fewer than processors", 64, 40, Array(40).fill(1)],
])("gives %s in handfuls", (_, processors, picks, lengths) => {
  expect(play(processors, Array(100).fill(picks)).at(-1)).toEqual(lengths);
});

it.each([
  ["one at a time", 8, 1, [1]],
  ["all of a turn", 8, 3, [3]],
  ["as many as are done before another instance is awake", 8, 10, [8, 2]],
  ["at most 32", 50, 40, [32, 8]],
  ["a processor's share if that is more", 2, 40, [20, 20]],
])("gives quick requests in larger handfuls: %s", (_, perWake, picks, lengths) => {
  expect(play(2, Array(100).fill(picks), perWake).at(-1)).toEqual(lengths);
});

it("grows over some turns, and what is left of it is dropped at the end of a turn", () => {
  const turns = play(2, [...Array(30).fill(16), 3, 16, 1, 1, 1]);
  expect(turns[0]?.length).toBe(16);
  expect(turns[30]).toEqual([3]);
  // It does not continue the previous handful.
  expect(turns[31]?.[0]).toBeGreaterThan(5);
  expect(turns.slice(32)).toEqual([[1], [1], [1]]);
});

it("an upstream without room ends its handful, and the next one begins another", () => {
  const handful = new Handful(1);
  for (let turn = 0; turn < 60; turn++) for (let n = 0; n < 4; n++) handful.take(turn);
  expect([1, 2].map(() => handful.take(60))).toEqual([false, true]);
  handful.pass();
  expect([1, 2, 3, 4].map(() => handful.take(60))).toEqual([true, true, true, false]);
});

it("never exceeds its limit, or the picks of a turn", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 128 }),
      fc.array(fc.nat(300), { maxLength: 60 }),
      fc.integer({ min: 1, max: 100 }),
      (processors, turns, perWake) => {
        for (const [turn, lengths] of play(processors, turns, perWake).entries()) {
          expect(Math.max(0, ...lengths)).toBeLessThanOrEqual(32);
          expect(lengths.reduce((sum, each) => sum + each, 0)).toBe(turns[turn]);
        }
      },
    ),
  );
});
