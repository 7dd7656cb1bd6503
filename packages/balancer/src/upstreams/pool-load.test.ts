/**
 * Which upstream a request gets from what is known about the instances: which one computes, which takes many times as long, and which has a
 * handful.
 */
import fc from "fast-check";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { atTurnEnd, turns } from "../loop-turn.js";
import { OutOfTurn } from "./out-of-turn.js";
import { Pool } from "./pool.js";
import type { PendingRequest } from "./request-queue.js";
import { RoundRobin } from "./round-robin.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

interface Measured {
  /** The CPU time of a request, in microseconds. */
  cost: number;
  /** How long the requests of each upstream take, in microseconds. */
  micros: number[];
}

/** A pool of instances whose handlers have returned and whose responses are awaited, so that no handler is pending. */
function poolOf({ cost, micros }: Measured, isBatched = false) {
  const pool = new Pool("web", new RoundRobin<Upstream>(), 1000, 2);
  const running = new Set<number>();
  const closed = new Set<number>();
  const stalled = new Set<number>();
  const looks = { count: 0 };
  const upstreams = micros.map((_, at) => {
    const link = {
      ...{ pending: 0, isBatched, open: () => {}, hasRoom: () => !closed.has(at + 1) },
      ...{ countStall: () => (stalled.has(at + 1) ? 10 : 0), reassign: () => {} },
      get isLoopRunning() {
        looks.count++;
        return running.has(at + 1);
      },
    } as unknown as UpstreamClient;
    return new Upstream(`web.${at + 1}#1`, `web.${at + 1}`, link);
  });
  pool.setMembers(upstreams);
  pool.work.add(100, 100 * cost);
  const measure = (durations = micros) => {
    for (let tick = 0; tick < 10; tick++) {
      for (const [at, upstream] of upstreams.entries())
        for (let n = 0; n < 20; n++) {
          upstream.pace.add(durations[at] as number);
          upstream.countResponse(200, 1, { routeClass: 0 });
        }
      pool.countLoad();
    }
  };
  const opened = (upstream: Upstream | undefined): number => {
    upstream?.open({ mayHaveStartedElsewhere: false } as never, true);
    return upstream?.slot ?? 0;
  };
  /** Sends one request after a while; returns the slot, or 0 if the request must wait. */
  const send = (): number => {
    vi.advanceTimersByTime(2);
    return opened(pool.pick(undefined, true));
  };
  const sends = (times: number) => Array.from({ length: times }, send);
  const served: number[] = [];
  const queue = () => {
    const pending: PendingRequest = {
      ...{ isWaiting: true, isIdempotent: true, home: 0, order: 0, tried: undefined, since: performance.now() },
      onUpstreamFree: (upstream) => void served.push(opened(upstream)),
      onHomeLost: () => {},
      onPoolDown: () => {},
    };
    pool.requestQueue.add(pending);
  };
  /** A request there has ended, or only its response has begun. */
  const ends = (slot: number, hasResponded = false): void => {
    upstreams[slot - 1]?.release(false, undefined, hasResponded);
    pool.serveQueue();
  };
  return { pool, upstreams, running, closed, stalled, measure, sends, ends, queue, served, looks };
}

/** A request that first waits, then computes. */
const LATE = { cost: 5000, micros: [12_000, 12_000, 12_000] };
/** One that waits for less than it computes. */
const HARDLY_WAITS = { cost: 5000, micros: [7000, 7000, 7000] };
/** A request that mostly waits. */
const WAITS = { cost: 5000, micros: [100_000, 100_000, 100_000] };

it.each([
  ["that mostly compute", LATE],
  ["that mostly wait", WAITS],
])("requests %s skip an instance that computes, then go to the one with the fewest", (_, measured) => {
  const { sends, running, measure } = poolOf(measured);
  measure();
  expect(sends(4)).toEqual([1, 2, 3, 1]);
  running.add(2);
  expect(sends(2)).toEqual([3, 1]);
  running.clear();
  expect(sends(1)).toEqual([2]);
});

