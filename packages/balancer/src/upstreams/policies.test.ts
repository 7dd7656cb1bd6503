/** The policies that decide alone: which upstream each picks, and what holds for all of them, whichever upstreams are free. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LeastBusy } from "./least-busy.js";
import { PeakLatency } from "./pace.js";
import type { Policy } from "./picking.js";
import { RandomTwo } from "./random-two.js";
import { RoundRobin } from "./round-robin.js";

interface Candidate {
  name: string;
  load: number;
  weight: number;
  latency: { ms: number };
}

const candidate = (at: number, more: Partial<Candidate> = {}): Candidate => ({
  ...{ name: `web.${at + 1}`, load: 0, weight: 1, latency: { ms: 10 } },
  ...more,
});
const all = () => true;

/** The same numbers for the same seed. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const MAKERS: [string, (seed: number) => Policy<Candidate>][] = [
  ["round-robin", () => new RoundRobin<Candidate>()],
  ["least-busy", () => new LeastBusy<Candidate>()],
  ["random-two", (seed) => new RandomTwo<Candidate>(randomOf(seed))],
];

describe.each(MAKERS)("%s", (_, make) => {
  const world = fc.record({
    seed: fc.nat(),
    loads: fc.array(fc.record({ load: fc.nat(50), weight: fc.integer({ min: 1, max: 1000 }), ms: fc.nat(500) }), {
      minLength: 1,
      maxLength: 9,
    }),
    hidden: fc.array(fc.array(fc.nat(8), { maxLength: 9 }), { minLength: 1, maxLength: 30 }),
  });

  it("picks one that may be picked if there is any, and otherwise none", () => {
    fc.assert(
      fc.property(world, ({ seed, loads, hidden }) => {
        const policy = make(seed);
        const candidates = loads.map(({ load, weight, ms }, at) => candidate(at, { load, weight, latency: { ms } }));
        policy.rebuild(candidates);
        for (const away of hidden) {
          const free = candidates.filter((_, at) => !away.includes(at));
          const picked = policy.pick((each) => free.includes(each));
          expect(picked === undefined).toBe(free.length === 0);
          if (picked !== undefined) expect(free).toContain(picked);
        }
        policy.rebuild([]);
        expect(policy.pick(all)).toBeUndefined();
      }),
    );
  });

  it("spreads requests evenly over equal candidates, and otherwise by their weights", () => {
    for (const weights of [
      [1, 1, 1, 1],
      [100, 50, 100],
    ]) {
      const policy = make(7);
      const candidates = weights.map((weight, at) => candidate(at, { weight }));
      policy.rebuild(candidates);
      const counts = new Map<string, number>();
      // Each request lasts until this many others have begun.
      const running: Candidate[] = [];
      const rounds = 4000;
      for (let turn = 0; turn < rounds; turn++) {
        const picked = policy.pick(all) as Candidate;
        counts.set(picked.name, (counts.get(picked.name) ?? 0) + 1);
        picked.load++;
        running.push(picked);
        if (running.length > 40) (running.shift() as Candidate).load--;
      }
      const sum = weights.reduce((a, b) => a + b);
      for (const { name, weight } of candidates) expect((counts.get(name) ?? 0) / rounds).toBeCloseTo(weight / sum, 1);
    }
  });
});

it("least-busy picks the fewest in flight per weight, and equal candidates in turn", () => {
  const policy = new LeastBusy<Candidate>();
  const candidates = [candidate(0), candidate(1), candidate(2)] as const;
  policy.rebuild(candidates);
  const picks = (count: number) => Array.from({ length: count }, () => policy.pick(all)?.name);
  expect(picks(4)).toEqual(["web.1", "web.2", "web.3", "web.1"]);
  candidates[0].load = 2;
  candidates[1].load = 3;
  candidates[2].load = 3;
  candidates[2].weight = 2;
  expect(picks(1)).toEqual(["web.3"]);
  candidates[2].load = 4;
  expect(new Set(picks(4))).toEqual(new Set(["web.1", "web.3"]));
});

it.each<[string, Partial<Candidate>, Partial<Candidate>, 1 | 2]>([
  ["the faster one", { latency: { ms: 30 } }, { latency: { ms: 10 } }, 2],
  ["the slower one, if it has so many fewer", { latency: { ms: 30 } }, { latency: { ms: 10 }, load: 4 }, 1],
  ["one that has not responded yet, for one request", { latency: { ms: 1 } }, { latency: { ms: 0 } }, 2],
  ["not for a second one", { latency: { ms: 900 }, load: 3 }, { latency: { ms: 0 }, load: 1 }, 1],
  ["the heavier one", { weight: 1, load: 1 }, { weight: 3, load: 2 }, 2],
])("random-two picks %s", (_, first, second, expected) => {
  const policy = new RandomTwo<Candidate>(randomOf(3));
  policy.rebuild([candidate(0, first), candidate(1, second)]);
  for (let i = 0; i < 20; i++) expect(policy.pick(all)?.name).toBe(`web.${expected}`);
});

it("random-two gives a slow candidate few requests, and tries it again when its latency is old", () => {
  const policy = new RandomTwo<Candidate>(randomOf(11));
  const clock = { now: 0 };
  const latencies = [0, 1, 2, 3].map(() => new PeakLatency(clock));
  const candidates = latencies.map((latency, at) => candidate(at, { latency }));
  policy.rebuild(candidates);
  const given: number[] = [0, 0, 0, 0];
  const running: { at: number; since: number; until: number }[] = [];
  for (; clock.now < 60_000; clock.now += 10) {
    for (const each of running.filter(({ until }) => until <= clock.now)) {
      running.splice(running.indexOf(each), 1);
      (candidates[each.at] as Candidate).load--;
      latencies[each.at]?.observe(each.until - each.since);
    }
    const picked = policy.pick(all) as Candidate;
    const at = candidates.indexOf(picked);
    given[at] = (given[at] as number) + 1;
    picked.load++;
    running.push({ at, since: clock.now, until: clock.now + (at === 3 ? 400 : 20) });
  }
  expect(given[3]).toBeGreaterThan(2);
  expect(given[3]).toBeLessThan(0.02 * 6000);
});

it("a latency rises immediately, falls slowly, and is forgotten", () => {
  const clock = { now: 0 };
  const latency = new PeakLatency(clock);
  expect(latency.ms).toBe(0);
  latency.observe(10);
  latency.observe(500);
  expect(latency.ms).toBe(500);
  for (let i = 0; i < 10; i++) {
    clock.now += 100;
    latency.observe(10);
  }
  expect(latency.ms).toBeGreaterThan(400);
  expect(latency.ms).toBeLessThan(480);
  const before = latency.ms;
  latency.observe(1, false);
  expect(latency.ms).toBe(before);
  clock.now += 100_000;
  expect(latency.ms).toBeLessThan(0.1);
});
