/** Which process is recycled next: by tables, and over random histories with the rollout that replaces it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { RecycleLimits } from "./model.js";
import {
  NO_RECYCLING,
  nextRecycle,
  type RecycleFacts,
  type RecyclePool,
  type RecycleState,
  recycleEnded,
} from "./recycle.js";
import { advance, newRollout, type Rollout, type RolloutEvent } from "./rollout.js";

const MB = 1e6;
const HOUR = 3_600_000;
const limits: RecycleLimits = {
  ...{ maxMemoryMb: 200, memoryMetric: "rss", maxRequests: 100, maxAgeMs: 24 * HOUR, schedule: "0 4 * * *", jitter: 0 },
};

function fact(slot: string, more: Partial<RecycleFacts> = {}): RecycleFacts {
  return {
    ...{ id: `${slot}#1`, slot, index: Number(slot.split(".")[1]), isReplaceable: true, requests: 0 },
    ...{ memoryBytes: 50 * MB, ageMs: HOUR, share: 1, isScheduled: false, forecast: null },
    ...more,
  };
}

function pool(name: string, processes: RecycleFacts[], more: Partial<RecyclePool> = {}): RecyclePool {
  return { name, isFree: true, limits, busyShare: 0, processes, ...more };
}

const startOf = (pools: RecyclePool[], state = NO_RECYCLING, now = 0) => nextRecycle(state, pools, now).start;

test.each<[Partial<RecycleFacts>, string | undefined]>([
  [{ memoryBytes: 199.9 * MB }, undefined],
  [{ memoryBytes: 212.4 * MB }, "uses 212 MB of memory (maxMemoryMb 200)"],
  [{ memoryBytes: 187 * MB, share: 0.92 }, "uses 187 MB of memory (maxMemoryMb 200 less 8 % jitter)"],
  [{ memoryBytes: null, requests: 100 }, "has handled 100 requests (maxRequests 100)"],
  [{ requests: 99 }, undefined],
  [{ requests: 60, share: 0.5 }, "has handled 60 requests (maxRequests 100 less 50 % jitter)"],
  [{ ageMs: 25 * HOUR }, "has run for 1 d 1 h (maxAgeMs 86400000)"],
  [{ ageMs: 23.9 * HOUR }, undefined],
  [{ isScheduled: true }, 'is due by its schedule (recycleSchedule "0 4 * * *")'],
  [{ forecast: { bytesPerMs: 1, leftMs: 600_000 } }, "would reach its memory limit in 10 min (maxMemoryMb 200)"],
  [{ forecast: { bytesPerMs: 1, leftMs: 3 * HOUR } }, undefined],
  // In its first minute a process warms up.
  [{ forecast: { bytesPerMs: 1, leftMs: 5_000 }, ageMs: 50_000 }, undefined],
  [{ memoryBytes: 300 * MB, requests: 500 }, "uses 300 MB of memory (maxMemoryMb 200)"],
])("%j", (facts, reason) => {
  const step = nextRecycle(NO_RECYCLING, [pool("web", [fact("web.2", facts)])], 0);
  expect(step.start?.reason).toBe(reason);
  expect(step.state.due.get("web.2#1")?.reason).toBe(reason);
});

test("a limit of 0 means no limit", () => {
  const none = { ...limits, maxMemoryMb: 0, maxRequests: 0, maxAgeMs: 0, schedule: null };
  const all = fact("web.1", { memoryBytes: 1e12, requests: 1e9, ageMs: 1e12, isScheduled: true });
  expect(startOf([pool("web", [all], { limits: none })])).toBeNull();
});

describe("the order of those that are due", () => {
  const due = { requests: 100 };

  test("one goes at a time, in the whole fleet, and the next when it is done", () => {
    const pools = [pool("web", [fact("web.1", due), fact("web.2", due)]), pool("api", [fact("api.1", due)])];
    const first = nextRecycle(NO_RECYCLING, pools, 0);
    expect(first.start).toMatchObject({ pool: "web", slot: "web.1", index: 1 });
    const second = nextRecycle(first.state, pools, 1);
    expect(second.start).toBeNull();
    expect([...second.state.due.keys()]).toEqual(["web.1#1", "web.2#1", "api.1#1"]);
    const { state } = recycleEnded(second.state, "done", 2);
    const after = [pool("web", [fact("web.1", { id: "web.1#2" }), fact("web.2", due)]), pools[1] as RecyclePool];
    expect(nextRecycle(state, after, 3).start?.slot).toBe("web.2");
  });

  test("the one that has waited longest goes first; one over its memory limit goes before", () => {
    const busy = { isFree: false };
    const waiting = nextRecycle(NO_RECYCLING, [pool("web", [fact("web.2", due)], busy)], 0).state;
    const both = [fact("web.1", due), fact("web.2", due)];
    expect(startOf([pool("web", both)], waiting, 10)?.slot).toBe("web.2");
    const hog = fact("web.3", { memoryBytes: 300 * MB });
    expect(startOf([pool("web", [...both, hog])], waiting, 10)?.slot).toBe("web.3");
    expect(startOf([pool("web", [...both, hog])], waiting, 700_000)?.slot).toBe("web.2");
  });

  test.each<[string, Partial<RecycleFacts>, Partial<RecyclePool>]>([
    ["one that has a second process, or is of an older generation", { isReplaceable: false }, {}],
    ["one whose pool has another operation", {}, { isFree: false }],
  ])("%s waits", (_, facts, more) => {
    expect(startOf([pool("web", [fact("web.1", { ...due, ...facts })], more)])).toBeNull();
  });
});

test("after a failed replacement the pool waits, longer each time; after an interruption it does not, nor does another pool", () => {
  const pools = [pool("web", [fact("web.1", { requests: 100 })])];
  let state: RecycleState = NO_RECYCLING;
  let now = 0;
  const pauses: number[] = [];
  for (let time = 0; time < 8; time++) {
    const step = nextRecycle(state, pools, now);
    expect(step.start?.slot).toBe("web.1");
    const ended = recycleEnded(step.state, "failed", now);
    pauses.push(ended.pauseMs / 60_000);
    expect(startOf(pools, ended.state, now + ended.pauseMs - 1)).toBeNull();
    expect(startOf([...pools, pool("api", [fact("api.1", { requests: 100 })])], ended.state, now)?.slot).toBe("api.1");
    now += ended.pauseMs;
    state = ended.state;
  }
  expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 60, 60]);
  const again = nextRecycle(state, pools, now);
  const aside = recycleEnded(again.state, "interrupted", now);
  expect(aside.pauseMs).toBe(0);
  expect(startOf(pools, aside.state, now)?.slot).toBe("web.1");
  expect(recycleEnded(again.state, "done", now).state.pauses.size).toBe(0);
  // A removed pool is forgotten.
  expect(nextRecycle(aside.state, [], now).state.pauses.size).toBe(0);
});

test("a slot whose processes reach the memory limit immediately is not replaced forever", () => {
  let state: RecycleState = NO_RECYCLING;
  const said: string[] = [];
  const lives: number[] = [];
  let now = 0;
  for (let attempt = 1; attempt <= 12; attempt++) {
    for (let ageMs = 5_000; ageMs < HOUR; ageMs += 5_000, now += 5_000) {
      const process = fact("web.1", { id: `web.1#${attempt}`, memoryBytes: 210 * MB, ageMs });
      const step = nextRecycle(state, [pool("web", [process])], now);
      state = step.state;
      said.push(...step.held.map(({ slot, message }) => `${slot} ${message}`));
      if (step.start === null) continue;
      lives.push(ageMs / 1000);
      state = recycleEnded(state, "done", now).state;
      break;
    }
  }
  expect(lives).toEqual([5, 5, 60, 120, 240, 300, 300, 300, 300, 300, 300, 300]);
  expect(said).toHaveLength(3);
  expect(said[0]).toBe(
    "web.1 reached maxMemoryMb 200 within 1 min of its start, 3 times in a row: it is not replaced before it has run for 1 min; raise the limit, or find the leak",
  );
  // A process that lives longer ends the series.
  const later = nextRecycle(state, [pool("web", [fact("web.1", { id: "web.1#99", memoryBytes: 210 * MB })])], now);
  expect(later.start?.slot).toBe("web.1");
  expect(later.state.early.get("web.1")?.count).toBe(0);
});

/** A slot of the simulation. */
interface Simulated {
  attempt: number;
  isReady: boolean;
  requests: number;
  memoryBytes: number;
  startedAt: number;
}

