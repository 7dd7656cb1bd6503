import { availableParallelism } from "node:os";
import { expect, test } from "vitest";
import { instances, resolveScaling } from "./scaling.js";
import { validate } from "./validate.js";

function resolved(given: object) {
  const problems: string[] = [];
  const config = resolveScaling(given as Parameters<typeof resolveScaling>[0], (path, message) =>
    problems.push(`${path.join(".")} ${message}`),
  );
  return { config, problems };
}

test("a table has bounds, a target and defaults", () => {
  const { config, problems } = resolved({ max: "cpus", target: { queueMs: 50 } });
  expect(problems).toEqual([]);
  expect(config).toEqual({
    ...{ min: 1, max: availableParallelism(), target: { metric: "queueMs", value: 50 } },
    ...{ coolDownMs: 60_000, retryAfterMs: 30_000, checkBenefit: true, schedule: [], timezone: null },
  });
  const schedule = [
    { cron: "0 7 * * *", min: 4, max: 12 },
    { cron: "0 20 * * *", max: 2 },
    { cron: "@daily", instances: 5 },
  ];
  expect(resolved({ min: 3, max: 8, target: { inFlight: 4 }, schedule, timezone: "UTC" })).toMatchObject({
    problems: [],
    config: {
      timezone: "UTC",
      schedule: [
        { min: 4, max: 12 },
        { min: 2, max: 2 },
        { min: 5, max: 5 },
      ],
    },
  });
});

test.each([
  [{ target: { queueMs: 5 } }, "max is missing"],
  [{ max: 4 }, "target must have exactly one of `queueMs`, `cpuPercent`, `inFlight`"],
  [{ max: 4, target: { queueMs: 5, inFlight: 1 } }, "target must have exactly one"],
  [{ min: 5, max: 4, target: { queueMs: 5 } }, "min cannot be more than `max`, which is 4"],
  [{ max: 4, target: { queueMs: 5 }, timezone: "UTC" }, "timezone is only valid with `schedule`"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ min: 1 }] }, "schedule.0.cron is missing"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ cron: "0 7 * * *" }] }, "schedule.0 must have `min`, `max`"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ cron: "x", min: 1 }] }, "schedule.0.cron must be a cron pattern"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ cron: "0 7 30 2 *", min: 1 }] }, "schedule.0.cron never comes"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ cron: "@daily", min: 9, max: 2 }] }, "schedule.0.min cannot be more"],
  [{ max: 4, target: { queueMs: 5 }, schedule: [{ cron: "@daily", min: 9, instances: 2 }] }, "cannot be combined"],
  [
    { max: 2, target: { queueMs: 5 }, schedule: [{ cron: "@daily", min: 4 }] },
    "schedule.0.min cannot be more than `max`, which is 2 in the pool; give this entry its own `max`",
  ],
  [
    { max: 4, target: { queueMs: 5 }, schedule: [{ cron: "@daily", min: 1 }], timezone: "Mars" },
    "timezone there is no time zone",
  ],
])("%j: %s", (given, problem) => {
  expect(resolved(given).problems).toEqual([expect.stringContaining(problem)]);
});

test.each([
  [{ max: 0 }, "instances.max", 'must be a whole number from 1 to 1024, or "cpus", not 0'],
  [{ maxx: 3 }, "instances.maxx", 'unknown key; did you mean "max"?'],
  [{ max: 4, target: { queueMS: 5 } }, "instances.target.queueMS", 'unknown key; did you mean "queueMs"?'],
  [
    { max: 4, schedule: [{ cron: "@daily", maxi: 3 }] },
    "instances.schedule.0.maxi",
    'unknown key; did you mean "max"?',
  ],
  [
    "many",
    "instances",
    'must be a whole number from 0 to 1024, "cpus", or a table with `max` and `target`, not "many"',
  ],
])("a mistake in %j is reported where it is", (given, path, message) => {
  const { findings } = validate({ app: "./app.js", instances: given });
  expect(findings.map((finding) => [finding.path.join("."), finding.message])).toEqual([[path, message]]);
  expect(instances.safeParse(given).success).toBe(false);
});
