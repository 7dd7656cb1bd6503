/** In which pools instances are ejected by default. */
import { expect, test } from "vitest";
import { resolveEjection } from "./ejection.js";

test.each([
  [{}, true],
  [{ policy: "round-robin" }, true],
  [{ sticky: "cookie" }, false],
  [{ policy: "exact" }, false],
  [{ policy: "hash:path" }, false],
  [{ sticky: "cookie", ejection: {} }, true],
  [{ policy: "exact", ejection: { failures: 3 } }, true],
  [{ ejection: { maxEjectedPercent: 0 } }, false],
])("%o", (pool, isOn) => {
  const problems: string[] = [];
  const { ejection } = resolveEjection(pool, (path, problem) => problems.push(`${path.join(".")} ${problem}`));
  expect(ejection !== undefined).toBe(isOn);
  expect(problems).toEqual([]);
});

test("missing keys get defaults, and a maximum time below the first is a problem", () => {
  const problems: string[] = [];
  const resolve = (pool: Parameters<typeof resolveEjection>[0]) =>
    resolveEjection(pool, (path, problem) => problems.push(`${path.join(".")} ${problem}`));
  expect(resolve({ ejection: { failures: 3 }, slowStartMs: 500, retryBudget: { percent: 5 } })).toMatchObject({
    ejection: { failures: 3, failurePercent: 50, maxEjectedPercent: 50 },
    slowStartMs: 500,
    retryBudget: { percent: 5, minPerSecond: 50 },
  });
  expect(problems).toEqual([]);
  resolve({ ejection: { ejectMs: 2000, maxEjectMs: 1000 } });
  expect(problems).toEqual(["ejection.maxEjectMs must not be less than `ejectMs`, 2000"]);
  expect([resolve({ hedge: true }), resolve({ hedge: false })]).toMatchObject([{ hedge: true }, {}]);
  for (const keyed of [{ sticky: "cookie" }, { policy: "exact" }]) resolve({ hedge: true, ...keyed });
  expect(problems.slice(1)).toEqual([
    "hedge has no effect with `sticky`, where each request has its instance",
    'hedge has no effect with `policy: "exact"`, where each request has its instance',
  ]);
});
