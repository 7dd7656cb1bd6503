/** The keys `rateLimits`, `queueTimeoutMs` and `priority`: their resolved values, and which values are rejected. */
import { describe, expect, test } from "vitest";
import { resolveRateLimits } from "./balancer-keys.js";
import { resolveOverload } from "./balancing.js";

type Report = (path: (string | number)[], message: string) => void;

function read<T>(resolve: (report: Report) => T): { result: T; problems: string[] } {
  const problems: string[] = [];
  const result = resolve((path, message) => problems.push(`${path.join(".")}: ${message}`));
  return { result, problems };
}

describe("rate limits", () => {
  const resolved = (rules: Parameters<typeof resolveRateLimits>[0]) =>
    read((report) => resolveRateLimits(rules, report));

  test.each<[Parameters<typeof resolveRateLimits>[0], object[]]>([
    [undefined, []],
    [[], []],
    [[{ requests: 5 }], [{ by: "address", requests: 5, periodMs: 1000, burst: 5 }]],
    [
      [{ by: "header:X-Key", requests: 5, periodMs: 60_000, burst: 9, routes: ["/A/", "Example.com/"] }],
      [{ by: "header", name: "x-key", requests: 5, periodMs: 60_000, burst: 9, routes: ["/A/", "example.com/"] }],
    ],
    [[{ by: "route", requests: 1 }], [{ by: "route", requests: 1, periodMs: 1000, burst: 1 }]],
  ])("%j", (rules, expected) => {
    expect(resolved(rules)).toEqual({ result: expected, problems: [] });
  });

  test.each<[NonNullable<Parameters<typeof resolveRateLimits>[0]>, RegExp]>([
    [[{ requests: 1 }, { burst: 2 }], /^1\.requests: is missing/],
    [[{ requests: 1, routes: ["/a", "x"] }], /^0\.routes\.1: must be a path/],
    [[{ requests: 1, routes: [] }], /^0\.routes: must have at least one route/],
    [Array(17).fill({ requests: 1 }), /cannot have more than 16 rules/],
  ])("%j is rejected", (rules, message) => {
    const { problems } = resolved(rules);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(message);
  });
});

describe("overload", () => {
  const resolved = (keys: Parameters<typeof resolveOverload>[0]) => read((report) => resolveOverload(keys, report));

  test.each<[Parameters<typeof resolveOverload>[0], object]>([
    [{}, {}],
    [{ queueTimeoutMs: 0, priority: {} }, {}],
    [{ queueTimeoutMs: 100, policy: "random-two" }, { queueTimeoutMs: 100 }],
    [{ queueTimeoutMs: 0, policy: "exact" }, {}],
    [{ priority: { low: ["/Search/"] } }, { priority: { high: [], low: ["/Search/"] } }],
  ])("%j", (keys, expected) => {
    expect(resolved(keys)).toEqual({ result: expected, problems: [] });
  });

  test.each<[Parameters<typeof resolveOverload>[0], string]>([
    [{ queueTimeoutMs: 50, policy: "exact" }, 'queueTimeoutMs: has no effect with `policy: "exact"`'],
    [{ queueTimeoutMs: 50, policy: "hash:path" }, 'queueTimeoutMs: has no effect with `policy: "hash:path"`'],
    [{ queueTimeoutMs: 50, sticky: "cookie" }, "queueTimeoutMs: has no effect with `sticky`"],
    [{ priority: { high: ["checkout"] } }, "priority.high.0: must be a path"],
    [{ priority: { high: ["/a"], low: ["/b", "/a/"] } }, 'priority.low.1: the route "/a/" is there twice'],
  ])("%j is rejected", (keys, message) => {
    const { problems } = resolved(keys);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toContain(message);
  });
});
