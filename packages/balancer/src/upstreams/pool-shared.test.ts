/** Two balancers that share the counts of their requests: where each sends the next one. */
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Pool } from "./pool.js";
import type { PendingRequest } from "./request-queue.js";
import { RoundRobin } from "./round-robin.js";
import { keyOf, OtherTable, OwnTable, SharedCounts, TABLE_WORDS } from "./shared-counts.js";
import { Upstream } from "./upstream.js";
import type { UpstreamClient } from "./upstream-client.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const NAMES = ["web.1", "web.2"];

interface Kind {
  /** The CPU time of a request; 0: nobody reports it. */
  micros?: number;
  maxInFlight?: number;
  isForeign?: boolean;
}

/** A balancer with its table in `words`. */
class Sharer {
  readonly pool = new Pool("web", new RoundRobin<Upstream>(), 100, 2);
  readonly table: OwnTable;
  readonly upstreams: Upstream[];
  readonly pending = NAMES.map(() => 0);
  /** The slots of requests that were served from the queue. */
  readonly served: number[] = [];
  readonly reassigned: string[] = [];
  looks = 0;

  constructor(
    words: Uint32Array,
    private readonly kind: Kind,
  ) {
    const { micros = 0, maxInFlight = Number.POSITIVE_INFINITY, isForeign = false } = kind;
    const isLane = micros > 0;
    this.table = new OwnTable(words);
    const { pending } = this;
    const look = () => ++this.looks;
    this.upstreams = NAMES.map((name, at) => {
      const link = {
        isBatched: isLane,
        hasRoom: () => (this.upstreams[at] as Upstream).inFlight < maxInFlight,
        open: () => {
          if (isLane) pending[at] = (pending[at] as number) + 1;
        },
        reassignWaiting: () => void this.reassigned.push(name),
        get pending() {
          return pending[at];
        },
        get isLoopRunning() {
          return look() < 0;
        },
      } as unknown as UpstreamClient;
      const upstream = new Upstream(`${name}#1`, name, link, isForeign);
      upstream.maxInFlight = maxInFlight;
      const key = keyOf(upstream.id);
      upstream.others = new SharedCounts(this.table, this.table.take(key), key);
      return upstream;
    });
    this.pool.isLimited = kind.maxInFlight !== undefined;
    this.pool.work.balancers = 2;
    this.pool.shared = { isComplete: true, read() {} };
    this.pool.setMembers(this.upstreams);
    if (isLane) this.pool.work.add(100, 100 * micros);
  }

  /** Sends one request; returns its slot, or 0 if the request must wait. */
  send(): number {
    return this.opened(this.pool.pick(undefined, true));
  }

  queue(): void {
    const pending: PendingRequest = {
      ...{ isWaiting: true, isIdempotent: true, home: 0, order: 0, tried: undefined, since: performance.now() },
      onUpstreamFree: (upstream) => void this.served.push(this.opened(upstream)),
      onHomeLost: () => {},
      onPoolDown: () => {},
    };
    this.pool.requestQueue.add(pending);
  }

  /**
   * A request there has ended.
   * @param isReturned whether only its handler has returned
   */
  end(slot: number, isReturned = false): void {
    const upstream = this.upstreams[slot - 1] as Upstream;
    if (this.kind.micros !== undefined) this.pending[slot - 1] = (this.pending[slot - 1] as number) - 1;
    if (isReturned) upstream.share();
    else upstream.release(false);
    this.pool.serveQueue();
  }

  private opened(upstream: Upstream | undefined): number {
    upstream?.open({ mayHaveStartedElsewhere: false } as never, true);
    return upstream?.slot ?? 0;
  }
}

/** Two balancers, and the tick of both. */
function sharersOf(kind: Kind) {
  const words = [0, 1].map(() => new Uint32Array(TABLE_WORDS));
  const sharers = words.map((each) => new Sharer(each, kind)) as [Sharer, Sharer];
  const seen = words.map((each) => new OtherTable(each));
  const tick = () => {
    for (const { table } of sharers) table.beat();
    for (const [at, { upstreams, pool }] of sharers.entries()) {
      const other = seen[1 - at] as OtherTable;
      const haveChanged = other.refresh();
      for (const { others } of upstreams) {
        if (haveChanged) others?.follow([other]);
        others?.tick();
      }
      pool.reassignHeld();
    }
  };
  tick();
  return { one: sharers[0], other: sharers[1], tick };
}

const SLOW = { micros: 5000 };
const LIMITED = { maxInFlight: 1 };

it.each([
  ["slow requests", SLOW],
  ["an instance that runs one at a time", LIMITED],
])("a request skips an instance that is busy for another balancer: %s", (_, kind) => {
  const { one, other } = sharersOf(kind);
  expect([one.send(), other.send()]).toEqual([1, 2]);
  expect([one.send(), other.send()]).toEqual([0, 0]);
  one.end(1);
  expect([other.send(), one.send()]).toEqual([1, 0]);
  expect([one.looks, other.looks]).toEqual([0, 0]);
});

it("among programs, a request goes to the one with the fewest requests of all balancers", () => {
  const { one, other } = sharersOf({ isForeign: true });
  expect([one.send(), one.send(), one.send()]).toEqual([1, 2, 1]);
  expect([other.send(), other.send(), other.send()]).toEqual([2, 1, 2]);
});

