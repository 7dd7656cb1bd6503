import { expect, test } from "vitest";
import { SCENARIOS } from "./scenarios.mjs";
import { outcomeOf, readPage, tableOf, withTable } from "./table.mjs";

test.each(SCENARIOS)("$name ($target.metric): ends within one of the best fixed number", (scenario) => {
  const { size, best, metAfter, changes, lateChanges } = outcomeOf(scenario);
  const told = changes.map(({ second, from, to, reason }) => `${second} s: ${from} → ${to}: ${reason}`).join("\n");
  if (best !== null) expect(Math.abs(size - best), `${size}, best is ${best}\n${told}`).toBeLessThanOrEqual(1);
  if (scenario.stepAt !== undefined) expect(metAfter, told).toBeLessThanOrEqual(5);
  // A retry of a change that did not help makes two changes, and retries become rare.
  if (scenario.seconds >= 600 && !scenario.isMoving) expect(lateChanges, told).toBeLessThanOrEqual(2);
});

test("the table in docs/scaling.md is that of this code: node bench/scaling/table.mjs --write", () => {
  expect(withTable(readPage(), tableOf())).toBe(readPage());
});
