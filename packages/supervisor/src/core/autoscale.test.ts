import { describe, expect, test } from "vitest";
import { decideSize, NEW_SCALING, type ScalingRules, type ScalingSample, type ScalingState } from "./autoscale.js";
import type { ScalingTarget } from "./scaling-needs.js";

const RULES: ScalingRules = {
  ...{ min: 1, max: 12, target: { metric: "inFlight", value: 4 }, coolDownMs: 60_000 },
  ...{ checkBenefit: true, retryAfterMs: 30_000 },
};

const CALM: ScalingSample = {
  ...{ wanted: 1, ready: 1, drained: 0, unready: 0, isBusy: false, throughput: 0, inFlight: 0, waiting: 0, lagMs: 0 },
  ...{ cpuPercent: 0, boxPercent: 0, cores: 2, perInstance: null },
};

function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

/** A pool that follows the decisions; each new instance is ready in the next period. */
class PoolUnderTest {
  state: ScalingState = NEW_SCALING;
  wanted = 1;
  now = 0;
  readonly reasons: string[] = [];
  readonly sizes: number[] = [];

  constructor(private readonly rules: ScalingRules) {}

  period(sample: Partial<ScalingSample>): number {
    const whole = { ...CALM, wanted: this.wanted, ready: this.wanted, ...sample };
    this.now += 1000;
    const decision = decideSize(this.state, whole, this.rules, this.now);
    this.state = decision.state;
    this.wanted = decision.wanted;
    this.sizes.push(this.wanted);
    if (decision.reason !== null) this.reasons.push(decision.reason);
    return this.wanted;
  }

  /** An open load: each arriving request takes 100 ms. */
  arrive(perSecond: number): number {
    const inFlight = perSecond / 10;
    return this.period({ throughput: perSecond, inFlight, cpuPercent: perSecond, boxPercent: 10 });
  }

  get changes(): number {
    return this.sizes.filter((size, at) => at > 0 && size !== this.sizes[at - 1]).length;
  }
}

const TARGETS: ScalingTarget[] = [
  { metric: "inFlight", value: 4 },
  { metric: "queueMs", value: 50 },
  { metric: "cpuPercent", value: 70 },
];

describe.each(TARGETS)("whatever is measured, with a target of $metric", (target) => {
  test("the size stays within its bounds, grows only when all are ready, and every change has a reason", () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = randomOf(seed);
      const min = 1 + Math.floor(random() * 3);
      const max = min + Math.floor(random() * 10);
      const pool = new PoolUnderTest({ ...RULES, min, max, target, coolDownMs: 1000 + random() * 20_000 });
      pool.wanted = min;
      for (let period = 0; period < 200; period++) {
        const { wanted, reasons } = pool;
        const told = reasons.length;
        const unready = random() < 0.2 ? 1 + Math.floor(random() * 2) : 0;
        const isBusy = random() < 0.1;
        const huge = 10 ** (6 * random());
        const size = pool.period({
          ...{ unready, isBusy, ready: Math.max(0, wanted - unready) },
          ...{ throughput: random() < 0.1 ? 0 : huge, inFlight: random() * huge, waiting: random() * huge },
          ...{ lagMs: random() * 1000, cpuPercent: random() < 0.1 ? null : random() * 100 * wanted },
          boxPercent: random() < 0.1 ? null : random() * 100,
          perInstance: random() < 0.5 ? null : 1,
        });
        // One comparison, because there are thousands of them.
        const isWithin = Number.isInteger(size) && size >= min && size <= max;
        const mayChange = unready === 0 && !isBusy;
        const isExplained = reasons.length - told === (size === wanted ? 0 : 1);
        if (isWithin && isExplained && (mayChange || size === wanted)) continue;
        expect.fail(`seed ${seed}, period ${period}: ${wanted} → ${size} of ${min} to ${max}, ${reasons.at(-1)}`);
      }
      expect(pool.state.needs.length).toBeLessThanOrEqual(25);
      expect(pool.state.recent.length).toBeLessThanOrEqual(12);
    }
  });
});

test("a higher load never ends with fewer instances", () => {
  const ends = Array.from({ length: 60 }, (_, at) => {
    const pool = new PoolUnderTest(RULES);
    for (let period = 0; period < 300; period++) pool.arrive(10 * at);
    return pool.wanted;
  });
  expect(ends).toEqual(ends.toSorted((a, b) => a - b));
  expect([ends[0], ends[20], ends[59]]).toEqual([1, 5, 12]);
});

test.each([
  [0.1, 2],
  [0.3, 4],
  [0.6, 6],
])("a steady load with noise of ±%d changes the size %d times in 55 minutes at most", (noise, most) => {
  for (let seed = 1; seed <= 30; seed++) {
    const random = randomOf(seed);
    const pool = new PoolUnderTest(RULES);
    const load = 40 + 300 * random();
    for (let period = 0; period < 3600; period++) pool.arrive(load * (1 + noise * (2 * random() - 1)));
    const settled = pool.sizes.slice(300);
    const changes = settled.filter((size, at) => at > 0 && size !== settled[at - 1]).length;
    expect(changes, `seed ${seed}: ${pool.reasons.join("\n")}`).toBeLessThanOrEqual(most);
  }
});

