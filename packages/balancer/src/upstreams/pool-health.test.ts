/** What a pool does with upstreams that fail, whose checks fail, that have just started, or that an operator readmits. */
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

it("a readmission ends the ejection, and a later snapshot with the same count does not end a later ejection", async () => {
  const pool = new Pool("web", new RoundRobin<Upstream>(), 8);
  let changes = 0;
  const clock = { now: 1, current: 1 };
  const health = new PoolHealth(pool, {
    ...{ clock, stallAfterMs: 50 },
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
    for (let i = 0; i < 60; i++) {
      clock.current += 2;
      for (const upstream of upstreams) upstream.countResponse(upstream === bad ? 500 : 200, 1, { routeClass: 0 });
    }
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

const REQUEST = { routeClass: 0 };

function poolOf(size: number, more: Partial<SnapshotPool>) {
  const clock = { now: 1000, current: 1000 };
  const pool = new Pool("web", new RoundRobin<Upstream>(), 10);
  let changes = 0;
  const health = new PoolHealth(pool, {
    ...{ clock, stallAfterMs: 50, onNotice: () => {} },
    onChange: () => void changes++,
  });
  const make = (at: number) => {
    const link = { hasRoom: () => true, overdue: () => undefined, pending: 0 } as unknown as UpstreamClient;
    return new Upstream(`web.${at}#1`, `web.${at}`, link);
  };
  const upstreams = Array.from({ length: size }, (_, at) => make(at + 1));
  const follow = (also: Partial<SnapshotPool> = {}, members = [...upstreams]) => {
    health.follow({ name: "web", routes: [], upstreams: [], ...more, ...also }, members);
    pool.setMembers(members);
  };
  const tick = (ms: number) => {
    clock.now += ms;
    clock.current = Math.max(clock.current, clock.now);
    health.tick();
  };
  const respond = (slot: number, status: number, times: number) => {
    for (let at = 0; at < times; at++) upstreams[slot - 1]?.countResponse(status, 1, REQUEST);
  };
  /** One fails while the others respond. */
  const failAlone = (slot: number) => {
    for (let at = 0; at < 9; at++) {
      clock.current += 2;
      for (const each of upstreams) each.countResponse(each.slot === slot ? 500 : 200, 1, REQUEST);
    }
  };
  const out = () => upstreams.filter(({ isOutOfTurn }) => isOutOfTurn).map(({ slot }) => slot);
  follow();
  return { pool, upstreams, make, follow, tick, respond, failAlone, out, changes: () => changes };
}

it("ejects one that fails within a second, readmits it in time, and reports both; not during a judgement", () => {
  const { upstreams, follow, tick, failAlone, out, changes } = poolOf(3, { ejection: RULE });
  follow({ judged: true });
  failAlone(2);
  tick(1000);
  expect([out(), changes()]).toEqual([[], 0]);
  follow();
  tick(1000);
  expect([out(), changes()]).toEqual([[2], 1]);
  expect(upstreams[1]?.takeStats(2000).ejected).toMatchObject({ number: 1, forMs: 11_000 });
  tick(9999);
  expect(out()).toEqual([2]);
  tick(1);
  expect([out(), changes()]).toEqual([[], 2]);
  // A pool without the rule forgets what it has ejected.
  failAlone(2);
  tick(1000);
  expect(out()).toEqual([2]);
  follow({ ejection: undefined as never });
  expect(out()).toEqual([]);
});

it("takes those out of service whose checks fail, but no more than the maximum", () => {
  const { upstreams, follow, tick, failAlone, out } = poolOf(4, { ejection: RULE });
  const fail = (...slots: number[]) => {
    for (const upstream of upstreams) upstream.failsChecks = slots.includes(upstream.slot);
    follow();
  };
  fail(2);
  expect(out()).toEqual([2]);
  fail(2, 3, 4);
  expect(out()).toEqual([2, 3]);
  fail(3, 4);
  expect(out()).toEqual([3, 4]);
  fail();
  expect(out()).toEqual([]);
  failAlone(4);
  tick(1000);
  fail(1, 2);
  expect(out()).toEqual([1, 4]);
});

it("increases the share of a new one in steps, and of one that is readmitted", () => {
  const { upstreams, make, follow, tick, failAlone, out } = poolOf(2, { ejection: RULE, slowStartMs: 1000 });
  tick(1000);
  expect(upstreams.map(({ weight }) => weight)).toEqual([1, 1]);
  upstreams.push(make(3));
  follow();
  const shares = Array.from({ length: 11 }, () => {
    const { weight } = upstreams[2] as Upstream;
    tick(100);
    return Math.round(weight * 10);
  });
  expect(shares).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(upstreams.map(({ weight }) => weight)).toEqual([1, 1, 1]);
  failAlone(3);
  tick(1000);
  expect(out()).toEqual([3]);
  tick(10_000);
  expect([out(), upstreams[2]?.weight]).toEqual([[], 0.1]);
});

it("a fault of all ejects none, neither after a good time nor when one has just returned", () => {
  const { upstreams, follow, make, tick, respond, failAlone, out } = poolOf(4, { ejection: RULE });
  for (const slot of [1, 2, 3, 4]) respond(slot, 200, 200);
  for (let at = 0; at < 30; at++) for (const slot of [1, 1, 1, 2, 3, 4]) respond(slot, 500, 1);
  tick(1000);
  expect(out()).toEqual([]);
  upstreams[2] = make(3);
  follow();
  for (let at = 0; at < 50; at++) for (const slot of [1, 2, 4]) respond(slot, 500, 1);
  tick(1);
  respond(3, 200, 900);
  for (const slot of [1, 2, 4]) respond(slot, 500, 1);
  tick(1000);
  expect(out()).toEqual([]);
  for (const slot of [1, 2, 4]) respond(slot, 200, 1);
  failAlone(4);
  tick(1000);
  expect(out()).toEqual([4]);
});
