/** What balancers tell each other through their tables, and what follows for an upstream. */
import { describe, expect, it } from "vitest";
import {
  Heed,
  keyOf,
  leavesRoom,
  OtherTable,
  OwnTable,
  patienceMs,
  SharedCounts,
  TABLE_WORDS,
} from "./shared-counts.js";

/** Two balancers that share an upstream. */
function balancersOf(id = "web.1#1") {
  const key = keyOf(id);
  const words = [0, 1].map(() => new Uint32Array(TABLE_WORDS));
  const tables = words.map((each) => new OwnTable(each));
  const counts = tables.map((table) => new SharedCounts(table, table.take(key), key)) as [SharedCounts, SharedCounts];
  const seen = words.map((each) => new OtherTable(each));
  /** A tick of each; `silent` has stopped ticking. */
  const tick = (silent?: number) => {
    for (const [at, table] of tables.entries()) if (at !== silent) table.beat();
    for (const [at, each] of counts.entries()) {
      const other = seen[1 - at] as OtherTable;
      if (other.refresh()) each.follow([other]);
      each.tick();
    }
  };
  tick();
  return { counts, tables: tables as [OwnTable, OwnTable], tick, key };
}

it("each sees the requests of the other, and not its own", () => {
  const { counts } = balancersOf();
  const [one, other] = counts;
  one.put(3, 2);
  for (const each of counts) each.look();
  expect([one.inFlight, one.pending, one.own, other.inFlight, other.pending]).toEqual([0, 0, 3, 3, 2]);
  one.put(70_000, 0);
  other.look();
  expect(other.inFlight).toBe(65_535);
  one.put(0, 0);
  other.look();
  expect(other.inFlight).toBe(0);
});

it("a place that now belongs to another upstream says nothing about the former one", () => {
  const { counts, tables, tick } = balancersOf();
  const [one, other] = counts;
  one.put(3, 2);
  one.leave();
  const at = tables[0].take(keyOf("web.2#1"));
  tables[0].put(at, 5, 5);
  other.look();
  expect(other.inFlight).toBe(0);
  tick();
  expect(other.inFlight).toBe(0);
});

it("a process that has left its pool and come back has two places, which add up", () => {
  const { counts, tables, tick, key } = balancersOf();
  counts[0].put(1, 0);
  tables[0].put(tables[0].take(key), 2, 0);
  tick();
  expect(counts[1].inFlight).toBe(3);
});

it("a full table has no place; a returned place is used again", () => {
  const table = new OwnTable(new Uint32Array(TABLE_WORDS));
  const places = [];
  for (let at = table.take(1); at > 0; at = table.take(1)) places.push(at);
  expect(places.length).toBeGreaterThan(1300);
  table.giveBack(places[7] as number);
  expect([table.take(2), table.take(2)]).toEqual([places[7], 0]);
});

it("only tables of this version are read", () => {
  const words = new Uint32Array(TABLE_WORDS);
  expect(new OtherTable(words).isValid).toBe(false);
  new OwnTable(words);
  expect(new OtherTable(words).isValid).toBe(true);
});

describe("an upstream is held", () => {
  it.each([
    ["if nothing of the other's has ended for three of its ticks", () => {}, undefined, true],
    ["not if something has", (one: SharedCounts) => one.put(1, 0), undefined, false],
    ["not if the other is idle", (one: SharedCounts) => one.put(0, 0), undefined, false],
    ["not if the other does not tick", () => {}, 0, false],
  ])("%s", (_, meanwhile, silent, isHeld) => {
    const { counts, tick } = balancersOf();
    const [one, other] = counts;
    one.put(2, 0);
    tick();
    tick();
    expect(other.isHeld).toBe(false);
    meanwhile(one);
    for (let n = 0; n < 2; n++) tick(silent);
    expect([other.isHeld, one.isHeld]).toEqual([isHeld, false]);
  });

  it("until one ends", () => {
    const { counts, tick } = balancersOf();
    const [one, other] = counts;
    one.put(1, 1);
    for (let n = 0; n < 4; n++) tick();
    expect(other.isHeld).toBe(true);
    one.put(0, 0);
    one.put(1, 1);
    tick();
    expect(other.isHeld).toBe(false);
  });
});

