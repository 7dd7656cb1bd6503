/** Which upstreams are in service, for every combination of reasons; and how a pool uses that. */
import fc from "fast-check";
import { expect, it } from "vitest";
import { OutOfTurn, takeTurns } from "./out-of-turn.js";
import { Pool } from "./pool.js";
import { RoundRobin } from "./round-robin.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

const { DRAINED, EJECTED, UNHEALTHY, BACKUP } = OutOfTurn;

const inTurn = (...reasons: number[]) =>
  takeTurns(reasons.map((each, at) => ({ reasons: each, isOutOfTurn: true, at }))).map(({ at }) => at);

it.each<[reasons: number[], inTurn: number[]]>([
  [[], []],
  [
    [0, 0],
    [0, 1],
  ],
  [[0, DRAINED, EJECTED, UNHEALTHY, BACKUP], [0]],
  [[DRAINED, EJECTED, BACKUP], [2]],
  [
    [EJECTED, UNHEALTHY, DRAINED],
    [0, 1],
  ],
  [
    [EJECTED, BACKUP | UNHEALTHY, BACKUP | DRAINED],
    [0, 1],
  ],
  [
    [BACKUP, BACKUP],
    [0, 1],
  ],
  [[DRAINED, DRAINED | EJECTED], []],
])("of %j these are in turn: %j", (reasons, expected) => {
  expect(inTurn(...reasons)).toEqual(expected);
});

it("never uses a drained one, and always uses another if there is any", () => {
  const all = DRAINED | EJECTED | UNHEALTHY | BACKUP;
  fc.assert(
    fc.property(fc.array(fc.nat(all), { maxLength: 12 }), (reasons) => {
      const served = inTurn(...reasons);
      for (const at of served) expect((reasons[at] as number) & DRAINED).toBe(0);
      expect(served.length > 0).toBe(reasons.some((each) => (each & DRAINED) === 0));
      const first = reasons.flatMap((each, at) => (each === 0 ? [at] : []));
      if (first.length > 0) expect(served).toEqual(first);
    }),
  );
});

interface Link {
  room: boolean;
  stall: number;
  reassigned: number;
}

function poolOf(count: number) {
  const pool = new Pool("web", new RoundRobin<Upstream>(), 8);
  const links: Link[] = Array.from({ length: count }, () => ({ room: true, stall: 0, reassigned: 0 }));
  const upstreams = links.map((link, at) => {
    const client = {
      hasRoom: () => link.room,
      pending: 0,
      countStall: () => link.stall,
      reassign: () => link.reassigned++,
    } as unknown as UpstreamClient;
    return new Upstream(`web.${at + 1}#1`, `web.${at + 1}`, client);
  });
  pool.setMembers(upstreams);
  const picks = (times: number) => Array.from({ length: times }, () => pool.pick(undefined, true)?.slot);
  const put = (slot: number, reason: number, isOut = true) => {
    const upstream = upstreams[slot - 1] as Upstream;
    if (isOut ? upstream.putOut(reason) : upstream.putBack(reason)) pool.turnsChanged();
  };
  return { pool, links, upstreams, picks, put };
}

it("a drained or ejected upstream is skipped until it is put back, whoever is last to do so", () => {
  const { picks, put, pool } = poolOf(3);
  put(2, DRAINED);
  put(2, EJECTED);
  expect(new Set(picks(6))).toEqual(new Set([1, 3]));
  put(2, DRAINED, false);
  expect(new Set(picks(6))).toEqual(new Set([1, 3]));
  put(2, EJECTED, false);
  expect(picks(6).sort()).toEqual([1, 1, 2, 2, 3, 3]);
  expect(pool.isDown).toBe(false);
});

it("a pool whose upstreams are all ejected serves with all of them; one whose upstreams are all drained is down", () => {
  const { picks, put, pool } = poolOf(2);
  put(1, EJECTED);
  expect(picks(2)).toEqual([2, 2]);
  put(2, UNHEALTHY);
  expect(picks(2).sort()).toEqual([1, 2]);
  put(2, DRAINED);
  expect(picks(2)).toEqual([1, 1]);
  put(1, DRAINED);
  expect(picks(2)).toEqual([undefined, undefined]);
  expect(pool.isDown).toBe(true);
  put(1, DRAINED, false);
  expect(pool.isDown).toBe(false);
});

it("a waiting request is served as soon as an upstream is put back, and rejected when the last one is drained", () => {
  const { links, pool, put } = poolOf(2);
  const told: string[] = [];
  const pending = () => ({
    ...{ isWaiting: true, isIdempotent: true, home: 0, order: 0, tried: undefined },
    onUpstreamFree: (upstream: Upstream) => void told.push(upstream.name),
    onHomeLost: () => {},
    onPoolDown: () => void told.push("down"),
  });
  (links[0] as Link).room = false;
  put(2, EJECTED);
  pool.requestQueue.add(pending());
  pool.serveQueue();
  expect(told).toEqual([]);
  put(2, EJECTED, false);
  expect(told).toEqual(["web.2"]);
  put(2, DRAINED);
  pool.requestQueue.add(pending());
  put(1, DRAINED);
  expect(told).toEqual(["web.2", "down"]);
});

it("an upstream out of service is no proof that the others could respond, but its own stall is detected", () => {
  const { links, pool, upstreams, put } = poolOf(3);
  const [first, second] = links as [Link, Link, Link];
  put(3, DRAINED);
  first.stall = second.stall = 10;
  pool.markStalled(4, 1);
  expect(upstreams.map(({ isStalled }) => isStalled)).toEqual([false, false, false]);
  second.stall = 0;
  (links[2] as Link).stall = 10;
  pool.markStalled(4, 1);
  expect(upstreams.map(({ isStalled }) => isStalled)).toEqual([true, false, true]);
  expect(links.map(({ reassigned }) => reassigned)).toEqual([1, 0, 1]);
});
