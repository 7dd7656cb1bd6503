/** How long a client may take for sending its body. */
import { expect, it } from "vitest";
import { BodyRate } from "./body-rate.js";

/** Sends one byte every `everyMs`; returns when the deadline passed, or undefined if it did not within an hour. */
function cutOf(
  everyMs: number,
  bytes: number,
  minBytesPerSecond: number,
  during?: (rate: BodyRate, now: number) => void,
) {
  const rate = new BodyRate(60_000, minBytesPerSecond, 0);
  let deadlineAt = rate.deadlineAt(0);
  for (let now = everyMs; now < 3_600_000; now += everyMs) {
    if (deadlineAt < now) return deadlineAt;
    rate.add(bytes);
    during?.(rate, now);
    deadlineAt = rate.deadlineAt(now);
  }
  return undefined;
}

it.each([
  ["nothing", 61_000, 1, 250, 60_000],
  ["a byte a second", 1000, 1, 250, 60_240],
  ["at half the rate", 1000, 125, 250, 119_500],
  ["at the rate", 1000, 250, 250, undefined],
  ["a byte a second, which may be", 1000, 1, 0, undefined],
])("a client that sends %s is disconnected in time", (_, everyMs, bytes, rate, expected) => {
  expect(cutOf(everyMs, bytes, rate)).toBe(expected);
});

it("the time in which a client was paused does not count, nor the time before the instance accepted its body", () => {
  expect(cutOf(1000, 1, 250, (rate, now) => now % 50_000 === 0 && rate.restart(now))).toBeUndefined();
  const paused = (rate: BodyRate, now: number) => {
    rate.pause(now - 999);
    rate.resume(now);
  };
  expect(cutOf(1000, 1, 250, paused)).toBeUndefined();
});
