/** Which requests are sent for which pools. */
import { expect, test } from "vitest";
import type { PoolConfig } from "../core/model.js";
import { targetsOf } from "./targets.js";

function pool(name: string, routes: string[], changes: object = {}): PoolConfig {
  const health = { checkHost: "localhost" };
  return {
    name,
    kind: "app",
    serves: true,
    routes,
    relayed: {},
    health,
    warmup: null,
    stripPrefix: false,
    ...changes,
  } as unknown as PoolConfig;
}

const shown = (pools: PoolConfig[], paths: string[] = []) =>
  targetsOf(pools, paths).map(({ pool: name, ask }) => `${name} ${ask.host} ${ask.path}`);

test("the routes, and the paths of the configuration that clients can reach", () => {
  const web = pool("web", ["/"], {
    health: { checkHost: "shop.test", readyPath: "/ready", healthPath: "/api/health" },
    warmup: { paths: ["/", "/search?q=a"] },
  });
  const api = pool("api", ["/api/"], { health: { checkHost: "localhost", healthPath: "/health" }, stripPrefix: true });
  expect(shown([web, api])).toEqual([
    "web shop.test /",
    "web shop.test /ready",
    "web shop.test /search?q=a",
    "api localhost /api/",
    "api localhost /api/health",
  ]);
});

test("hosts of routes; no upstreams of others, no internal files, no workers", () => {
  const pools = [
    pool("site", ["*.example.com/", "example.com/shop/"]),
    pool("old", ["/"], { kind: "proxy" }),
    pool("files", ["/files/"], { relayed: { internalRoots: ["/srv"] } }),
    pool("queue", [], { serves: false }),
  ];
  expect(shown(pools)).toEqual(["site rehearsal.example.com /", "site example.com /shop/"]);
  expect(shown(pools, ["/a?b=1", "/shop"])).toEqual(["old localhost /a?b=1", "old localhost /shop"]);
});

test("a path goes to the pool of the longest route", () => {
  const pools = [pool("web", ["/"]), pool("api", ["/api/"])];
  expect(shown(pools, ["/api", "/api/x", "/apiary"])).toEqual([
    "api localhost /api",
    "api localhost /api/x",
    "web localhost /apiary",
  ]);
});
