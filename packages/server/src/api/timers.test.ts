/** Timers repeat, never overlap, and survive errors, until they are stopped or the server drains. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { backgroundWork, leaveWork, unfinishedWork } from "../shared/bridge.js";
import { after, every } from "./timers.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  leaveWork();
  const work = backgroundWork();
  work.isLeaving = false;
  delete work.timers;
  vi.useRealTimers();
  vi.restoreAllMocks();
});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe("every", () => {
  it("runs after each interval until it is stopped", async () => {
    const run = vi.fn();
    const timer = every(100, run);
    await pass(99);
    expect(run).toHaveBeenCalledTimes(0);
    await pass(301);
    expect(run).toHaveBeenCalledTimes(4);
    timer.stop();
    await pass(1000);
    expect(run).toHaveBeenCalledTimes(4);
  });

  it("awaits a run, and skips the intervals that pass in the meantime", async () => {
    let atOnce = 0;
    let most = 0;
    const run = vi.fn(async () => {
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setTimeout(resolve, 250));
      atOnce--;
    });
    every(100, run);
    await pass(1000);
    expect(most).toBe(1);
    // At 100, 400, 700 and 1000 ms: each run takes two and a half intervals.
    expect(run).toHaveBeenCalledTimes(4);
  });

  it("logs an error with the name of the function, and continues", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    let workload = 0;
    every(100, function save() {
      if (++workload === 1) throw new Error("at once");
      if (workload === 2) return Promise.reject(new Error("later"));
    });
    await pass(300);
    expect(workload).toBe(3);
    expect(error.mock.calls).toEqual([
      ["the timer save failed:", new Error("at once")],
      ["the timer save failed:", new Error("later")],
    ]);
  });

  it("can stop itself within a run, which continues to its end", async () => {
    let ended = false;
    const timer = every(100, async () => {
      timer.stop();
      await new Promise((resolve) => setTimeout(resolve, 50));
      ended = true;
    });
    await pass(1000);
    expect(ended).toBe(true);
  });
});

describe("after", () => {
  it("runs once, or not at all if it was stopped", async () => {
    const [run, stopped] = [vi.fn(), vi.fn()];
    after(50, run);
    after(50, stopped).stop();
    await pass(1000);
    expect(run).toHaveBeenCalledTimes(1);
    expect(stopped).toHaveBeenCalledTimes(0);
  });
});

it("when the server drains, no timer fires, neither an old one nor a new one, and runs in progress are awaited", async () => {
  const [ticks, late] = [vi.fn(), vi.fn()];
  every(100, ticks);
  after(150, late);
  after(80, async function save() {
    await new Promise((resolve) => setTimeout(resolve, 500));
  });
  await pass(120);
  leaveWork();
  every(10, ticks);
  after(10, late);
  await pass(200);
  expect(ticks).toHaveBeenCalledTimes(1);
  expect(late).toHaveBeenCalledTimes(0);
  expect(unfinishedWork()).toBe(1);
  expect(backgroundWork().timers?.describe()).toBe("timers are cut off under way: save × 1");
  await pass(300);
  expect(unfinishedWork()).toBe(0);
});

it.each([0, -1, Number.NaN, 2 ** 31, "100"])("%s is no interval", (interval) => {
  expect(() => every(interval as number, () => {})).toThrow(expect.objectContaining({ code: "bad-argument" }));
});

it("a timer needs a function and a valid delay", () => {
  for (const bad of [() => after(-1, () => {}), () => after(2 ** 31, () => {}), () => after(1, "save" as never)]) {
    expect(bad).toThrow(expect.objectContaining({ code: "bad-argument" }));
  }
});
