/** The loads for which the autoscaling is simulated. */

const rules = (target, more = {}) => ({
  ...{ min: 1, max: 16, target, coolDownMs: 60_000, checkBenefit: true, retryAfterMs: 30_000 },
  ...more,
});
const inFlight = { metric: "inFlight", value: 4 };
const queue = { metric: "queueMs", value: 50 };
const cpu = { metric: "cpuPercent", value: 70 };
const step =
  (before, after, at = 20) =>
  (second) =>
    second < at ? before : after;
const sine = (least, most, period) => (second) =>
  least + ((most - least) * (1 - Math.cos((2 * Math.PI * second) / period))) / 2;

/** An app that waits for something else for 40 ms of each request, and one whose requests each take 20 ms of an instance. */
const waits = { cpu: 0.002, other: 0.038 };
const blocks = { other: 0.018, cpu: 0.002, perInstance: 1 };
const burns = { cpu: 0.01, cores: 64 };

export const SCENARIOS = [
  { name: "steady", target: inFlight, ...waits, seconds: 600, start: 3, arrivals: () => 250 },
  { name: "a step, ×10", target: inFlight, ...waits, seconds: 120, arrivals: step(80, 800), stepAt: 20 },
  { name: "a step, ×10", target: queue, ...blocks, seconds: 120, arrivals: step(30, 300), stepAt: 20 },
  { name: "a step, ×10", target: cpu, ...burns, seconds: 120, arrivals: step(60, 600), stepAt: 20 },
  { name: "a step back to a tenth", target: queue, ...blocks, seconds: 300, start: 10, arrivals: step(300, 30) },
  {
    name: "a ramp over 5 minutes",
    target: cpu,
    ...burns,
    seconds: 420,
    arrivals: (at) => Math.min(700, 40 + 2.2 * at),
  },
  {
    name: "a day in 30 minutes (sine)",
    target: inFlight,
    ...waits,
    seconds: 1800,
    arrivals: sine(50, 1200, 1800),
    isMoving: true,
  },
  {
    name: "spikes of 3 s each minute",
    ...{ target: inFlight, ...waits, seconds: 600, arrivals: (at) => (at % 60 < 3 ? 1200 : 100), isMoving: true },
  },
  { name: "noise of ±50 %", target: cpu, ...burns, seconds: 900, noise: 0.5, arrivals: () => 300, start: 5 },
  {
    name: "2 cores, 32 clients, all CPU",
    target: queue,
    cpu: 0.01,
    cores: 2,
    seconds: 600,
    clients: () => 32,
    limited: true,
  },
  {
    name: "2 cores, 32 clients, all CPU",
    target: cpu,
    cpu: 0.01,
    cores: 2,
    seconds: 600,
    clients: () => 32,
    limited: true,
  },
  {
    name: "2 cores, a step to more than they can",
    ...{ target: inFlight, cpu: 0.01, cores: 2, seconds: 600, arrivals: step(50, 400), limited: true, stepAt: 20 },
  },
  {
    name: "a database for 5 at once, 40 clients",
    ...{ target: queue, cpu: 0.001, database: 0.03, databasePlaces: 5, perInstance: 1, seconds: 600 },
    ...{ clients: step(1, 40), limited: true, stepAt: 20 },
  },
  {
    name: "a database for 5 at once, more arrive",
    ...{ target: inFlight, cpu: 0.001, database: 0.03, databasePlaces: 5, perInstance: 1, seconds: 600 },
    ...{ arrivals: step(30, 400), limited: true, stepAt: 20 },
  },
].map((scenario) => ({ ...scenario, rules: rules(scenario.target, scenario.rules) }));
