/** When a deferred job runs: after a burst, in a turn without a request, or because it has waited long enough. */
import { expect, test } from "vitest";
import { nextStep, QUIET_MS, SETTLE_MS, type Step } from "./idleness.js";

const MAX_DELAY_MS = 1000;

test.each<[string, number, boolean, number, Step]>([
  ["a young job in the middle of a burst", 5, true, 0, "look-when-quiet"],
  ["a young job just after a request", 5, false, QUIET_MS - 1, "look-when-quiet"],
  ["a young job when the burst is over", 20, false, QUIET_MS, "run"],
  ["an older job while each turn brings something", SETTLE_MS, true, 0, "look-next-turn"],
  ["an older job in the first turn that brings nothing", SETTLE_MS, false, 1, "run"],
  ["a job that has waited long enough", MAX_DELAY_MS, true, 0, "run"],
])("%s", (_, ageMs, hasChanged, quietMs, step) => {
  expect(nextStep({ ageMs, hasChanged, quietMs }, MAX_DELAY_MS)).toBe(step);
});

test("a delay of 0 puts nothing off but to the end of a turn", () => {
  expect(nextStep({ ageMs: 0, hasChanged: true, quietMs: 0 }, 0)).toBe("run");
});