it("requests that mostly compute wait until an event loop is free", () => {
  const { pool, sends, running, measure, queue, served, looks } = poolOf(LATE);
  measure();
  expect(sends(3)).toEqual([1, 2, 3]);
  for (const slot of [1, 2, 3]) running.add(slot);
  expect(sends(1)).toEqual([0]);
  queue();
  queue();
  vi.advanceTimersByTime(20);
  expect(served).toEqual([]);
  running.delete(2);
  vi.advanceTimersByTime(1);
  // The next request waits until it is known whether the previous one keeps the instance busy.
  expect(served).toEqual([2]);
  vi.advanceTimersByTime(1);
  expect(served).toEqual([2, 2]);
  // No event loop is checked without need.
  vi.advanceTimersByTime(10);
  const before = looks.count;
  vi.advanceTimersByTime(1000);
  expect(looks.count).toBe(before);
  // The request queue is full.
  running.add(2);
  queue();
  expect([pool.relieve(), served]).toEqual([true, [2, 2, 3]]);
});

it.each([
  ["that mostly wait", WAITS],
  ["whose duration is unknown", LATE],
])("requests %s do not wait for an event loop", (_, measured) => {
  const { sends, running, measure } = poolOf(measured);
  if (measured === WAITS) measure();
  for (const slot of [1, 2, 3]) running.add(slot);
  expect(sends(6)).toEqual([1, 2, 3, 1, 2, 3]);
});

it("a handler that computes later is also seen over a lane", () => {
  const { sends, running, measure } = poolOf(LATE, true);
  measure();
  running.add(1);
  expect(sends(4)).toEqual([1, 2, 3, 2]);
  for (const slot of [2, 3]) running.add(slot);
  expect(sends(1)).toEqual([0]);
});

it("of other balancers nothing is known unless all share their counts: their requests need a look", () => {
  const { pool, sends, running, measure } = poolOf(LATE, true);
  measure();
  pool.work.balancers = 2;
  for (const slot of [1, 3]) running.add(slot);
  expect(sends(2)).toEqual([2, 2]);
  running.add(2);
  expect(sends(1)).toEqual([0]);
});

it("requests that hardly wait for anything first wait for an instance that has no other", () => {
  const { sends, ends, measure, queue, served, looks } = poolOf(HARDLY_WAITS);
  measure();
  expect(sends(4)).toEqual([1, 2, 3, 0]);
  queue();
  queue();
  ends(3);
  expect(served).toEqual([3]);
  vi.advanceTimersByTime(39);
  expect([served, looks.count]).toEqual([[3], 0]);
  // As long as eight requests compute.
  vi.advanceTimersByTime(2);
  expect(served).toEqual([3, 1]);
});

it.each<[string, (bench: ReturnType<typeof poolOf>) => void]>([
  [
    "if they have failed at another instance",
    ({ pool, upstreams }) => {
      expect(pool.pick([upstreams[2] as Upstream], true)?.slot).toBe(1);
    },
  ],
  [
    "if they may only wait for a moment",
    ({ pool, sends, queue, served }) => {
      pool.requestQueue.follow(3, 20);
      expect(sends(1)).toEqual([0]);
      queue();
      vi.advanceTimersByTime(1);
      expect(served).toEqual([1]);
    },
  ],
  [
    "if instances are busy most of the time",
    ({ pool, sends, ends }) => {
      const ticks = (times: number) => {
        for (let tick = 0; tick < times; tick++) {
          pool.countLoad();
          for (const slot of [1, 2, 3]) ends(slot);
          sends(3);
        }
      };
      ticks(4);
      expect(sends(1)).toEqual([0]);
      ticks(2);
      expect(sends(1)).toEqual([1]);
    },
  ],
  [
    "if more wait than there are instances",
    ({ pool, queue, served }) => {
      for (let n = 0; n < 4; n++) queue();
      pool.serveQueue();
      expect(served).toEqual([1]);
    },
  ],
  [
    "if the queue is full",
    ({ pool, queue, served }) => {
      queue();
      expect([pool.relieve(), served]).toEqual([true, [1]]);
    },
  ],
  [
    "for requests whose response has begun",
    ({ upstreams, sends }) => {
      upstreams[1]?.responded(7000);
      expect(sends(1)).toEqual([2]);
    },
  ],
  [
    "for requests that last",
    ({ pool, sends }) => {
      pool.countLoad();
      expect(sends(1)).toEqual([0]);
      pool.countLoad();
      // Each has two now, and one of them is new.
      expect(sends(4)).toEqual([1, 2, 3, 0]);
    },
  ],
])("they do not wait %s", (_, expectations) => {
  const bench = poolOf(HARDLY_WAITS);
  bench.measure();
  expect(bench.sends(3)).toEqual([1, 2, 3]);
  expectations(bench);
});

