/** Which upstream a request gets: the next in turn if requests are quick, and a free one if they are slow. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Pool } from "./pool.js";
import type { PendingRequest } from "./request-queue.js";
import { RoundRobin } from "./round-robin.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

const MAX_QUEUE = 4;

// Everything happens within a millisecond, in which an upstream that was just picked counts as about to run, even on a busy machine.
beforeEach(() => {
  vi.spyOn(performance, "now").mockReturnValue(1_000);
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** A pool of upstreams that never respond, whose requests take this many microseconds. */
function poolOf(count: number, micros: number, isForeign = false) {
  const pool = new Pool("web", new RoundRobin<Upstream>(), MAX_QUEUE);
  const pending: number[] = Array(count).fill(0);
  const upstreams = pending.map((_, at) => {
    const link = {
      hasRoom: () => true,
      open: () => {
        pending[at] = (pending[at] as number) + 1;
      },
      get pending() {
        return isForeign ? 0 : pending[at];
      },
    } as unknown as UpstreamClient;
    return new Upstream(`web.${at + 1}#1`, `web.${at + 1}`, link, isForeign);
  });
  pool.setMembers(upstreams);
  if (!isForeign) pool.work.add(100, 100 * micros);
  /** Sends one request; returns the slot, or 0 if the request must wait. */
  const send = (): number => {
    const upstream = pool.pick(undefined, true);
    upstream?.open({ mayHaveStartedElsewhere: false } as never, true);
    return upstream?.slot ?? 0;
  };
  /** The handler of a request there has returned, with or without its response. */
  const returned = (slot: number, hasResponse = true): void => {
    pending[slot - 1] = (pending[slot - 1] as number) - 1;
    if (hasResponse) upstreams[slot - 1]?.release(false);
  };
  const sends = (times: number) => Array.from({ length: times }, send);
  return { pool, send, sends, returned };
}

it("quick requests go strictly in turn, however many are in progress", () => {
  const { sends, returned } = poolOf(3, 20);
  expect(sends(7)).toEqual([1, 2, 3, 1, 2, 3, 1]);
  returned(3);
  expect(sends(3)).toEqual([2, 3, 1]);
});

it("longer ones wait for the first upstream that has room for them", () => {
  const { sends, returned } = poolOf(2, 400);
  expect(sends(5)).toEqual([1, 2, 1, 2, 0]);
  returned(2);
  expect(sends(2)).toEqual([2, 0]);
  // The request waits for a database, and the next one may start.
  returned(1, false);
  expect(sends(2)).toEqual([1, 0]);
});

it("slow requests go to the upstream with the fewest, and in turn among equals", () => {
  const { sends, returned } = poolOf(3, 5000);
  expect(sends(4)).toEqual([1, 2, 3, 0]);
  for (const slot of [1, 2, 3]) returned(slot, slot === 2);
  // The other two still have a request that has not ended.
  expect(sends(1)).toEqual([2]);
  expect(sends(3)).toEqual([3, 1, 0]);
});

it("single requests are served in turn, even if they are slow", () => {
  const { send, returned } = poolOf(3, 5000);
  const slots = Array.from({ length: 6 }, () => {
    const slot = send();
    returned(slot);
    return slot;
  });
  expect(slots).toEqual([1, 2, 3, 1, 2, 3]);
});

it("programs report nothing: requests go to the program with the fewest", () => {
  const { sends, returned } = poolOf(3, 0, true);
  expect(sends(5)).toEqual([1, 2, 3, 1, 2]);
  returned(2);
  returned(2);
  expect(sends(3)).toEqual([2, 3, 2]);
});

it("a pool with the policy exact keeps to strict turns", () => {
  const { pool, sends } = poolOf(2, 5000);
  pool.isExact = true;
  expect(sends(5)).toEqual([1, 2, 1, 2, 1]);
});

it("a full queue is relieved: its first request goes to a busy upstream", () => {
  const { pool, sends } = poolOf(2, 5000);
  expect(sends(3)).toEqual([1, 2, 0]);
  const served: string[] = [];
  const pending = (name: string): PendingRequest => ({
    ...{ isWaiting: true, isIdempotent: true, home: 0, order: 0, tried: undefined },
    onUpstreamFree: (upstream) => void served.push(`${name} at ${upstream.name}`),
    onHomeLost: () => {},
    onPoolDown: () => {},
  });
  const queued = ["a", "b", "c", "d", "e"].map((name) => pool.requestQueue.add(pending(name)));
  expect(queued).toEqual([true, true, true, true, false]);
  expect(pool.relieve()).toBe(true);
  expect(served).toEqual(["a at web.1"]);
  expect(pool.requestQueue.add(pending("e"))).toBe(true);
  // This does not make room for others.
  pool.serveQueue();
  expect(served).toEqual(["a at web.1"]);
});

it("a pool without a window cannot be relieved", () => {
  const { pool } = poolOf(2, 20);
  expect(pool.relieve()).toBe(false);
});
