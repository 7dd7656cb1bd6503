/** Token buckets: how their tokens change over time, and that no choice of keys gives a client more tokens. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BucketTable, NEW_KEYS, NewKeys, type Rate, takeToken, waitForToken } from "./bucket-table.js";

/** Ten tokens per second, a burst of three. */
const RATE: Rate = { intervalMs: 100, burst: 3 };

describe("a bucket", () => {
  it.each([
    ["gives its burst at once, and no more", [0, 0, 0, 0, 0], [true, true, true, false, false]],
    ["gains a token per interval", [0, 0, 0, 99, 100, 101, 200], [true, true, true, false, true, false, true]],
    ["holds no more than the burst", [0, 9999, 9999, 9999, 9999], [true, true, true, true, false]],
    ["loses nothing to refusals", [0, 0, 0, 50, 60, 70, 100], [true, true, true, false, false, false, true]],
  ])("%s", (_, times, expected) => {
    let fullAt = 0;
    const taken = times.map((now) => {
      const next = takeToken(fullAt, now, RATE);
      if (next >= 0) fullAt = next;
      return next >= 0;
    });
    expect(taken).toEqual(expected);
  });

  it.each([
    [0, 0, 0],
    [200, 0, 0],
    [300, 0, 100],
    [300, 40, 60],
    [300, 500, 0],
  ])("that is full at %i has a token at %i after %i ms", (fullAt, now, expected) => {
    expect(waitForToken(fullAt, now, RATE)).toBe(expected);
  });

  it("gives all of its burst whatever the interval, in spite of rounding", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 100, max: 3_600_000 }),
        fc.integer({ min: 1, max: 300 }),
        fc.double({ min: 0, max: 1e8, noNaN: true }),
        (requests, periodMs, burst, now) => {
          const rate = { intervalMs: periodMs / requests, burst };
          let fullAt = 0;
          let taken = 0;
          for (; taken <= burst + 1; taken++) {
            const next = takeToken(fullAt, now, rate);
            if (next < 0) break;
            fullAt = next;
          }
          expect(taken).toBe(burst);
        },
      ),
    );
  });
});

describe("a table of buckets", () => {
  const request = fc.record({ key: fc.nat(20).map((n) => `10.0.0.${n}`), afterMs: fc.integer({ min: 0, max: 15 }) });

  /** Sends the requests to a table with `sets` sets; `own` has an exact bucket for each key, which only requests with that key use. */
  function run(requests: readonly { key: string; afterMs: number }[], sets: number, burst: number) {
    const rate = { intervalMs: 100, burst };
    const table = new BucketTable(rate, [1, 2], sets);
    const own = new Map<string, number>();
    let now = 1000;
    return requests.map(({ key, afterMs }) => {
      now += afterMs;
      const isAdmitted = table.take(key, now) === 0;
      const exact = takeToken(own.get(key) ?? 0, now, rate);
      if (isAdmitted) own.set(key, Math.max(exact, now));
      return { isAdmitted, isExactlyAdmitted: exact >= 0 };
    });
  }

  const burst = fc.integer({ min: 1, max: 3 });

  it("never admits a request that the client's own bucket would refuse, however many others come", () => {
    fc.assert(
      fc.property(
        fc.array(request, { maxLength: 300, size: "max" }),
        fc.constantFrom(1, 2),
        burst,
        (requests, sets, tokens) => {
          for (const { isAdmitted, isExactlyAdmitted } of run(requests, sets, tokens))
            if (isAdmitted) expect(isExactlyAdmitted).toBe(true);
        },
      ),
    );
  });

  it("is exact for as many clients as there are buckets in a set", () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 300, size: "max" }), burst, (requests, tokens) => {
        const few = requests.map(({ key, afterMs }) => ({ key: `${Number(key.slice(7)) % 8}`, afterMs }));
        for (const { isAdmitted, isExactlyAdmitted } of run(few, 1, tokens)) expect(isAdmitted).toBe(isExactlyAdmitted);
      }),
    );
  });

  it("admits an attacker with many addresses no more often than the table has tokens, and does not refill a victim's bucket", () => {
    const table = new BucketTable(RATE, [3, 4], 1);
    const take = (key: string) => table.take(key, 5000) === 0;
    expect([take("victim"), take("victim"), take("victim"), take("victim")]).toEqual([true, true, true, false]);
    const admitted = Array.from({ length: 1000 }, (_, n) => take(`attacker ${n}`)).filter(Boolean).length;
    // Seven other buckets of three tokens.
    expect(admitted).toBe(21);
    expect(take("victim")).toBe(false);
  });

  it("reuses only full buckets: a client finds its own after any number of slow requests of others", () => {
    const table = new BucketTable(RATE, [5, 6], 1);
    for (let n = 0; n < 1000; n++) expect(table.take(`client ${n}`, 1000 + 100 * n)).toBe(0);
    expect(table.take("late", 200_000)).toBe(0);
  });

  it("tells for how long there is no token, and never 0 for a refusal", () => {
    const table = new BucketTable(RATE);
    for (let n = 0; n < 3; n++) table.take("a", 1000);
    expect(table.take("a", 1000)).toBe(100);
    expect(table.take("a", 1099)).toBeGreaterThan(0);
    expect(table.take("b", 1000)).toBe(0);
  });

  it("recognizes a new key: one without a bucket, or with a full bucket", () => {
    const table = new BucketTable(RATE);
    const isNew = (key: string, now: number) => {
      const found = table.find(key, now);
      expect(table.takeFound(now)).toBe(0);
      return found;
    };
    expect([isNew("a", 1000), isNew("a", 1050), isNew("b", 1050), isNew("a", 1199), isNew("a", 1300)]).toEqual([
      true,
      false,
      true,
      false,
      true,
    ]);
  });

  it("spreads keys over its sets, differently with each seed", () => {
    const keys = Array.from({ length: 4000 }, (_, n) => `2001:db8:${n.toString(16)}:1`);
    const admittedWith = (seed: number) => {
      const table = new BucketTable({ intervalMs: 1e9, burst: 1 }, [seed, 9], 1024);
      return keys.filter((key) => table.take(key, 1) === 0);
    };
    const [one, other] = [admittedWith(1), admittedWith(2)];
    // There are half as many keys as buckets, so few sets are full.
    expect(one.length).toBeGreaterThan(3900);
    expect(one).not.toEqual(other);
  });
});

describe("new keys of a source", () => {
  it("never use more than a sixteenth of a table at a time, whenever they arrive, and do not count for another source", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ afterMs: fc.integer({ min: 0, max: 400 }), keys: fc.nat(3000) }), { maxLength: 20 }),
        (visits) => {
          const newKeys = new NewKeys(RATE, [1, 2]);
          let brought: number[] = [];
          let now = 1000;
          for (const { afterMs, keys } of visits) {
            now += afterMs;
            for (let n = 0; n < keys; n++) if (newKeys.mayBring("one", now)) brought.push(now);
            // A bucket is full again after 300 ms.
            brought = brought.filter((at) => now - at < 300);
            expect(brought.length).toBeLessThanOrEqual(2 * NEW_KEYS);
          }
          expect(newKeys.mayBring("other", now)).toBe(true);
        },
      ),
      { numRuns: 30 },
    );
  });
});
