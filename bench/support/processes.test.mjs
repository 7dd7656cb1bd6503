/** The CPU time between two snapshots is correct when processes start and exit in between. */
import { expect, test } from "vitest";
import { cpuBetween } from "./processes.mjs";

test("a started process counts fully; an exited one counts through its parent; both are reported", () => {
  const before = new Map([
    ["1 100", 50],
    ["2 100", 30],
  ]);
  // Process 2 used 5 more ticks, exited, and was waited for by 1, which used 10; a process 3 started and used 7.
  const after = new Map([
    ["1 100", 50 + 10 + 30 + 5],
    ["3 200", 7],
  ]);
  expect(cpuBetween(before, after)).toEqual({ microseconds: 220_000, changed: 2 });
});

test("a pid used again by another process counts as another process", () => {
  expect(cpuBetween(new Map([["1 100", 4]]), new Map([["1 300", 6]]))).toMatchObject({ changed: 2 });
});
