import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { EMPTY_FLEET, type Fleet } from "../core/fleet.js";
import { addPool, resize, setTurn } from "../core/fleet-changes.js";
import type { ScalingConfig } from "../core/model.js";
import type { SlotPolicy } from "../core/process.js";
import type { PoolLoad } from "../core/scaling-needs.js";
import { Autoscaling, firstSizeOf, SizeSchedule, sizeWithin } from "./autoscaling.js";

beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 4, 4, 12) }));
afterEach(() => void vi.useRealTimers());

const CONFIG: ScalingConfig = {
  ...{ min: 1, max: 8, target: { metric: "inFlight", value: 4 }, coolDownMs: 20_000, retryAfterMs: 30_000 },
  ...{ checkBenefit: true, schedule: [], timezone: "UTC" },
};

const CALM: PoolLoad = {
  ...{ ready: 1, throughput: 0, inFlight: 0, waiting: 0, lagMs: 0, cpuPercent: 0, boxPercent: 0, cores: 2 },
  perInstance: null,
};

/** A fleet whose processes are ready immediately, and the autoscaling of its pool. */
function scaled(config: ScalingConfig | null = CONFIG) {
  const context = { now: 0, random: 0, policyOf: () => ({}) as SlotPolicy };
  const set = (name: string, wanted: number) => (fleet: Fleet) => {
    const changed = resize(fleet, name, wanted, context).fleet;
    const ready = (pool: Fleet["pools"][number]) => ({
      ...pool,
      slots: pool.slots
        .filter(({ index }) => index <= wanted)
        .map((slot) => ({ ...slot, member: { ...slot.member, process: { ...slot.member.process, state: "ready" } } })),
    });
    return { pools: changed.pools.map((pool) => (pool.name === name ? ready(pool) : pool)) } as Fleet;
  };
  const world = {
    config,
    fleet: set("web", 1)(addPool(EMPTY_FLEET, "web", 1)),
    load: { ...CALM },
    isBusy: false,
    events: [] as string[],
    get wanted() {
      return world.fleet.pools[0]?.wanted;
    },
  };
  const autoscaling = new Autoscaling({
    runner: {
      get fleet() {
        return world.fleet;
      },
      change: (by) => {
        const wanted = by(world.fleet, context).fleet.pools[0]?.wanted ?? 0;
        world.fleet = set("web", wanted)(world.fleet);
      },
      watch: () => () => {},
    },
    rollouts: { of: () => undefined, endRecycling: () => {} },
    samples: { begin: () => {}, keepOnly: () => {}, of: (pool) => ({ ...world.load, ready: pool.wanted }) },
    log: { event: (_level, subject, message) => world.events.push(`${subject} ${message}`) },
    configOf: () => world.config,
    isBusy: () => world.isBusy,
    isStopping: () => false,
  });
  autoscaling.start();
  return { world, autoscaling };
}

test("the size follows the load, with an event for each change; not during an operation", () => {
  const { world, autoscaling } = scaled();
  world.load = { ...CALM, inFlight: 20, throughput: 400 };
  world.isBusy = true;
  vi.advanceTimersByTime(5000);
  expect(world.wanted).toBe(1);
  world.isBusy = false;
  vi.advanceTimersByTime(2000);
  expect(world.wanted).toBe(5);
  const reason = "20 requests in flight per instance, the target is 4";
  expect(world.events).toEqual([`web is being scaled from 1 to 5: ${reason}`]);
  expect(autoscaling.statusOf("web")).toMatchObject({
    ...{ min: 1, max: 8, floor: null, target: { metric: "inFlight", value: 4 } },
    last: { from: 1, to: 5, reason },
  });
  world.load = { ...CALM, inFlight: 5, throughput: 100 };
  vi.advanceTimersByTime(60_000);
  expect(world.wanted).toBe(2);
});