it.each([
  ["slow", SLOW],
  ["limited", LIMITED],
  ["quick", { micros: 20 }],
])("round robin is exact for requests one at a time: %s", (_, kind) => {
  const { one } = sharersOf(kind);
  const slots = Array.from({ length: 6 }, () => {
    const slot = one.send();
    one.end(slot);
    return slot;
  });
  expect(slots).toEqual([1, 2, 1, 2, 1, 2]);
});

it("when the handler of another balancer's request has returned, there is room for the next", () => {
  const { one, other } = sharersOf(SLOW);
  expect([one.send(), one.send(), other.send()]).toEqual([1, 2, 0]);
  one.end(2, true);
  expect(other.send()).toBe(2);
});

it("a waiting request is sent a millisecond after another balancer's request has ended", () => {
  const { one, other } = sharersOf(SLOW);
  expect([one.send(), one.send(), other.send()]).toEqual([1, 2, 0]);
  other.queue();
  vi.advanceTimersByTime(1);
  expect(other.served).toEqual([]);
  one.end(2);
  vi.advanceTimersByTime(1);
  expect(other.served).toEqual([2]);
  expect(vi.getTimerCount()).toBe(0);
});

it.each([
  ["slow", SLOW],
  ["limited", LIMITED],
])(
  "what has waited for long goes where another balancer has a request, so that none keeps an instance: %s",
  (_, kind) => {
    const { one, other } = sharersOf(kind);
    expect([one.send(), one.send(), other.send()]).toEqual([1, 2, 0]);
    for (let n = 0; n < 3; n++) other.queue();
    vi.advanceTimersByTime(30);
    expect(other.served.sort()).toEqual([1, 2]);
  },
);

it("under a steady queue, balancers exceed their common limit only where they had no request for 50 ms, and by one", () => {
  const { one, other } = sharersOf({ maxInFlight: 2 });
  expect([one.send(), one.send(), one.send(), one.send(), other.send()]).toEqual([1, 2, 1, 2, 0]);
  for (let n = 0; n < 20; n++) {
    one.queue();
    other.queue();
  }
  const counts = () => [one, other].map(({ upstreams }) => upstreams.map(({ inFlight }) => inFlight));
  vi.advanceTimersByTime(60);
  expect(counts()).toEqual([
    [2, 2],
    [1, 1],
  ]);
  one.end(1);
  one.end(2);
  vi.advanceTimersByTime(500);
  const even = [
    [1, 1],
    [1, 1],
  ];
  expect(counts()).toEqual(even);
  for (const sharer of [one, other, one, other]) {
    sharer.end(1);
    vi.advanceTimersByTime(100);
    expect(counts()).toEqual(even);
  }
});

it("with a limit of one, the other balancer gets its turn after 50 ms, and the limit holds until then", () => {
  const { one, other } = sharersOf(LIMITED);
  expect([one.send(), other.send(), one.send()]).toEqual([1, 2, 0]);
  for (let n = 0; n < 9; n++) {
    one.queue();
    other.queue();
  }
  vi.advanceTimersByTime(30);
  const inFlight = () => [one, other].map(({ upstreams }) => upstreams[1]?.inFlight);
  expect(inFlight()).toEqual([1, 1]);
  one.end(2);
  vi.advanceTimersByTime(45);
  expect(inFlight()).toEqual([0, 1]);
  other.end(2);
  expect(inFlight()).toEqual([0, 1]);
  vi.advanceTimersByTime(10);
  expect(inFlight()).toEqual([1, 1]);
});

it("but not behind a request that takes long", () => {
  const { one, other, tick } = sharersOf(LIMITED);
  expect([one.send(), one.send()]).toEqual([1, 2]);
  for (let n = 0; n < 3; n++) tick();
  one.end(2);
  expect(one.send()).toBe(2);
  tick();
  expect(other.send()).toBe(0);
  other.queue();
  other.queue();
  vi.advanceTimersByTime(50);
  expect(other.served).toEqual([2]);
  vi.advanceTimersByTime(5000);
  expect(other.served).toEqual([2]);
  one.end(1);
  vi.advanceTimersByTime(16);
  expect(other.served).toEqual([2, 1]);
});

it("a request behind a long one is reassigned when another instance is free", () => {
  const { one, other, tick } = sharersOf(LIMITED);
  expect([one.send(), one.send(), other.send()]).toEqual([1, 2, 0]);
  other.queue();
  vi.advanceTimersByTime(30);
  expect(other.served).toEqual([1]);
  for (let n = 0; n < 5; n++) tick();
  expect(other.reassigned).toEqual([]);
  one.end(2);
  tick();
  expect([one.reassigned, other.reassigned]).toEqual([[], ["web.1"]]);
});

it("a process that exits with requests of several balancers has not lost only one", () => {
  const { one, other, tick } = sharersOf(LIMITED);
  one.send();
  expect(one.upstreams[0]?.noteLoss(0)).toBe(true);
  other.upstreams[0]?.open({ mayHaveStartedElsewhere: false } as never, true);
  tick();
  one.end(1);
  expect(other.upstreams[0]?.noteLoss(0)).toBe(false);
});

it("event loops are checked while not all balancers share their counts", () => {
  const { one } = sharersOf(SLOW);
  one.pool.shared = { isComplete: false, read() {} };
  one.send();
  expect(one.looks).toBe(1);
});
