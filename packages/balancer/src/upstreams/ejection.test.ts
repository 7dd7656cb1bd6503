/**
 * Which upstreams are ejected, given the results of the others; and that the number and duration of ejections are bounded whatever happens.
 */
import type { EjectionRule } from "@paceline/wire";
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { type Counts, EjectionBook, findFault, maxEjected, rowNeeded, type Seen } from "./ejection.js";
import { UsualTime } from "./pace.js";
import { PoolVitals, Vitals } from "./vitals.js";

const RULE: EjectionRule = {
  failures: 5,
  failurePercent: 50,
  minRequests: 20,
  windowMs: 10_000,
  ejectMs: 10_000,
  maxEjectMs: 300_000,
  maxEjectedPercent: 50,
};

type Own = Pick<Seen, "requests" | "failures" | "row">;
const seen = (requests: number, failures = 0, row = 0): Own => ({ requests, failures, row });
const failing = (requests: number) => seen(requests, requests, requests);

/** @param past the results of the others before the consecutive failures began */
function faultOf(own: Own, others: Own[], rule = RULE, past: Own[] = []): string | undefined {
  const sum = (all: Own[]): Counts => ({
    requests: all.reduce((total, { requests }) => total + requests, 0),
    failures: all.reduce((total, { failures }) => total + failures, 0),
  });
  const beside = sum([...others, ...past]);
  const whole = (each: Own): Seen => ({ ...each, besideRow: sum(others), beside });
  return findFault(whole(own), others.map(whole), rule);
}

test.each<[what: string, own: Own, others: Own[], fault: string | undefined]>([
  ["one that fails all", failing(5), [seen(40), seen(40)], "5 failures in a row; of the others' 80 requests 0 failed"],
  ["fewer failures than the rule says", failing(4), [seen(40)], undefined],
  ["the only one", failing(500), [], undefined],
  ["others that had no request yet", failing(500), [seen(0), seen(0)], undefined],
  ["others that had few requests", failing(6), [seen(2)], undefined],
  ["more in a row, but fewer of the others", failing(10), [seen(9)], undefined],
  [
    "many in a row, of one that gets most requests",
    failing(30),
    [seen(6)],
    "30 failures in a row; of the others' 6 requests 0 failed",
  ],
  ["as many of the others", failing(10), [seen(10)], "10 failures in a row; of the others' 10 requests 0 failed"],
  ["an app that fails everywhere", failing(1e9), [failing(100), failing(100), failing(100)], undefined],
  ["an app of which most instances fail", failing(1e9), [failing(100), failing(100), seen(100)], undefined],
  [
    "one of two that fail beside two that do not",
    failing(20),
    [failing(20), seen(20), seen(20)],
    "20 failures in a row; of the others' 60 requests 20 failed",
  ],
  [
    "one beside which an instance fails that has not yet so many in a row",
    failing(5),
    [seen(2, 2, 2), seen(10)],
    undefined,
  ],
  [
    "one beside which few requests were seen, although all were good",
    failing(5),
    [seen(4), seen(4), seen(4)],
    undefined,
  ],
  [
    "one more of them",
    failing(6),
    [seen(8), seen(8), seen(8)],
    "6 failures in a row; of the others' 24 requests 0 failed",
  ],
  ["most fail, and a good one takes most requests", failing(50), [failing(10), failing(10), seen(900)], undefined],
  ["a route that fails for a third of requests", seen(90, 30, 8), [seen(90, 30)], undefined],
  [
    "a share of failures",
    seen(100, 61),
    [seen(400, 3)],
    "61 of 100 requests failed; of the others' 400 requests 3 failed",
  ],
  ["a share below the rule's", seen(100, 49), [seen(400, 3)], undefined],
  ["a share of too few requests", seen(19, 15), [seen(400, 3)], undefined],
  ["a share that others have, too", seen(100, 61), [seen(400, 200)], undefined],
])("%s", (_what, own, others, fault) => {
  expect(faultOf(own, others)).toBe(fault);
});

test("a rule of 0 is off", () => {
  const off = { ...RULE, failures: 0, failurePercent: 0 };
  expect(faultOf(failing(1e6), [seen(100), seen(100)], off)).toBeUndefined();
});

it("earlier successes of the others do not prove that only this one fails", () => {
  expect(faultOf(failing(10), [seen(3, 3, 3)], RULE, [seen(872)])).toBeUndefined();
});

