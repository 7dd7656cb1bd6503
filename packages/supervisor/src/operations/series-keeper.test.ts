/** The history of figures: its series together are the whole fleet. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Fleet } from "../core/fleet.js";
import { SeriesKeeper, SUPERVISOR } from "./series-keeper.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("shims and templates, which are in no pool, are in the supervisor's series", () => {
  const [shim, template] = [-7, 9];
  const keeper = new SeriesKeeper({
    fleet: () => ({ pools: [] }) as unknown as Fleet,
    children: { get: () => undefined, helpers: () => [shim, template] },
    stats: { takeEndedErrors: () => [] },
    // More than this process uses.
    usage: { peek: () => ({ at: 0, rssBytes: 1e12, cpuPercent: 1000 }) },
    ...{ serves: () => true, isFront: () => false },
  });
  keeper.start();
  vi.advanceTimersByTime(1000);
  keeper.close();
  const { rssBytes } = keeper.read("seconds").series[SUPERVISOR] ?? {};
  expect(Math.round((rssBytes?.at(-1) ?? 0) / 1e12)).toBe(2);
  expect(keeper.cpuPercent).toBe(2000);
});
