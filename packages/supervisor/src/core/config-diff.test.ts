import { expect, test } from "vitest";
import { keyChanges, type PoolSide, releaseChanges, variableChanges } from "./config-diff.js";
import type { FleetConfig, PoolConfig, Secret } from "./model.js";

/** The part of a pool that is compared here. */
function pool(changes: Partial<PoolConfig> = {}): PoolConfig {
  const { release = "/srv/6" } = changes;
  return {
    ...{ name: "web", kind: "app", source: `${release}/app.js`, release, cwd: release, instances: 2 },
    workload: { app: `${release}/app.js`, args: ["--dir", `${release}/data`, "/srv/60"] },
    policy: { minReadyMs: 1000, backoff: { initialMs: 200 } },
    ...{ env: {}, secrets: {}, recycle: { maxRequests: 0 }, relayed: {} },
    ...changes,
  } as unknown as PoolConfig;
}

function fleet(changes: Partial<FleetConfig> = {}): FleetConfig {
  return { name: "shop", listen: [{ kind: "tcp", host: "::1", port: 80 }], pools: [pool()], ...changes } as FleetConfig;
}

const changed = (from: FleetConfig, to: FleetConfig) =>
  keyChanges(from, to).map(({ pool, key, from, to }) => [pool, key, from, to]);

test("keys are those of a config, and a release's own paths do not differ from another's", () => {
  expect(keyChanges(fleet(), fleet())).toEqual([]);
  expect(changed(fleet(), fleet({ pools: [pool({ release: "/srv/7" })] }))).toEqual([]);
  const policy = { minReadyMs: 5, backoff: { initialMs: 200 } } as unknown as PoolConfig["policy"];
  const sticky = { by: "cookie" } as const;
  expect(changed(fleet(), fleet({ pools: [pool({ policy, instances: 3, relayed: { sticky } })] }))).toEqual([
    ["web", "instances", "2", "3"],
    ["web", "minReadyMs", "1000", "5"],
    ["web", "sticky.by", null, '"cookie"'],
  ]);
  expect(changed(fleet(), fleet({ name: "b", pools: [pool(), pool({ name: "api", kind: "wsgi" })] }))).toEqual([
    [null, "name", '"shop"', '"b"'],
    ["api", "pool", null, '"wsgi"'],
  ]);
  expect(changed(fleet({ pools: [pool(), pool({ name: "api" })] }), fleet())).toEqual([["api", "pool", '"app"', null]]);
});

test("a key that only a start applies says so; long values are cut, and values of variables never shown", () => {
  expect(keyChanges(fleet(), fleet({ listen: [] }))).toMatchObject([
    { key: "listen", note: "needs a stop and a start" },
  ]);
  const long = fleet({ pools: [pool({ workload: { app: "x".repeat(1000) } })] });
  for (const { from, to } of keyChanges(fleet(), long)) expect(`${from}${to}`.length).toBeLessThan(400);
  const withEnv = (value: string) => fleet({ pools: [pool({ workload: { command: { env: { TOKEN: value } } } })] });
  const found = keyChanges(withEnv("hunter2"), withEnv("hunter3"));
  expect(found).toMatchObject([{ key: "command.env", from: "(not shown)", to: "(not shown)" }]);
  expect(JSON.stringify(found)).not.toContain("hunter");
});

test("variables are compared as a process sees them, and only named", () => {
  const side = (environment: Record<string, string>, env = {}, secrets: Record<string, Secret> = {}, name = "web") =>
    ({ config: pool({ name, env, secrets }), environment }) as PoolSide;
  const file = (value: string) => ({ file: "/s", value });
  const before = [side({ A: "1", B: "1", GONE: "1" }, { C: "1" }, { TOKEN: file("hunter2") })];
  const after = [side({ A: "1", B: "2", NEW: "1" }, { C: "1" }, { TOKEN: file("hunter3") }), side({}, {}, {}, "new")];
  const found = variableChanges(before, after);
  expect(found).toEqual([
    { name: "B", change: "changed", isSecret: false, pools: ["web"] },
    { name: "GONE", change: "removed", isSecret: false, pools: ["web"] },
    { name: "NEW", change: "added", isSecret: false, pools: ["web"] },
    { name: "TOKEN", change: "changed", isSecret: true, pools: ["web"] },
  ]);
  expect(JSON.stringify(found)).not.toContain("hunter");
  expect(variableChanges(before, before)).toEqual([]);
  // The same value from another source is a change; so is a change for all pools, which is named once.
  const moved = (name: string) => side({}, {}, { TOKEN: { credential: "token", value: "x" } }, name);
  const there = (name: string) => side({}, {}, { TOKEN: { file: "/s", value: "x" } }, name);
  expect(variableChanges([there("a"), there("b")], [moved("a"), moved("b")])).toEqual([
    { name: "TOKEN", change: "changed", isSecret: true, pools: ["a", "b"] },
  ]);
});

test("pools of one release are named together, with the oldest beginning", () => {
  const before = [
    { config: pool(), since: 20 },
    { config: pool({ name: "api" }), since: 10 },
    { config: pool({ name: "gone" }), since: 10 },
  ];
  expect(releaseChanges(before, [pool({ release: "/srv/7" }), pool({ name: "api", release: "/srv/7" })])).toEqual([
    { pools: ["web", "api"], from: "/srv/6", to: "/srv/7", since: 10 },
  ]);
});
