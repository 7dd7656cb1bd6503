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

test("the balancers' own errors are in their pool's minute, and in no other's", () => {
  const errors = [{ name: "", pool: "web", errors: 6 }];
  const keeper = new SeriesKeeper({
    fleet: () => ({ pools: ["web", "api"].map((name) => ({ name, slots: [] })) }) as unknown as Fleet,
    children: { get: () => undefined, helpers: () => [] },
    stats: { takeEndedErrors: () => errors.splice(0) },
    usage: { peek: () => undefined },
    ...{ serves: () => true, isFront: () => false },
  });
  keeper.start();
  vi.advanceTimersByTime(2000);
  keeper.close();
  expect(["web", "api"].map((name) => keeper.errorsPerMinute(name))).toEqual([6, 0]);
});

test("growth of a process that has ended is not that of the next one in its slot", () => {
  const keeper = new SeriesKeeper({
    fleet: () => ({ pools: [] }) as unknown as Fleet,
    children: { get: () => undefined, helpers: () => [] },
    stats: { takeEndedErrors: () => [] },
    usage: { peek: () => undefined },
    ...{ serves: () => true, isFront: () => false },
  });
  // As if it had just been computed.
  (keeper as unknown as { growths: Map<string, object> }).growths.set("web", {
    ...{ second: 0, of: new Map([1, 2].map((index) => [`web.${index}`, index])) },
  });
  const growths = keeper.growthsOf("web", [
    { name: "web.1", uptimeSeconds: 0, generation: 1 },
    { name: "web.2", uptimeSeconds: 900, generation: 1 },
  ]);
  expect([...growths]).toEqual([["web.2", 2]]);
});
