/** The history of slots. */
import { expect, test } from "vitest";
import { SlotBook } from "./slot-book.js";

test("a run of a schedule that is reported again, when the next one starts, is not new", () => {
  const slots = new SlotBook();
  const run = { due: 1000, started: 1001, durationMs: 20, code: 4, signal: null, failure: "exited with code 4" };
  expect(slots.ran("job.1", run)).toBe(true);
  expect(slots.ran("job.1", { ...run })).toBe(false);
  const next = { ...run, due: 2000, started: 2001 };
  expect(slots.ran("job.1", next)).toBe(true);
  expect(slots.of("job.1").lastRun).toBe(next);
});
