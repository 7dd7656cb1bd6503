/** Simulates a pool of instances under a load, in steps of 10 ms, to show what the autoscaling decides. */

import { randomOf } from "../support/random.mjs";

const STEP_S = 0.01;
const START_S = 0.3;

/** Returns a Poisson-distributed number; for large means it uses the normal approximation. */
function poisson(mean, random) {
  if (mean > 30) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return Math.max(0, Math.round(mean + Math.sqrt(mean) * normal));
  }
  let count = 0;
  for (let product = random(); product > Math.exp(-mean); product *= random()) count++;
  return count;
}

/**
 * What a request costs, in seconds: CPU time of its instance, time in a database that handles `databasePlaces` requests at once, and
 * waiting for others. `cores` is the number of CPUs of the machine; `perInstance` is null for an app that handles many requests at once.
 */
export function throughputOf(
  { cpu = 0, database = 0, databasePlaces = 1, other = 0, cores = 64, perInstance = null },
  instances,
  inside,
) {
  const active = perInstance === null ? inside : Math.min(inside, instances * perInstance);
  const bounds = [active / (cpu + database + other)];
  if (cpu > 0) bounds.push(Math.min(instances, cores) / cpu);
  if (database > 0) bounds.push(databasePlaces / database);
  return Math.min(...bounds);
}

/**
 * Runs a scenario of `seconds`. Requests arrive at `arrivals(second)` per second, or `clients(second)` clients send one request after
 * another.
 * @param decide returns the size wanted from now on: (sample, nowMs) => number
 */
export function simulate(scenario, decide) {
  const { seconds, start = 1, seed = 1, arrivals, clients, noise = 0, maxQueue = 20_000 } = scenario;
  const random = randomOf(seed);
  const readyAt = Array.from({ length: start }, () => 0);
  const periods = [];
  let inside = 0;
  let sums = { inside: 0, waiting: 0, done: 0, steps: 0 };
  for (let step = 1; step <= seconds / STEP_S; step++) {
    const now = step * STEP_S;
    const ready = readyAt.filter((at) => at <= now).length;
    if (clients !== undefined) inside = Math.max(0, clients(now));
    else inside = Math.min(maxQueue, inside + poisson(arrivals(now) * STEP_S, random));
    const jitter = 1 + noise * (2 * random() - 1);
    const before = inside;
    const done = Math.min(
      clients === undefined ? inside : Number.POSITIVE_INFINITY,
      throughputOf(scenario, ready, inside) * STEP_S * jitter,
    );
    if (clients === undefined) inside -= done;
    const places = scenario.perInstance == null ? Number.POSITIVE_INFINITY : ready * scenario.perInstance;
    sums = {
      inside: sums.inside + before,
      waiting: sums.waiting + Math.max(0, before - places),
      done: sums.done + done,
      steps: sums.steps + 1,
    };
    if (step % Math.round(1 / STEP_S) !== 0) continue;
    const sample = sampleOf(scenario, sums, ready, readyAt.length);
    sums = { inside: 0, waiting: 0, done: 0, steps: 0 };
    const wanted = decide(sample, now * 1000);
    while (readyAt.length < wanted) readyAt.push(now + START_S);
    readyAt.length = wanted;
    periods.push({ second: Math.round(now), ...sample, wanted });
  }
  return periods;
}

function sampleOf(scenario, { inside, waiting, done, steps }, ready, wanted) {
  const { cpu = 0, database = 0, other = 0, cores = 64, perInstance = null } = scenario;
  const mean = inside / steps;
  const throughput = done / (steps * STEP_S);
  const cpuPercent = Math.min(ready, cores, throughput * cpu) * 100;
  // Requests in an instance that wait for nothing outside wait for its event loop.
  const atLoops = Math.max(0, mean - throughput * (database + other));
  const isSaturated = cpu > 0 && cpuPercent >= 95 * Math.min(ready, cores);
  return {
    ...{
      wanted,
      ready,
      drained: 0,
      unready: wanted - ready,
      isBusy: false,
      throughput,
      inFlight: mean,
      waiting: waiting / steps,
    },
    lagMs: perInstance === null && isSaturated && throughput > 0 ? (1000 * atLoops) / throughput : 1000 * cpu,
    ...{ cpuPercent, boxPercent: Math.min(100, cpuPercent / cores), cores, perInstance },
  };
}

/** Returns the decisions of the autoscaling for one scenario: `core` has `decideSize` and `NEW_SCALING`. */
export function autoscaled(core, scenario) {
  let state = core.NEW_SCALING;
  const changes = [];
  const periods = simulate(scenario, (sample, now) => {
    const decision = core.decideSize(state, sample, scenario.rules, now);
    state = decision.state;
    if (decision.wanted !== sample.wanted)
      changes.push({ second: now / 1000, from: sample.wanted, to: decision.wanted, reason: decision.reason });
    return decision.wanted;
  });
  return { periods, changes, size: periods.at(-1).wanted };
}

/** The last part of a scenario, which is simulated for every fixed number, in seconds. */
const END_S = 40;

/**
 * Returns the smallest fixed number that keeps the target at the end, or, if the pool is limited, the smallest that is as fast as any
 * other.
 */
export function bestFixed(core, scenario) {
  const { rules, seconds, arrivals, clients, limited = false } = scenario;
  const { min, max, target } = rules;
  const from = seconds - END_S;
  const end = {
    ...{ ...scenario, seconds: END_S },
    ...(arrivals !== undefined && { arrivals: (at) => arrivals(at + from) }),
    ...(clients !== undefined && { clients: (at) => clients(at + from) }),
  };
  const ends = [];
  for (let size = min; size <= max; size++) {
    const last = simulate({ ...end, start: size }, () => size).slice(-END_S / 2);
    const figures = last.map((period) => core.metricOf(period, target)).sort((a, b) => a - b);
    const throughput = last.reduce((sum, period) => sum + period.throughput, 0) / last.length;
    ends.push({ size, figure: figures[Math.floor(figures.length * 0.8)], throughput });
  }
  const fastest = Math.max(...ends.map(({ throughput }) => throughput));
  const quick = ends.filter(({ throughput }) => throughput >= 0.97 * fastest);
  return (limited ? undefined : quick.find(({ figure }) => figure <= 1.1 * target.value)?.size) ?? quick[0].size;
}
