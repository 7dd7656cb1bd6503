/** An operator's readmission ends an ejection here, once for each time it is wanted. */
import type { EjectionRule, SnapshotPool } from "@paceline/wire";
import { expect, it } from "vitest";
import { Pool } from "./pool.js";
import { PoolHealth } from "./pool-health.js";
import { RoundRobin } from "./round-robin.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

const RULE = {
  ...{ failures: 5, failurePercent: 50, minRequests: 20, windowMs: 30_000 },
  ...{ ejectMs: 10_000, maxEjectMs: 300_000, maxEjectedPercent: 50 },
} as EjectionRule;

it("a readmission ends the ejection, and a later snapshot with the same count ends no later one", async () => {
  const pool = new Pool("web", new RoundRobin<Upstream>(), 8);
  let changes = 0;
  const health = new PoolHealth(pool, {
    ...{ clock: { now: 1 }, stallAfterMs: 50 },
    onChange: () => changes++,
    onNotice: () => {},
  });
  const link = { hasRoom: () => true, pending: 0 } as unknown as UpstreamClient;
  const upstreams = [1, 2, 3].map((slot) => new Upstream(`web.${slot}#1`, `web.${slot}`, link));
  const bad = upstreams[1] as Upstream;
  const follow = (readmits?: number) => {
    const described = upstreams.map(({ id, name }) => ({ id, name, ...(id === bad.id && readmits && { readmits }) }));
    health.follow({ name: "web", routes: ["/"], ejection: RULE, upstreams: described } as SnapshotPool, upstreams);
    pool.setMembers(upstreams);
  };
  const fail = async () => {
    for (const upstream of upstreams)
      for (let i = 0; i < 60; i++) upstream.answered(upstream === bad ? 500 : 200, 1, { routeClass: 0 });
    await new Promise(setImmediate);
    return bad.isOutOfTurn;
  };
  follow();
  expect(await fail()).toBe(true);
  follow(1);
  expect([bad.isOutOfTurn, bad.ejection, changes]).toEqual([false, undefined, 2]);
  expect(await fail()).toBe(true);
  follow(1);
  expect(bad.isOutOfTurn).toBe(true);
  follow(2);
  expect(bad.isOutOfTurn).toBe(false);
});