it("requests that mostly compute do not wait for an event loop while most instances are busy", () => {
  const { pool, sends, ends, running, measure } = poolOf(LATE);
  measure();
  for (const slot of [1, 2, 3]) running.add(slot);
  sends(3);
  const ticks = (times: number) => {
    for (let tick = 0; tick < times; tick++) {
      pool.countLoad();
      for (const slot of [1, 2, 3]) ends(slot);
      sends(3);
    }
  };
  ticks(8);
  expect(sends(1)).toEqual([0]);
  ticks(2);
  expect(sends(1)).toEqual([1]);
});

it("an instance is idle again when its requests have ended, in whatever order", () => {
  const { pool, upstreams, sends, ends, measure } = poolOf({ cost: 5000, micros: [7000] });
  measure();
  const [only] = upstreams as [Upstream];
  expect([only.isIdle, sends(1), only.isIdle]).toEqual([true, [1], false]);
  only.responded(7000);
  expect(only.isIdle).toBe(true);
  expect([sends(1), only.isIdle]).toEqual([[1], false]);
  ends(1, true);
  expect(only.isIdle).toBe(false);
  ends(1);
  expect(only.isIdle).toBe(true);
  for (let period = 0; period < 3; period++) pool.countLoad();
  expect([sends(1), only.isIdle]).toEqual([[1], false]);
});

it("short requests are sent without a check", () => {
  const { sends, running, measure } = poolOf({ cost: 1500, micros: [1500, 1500] });
  measure();
  for (const slot of [1, 2]) running.add(slot);
  expect(sends(4)).toEqual([1, 2, 1, 2]);
});

it("an instance that takes twenty times as long gets a request occasionally, until it is quick again", () => {
  const { pool, sends, measure, upstreams } = poolOf({ cost: 20, micros: [2000, 40_000, 2000] });
  measure();
  // The judgement allows one.
  const slots = sends(30);
  expect(slots.filter((slot) => slot === 2).length).toBeLessThanOrEqual(1);
  let last = 1;
  for (let n = 0; n < 10 && last === 1; n++) {
    for (let served = 0; served < 250; served++) upstreams[0]?.countResponse(200, 1, { routeClass: 0 });
    pool.countLoad();
    last = sends(30).filter((slot) => slot === 2).length;
    upstreams[1]?.pace.add(2000);
  }
  // Now it has its turns again, and gets none of those that it missed.
  expect(last).toBe(10);
});

it.each(["exact", "alone", "others without room"])("it gets its share if it must: %s", (why) => {
  const { pool, sends, measure, closed, upstreams } = poolOf({ cost: 20, micros: [2000, 40_000, 2000] });
  measure();
  sends(1);
  if (why === "exact") pool.isExact = true;
  else if (why === "alone") pool.setMembers([upstreams[1] as Upstream]);
  else for (const slot of [1, 3]) closed.add(slot);
  expect(sends(3).filter((slot) => slot === 2).length).toBe(why === "exact" ? 1 : 3);
});

/** Sends this many requests in each of some turns; returns the slots of the last turn. */
async function turnsOf({ pool }: ReturnType<typeof poolOf>, requests: number): Promise<number[]> {
  vi.useRealTimers();
  let slots: number[] = [];
  for (let turn = 0; turn < 60; turn++) {
    slots = Array.from({ length: requests }, () => pool.pick(undefined, true)?.slot ?? 0);
    atTurnEnd({ flushTurn: () => {} });
    await new Promise(setImmediate);
  }
  return slots;
}

