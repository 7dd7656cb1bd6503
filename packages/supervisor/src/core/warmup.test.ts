import { expect, test } from "vitest";
import { hasSettled } from "./checks.js";

/** After how many of these rounds the warm-up is over; undefined if it would continue. */
function endOf(times: number[]): number | undefined {
  for (let count = 0; count <= times.length; count++) if (hasSettled(times.slice(0, count))) return count;
  return undefined;
}

test.each([
  ["steady from the start", [5, 5, 5, 5, 5, 5], 4],
  ["a slow first round", [400, 5, 5, 5, 5], 5],
  ["faster and faster", [400, 200, 100, 50, 25, 12, 11.9, 12, 12], 9],
  ["one slow round among fast ones", [5, 5, 90, 5, 5], 4],
  ["a pause while it becomes faster", [100, 90, 100, 40, 40, 39, 41], 7],
  ["gains of less than half a millisecond do not count", [0.9, 0.6, 0.5, 0.45], 4],
  ["too few rounds", [5, 5, 5], undefined],
])("%s", (_, times, end) => {
  expect(endOf(times)).toBe(end);
});

test("it always ends", () => {
  expect(endOf(Array.from({ length: 60 }, (_, at) => 1e9 / 2 ** at))).toBeLessThanOrEqual(50);
  expect(endOf(Array.from({ length: 60 }, () => Number.NaN))).toBe(50);
});
