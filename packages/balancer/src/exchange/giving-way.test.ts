/** The table of who gives way for the memory of others. */
import { expect, test } from "vitest";
import { givesWay, giveWay, graceMs, type Shortage, standingOf, type Waiting } from "./giving-way.js";

const NOW = 1_000_000;
const PATIENCE_MS = 30_000;

const peer = (silentMs: number, rest: Partial<Waiting> = {}): Waiting => ({
  ...{ firstBlockedAt: NOW - silentMs, paidUntil: NOW - silentMs, patienceMs: PATIENCE_MS },
  ...{ hasRead: false, isProvenReader: false },
  ...rest,
});

test.each([
  ["has read nothing for a while", peer(29_999), "unseen"],
  ["has read nothing for longer than any reader", peer(30_000), "stopped"],
  ["has just fallen behind", peer(0), "unseen"],
  ["has read something", peer(1999, { hasRead: true }), "seen"],
  ["has read ahead of its time", peer(-5000, { hasRead: true }), "seen"],
  ["has read something, but not lately", peer(2000, { hasRead: true }), "late"],
  ["has read something and stopped", peer(30_000, { hasRead: true }), "stopped"],
  ["has proved that it reads", peer(0, { isProvenReader: true, hasRead: true }), "reader"],
  ["has proved that it reads, and waits for a large step", peer(60_000, { isProvenReader: true }), "reader"],
] as const)("one that %s", (_, waiting, standing) => {
  expect(standingOf(waiting, NOW)).toBe(standing);
});

test.each([
  [1, 8000],
  [1.125, 4000],
  [1.25, 100],
  [1.5, 100],
])("with %s of the limit used, one may have read nothing for %s ms", (used, ms) => {
  expect(graceMs(used)).toBe(ms);
});

/** The numbers are seconds since they have last read. */
const PEERS = {
  stopped: [40, 50, 31].map((s) => peer(1000 * s)),
  unseen: [1, 20, 10, 9, 0.05].map((s) => peer(1000 * s)),
  late: [2, 12, 25].map((s) => peer(1000 * s, { hasRead: true })),
  seen: [1.5, 0].map((s) => peer(1000 * s, { hasRead: true })),
  reader: [0, 60, 5].map((s) => peer(1000 * s, { hasRead: true, isProvenReader: true })),
};

/** Returns who is reset, if each takes a hundredth of the limit. */
function reset(percent: number, waiting: Waiting[], rest: Partial<Shortage<Waiting>> = {}): string[] {
  const found: string[] = [];
  giveWay(waiting, {
    ...{ now: NOW, beyondSince: NOW - 60_000, used: () => (percent - found.length) / 100, isKnown: () => true },
    reset: (gone) => found.push(`${standingOf(gone, NOW)} ${(NOW - gone.paidUntil) / 1000}`) > 0,
    ...rest,
  });
  return found;
}

const STOPPED = ["stopped 50", "stopped 40", "stopped 31"];

test.each([
  ["half of the limit", 50, []],
  ["more than half", 51, ["stopped 50"]],
  ["the limit", 100, STOPPED],
  ["a little more", 105, [...STOPPED, "unseen 9", "unseen 10"]],
  // Nobody that was seen to read, while there is one that was not, however new.
  ["more", 112, [...STOPPED, "unseen 9", "unseen 10", "unseen 20"]],
  ["much more", 149, [...STOPPED, "unseen 1", "unseen 9", "unseen 10", "unseen 20"]],
  [
    "far more",
    170,
    [
      ...[...STOPPED, "unseen 0.05", "unseen 1", "unseen 9", "unseen 10", "unseen 20"],
      ...["late 25", "late 12", "late 2", "seen 0", "seen 1.5", "reader 60", "reader 5", "reader 0"],
    ],
  ],
])("beyond %s", (_, percent, expected) => {
  expect(reset(percent, Object.values(PEERS).flat())).toEqual(expected);
});

test("those that were seen to read give way if there is nobody else, and those that have just read only far beyond the limit", () => {
  const waiting = [...PEERS.late, ...PEERS.seen, ...PEERS.reader];
  expect(reset(112, waiting)).toEqual(["late 25", "late 12"]);
  expect(reset(149, waiting)).toEqual(["late 25", "late 12", "late 2"]);
  expect(reset(155, waiting)).toEqual(["late 25", "late 12", "late 2", "seen 0", "seen 1.5"]);
});

test("an earlier one is not reset before those that exceed the limit had their time", () => {
  const waiting = [peer(5000), peer(20), peer(10)];
  expect(reset(130, waiting, { beyondSince: NOW - 20 })).toEqual([]);
  expect(reset(130, waiting, { beyondSince: NOW - 4000 })).toEqual([]);
  // One that came meanwhile has no such right.
  expect(reset(130, waiting, { beyondSince: NOW - 5000 })).toEqual(["unseen 5"]);
  // Unless there is no time.
  expect(reset(152, waiting, { beyondSince: NOW - 20 })).toEqual(["unseen 0.01", "unseen 0.02"]);
  expect(reset(155, [peer(5000, { hasRead: true })], { beyondSince: NOW - 20 })).toEqual([]);
});

test("while one cannot be judged yet, or has read meanwhile, those that come later in the order are spared", () => {
  const [silent, other] = [peer(9000), peer(9001)];
  const waiting = [silent, other, ...PEERS.late, ...PEERS.seen, ...PEERS.reader];
  expect(reset(160, waiting, { isKnown: (each) => each !== other })).toEqual(["unseen 9"]);
  expect(reset(160, waiting, { reset: () => false })).toEqual([]);
  // Those that are known to read need no judgement.
  const known = [...PEERS.seen, ...PEERS.reader];
  expect(reset(153, known, { isKnown: () => false })).toEqual(["seen 0", "seen 1.5", "reader 60"]);
  // One that has stopped does not protect those that were never seen to read.
  expect(reset(160, [...PEERS.stopped, silent], { isKnown: (each) => each === silent })).toEqual(["unseen 9"]);
});

test("one that was chosen does not give way if it has read meanwhile", () => {
  const givesWayAt = (waiting: Waiting, used: number) =>
    givesWay(waiting, { now: NOW, beyondSince: NOW - 60_000, used: () => used });
  expect(givesWayAt(peer(9000), 1.01)).toBe(true);
  expect(givesWayAt(peer(1000), 1.01)).toBe(false);
  expect(givesWayAt(peer(1000), 1.3)).toBe(true);
  expect(givesWayAt(peer(50), 1.3)).toBe(false);
  expect(givesWayAt(peer(50), 1.51)).toBe(true);
  expect(givesWayAt(peer(50, { hasRead: true }), 1.5)).toBe(false);
});