test("a pool shrinks when the cool-down has passed since the first measurement and since it grew", () => {
  const pool = new PoolUnderTest(RULES);
  pool.wanted = 8;
  const idleUntil = (size: number) => {
    for (let period = 1; period <= 200; period++) if (pool.arrive(10) === size) return period;
    return null;
  };
  expect(idleUntil(1)).toBeGreaterThan(60);
  for (let period = 0; period < 4; period++) pool.arrive(300);
  expect(pool.wanted).toBe(8);
  const later = idleUntil(1);
  // It has just shrunk, so this growth doubles the cool-down.
  expect(later).toBeGreaterThan(115);
  expect(later).toBeLessThan(140);
});

test("a load that goes up and down with the cool-down makes it longer, so that the size stays", () => {
  const pool = new PoolUnderTest(RULES);
  for (let period = 0; period < 3600; period++) pool.arrive(period % 140 < 30 ? 400 : 40);
  expect(pool.state.damping).toBeGreaterThan(1);
  expect(pool.changes).toBeLessThan(12);
});

test("instances that do not help are removed, and the next attempts come later and later, one instance at a time", () => {
  const pool = new PoolUnderTest({ ...RULES, target: { metric: "queueMs", value: 50 } });
  for (let period = 0; period < 5; period++) pool.period({ throughput: 100, inFlight: 1, lagMs: 10, cpuPercent: 100 });
  // Two CPUs: two instances do twice as much as one, and more instances do not do more.
  for (let period = 0; period < 1200; period++) {
    const throughput = 100 * Math.min(2, pool.wanted);
    pool.period({
      throughput,
      inFlight: 30,
      lagMs: 30_000 / throughput,
      cpuPercent: throughput,
      boxPercent: throughput / 2,
    });
  }
  expect(pool.wanted).toBe(2);
  const refusals = pool.reasons.filter((reason) => reason.includes("the CPUs of this machine are the limit"));
  expect(refusals.map((reason) => Number(/for (\d+) s/.exec(reason)?.[1]))).toEqual(
    [30, 60, 120, 240, 480, 600].slice(0, refusals.length),
  );
  expect(refusals.length).toBeGreaterThan(3);
  expect(Math.max(...pool.sizes.slice(60))).toBe(3);
  // The limit disappears.
  for (let period = 0; period < 60; period++) {
    const throughput = 100 * Math.min(4, pool.wanted) + 100;
    pool.period({ throughput, inFlight: 30, lagMs: 30_000 / throughput, cpuPercent: throughput, boxPercent: 50 });
  }
  expect(pool.wanted).toBeGreaterThan(2);
});

test("without the check, instances that do not help stay", () => {
  const pool = new PoolUnderTest({ ...RULES, checkBenefit: false, target: { metric: "queueMs", value: 50 } });
  for (let period = 0; period < 120; period++)
    pool.period({ throughput: 100, inFlight: 30, lagMs: 300, boxPercent: 100 });
  expect(pool.wanted).toBe(12);
});

test("long requests that are not slowed down get the number of instances that the target gives them", () => {
  const pool = new PoolUnderTest(RULES);
  for (let period = 0; period < 120; period++) pool.period({ throughput: 2, inFlight: 40, boxPercent: 5 });
  expect(pool.wanted).toBe(10);
});

test("drained slots have no capacity: only those that serve count, within the same bounds", () => {
  const pool = new PoolUnderTest({ ...RULES, min: 4 });
  pool.wanted = 4;
  // The remaining one has four times its target.
  const crowded = { drained: 3, ready: 1, throughput: 160, inFlight: 16 };
  expect([pool.period(crowded), pool.period(crowded)]).toEqual([4, 7]);
  expect(pool.reasons).toEqual(["16 requests in flight per instance, the target is 4"]);
  const limited = new PoolUnderTest({ ...RULES, max: 5 });
  limited.wanted = 4;
  expect([limited.period(crowded), limited.period(crowded)]).toEqual([4, 5]);
  // If all are drained, the size stays; at low load, it keeps the instances that serve and were needed.
  expect(limited.period({ drained: 5, ready: 0 })).toBe(5);
  for (let period = 0; period < 200; period++) limited.period({ drained: 3, ready: limited.wanted - 3 });
  expect(limited.wanted).toBe(4);
  const bounds = decideSize(NEW_SCALING, { ...CALM, wanted: 4, drained: 3 }, { ...RULES, min: 6 }, 1000);
  expect(bounds).toMatchObject({ wanted: 6, reason: "the minimum is 6" });
});

test("continues from a size that was set elsewhere, and applies changed bounds immediately", () => {
  const pool = new PoolUnderTest(RULES);
  for (let period = 0; period < 30; period++) pool.arrive(400);
  expect(pool.wanted).toBe(10);
  pool.wanted = 7;
  pool.arrive(160);
  expect(pool.wanted).toBe(7);
  const fewer = decideSize(pool.state, { ...CALM, wanted: 7, ready: 7 }, { ...RULES, max: 5 }, pool.now + 1000);
  expect(fewer).toMatchObject({ wanted: 5, reason: "the maximum is 5" });
  const more = decideSize(
    pool.state,
    { ...CALM, wanted: 7, ready: 3, unready: 4 },
    { ...RULES, min: 9 },
    pool.now + 1000,
  );
  expect(more).toMatchObject({ wanted: 9, reason: "the minimum is 9" });
});