it("a request waits behind a held one if that one was there first, until it ends", () => {
  const { counts, tick } = balancersOf();
  const [one, other] = counts;
  one.sent();
  one.put(1, 0);
  other.sent();
  other.put(1, 0);
  expect([one.waitsBehindHeld, other.waitsBehindHeld]).toEqual([false, false]);
  for (let n = 0; n < 4; n++) tick();
  expect([one.waitsBehindHeld, other.waitsBehindHeld]).toEqual([false, true]);
  one.put(0, 0);
  one.put(1, 0);
  for (let n = 0; n < 4; n++) tick();
  // The first one has ended, so the other balancer's request runs.
  expect([other.isHeld, other.waitsBehindHeld]).toEqual([true, false]);
});

it("when a process exits, the requests count that the other balancers had a tick ago", () => {
  const { counts, tick } = balancersOf();
  const [one, other] = counts;
  one.put(2, 0);
  tick();
  one.put(0, 0);
  expect(other.most()).toBe(2);
  tick();
  expect(other.most()).toBe(0);
  one.put(1, 0);
  expect(other.most()).toBe(1);
});

describe("room beside requests of other balancers", () => {
  const { NONE, HELD, ALL } = Heed;
  const free = { pending: 0, maxInFlight: Number.POSITIVE_INFINITY };
  const others = { inFlight: 1, pending: 1, own: 0, isHeld: false, isMissed: true };
  const full = { inFlight: 2, pending: 0, own: 0, isHeld: false, isMissed: true };
  const two = { pending: 0, maxInFlight: 2 };
  it.each([
    ["where nothing is known of them", ALL, { ...free, others: undefined }, 1, true],
    ["for who does not heed them", NONE, { ...free, others }, 1, true],
    ["if none is pending", ALL, { ...free, others: { ...others, pending: 0 } }, 1, true],
    ["not if one is pending and the window is one", ALL, { ...free, others }, 1, false],
    ["in a larger window", ALL, { ...free, others }, 3, true],
    ["not beside ours in that", ALL, { ...free, pending: 2, others }, 3, false],
    ["for who has waited", HELD, { ...free, others }, 1, true],
    ["not for who has waited, if they are held", HELD, { ...free, others: { ...others, isHeld: true } }, 1, false],
    [
      "also if they are held, where they wait for something",
      HELD,
      { ...free, others: { ...others, pending: 0, isHeld: true } },
      1,
      true,
    ],
    ["not at an instance that runs one", ALL, { ...free, maxInFlight: 1, others }, Number.POSITIVE_INFINITY, false],
    [
      "at one with threads",
      ALL,
      { ...free, maxInFlight: 3, others: { ...others, own: 1 } },
      Number.POSITIVE_INFINITY,
      true,
    ],
    [
      "not if ours take the last one",
      ALL,
      { ...free, maxInFlight: 2, others: { ...others, own: 1 } },
      Number.POSITIVE_INFINITY,
      false,
    ],
    [
      "for ours alone the limit is another's",
      ALL,
      { ...free, maxInFlight: 1, others: { ...others, inFlight: 0, pending: 0, own: 1 } },
      Number.POSITIVE_INFINITY,
      true,
    ],
    ["for one beyond the limit of all, for who has waited", HELD, { ...two, others: full }, 1, true],
    ["not before the wait", ALL, { ...two, others: full }, 1, false],
    ["not if they hold the instance", HELD, { ...two, others: { ...full, isHeld: true } }, 1, false],
    [
      "not for who has one there",
      HELD,
      { ...two, others: { ...full, inFlight: 1, own: 1, isMissed: false } },
      1,
      false,
    ],
    ["not for who had one there just now", HELD, { ...two, others: { ...full, isMissed: false } }, 1, false],
    [
      "not beyond the limit of all, if theirs are pending too",
      HELD,
      { ...two, others: { ...full, pending: 1, isMissed: false } },
      1,
      false,
    ],
  ])("%s", (_, heed, upstream, window, expected) => {
    expect(leavesRoom(heed, upstream, window)).toBe(expected);
  });
});

it.each([
  [undefined, 5],
  [100, 2],
  [8000, 8],
  [900_000, 50],
])("a request that usually takes %s µs waits for %i ms", (micros, expected) => {
  expect(patienceMs(micros)).toBe(expected);
});
