import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Frame } from "../core/stacks.js";
import { Examinations } from "./examinations.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const FRAMES: Frame[] = [{ name: "total", file: "/srv/app.js", line: 12 }];

test.each<[string, number, Frame[] | undefined, number | undefined, number | undefined]>([
  ["shows its stack at once", 50, FRAMES, undefined, undefined],
  ["shows its stack at once and would run later", 50, FRAMES, 900, undefined],
  ["shows none", 4000, undefined, undefined, undefined],
  ["runs again meanwhile", 4000, undefined, 2000, 2000],
  ["shows its stack late, when it runs again", 3000, FRAMES, 3500, 3500],
  ["shows its stack late, and does not run", 3000, FRAMES, undefined, undefined],
])("a hung process that %s", async (_, stackAfterMs, frames, heardAfterMs, ranAfterMs) => {
  const asked: boolean[] = [];
  const examinations = new Examinations(({ goesOn }) => {
    asked.push(goesOn);
    return new Promise((resolve) => setTimeout(() => resolve(frames), stackAfterMs));
  });
  const process = { pid: 4711, output: {} as never };
  if (heardAfterMs !== undefined) setTimeout(() => examinations.heard(process), heardAfterMs);
  const found = examinations.examine(process);
  expect(examinations.isUnderWay(process)).toBe(true);
  await vi.advanceTimersByTimeAsync(6000);
  expect(await found).toEqual({ frames: frames ?? [], ranAfterMs });
  expect(examinations.isUnderWay(process)).toBe(false);
  // The inspector of a process that continues is closed.
  expect(asked).toEqual(ranAfterMs === undefined ? [false] : [false, true]);
});
