/** The keys that limit a process's life: defaults of the top level, and which values are rejected. */
import { expect, test } from "vitest";
import { resolveRecycle } from "./recycle.js";

function read(outer: Parameters<typeof resolveRecycle>[0], pool: Parameters<typeof resolveRecycle>[1], isCron = false) {
  const problems: string[] = [];
  const limits = resolveRecycle(outer, pool, isCron, (isOwn, key, message) =>
    problems.push(`${isOwn ? "pool" : "top"} ${key}: ${message}`),
  );
  return { limits, problems };
}

const none = {
  ...{ maxMemoryMb: 0, memoryMetric: "rss", maxRequests: 0, maxAgeMs: 0, schedule: null, jitter: 0.1 },
};

test("a pool's keys override those of the top level", () => {
  const outer = { maxMemoryMb: 200, maxAgeMs: 5, recycleSchedule: "@daily", maxRequests: 7, recycleJitter: 0 };
  expect(read({}, {})).toEqual({ limits: none, problems: [] });
  expect(read(outer, { maxMemoryMb: 300, memoryMetric: "pss", maxRequests: undefined })).toEqual({
    limits: { maxMemoryMb: 300, memoryMetric: "pss", maxRequests: 7, maxAgeMs: 5, schedule: "@daily", jitter: 0 },
    problems: [],
  });
});

test("a worker with cron has no limits: it may not set them, and those of the top level do not apply", () => {
  expect(read({ maxMemoryMb: 200 }, { maxAgeMs: 5 }, true)).toEqual({
    limits: none,
    problems: ["pool maxAgeMs: cannot be combined with `cron`: a run ends by itself"],
  });
});

test.each([
  [{}, { recycleSchedule: "61 * * * *" }, /^pool recycleSchedule: must be a cron pattern .*"61 \* \* \* \*"/],
  [{ recycleSchedule: "0 0 30 2 *" }, {}, /^top recycleSchedule: never comes: "0 0 30 2 \*"$/],
])("%j with %j is rejected", (outer, pool, message) => {
  const { problems } = read(outer, pool);
  expect(problems).toHaveLength(1);
  expect(problems[0]).toMatch(message);
});
