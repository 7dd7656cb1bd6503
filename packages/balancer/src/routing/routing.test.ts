import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Deadlines } from "../deadlines.js";
import { RequestQueue } from "../upstreams/request-queue.js";
import { RoundRobin } from "../upstreams/round-robin.js";

const named = (...names: string[]) => names.map((name) => ({ name }));

describe("round robin", () => {
  it("gives each candidate its turn: no two counts differ by more than one while the candidates stay the same", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(200), (size, picks) => {
        const policy = new RoundRobin<{ name: string }>();
        policy.rebuild(named(...Array.from({ length: size }, (_, i) => `web.${i}`)));
        const counts = new Map<string, number>();
        for (let i = 0; i < picks; i++) {
          const { name } = policy.pick(() => true) as { name: string };
          counts.set(name, (counts.get(name) ?? 0) + 1);
        }
        const all = Array.from({ length: size }, (_, i) => counts.get(`web.${i}`) ?? 0);
        expect(Math.max(...all) - Math.min(...all)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it("continues after the last one picked when others are added and removed", () => {
    const policy = new RoundRobin<{ name: string }>();
    policy.rebuild(named("a", "b", "c"));
    expect([policy.pick(() => true), policy.pick(() => true)].map((c) => c?.name)).toEqual(["a", "b"]);
    policy.rebuild(named("b", "c", "d"));
    expect(policy.pick(() => true)?.name).toBe("c");
  });

  it("skips candidates that may not be picked, and picks none if none may be picked", () => {
    const policy = new RoundRobin<{ name: string }>();
    policy.rebuild(named("a", "b"));
    expect(policy.pick(({ name }) => name === "b")?.name).toBe("b");
    expect(policy.pick(() => false)).toBeUndefined();
    policy.rebuild([]);
    expect(policy.pick(() => true)).toBeUndefined();
  });
});

interface Pending {
  isWaiting: boolean;
  isIdempotent: boolean;
  home: number;
  order: number;
  n: number;
}

describe("the request queue", () => {
  it("is first in, first out, within its limit, forgets abandoned requests, and no kind or home delays another", () => {
    const operation = fc.oneof(
      fc.record({ kind: fc.constant("add" as const), isIdempotent: fc.boolean(), home: fc.nat(2) }),
      fc.nat(2).map((home) => ({ kind: "lose" as const, home })),
      fc.constantFrom("any", "idempotent", "unsafe", "none").map((taken) => ({ kind: "serve" as const, taken })),
      fc.nat(50).map((which) => ({ kind: "leave" as const, which })),
    );
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 100 }), (operations) => {
        const queue = new RequestQueue<Pending>(5);
        queue.maxAtHome = 2;
        let model: Pending[] = [];
        const at = (home: number) => model.filter((pending) => pending.home === home);
        for (const [n, step] of operations.entries()) {
          if (step.kind === "add") {
            const { isIdempotent, home } = step;
            const pending = { isWaiting: true, isIdempotent, home, order: 0, n };
            expect(queue.add(pending)).toBe(model.length < 5 && (home === 0 || at(home).length < 2));
            if (pending.order > 0) model.push(pending);
          } else if (step.kind === "serve") {
            const isTaken = (isIdempotent: boolean) =>
              step.taken === "any" || step.taken === (isIdempotent ? "idempotent" : "unsafe");
            const served: number[] = [];
            queue.serve((pending) => (isTaken(pending.isIdempotent) ? () => served.push(pending.n) : undefined));
            expect(served).toEqual(
              model.filter((pending) => isTaken(pending.isIdempotent)).map((pending) => pending.n),
            );
            model = model.filter((pending) => !isTaken(pending.isIdempotent));
            for (const home of [0, 1, 2])
              expect(queue.holds(true, home)).toBe(at(home).some(({ isIdempotent }) => isIdempotent));
          } else if (step.kind === "lose") {
            // Requests without a home stay.
            expect(queue.takeHomes((home) => home !== step.home)).toEqual(step.home === 0 ? [] : at(step.home));
            if (step.home !== 0) model = model.filter(({ home }) => home !== step.home);
          } else {
            const [gone] = model.splice(step.which, 1);
            if (gone !== undefined) gone.isWaiting = false;
          }
        }
      }),
      { numRuns: 400 },
    );
  });
});

describe("deadlines", () => {
  it("reports each entry once, whatever leaves the list in the meantime", () => {
    const deadlines = new Deadlines(0);
    const told: string[] = [];
    const entries = ["a", "b", "c", "d"].map((name, i) => ({
      deadlineAt: i < 3 ? 10 : 1000,
      deadlineIndex: -1,
      onDeadline() {
        told.push(name);
        deadlines.remove(this);
        // The last entry that is reported removes another entry that is due as well.
        if (name === "c") deadlines.remove(entries[1] as (typeof entries)[number]);
      },
    }));
    for (const entry of entries) deadlines.add(entry);
    deadlines.tick(10);
    expect(told.sort()).toEqual(["a", "c"]);
    expect(deadlines.size).toBe(1);
    deadlines.tick(20);
    expect(told).toHaveLength(2);
  });

  it("do not count a pause of the process: what arrived during the pause is read first", () => {
    const deadlines = new Deadlines(2800);
    let told = 0;
    const entry = { deadlineAt: 3000, deadlineIndex: -1, onDeadline: () => void told++ };
    deadlines.add(entry);
    deadlines.tick(2900);
    deadlines.tick(60_000);
    expect([told, deadlines.now]).toEqual([0, 3000]);
    deadlines.tick(60_100);
    expect(told).toBe(1);
  });
});