it("needs more consecutive failures the more the others fail, and finds no fault if all fail equally often", () => {
  const share = fc.double({ min: 0.001, max: 0.999, noNaN: true });
  fc.assert(
    fc.property(share, share, (a, b) => {
      expect(rowNeeded(Math.min(a, b), RULE)).toBeLessThanOrEqual(rowNeeded(Math.max(a, b), RULE));
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), fc.double({ min: 0, max: 1, noNaN: true }), (requests, part) => {
      const each = seen(requests, Math.round(requests * part));
      expect(faultOf(each, [each, each, each])).toBeUndefined();
    }),
  );
});

interface Phase {
  ms: number;
  /** The probability of a failure; for only one instance, if it is the bad one. */
  chance: number;
}

/** Sends requests at random times to random instances, and returns which instance is ejected first, and after how many of its failures. */
function simulate(seed: number, size: number, phases: readonly Phase[], tookMs: number, bad?: number) {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  const clock = { now: 0, current: 0 };
  const pool = new PoolVitals();
  const times = new UsualTime();
  const all = Array.from({ length: size }, () => new Vitals(clock, times, pool, () => {}));
  const shares = all.map(() => 0.2 + random());
  const total = shares.reduce((sum, each) => sum + each, 0);
  const pick = () => {
    let left = random() * total;
    for (const [at, share] of shares.entries()) {
      left -= share;
      if (left < 0) return at;
    }
    return 0;
  };
  const sent: { at: number; began: number; done: number; isFailure: boolean }[] = [];
  const isFault = (at: number) =>
    findFault(
      all[at] as Vitals,
      all.filter((_, other) => other !== at),
      RULE,
    ) !== undefined;
  let failures = 0;
  let endsAt = 0;
  let comparedAt = 0;
  for (const { ms, chance } of phases) {
    endsAt += ms;
    while (clock.current < endsAt) {
      clock.current = clock.now = clock.now + random() * 2;
      const at = pick();
      const mayFail = bad === undefined || bad === at;
      const isFailure = mayFail && random() < chance;
      // Handled now: it was sent earlier, and its response comes later.
      const began = clock.now - random() * tookMs;
      sent.push({ at, began, done: clock.now + random() * tookMs, isFailure });
      for (const each of sent.filter(({ done }) => done <= clock.now)) {
        sent.splice(sent.indexOf(each), 1);
        all[each.at]?.countResponse(each.isFailure ? 500 : 200, clock.now - each.began);
        if (each.isFailure && each.at === bad) failures++;
        if (each.isFailure && isFault(each.at)) return { ejected: each.at, failures };
      }
      if (clock.now - comparedAt < 1000) continue;
      comparedAt = clock.now;
      for (const [which] of all.entries()) if (isFault(which)) return { ejected: which, failures };
      for (const each of [...all, pool]) each.decay(Math.exp(-1 / 10));
    }
  }
  return { ejected: undefined, failures };
}

const phases = fc.array(
  fc.record({ ms: fc.integer({ min: 1, max: 1500 }), chance: fc.constantFrom(0, 0, 0.02, 0.3, 0.6, 1, 1) }),
  { minLength: 2, maxLength: 6 },
);

it("ejects none if all fail equally often, however often that changes, and whenever responses arrive", () => {
  let ejected = 0;
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 2, max: 6 }),
      phases,
      fc.constantFrom(0.5, 5, 50),
      (seed, size, all, tookMs) => {
        if (simulate(seed, size, all, tookMs).ejected !== undefined) ejected++;
      },
    ),
    { numRuns: 150, seed: 1 },
  );
  expect(ejected).toBeLessThanOrEqual(1);
});

it("ejects the only one that fails, after few of its requests", () => {
  const needed: number[] = [];
  fc.assert(
    fc.property(fc.nat(), fc.integer({ min: 2, max: 6 }), (seed, size) => {
      const bad = seed % size;
      const { ejected, failures } = simulate(
        seed,
        size,
        [
          { ms: 300, chance: 0 },
          { ms: 1500, chance: 1 },
        ],
        1,
        bad,
      );
      expect(ejected).toBe(bad);
      needed.push(failures);
    }),
    { numRuns: 100, seed: 1 },
  );
  expect(needed.sort((a, b) => a - b)[50]).toBeLessThanOrEqual(9);
});

