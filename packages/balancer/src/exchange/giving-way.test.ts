/** The table of who gives way for the memory of others. */
import { expect, test } from "vitest";
import { givesWay, givingWay, graceMs, standingOf, type Waiting } from "./giving-way.js";

const NOW = 1_000_000;
const PATIENCE_MS = 30_000;

const peer = (silentMs: number, rest: Partial<Waiting> = {}): Waiting => ({
  ...{ paidUntil: NOW - silentMs, patienceMs: PATIENCE_MS, hasRead: false, isReader: false },
  ...rest,
});

test.each([
  ["has read nothing for a while", peer(29_999), "unseen"],
  ["has read nothing for longer than any reader", peer(30_000), "stopped"],
  ["has read something", peer(29_999, { hasRead: true }), "seen"],
  ["has read something and stopped", peer(30_000, { hasRead: true }), "stopped"],
  ["has just fallen behind", peer(99), "young"],
  ["has read ahead of its time", peer(-5000, { hasRead: true }), "young"],
  ["has proved that it reads", peer(0, { isReader: true, hasRead: true }), "reader"],
  ["has proved that it reads, and waits for a large step", peer(60_000, { isReader: true }), "reader"],
] as const)("one that %s", (_, waiting, standing) => {
  expect(standingOf(waiting, NOW)).toBe(standing);
});

test.each([
  [1, 8000],
  [1.125, 4000],
  [1.25, 100],
  [1.5, 100],
  [2, 100],
])("with %s of the limit used, one may have read nothing for %s ms", (used, ms) => {
  expect(graceMs(used)).toBe(ms);
});

/** Each takes a hundredth of the limit; the number is how long it has read nothing, in seconds. */
const PEERS = {
  stopped: [40, 50, 31].map((s) => peer(1000 * s)),
  unseen: [1, 20, 10, 9, 0.05].map((s) => peer(1000 * s)),
  seen: [2, 12, 25].map((s) => peer(1000 * s, { hasRead: true })),
  reader: [0, 60, 5].map((s) => peer(1000 * s, { hasRead: true, isReader: true })),
};

test.each([
  ["half of the limit", 50, []],
  ["more than half", 51, ["stopped 50"]],
  ["the limit", 100, ["stopped 50", "stopped 40", "stopped 31"]],
  ["a little more", 105, ["stopped 50", "stopped 40", "stopped 31", "unseen 9", "unseen 10"]],
  ["more", 112, ["stopped 50", "stopped 40", "stopped 31", "unseen 9", "unseen 10", "unseen 20", "seen 25", "seen 12"]],
  [
    "much more",
    149,
    [
      "stopped 50",
      "stopped 40",
      "stopped 31",
      "unseen 1",
      "unseen 9",
      "unseen 10",
      "unseen 20",
      "seen 25",
      "seen 12",
      "seen 2",
    ],
  ],
  [
    "far more",
    170,
    [
      ...["stopped 50", "stopped 40", "stopped 31", "unseen 1", "unseen 9", "unseen 10", "unseen 20"],
      ...["seen 25", "seen 12", "seen 2", "young 0.05", "reader 60", "reader 5", "reader 0"],
    ],
  ],
])("beyond %s", (_, percent, expected) => {
  let used = percent / 100;
  const found: string[] = [];
  const waiting = Object.values(PEERS).flat();
  for (const gone of givingWay(waiting, NOW, () => used)) {
    found.push(`${standingOf(gone, NOW)} ${(NOW - gone.paidUntil) / 1000}`);
    expect(givesWay(gone, NOW, used)).toBe(true);
    used = (Math.round(100 * used) - 1) / 100;
  }
  expect(found).toEqual(expected);
});

test("one that was chosen does not give way if it has read meanwhile", () => {
  expect(givesWay(peer(9000), NOW, 1.01)).toBe(true);
  expect(givesWay(peer(1000), NOW, 1.01)).toBe(false);
  expect(givesWay(peer(1000), NOW, 1.3)).toBe(true);
  expect(givesWay(peer(50), NOW, 1.3)).toBe(false);
});
