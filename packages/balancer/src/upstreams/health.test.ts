/** Which upstreams are ejected beside which others, and that ejections are bounded in number and time whatever happens. */
import type { EjectionRule } from "@paceline/wire";
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { EjectionBook, findFault, maxEjected, rowNeeded, type Seen } from "./health.js";

const RULE: EjectionRule = {
  failures: 5,
  failurePercent: 50,
  minRequests: 20,
  windowMs: 10_000,
  ejectMs: 10_000,
  maxEjectMs: 300_000,
  maxEjectedPercent: 50,
};

const seen = (requests: number, failures = 0, row = 0): Seen => ({ requests, failures, row });
const failing = (requests: number) => seen(requests, requests, requests);

test.each<[what: string, own: Seen, others: Seen[], fault: string | undefined]>([
  ["one that fails all", failing(5), [seen(40), seen(40)], "5 failures in a row; of the others' 80 requests 0 failed"],
  ["fewer failures than the rule says", failing(4), [seen(40)], undefined],
  ["the only one", failing(500), [], undefined],
  ["others that had no request yet", failing(500), [seen(0), seen(0)], undefined],
  ["others that had few requests", failing(6), [seen(2)], undefined],
  ["more in a row beside these", failing(10), [seen(2)], "10 failures in a row; of the others' 2 requests 0 failed"],
  ["an app that fails everywhere", failing(1e9), [failing(100), failing(100), failing(100)], undefined],
  ["an app of which most instances fail", failing(1e9), [failing(100), failing(100), seen(100)], undefined],
  [
    "one of two that fail beside two that do not",
    failing(20),
    [failing(20), seen(20), seen(20)],
    "20 failures in a row; of the others' 60 requests 20 failed",
  ],
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
  expect(findFault(own, others, RULE)).toBe(fault);
});

test("a rule of 0 is off", () => {
  const off = { ...RULE, failures: 0, failurePercent: 0 };
  expect(findFault(failing(1e6), [seen(100), seen(100)], off)).toBeUndefined();
});

it("needs more failures in a row the more the others fail, and finds none where as many fail everywhere", () => {
  const share = fc.double({ min: 0.001, max: 0.999, noNaN: true });
  fc.assert(
    fc.property(share, share, (a, b) => {
      expect(rowNeeded(Math.min(a, b), RULE)).toBeLessThanOrEqual(rowNeeded(Math.max(a, b), RULE));
    }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 500 }), fc.double({ min: 0, max: 1, noNaN: true }), (requests, part) => {
      const each = seen(requests, Math.round(requests * part));
      expect(findFault(each, [each, each, each], RULE)).toBeUndefined();
    }),
  );
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

it("ejects never more than the share, never the last in turn, and readmits each in time", () => {
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

it("an ejection can be ended early, and counts all the same", () => {
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
])("of %i upstreams and with %i percent, at most %i are out", (size, maxEjectedPercent, most) => {
  expect(maxEjected(size, { maxEjectedPercent })).toBe(most);
});

it("ejects for a time that doubles up to its bound, and starts again after a long time in turn", () => {
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
