/** A stall counts while requests are pending, and counts less in a late tick. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { STALL_TICK_MS, StallWatch } from "./stall-watch.js";

let nowMs = 0;
let judged: [number, number][] = [];
let isBusy = true;

function watch(): StallWatch {
  const pool = {
    markStalled(stallTicks: number, weight: number): boolean {
      judged.push([stallTicks, weight]);
      return isBusy;
    },
  };
  return new StallWatch(50, () => [pool]);
}

/** One tick, that many milliseconds after the previous one. */
function tickAfter(milliseconds: number): void {
  nowMs += milliseconds;
  vi.advanceTimersByTime(STALL_TICK_MS);
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  vi.spyOn(performance, "now").mockImplementation(() => nowMs);
  judged = [];
  isBusy = true;
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
});

it("checks at each tick, from the first work to the last", () => {
  const stall = watch();
  tickAfter(STALL_TICK_MS);
  expect(judged).toEqual([]);
  stall.wake();
  tickAfter(STALL_TICK_MS);
  isBusy = false;
  tickAfter(STALL_TICK_MS);
  tickAfter(STALL_TICK_MS);
  expect(judged).toEqual([
    [4, 1],
    [4, 1],
  ]);
});

it("counts an eighth if the tick was late, because what delayed it may have delayed the instances, too", () => {
  watch().wake();
  tickAfter(STALL_TICK_MS);
  tickAfter(10 * STALL_TICK_MS);
  tickAfter(STALL_TICK_MS);
  expect(judged.map(([, weight]) => weight)).toEqual([1, 0.125, 1]);
});
