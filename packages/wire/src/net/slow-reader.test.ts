import { expect, it } from "vitest";
import { freshMs } from "./acknowledgements.js";
import { pauseAfterLook, SlowReader } from "./slow-reader.js";

/** Checks at its own intervals until `untilMs`, or until the peer is cut; returns the time. */
function cutOf(
  acknowledgedAt: (ms: number) => number,
  timeoutMs: number,
  untilMs: number,
  { seesAcknowledgements = true, look = "look" as "look" | "lookAtPace" } = {},
) {
  let now = 5000;
  const connection = { acknowledgedBytes: () => acknowledgedAt(now - 5000), seesAcknowledgements };
  const reader = new SlowReader(connection, timeoutMs);
  let next = reader.begin(now);
  while (next - 5000 <= untilMs) {
    now = next;
    next = reader[look](now);
    if (next === 0) return now - 5000;
    expect(next).toBeGreaterThan(now);
  }
  return undefined;
}

const HOUR = 3_600_000;

it.each([
  ["reads a byte at a time", (ms: number) => ms, 60_000],
  ["is told of in steps of 16 KB", (ms: number) => Math.floor(ms / 16_384) * 16_384, 60_000],
  // As Linux reports it over the loopback interface.
  [
    "had its buffer of 128 KB full, and is told of every 128 s",
    (ms: number) => 128_000 + Math.floor((ms - 65_000) / 128_000 + 1) * 65_000,
    60_000,
  ],
  ["reads 20 KB a second in steps of 95 KB", (ms: number) => Math.floor(ms / 4800) * 95_232, 5000],
])("a peer that reads 1,000 bytes per second and %s is never cut", (_, acknowledgedAt, timeoutMs) => {
  expect(cutOf(acknowledgedAt, timeoutMs, HOUR)).toBeUndefined();
});

it.each([
  ["cheap", 0.01, 1000],
  ["so dear that they take 0.5 % of a CPU", 20, 4000],
  ["so dear that a reader would seem to have stopped", 3000, 7500],
])("looks at the kernel's queues that are %s are as rare as this", (_, tookMs, expected) => {
  expect(pauseAfterLook(tookMs, 1000, 60_000)).toBe(expected);
  // A short timeout does not make them more frequent.
  expect(pauseAfterLook(tookMs, 1000, 2000)).toBe(1000);
});

it.each([
  ["few connections", 1, 1000],
  ["100,000 connections", 200, 7500],
  ["a million connections", 2000, 8000],
])(
  "with the table of %s, old readings do not cut a peer that reads 1,000 bytes per second",
  (_, kernelMs, expected) => {
    const everyMs = freshMs(kernelMs, 60_000);
    expect(everyMs).toBe(expected);
    for (const step of [1, 16_384, 131_072]) {
      const readAt = (ms: number) => Math.floor(ms / everyMs) * everyMs;
      // Its kernel accepts as much at first. A check starts a reading, and uses the one before.
      const acknowledgedAt = (ms: number) => step + Math.floor(Math.max(0, readAt(ms - everyMs)) / step) * step;
      expect(cutOf(acknowledgedAt, 60_000, HOUR)).toBeUndefined();
    }
  },
);

it.each([
  ["never took anything", 0, 60_000],
  ["has a small buffer", 8_000, 68_000],
  ["has a large buffer", 6_000_000, 180_000],
])("a peer that reads nothing and %s is cut", (_, taken, expected) => {
  expect(cutOf(() => taken, 60_000, HOUR)).toBe(expected);
});

it("a peer that stops is cut that long after its last step", () => {
  const cutAt = cutOf((ms) => Math.min(Math.floor(ms / 1000), 100) * 1000, 60_000, HOUR) ?? 0;
  expect(cutAt).toBeGreaterThanOrEqual(160_000);
  expect(cutAt).toBeLessThanOrEqual(180_000);
});

it("if only our own kernel's state is known, a step may be as large as what the kernel holds", () => {
  expect(
    cutOf((ms) => Math.floor(ms / 205_000) * 205_000, 60_000, HOUR, { seesAcknowledgements: false }),
  ).toBeUndefined();
  expect(cutOf(() => 0, 60_000, HOUR, { seesAcknowledgements: false })).toBe(240_000);
});

it("a connection that is being closed must be read at a minimum rate", () => {
  const ended = (rate: number) => cutOf((ms) => ms * rate, 60_000, HOUR, { look: "lookAtPace" });
  expect(ended(1)).toBeUndefined();
  expect(ended(0.5)).toBeGreaterThan(360_000);
  expect(ended(0.5)).toBeLessThan(380_000);
  expect(ended(0)).toBe(60_000);
});

it("a peer that reads below a given rate is cut, however steadily it reads", () => {
  const cut = (bytesPerSecond: number, slowest: number) => {
    let now = 5000;
    const acknowledgedBytes = () => Math.floor(((now - 5000) * bytesPerSecond) / 1000);
    const reader = new SlowReader({ acknowledgedBytes, seesAcknowledgements: true }, 60_000);
    for (let next = reader.begin(now); next - 5000 <= HOUR; next = reader.lookAtPace(now, slowest)) {
      if (next === 0) return now - 5000;
      now = next;
    }
    return undefined;
  };
  expect(cut(5, 0.25)).toBeLessThan(200_000);
  expect(cut(5, 0.25)).toBeGreaterThanOrEqual(180_000);
  expect(cut(300, 0.25)).toBeUndefined();
  expect(cut(5, 0)).toBeUndefined();
});