it.each([
  ["under saturation an instance gets several of a turn in a row", 20, 20, "round-robin", 10],
  ["one at a time they go in turn", 20, 1, "round-robin", 1],
  ["strict turns have none", 20, 20, "exact", 1],
  ["slow requests have none", 1500, 20, "round-robin", 1],
])("%s", async (_, cost, requests, policy, expected) => {
  const bench = poolOf({ cost, micros: [100, 100, 100, 100] }, true);
  bench.pool.isExact = policy === "exact";
  const slots = await turnsOf(bench, requests);
  let length = 1;
  while (length < slots.length && slots[length] === slots[0]) length++;
  expect(length).toBe(expected);
});

/** What may happen in a pool of four: requests in one turn, the end of the oldest, a tick, and one that gets no requests for a while. */
const step = fc.record({
  what: fc.constantFrom("requests", "requests", "end", "tick", "full", "drained"),
  count: fc.integer({ min: 1, max: 60 }),
});

it("single requests go strictly in turn, whatever came before them", () => {
  const steps = fc.array(step, { maxLength: 60 });
  fc.assert(
    fc.property(steps, fc.constantFrom(2, 20, 50, 400, 3000), (history, cost) => {
      const { pool, upstreams, closed } = poolOf({ cost, micros: [100, 100, 100, 100] }, true);
      const running: Upstream[] = [];
      const send = (count: number) => {
        turns.count++;
        for (let n = 0; n < count; n++) {
          const upstream = pool.pick(undefined, true);
          upstream?.open({ mayHaveStartedElsewhere: false } as never, true);
          if (upstream !== undefined) running.push(upstream);
        }
      };
      const end = (count: number) => {
        for (const upstream of running.splice(0, count)) upstream.release(false);
      };
      const drain = (upstream: Upstream) => {
        if (upstream.putBack(OutOfTurn.DRAINED) || upstream.putOut(OutOfTurn.DRAINED)) pool.turnsChanged();
      };
      for (const { what, count } of history) {
        const upstream = upstreams[count % 4] as Upstream;
        if (what === "requests") send(count);
        else if (what === "end") end(count);
        else if (what === "tick") pool.countLoad();
        else if (what === "drained") drain(upstream);
        else if (!closed.delete(upstream.slot)) closed.add(upstream.slot);
      }
      closed.clear();
      for (const upstream of upstreams) if (upstream.reasons !== 0) drain(upstream);
      end(running.length);
      const slots = Array.from({ length: 12 }, () => {
        send(1);
        const [upstream] = running;
        end(1);
        return upstream?.slot;
      });
      for (let at = 0; at + 4 <= slots.length; at++) expect(new Set(slots.slice(at, at + 4)).size).toBe(4);
    }),
  );
});

it("one that is no outlier any more, has stalled or was idle with the others gets no requests for those that it missed", () => {
  const { pool, upstreams, sends, ends, measure, stalled } = poolOf({ cost: 20, micros: [2000, 40_000, 2000] }, true);
  const forget = vi.spyOn(pool.policy as RoundRobin<Upstream>, "forget");
  const times = () => {
    const { length } = forget.mock.calls;
    forget.mockClear();
    return length;
  };
  const isStalled = (slots: number[]) => {
    stalled.clear();
    for (const slot of slots) stalled.add(slot);
    pool.markStalled(4, 1);
    return times();
  };
  sends(1);
  measure();
  expect([times(), upstreams[1]?.pace.isOutlier]).toEqual([1, true]);
  for (let n = 0; n < 40; n++) upstreams[1]?.pace.add(2000);
  upstreams[0]?.countResponse(200, 1, { routeClass: 0 });
  pool.countLoad();
  expect([times(), upstreams[1]?.pace.isOutlier]).toEqual([1, false]);
  expect([isStalled([1]), isStalled([1]), isStalled([])]).toEqual([1, 0, 1]);
  sends(1);
  pool.countLoad();
  expect(times()).toBe(0);
  for (const { slot, inFlight } of upstreams) for (let n = inFlight; n > 0; n--) ends(slot);
  pool.countLoad();
  expect(times()).toBe(1);
});
