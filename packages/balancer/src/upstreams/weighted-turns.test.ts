/** Weighted turns: exact shares, spread evenly, also over changes. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { RoundRobin, WeightedTurns } from "./round-robin.js";

interface Candidate {
  name: string;
  weight: number;
}

const of = (...weights: number[]): Candidate[] => weights.map((weight, at) => ({ name: `web.${at + 1}`, weight }));
const all = () => true;
const total = (candidates: Candidate[]) => candidates.reduce((sum, { weight }) => sum + weight, 0);

it("gives each its share within every period, in round-robin order if weights are equal", () => {
  const turns = new WeightedTurns<Candidate>();
  turns.rebuild(of(4, 9, 9, 9, 9));
  const counts = new Map<string, number>();
  const order: string[] = [];
  for (let turn = 0; turn < 40; turn++) {
    const { name } = turns.pick(all) as Candidate;
    order.push(name);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  expect([...counts].sort()).toEqual([
    ["web.1", 4],
    ...["web.2", "web.3", "web.4", "web.5"].map((name): [string, number] => [name, 9]),
  ]);
  // The canary's turns are spread: never two within six.
  const own = order.flatMap((name, turn) => (name === "web.1" ? [turn] : []));
  for (const [at, turn] of own.slice(1).entries()) expect(turn - (own[at] as number)).toBeGreaterThan(6);
});

it("never lets a candidate be more than two turns ahead of its share or behind it, whichever may be picked", () => {
  const weights = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(weights, fc.array(fc.nat(), { maxLength: 200 }), (shares, hidden) => {
      const candidates = of(...shares);
      const turns = new WeightedTurns<Candidate>();
      turns.rebuild(candidates);
      for (const which of hidden) {
        const away = candidates[which % candidates.length];
        const picked = turns.pick((candidate) => candidates.length === 1 || candidate !== away);
        expect(picked).toBeDefined();
      }
      const counts = new Map(candidates.map((candidate) => [candidate, 0]));
      const rounds = 3 * total(candidates);
      for (let turn = 0; turn < rounds; turn++) {
        const picked = turns.pick(all) as Candidate;
        counts.set(picked, (counts.get(picked) ?? 0) + 1);
      }
      for (const [{ weight }, count] of counts)
        expect(Math.abs(count - (weight * rounds) / total(candidates))).toBeLessThanOrEqual(candidates.length);
    }),
  );
});

it("keeps its credits over a change, and picks none if none may be picked", () => {
  const turns = new WeightedTurns<Candidate>();
  const [a, b] = of(1, 1) as [Candidate, Candidate];
  turns.rebuild([a, b]);
  expect(turns.pick(all)).toBe(a);
  turns.rebuild([a, b]);
  expect(turns.pick(all)).toBe(b);
  expect(turns.pick(() => false)).toBeUndefined();
});

it("is used by round robin while weights differ, and only then", () => {
  const robin = new RoundRobin<Candidate>();
  const picks = (count: number) => Array.from({ length: count }, () => robin.pick(all)?.name);
  robin.rebuild(of(1, 1, 1));
  expect(picks(4)).toEqual(["web.1", "web.2", "web.3", "web.1"]);
  robin.rebuild(of(1, 3));
  expect(picks(4).filter((name) => name === "web.1")).toHaveLength(1);
  robin.rebuild(of(1, 1, 1));
  expect(picks(3).sort()).toEqual(["web.1", "web.2", "web.3"]);
});