interface Step {
  what: "serve" | "leak" | "crash" | "operate" | "ready" | "fail" | "look" | "wait";
  pool: number;
  slot: number;
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom<Step["what"][]>(
    "serve",
    "leak",
    "crash",
    "operate",
    "ready",
    "ready",
    "fail",
    "look",
    "look",
    "wait",
  ),
  pool: fc.nat({ max: 2 }),
  slot: fc.nat({ max: 2 }),
});

/** Pools whose processes are replaced by real rollouts. */
class World {
  now = 0;
  state: RecycleState = NO_RECYCLING;
  rollout: { pool: number; slot: number; now: Rollout } | undefined;
  readonly busy = new Set<number>();
  readonly pools = [0, 1, 2].map(() =>
    [0, 1, 2].map((): Simulated => ({ attempt: 1, isReady: true, requests: 0, memoryBytes: 50 * MB, startedAt: 0 })),
  );

  facts(): RecyclePool[] {
    return this.pools.map((slots, at) => {
      const processes = slots.flatMap((slot, index) => {
        const { attempt, requests, memoryBytes } = slot;
        const ageMs = this.now - slot.startedAt;
        const id = `p${at}.${index + 1}#${attempt}`;
        return slot.isReady ? [fact(`p${at}.${index + 1}`, { id, requests, memoryBytes, ageMs })] : [];
      });
      return pool(`p${at}`, processes, { isFree: !this.busy.has(at) && this.rollout?.pool !== at });
    });
  }

