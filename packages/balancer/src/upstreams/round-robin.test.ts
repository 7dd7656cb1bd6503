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

it("gives one that was skipped its requests first, up to a limit, whichever is free in between", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  policy.rebuild(candidates(2));
  const picks = (count: number, isFree = (_: { at: number }) => true) =>
    Array.from({ length: count }, () => policy.pick(isFree)?.at);
  expect(picks(4, ({ at }) => at === 0)).toEqual([0, 0, 0, 0]);
  expect(picks(6)).toEqual([1, 1, 1, 1, 0, 1]);
  picks(1000, ({ at }) => at === 0);
  const after = picks(40);
  expect(after.indexOf(0)).toBe(33);
});

it("keeps the counts of all that are mostly free within the limit of each other, and never picks one that is not free", () => {
  const busy = fc.array(fc.array(fc.nat(7), { maxLength: 6 }), { minLength: 1, maxLength: 400 });
  fc.assert(
    fc.property(busy, (turns) => {
      const policy = new RoundRobin<{ name: string; at: number }>();
      policy.rebuild(candidates(8));
      const given = Array<number>(8).fill(0);
      for (const taken of turns) {
        const picked = policy.pick(({ at }) => !taken.includes(at));
        expect(taken).not.toContain(picked?.at);
        if (picked !== undefined) given[picked.at] = (given[picked.at] as number) + 1;
      }
      // All are free now: those that are behind catch up.
      for (let i = 0; i < 8 * 33; i++) {
        const picked = policy.pick(() => true) as { at: number };
        given[picked.at] = (given[picked.at] as number) + 1;
      }
      const rest = Array.from({ length: 8 }, () => policy.pick(() => true)?.at);
      expect(new Set(rest).size).toBe(8);
    }),
  );
});

it("picks the last one again if it may be picked, and the others get as many before it is picked the next time", () => {
  const policy = new RoundRobin<{ name: string; at: number }>();
  expect(policy.pickAgain(() => true)).toBeUndefined();
  policy.rebuild(candidates(3));
  const pick = () => policy.pick(() => true)?.at;
  const again = (isFree = true) => policy.pickAgain(() => isFree)?.at;
  expect([pick(), again(), again(false), again()]).toEqual([0, 0, undefined, 0]);
  expect([pick(), pick(), pick(), pick(), pick(), pick(), pick(), pick()]).toEqual([1, 2, 1, 2, 1, 2, 0, 1]);
  policy.rebuild(candidates(1));
  expect([pick(), again(), again()]).toEqual([0, 0, 0]);
});

it("handfuls make counts differ by at most one handful, whatever their lengths", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 32 }), { maxLength: 100 }), (handfuls) => {
      const policy = new RoundRobin<{ name: string; at: number }>();
      policy.rebuild(candidates(4));
      const given = [0, 0, 0, 0];
      for (const size of handfuls)
        for (let n = 0; n < size; n++) {
          const { at } = (n === 0 ? policy.pick(() => true) : policy.pickAgain(() => true)) as { at: number };
          given[at] = (given[at] as number) + 1;
        }
      expect(Math.max(...given) - Math.min(...given)).toBeLessThanOrEqual(32);
    }),
  );
});
