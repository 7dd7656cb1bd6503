import fc from "fast-check";
import { expect, it } from "vitest";
import { RoundRobin } from "./round-robin.js";

const candidates = (count: number) => Array.from({ length: count }, (_, at) => ({ name: `web.${at + 1}`, at }));

it("picks each in turn, and continues in order after a change", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  policy.rebuild(candidates(3));
  const picks = (count: number) => Array.from({ length: count }, () => policy.pick(() => true)?.at);
  expect(picks(7)).toEqual([0, 1, 2, 0, 1, 2, 0]);
  policy.rebuild(candidates(5));
  expect(picks(6)).toEqual([1, 2, 3, 4, 0, 1]);
});

it("one that is skipped loses its turn", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  policy.rebuild(candidates(3));
  const picks = (count: number, isFree = (_: { at: number }) => true) =>
    Array.from({ length: count }, () => policy.pick(isFree)?.at);
  expect(picks(5, ({ at }) => at !== 1)).toEqual([0, 2, 0, 2, 0]);
  expect(picks(4)).toEqual([1, 2, 0, 1]);
});

it("gives the one that got the fewest its requests first, up to a limit, whichever is free in between", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  policy.rebuild(candidates(2));
  const picks = (count: number, isFree = (_: { at: number }) => true) =>
    Array.from({ length: count }, () => policy.pickFewest(isFree)?.at);
  expect(picks(4, ({ at }) => at === 0)).toEqual([0, 0, 0, 0]);
  expect(picks(6)).toEqual([1, 1, 1, 1, 0, 1]);
  picks(1000, ({ at }) => at === 0);
  const after = picks(140);
  expect(after.indexOf(0)).toBe(129);
  picks(20, ({ at }) => at === 0);
  policy.forget();
  expect(picks(4)).toEqual([1, 0, 1, 0]);
});

it("keeps the counts of all that are mostly free within the limit of each other, and never picks one that is not free", () => {
  const busy = fc.array(fc.array(fc.nat(7), { maxLength: 6 }), { minLength: 1, maxLength: 400 });
  fc.assert(
    fc.property(busy, (turns) => {
      const policy = new RoundRobin<{ name: string; at: number }>();
      policy.rebuild(candidates(8));
      for (const taken of turns) expect(taken).not.toContain(policy.pickFewest(({ at }) => !taken.includes(at))?.at);
      // All are free now: those that are behind catch up.
      for (let i = 0; i < 8 * 129; i++) policy.pickFewest(() => true);
      const rest = Array.from({ length: 8 }, () => policy.pickFewest(() => true)?.at);
      expect(new Set(rest).size).toBe(8);
    }),
  );
});

it("picks the last one again if it may be picked, and the others get as many before it is picked the next time", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  expect(policy.pickAgain(() => true)).toBeUndefined();
  policy.rebuild(candidates(3));
  const pick = () => policy.pickFewest(() => true)?.at;
  const again = (isFree = true) => policy.pickAgain(() => isFree)?.at;
  expect([pick(), again(), again(false), again()]).toEqual([0, 0, undefined, 0]);
  expect([pick(), pick(), pick(), pick(), pick(), pick(), pick(), pick()]).toEqual([1, 2, 1, 2, 1, 2, 0, 1]);
  policy.rebuild(candidates(1));
  expect([pick(), again(), again()]).toEqual([0, 0, 0]);
});

it("does not pick the last one again once it is far ahead of another one that may be picked", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  policy.rebuild(candidates(3));
  const row = (isFree: (candidate: { at: number }) => boolean) => {
    let length = 0;
    while (length < 100 && policy.pickAgain(isFree) !== undefined) length++;
    return length;
  };
  policy.pick(() => true);
  expect([row(() => true), row(({ at }) => at !== 1)]).toEqual([30, 0]);
  policy.pickFewest(() => true);
  // It may come as far ahead of the third one.
  expect(row(() => true)).toBe(30);
  expect(row(({ at }) => at === 1)).toBe(100);
});

/** One handful, or the first request after others have ended, whose turn it is. */
const handful = fc.record({ size: fc.integer({ min: 1, max: 32 }), isInTurn: fc.boolean() });

it("handfuls make counts differ by at most 32, whatever their lengths, and whether they begin with the next in turn", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 9 }), fc.array(handful, { maxLength: 200 }), (count, handfuls) => {
      const policy = new RoundRobin<{ name: string; at: number }>();
      policy.rebuild(candidates(count));
      const all = () => true;
      const given = Array<number>(count).fill(0);
      for (const { size, isInTurn } of handfuls)
        for (let n = 0; n < size; n++) {
          const again = n === 0 ? undefined : policy.pickAgain(all);
          const { at } = again ?? ((n === 0 && isInTurn ? policy.pick(all) : policy.pickFewest(all)) as { at: number });
          given[at] = (given[at] as number) + 1;
          expect(Math.max(...given) - Math.min(...given)).toBeLessThanOrEqual(32);
        }
    }),
  );
});