type Step =
  | { do: "eject"; at: number }
  | { do: "wait"; ms: number }
  | { do: "drain"; at: number; isOut: boolean }
  | { do: "members"; from: number; size: number };

const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant("eject" as const), at: fc.nat({ max: 3 }) }),
    fc.record({ do: fc.constant("wait" as const), ms: fc.nat({ max: 100_000 }) }),
    fc.record({ do: fc.constant("drain" as const), at: fc.nat({ max: 3 }), isOut: fc.boolean() }),
    fc.record({ do: fc.constant("members" as const), from: fc.nat({ max: 2 }), size: fc.nat({ max: 4 }) }),
  ),
  { maxLength: 100, size: "max" },
);

it("never ejects more than the maximum share, never the last one in service, and readmits each in time", () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 100 }), (history: Step[], maxEjectedPercent) => {
      const rule = { ...RULE, maxEjectedPercent };
      const all = Array.from({ length: 4 }, (_, at) => ({ at, isOut: false }));
      let members = all;
      const most = () =>
        Math.max(0, Math.min(members.length - 1, Math.floor((members.length * maxEjectedPercent) / 100)));
      const book = new EjectionBook<(typeof all)[number]>(rule, ({ isOut }) => isOut);
      book.follow(members);
      const since = new Map<object, number>();
      let now = 1;
      for (const step of history) {
        if (step.do === "wait") now += step.ms;
        else if (step.do === "drain") (all[step.at] as (typeof all)[number]).isOut = step.isOut;
        else if (step.do === "members") {
          members = all.slice(step.from, step.from + step.size);
          book.follow(members);
        } else {
          const member = all[step.at] as (typeof all)[number];
          const forMs = book.eject(member, now);
          if (forMs > 0) since.set(member, now);
          if (forMs > 0) {
            expect(book.isEjected(member)).toBe(true);
            expect(members.filter((each) => each.isOut || book.isEjected(each)).length).toBeLessThanOrEqual(most());
          }
          expect(forMs).toBeLessThanOrEqual(rule.maxEjectMs);
        }
        for (const member of book.readmit(now)) expect(book.isEjected(member)).toBe(false);
        const ejected = members.filter((member) => book.isEjected(member));
        expect(ejected.length).toBe(book.ejected);
        expect(ejected.length).toBeLessThanOrEqual(most());
        if (members.some(({ isOut }) => !isOut))
          expect(members.some((member) => !member.isOut && !book.isEjected(member))).toBe(true);
        for (const member of ejected) expect(now - (since.get(member) as number)).toBeLessThan(rule.maxEjectMs);
      }
    }),
  );
});

it("an ejection can be ended early, and still counts", () => {
  const book = new EjectionBook<object>(RULE, () => false);
  const bad = {};
  book.follow([bad, {}]);
  expect(book.end(bad, 1)).toBe(false);
  expect(book.eject(bad, 1)).toBe(10_000);
  expect(book.end(bad, 2)).toBe(true);
  expect([book.isEjected(bad), book.end(bad, 2)]).toEqual([false, false]);
  expect(book.eject(bad, 3)).toBe(20_000);
});

test.each([
  [4, 50, 2],
  [3, 50, 1],
  [2, 50, 1],
  [1, 100, 0],
  [4, 100, 3],
  [4, 24, 0],
  [0, 50, 0],
])("of %i upstreams and with %i percent, at most %i are ejected", (size, maxEjectedPercent, most) => {
  expect(maxEjected(size, { maxEjectedPercent })).toBe(most);
});

it("ejects for a time that doubles up to its maximum, and is short again after a long time in service", () => {
  const book = new EjectionBook<object>(RULE, () => false);
  const bad = {};
  book.follow([bad, {}]);
  const times: number[] = [];
  let now = 1;
  for (let turn = 0; turn < 8; turn++) {
    const forMs = book.eject(bad, now);
    times.push(forMs);
    expect(book.readmit(now + forMs - 1)).toEqual([]);
    now += forMs;
    expect(book.readmit(now)).toEqual([bad]);
    now += forMs;
  }
  expect(times).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000, 300_000]);
  now += 5 * 300_000;
  expect(book.readmit(now)).toEqual([]);
  expect(book.eject(bad, now)).toBe(10_000);
});