  look(): void {
    const facts = this.facts();
    const { state, start } = nextRecycle(this.state, facts, this.now);
    this.state = state;
    if (start === null) return;
    expect(this.rollout).toBeUndefined();
    const of = facts.find(({ name }) => name === start.pool) as RecyclePool;
    expect(of.isFree).toBe(true);
    expect(of.processes.find(({ index }) => index === start.index)).toMatchObject({ id: start.id });
    expect(state.due.has(start.id)).toBe(true);
    const rollout = newRollout("recycle", [start.index], { maxSurge: 5, canGoBack: false });
    this.rollout = { pool: Number(start.pool.slice(1)), slot: start.index - 1, now: rollout };
    this.send({ type: "begin" });
  }

  send(event: RolloutEvent): void {
    const running = this.rollout;
    if (running === undefined) return;
    const { rollout, actions } = advance(running.now, event);
    running.now = rollout;
    const slot = this.pools[running.pool]?.[running.slot] as Simulated;
    for (const { type } of actions) {
      if (type !== "swap") continue;
      const ready = this.ready();
      Object.assign(slot, {
        attempt: slot.attempt + 1,
        isReady: true,
        requests: 0,
        memoryBytes: 50 * MB,
        startedAt: this.now,
      });
      // The replacement is ready before the old process leaves.
      expect(this.ready()).toBeGreaterThanOrEqual(ready);
    }
    if (rollout.outcome === null) return;
    this.rollout = undefined;
    const isAside = !rollout.outcome.ok && rollout.outcome.reason === "aside";
    const outcome = rollout.outcome.ok ? "done" : isAside ? "interrupted" : "failed";
    this.state = recycleEnded(this.state, outcome, this.now).state;
  }

  get isAtWork(): boolean {
    return this.state.due.size > 0 || this.state.running !== null;
  }

  ready(): number {
    return this.pools.flat().filter(({ isReady }) => isReady).length;
  }

  /** The next step of the rollout in progress. */
  proceed(): void {
    const index = (this.rollout?.slot ?? 0) + 1;
    const step = this.rollout?.now.current[0]?.step;
    const event = {
      starting: "replacementReady",
      proving: "proven",
      joining: "applied",
      held: "promote",
      leaving: "outgoingGone",
    } as const;
    if (step !== undefined) this.send({ type: event[step], index });
  }

  play({ what, pool: at, slot: index }: Step): void {
    this.now += what === "wait" ? 60_000 : 1_000;
    const slot = this.pools[at]?.[index] as Simulated;
    if (what === "serve") slot.requests += 100;
    else if (what === "leak") slot.memoryBytes += 160 * MB;
    else if (what === "crash") slot.isReady = false;
    else if (what === "ready") this.proceed();
    else if (what === "fail")
      this.send({ type: "replacementLost", index: (this.rollout?.slot ?? 0) + 1, reason: "lost" });
    else if (what === "look") this.look();
    else if (what === "operate" && !this.busy.delete(at)) {
      // A reload or restart has priority, and replaces all processes of its pool.
      if (this.rollout?.pool === at) this.send({ type: "abandon", reason: "aside" });
      this.busy.add(at);
      for (const each of this.pools[at] ?? [])
        Object.assign(each, {
          attempt: each.attempt + 1,
          isReady: true,
          requests: 0,
          memoryBytes: 50 * MB,
          startedAt: this.now,
        });
    }
  }
}

test("over random histories: one at a time, never below the minimum, and every process that is due is replaced in the end", () => {
  fc.assert(
    fc.property(fc.array(anyStep, { minLength: 40, maxLength: 120 }), (steps) => {
      const world = new World();
      for (const step of steps) world.play(step);
      // After that everything works, and nothing new becomes due.
      world.busy.clear();
      for (const slot of world.pools.flat()) slot.isReady = true;
      for (let round = 0; round < 400 && (round === 0 || world.isAtWork); round++) {
        world.now += 30_000;
        world.look();
        world.proceed();
      }
      expect(world.isAtWork).toBe(false);
    }),
    { numRuns: 100 },
  );
});