test("a pool does not shrink to drained instances", () => {
  const { world } = scaled();
  world.load = { ...CALM, inFlight: 8, throughput: 400 };
  vi.advanceTimersByTime(2000);
  expect(world.wanted).toBe(2);
  world.fleet = setTurn(world.fleet, "web", 1, { drained: true });
  world.load = { ...CALM };
  vi.advanceTimersByTime(120_000);
  expect(world.wanted).toBe(2);
  world.fleet = setTurn(world.fleet, "web", 1, {});
  vi.advanceTimersByTime(120_000);
  expect(world.wanted).toBe(1);
});

test("a size set by hand is the minimum until the config changes; out of bounds it is rejected", () => {
  const { world, autoscaling } = scaled();
  expect(autoscaling.setFloor("web", 9)).toContain("web is autoscaled from 1 to 8 instances, not to 9");
  expect(autoscaling.setFloor("web", 4)).toBeUndefined();
  vi.advanceTimersByTime(1000);
  expect(world.wanted).toBe(4);
  vi.advanceTimersByTime(120_000);
  expect(world.wanted).toBe(4);
  expect(autoscaling.statusOf("web")).toMatchObject({ min: 4, floor: 4 });
  world.config = { ...CONFIG };
  vi.advanceTimersByTime(60_000);
  expect(world.wanted).toBe(1);
  expect(sizeWithin({ ...CONFIG, min: 2, max: 3 }, 7)).toBe(3);
});

test("a supervisor that takes over keeps the minimum size, but not that of other rules or of a pool with a fixed size", () => {
  const { world, autoscaling } = scaled();
  expect(autoscaling.floors()).toEqual([]);
  autoscaling.setFloor("web", 4);
  expect(autoscaling.floors()).toEqual([["web", 4]]);
  const next = scaled();
  next.autoscaling.restoreFloors(autoscaling.floors());
  vi.advanceTimersByTime(120_000);
  expect(next.world.wanted).toBe(4);
  const fixed = scaled(null);
  fixed.autoscaling.restoreFloors([["web", 4]]);
  expect(fixed.autoscaling.floors()).toEqual([]);
  world.config = { ...CONFIG };
  expect(autoscaling.floors()).toEqual([]);
});

test("a fixed size needs no timer", () => {
  const timers = vi.getTimerCount();
  const { autoscaling } = scaled(null);
  expect(vi.getTimerCount()).toBe(timers);
  expect(autoscaling.setFloor("web", 100)).toBeUndefined();
  expect(autoscaling.statusOf("web")).toBeNull();
});

test("a pool starts with the size of the schedule entry in force", () => {
  const schedule = [{ cron: "0 7 * * *", min: 4, max: 6 }];
  expect(firstSizeOf({ instances: 1, scaling: { ...CONFIG, schedule } })).toBe(4);
  expect(firstSizeOf({ instances: 1, scaling: CONFIG })).toBe(1);
  expect(firstSizeOf({ instances: 3, scaling: null })).toBe(3);
});

test("the entry of a schedule that began last decides, in its time zone, also when the clock is set back", () => {
  const schedule = new SizeSchedule({
    ...CONFIG,
    timezone: "Europe/Berlin",
    schedule: [
      { cron: "0 7 * * 1-5", min: 4, max: 12 },
      { cron: "0 20 * * *", min: 1, max: 2 },
    ],
  });
  // In May, Berlin is two hours ahead of UTC; 8 May 2026 is a Friday.
  const at = (day: number, hour: number, minute = 0) => schedule.at(Date.UTC(2026, 4, day, hour, minute));
  expect(at(8, 4, 59)).toEqual({ min: 1, max: 2 });
  expect(at(8, 5)).toEqual({ min: 4, max: 12 });
  expect(at(8, 17, 59)).toEqual({ min: 4, max: 12 });
  expect(at(8, 18)).toEqual({ min: 1, max: 2 });
  expect(at(10, 12)).toEqual({ min: 1, max: 2 });
  expect(at(8, 12)).toEqual({ min: 4, max: 12 });
});
