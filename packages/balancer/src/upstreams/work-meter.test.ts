import { expect, it } from "vitest";
import { WorkMeter } from "./work-meter.js";

const NONE = Number.POSITIVE_INFINITY;

it.each([
  ["quick requests have no window", 20, NONE, false],
  ["nor those whose window would be large", 58, NONE, false],
  ["a millisecond of work may wait", 62, 16, false],
  ["or less", 400, 2, false],
  ["of longer ones, one", 999, 1, false],
  ["and the longest go to whoever has the fewest", 5000, 1, true],
])("%s", (_, micros, window, isSlow) => {
  const meter = new WorkMeter();
  meter.add(63, 63 * micros);
  expect([meter.window, meter.isSlow]).toEqual([NONE, false]);
  meter.add(1, micros);
  expect([meter.window, meter.isSlow]).toEqual([window, isSlow]);
});

it.each([
  [1500, [true, false]],
  [2000, [true, true]],
])("requests of %i µs are slow, and long from 2 ms on", (micros, expected) => {
  const meter = new WorkMeter();
  meter.add(64, 64 * micros);
  expect([meter.isSlow, meter.isLong]).toEqual(expected);
  // They mostly compute unless they take four times as long.
  expect([micros, 3.9 * micros, 4 * micros].map((usual) => meter.isMostOf(usual))).toEqual([true, true, false]);
});

it.each([
  ["that do nothing else, as long as eight compute", 5000, 5000, 40],
  ["that wait for less than they compute", 5000, 9900, 40],
  ["that wait for longer", 5000, 10_000, 0],
  ["that compute for long, not so long", 400_000, 400_000, 50],
  ["that are short", 1900, 1900, 0],
  ["whose duration is unknown", 5000, undefined, 0],
])("for an instance without another, requests wait %s", (_, micros, usual, expected) => {
  const meter = new WorkMeter();
  meter.add(64, 64 * micros);
  expect(meter.idleWaitMs(usual)).toBe(expected);
});

it.each([
  [4, 25],
  [50, 2],
  [51, 1],
  [5000, 1],
])("of requests of %i µs, %i are not worth waking another instance", (micros, perWake) => {
  const meter = new WorkMeter();
  meter.add(63, 63 * micros);
  expect(meter.perWake).toBe(1);
  meter.add(1, micros);
  expect(meter.perWake).toBe(perWake);
});

it.each([
  ["quick requests", 20, 4, NONE],
  ["a share of the window each", 100, 2, 5],
  ["one at least", 400, 4, 1],
])("several balancers share the window: %s", (_, micros, balancers, window) => {
  const meter = new WorkMeter();
  meter.balancers = balancers;
  meter.add(64, 64 * micros);
  expect([meter.isKnown, meter.window]).toEqual([true, window]);
});

it("follows a change within some hundred requests, and is not changed by a few", () => {
  const meter = new WorkMeter();
  meter.add(1000, 20_000);
  meter.add(1, 1500);
  expect(meter.window).toBe(NONE);
  for (let i = 0; i < 300; i++) meter.add(1, 5000);
  expect([meter.window, meter.isSlow]).toEqual([1, true]);
  for (let i = 0; i < 5; i++) meter.add(100, 2000);
  expect([meter.window, meter.isSlow]).toEqual([NONE, false]);
  meter.add(0, 1_000_000);
  expect(meter.window).toBe(NONE);
});
