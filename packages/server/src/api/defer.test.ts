/** Deferred jobs run in order, one at a time, and only after a turn of the event loop without a request or response. */

import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import type { BackgroundWork } from "../shared/bridge.js";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import {
  type DeferredJob,
  DeferredJobs,
  DeferredQueue,
  defer,
  type JobFunction,
  nextStep,
  QUIET_MS,
  SETTLE_MS,
  type Step,
} from "./defer.js";
import { argumentDigest } from "./queued-arguments.js";

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
const turns = async (count: number) => {
  for (let n = 0; n < count; n++) await turn();
};

describe("DeferredJobs", () => {
  let work: BackgroundWork;
  let jobs: DeferredJobs;
  let ran: unknown[];
  const run = (argument: unknown) => void ran.push(argument);
  const add = (fn: (argument: never) => unknown, argument?: unknown, isCombined = false) =>
    jobs.add(fn as (argument: unknown) => unknown, argument, isCombined);
  beforeEach(() => {
    work = { isLeaving: false };
    jobs = new DeferredJobs(work);
    ran = [];
  });
  afterEach(() => void vi.restoreAllMocks());
  const allEnd = () => expect.poll(() => jobs.unfinished === 0, { interval: 1 }).toBe(true);

  it("runs them first in, first out, and none immediately", async () => {
    for (let n = 0; n < 5; n++) add(run, n);
    expect(ran).toEqual([]);
    await allEnd();
    expect(ran).toEqual([0, 1, 2, 3, 4]);
  });

  it("awaits what a job returns before the next begins", async () => {
    let finish = () => {};
    const slow = async (name: string) => {
      ran.push(`${name} begins`);
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      ran.push(`${name} ends`);
    };
    add(slow, "first");
    add(run, "second");
    await turns(20);
    expect(ran).toEqual(["first begins"]);
    expect(jobs.stats().jobs).toBe(2);
    finish();
    await allEnd();
    expect(ran).toEqual(["first begins", "first ends", "second"]);
  });

  it("logs the error of a job with its name, and continues", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => {});
    add(function throws() {
      throw new Error("one");
    });
    add(async function rejects() {
      throw new Error("two");
    });
    add(run, "next");
    await allEnd();
    expect(ran).toEqual(["next"]);
    expect(error.mock.calls).toEqual([
      ["the deferred job throws failed:", new Error("one")],
      ["the deferred job rejects failed:", new Error("two")],
    ]);
  });

  it("waits while each turn has a request or a response, and then runs", async () => {
    let requests = 0;
    let looks = 0;
    let isBusy = true;
    work.requestActivity = () => {
      looks++;
      return isBusy ? ++requests : requests;
    };
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "job");
    await expect.poll(() => looks > 500, { interval: 1 }).toBe(true);
    expect(ran).toEqual([]);
    isBusy = false;
    await allEnd();
    expect(ran).toEqual(["job"]);
  });

  it("a young job waits for the end of a burst, even if an older job has just run", async () => {
    let requests = 0;
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    work.requestActivity = () => requests;
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "old");
    now.mockReturnValue(200);
    requests++;
    add(run, "young");
    await expect.poll(() => jobs.unfinished === 1, { interval: 1 }).toBe(true);
    await turns(10);
    expect(ran).toEqual(["old"]);
    now.mockReturnValue(210);
    await allEnd();
    expect(ran).toEqual(["old", "young"]);
  });

  it("a request that waits for something delays no job", async () => {
    work.requestActivity = () => 1;
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "job");
    await allEnd();
    expect(ran).toEqual(["job"]);
  });

  it("runs one per turn when they have waited for maxDeferDelayMs, however busy the server is", async () => {
    let requests = 0;
    let turnsSince = 0;
    work.requestActivity = () => ++requests;
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 0 };
    const eachTurn = () => {
      turnsSince++;
      if (jobs.unfinished > 0) setImmediate(eachTurn);
    };
    for (let n = 0; n < 10; n++) add(() => void ran.push(turnsSince));
    eachTurn();
    await allEnd();
    expect(new Set(ran).size).toBe(10);
  });

  it("lets the event loop turn between two jobs", async () => {
    const seen: number[] = [];
    let turnsSince = 0;
    const eachTurn = () => {
      turnsSince++;
      if (jobs.unfinished > 0) setImmediate(eachTurn);
    };
    for (let n = 0; n < 100; n++) add(() => void seen.push(turnsSince));
    eachTurn();
    await allEnd();
    expect(new Set(seen).size).toBe(100);
  });

  it("throws beyond its maximum, and still drops combined jobs", async () => {
    work.limits = { ...DEFAULT_LIMITS, maxDeferredJobs: 2 };
    add(run, 1);
    add(run, 2);
    expect(() => add(run, 3)).toThrow(expect.objectContaining({ code: "defer-queue-full" }));
    expect(() => add(run, 2, true)).not.toThrow();
    await allEnd();
    add(run, 4);
    await allEnd();
    expect(ran).toEqual([1, 2, 4]);
  });

  it("a running combined job is no longer queued: a call after its start needs another run", async () => {
    let state = 0;
    const saved: number[] = [];
    let finish = () => {};
    const save = async () => {
      saved.push(state);
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
    };
    const change = (to: number) => {
      state = to;
      add(save, undefined, true);
    };
    change(1);
    change(2);
    await turns(5);
    change(3);
    change(4);
    finish();
    await turns(5);
    finish();
    await allEnd();
    expect(saved).toEqual([2, 4]);
  });

  it("reports how many have not ended and how old the oldest is, counts events, and wakes those who wait for a job", async () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(1000);
    expect(jobs.stats()).toEqual({ jobs: 0, oldestMs: 0 });
    let woken = 0;
    work.onNextJob = () => void woken++;
    const before = jobs.activity;
    add(run, 1);
    now.mockReturnValue(1400);
    add(run, 2);
    expect(woken).toBe(2);
    expect(jobs.stats()).toEqual({ jobs: 2, oldestMs: 400 });
    expect(jobs.activity).toBe(before + 2);
    await turns(10);
    expect(jobs.activity).toBe(before + 4);
    expect(jobs.stats()).toEqual({ jobs: 0, oldestMs: 0 });
  });

  it("reports by name which jobs have not ended", async () => {
    const never = () => new Promise<void>(() => {});
    const save = () => {};
    add(never);
    await turns(5);
    add(save);
    add(save);
    add(() => {});
    expect(jobs.describe()).toBe("deferred jobs are lost: 3 queued (save × 2, (anonymous) × 1); under way: never");
  });
});

it("only a function can be deferred", () => {
  expect(() => defer("save" as never)).toThrow(expect.objectContaining({ code: "bad-argument" }));
});

const MAX_DELAY_MS = 1000;

test.each<[string, number, boolean, number, Step]>([
  ["a young job in the middle of a burst", 5, true, 0, "look-when-quiet"],
  ["a young job just after a request", 5, false, QUIET_MS - 1, "look-when-quiet"],
  ["a young job when the burst is over", 20, false, QUIET_MS, "run"],
  ["an older job while each turn brings something", SETTLE_MS, true, 0, "look-next-turn"],
  ["an older job in the first turn that brings nothing", SETTLE_MS, false, 1, "run"],
  ["a job that has waited long enough", MAX_DELAY_MS, true, 0, "run"],
])("%s", (_, ageMs, hasChanged, quietMs, step) => {
  expect(nextStep({ ageMs, hasChanged, quietMs }, MAX_DELAY_MS)).toBe(step);
});

test("a delay of 0 only defers jobs to the end of a turn", () => {
  expect(nextStep({ ageMs: 0, hasChanged: true, quietMs: 0 }, 0)).toBe("run");
});

const save: JobFunction = () => {};
const mail: JobFunction = () => {};
const MANY = 1_000_000;

/** The queue as specified. */
class PlainQueue {
  private readonly jobs: DeferredJob[] = [];

  add(job: DeferredJob, isCombined: boolean, maxJobs: number): string {
    const isQueued = this.jobs.some(({ fn, argument }) => fn === job.fn && isDeepStrictEqual(argument, job.argument));
    if (isCombined && isQueued) return "dropped";
    if (this.jobs.length >= maxJobs) return "full";
    this.jobs.push(job);
    return "queued";
  }

  take(): DeferredJob | undefined {
    return this.jobs.shift();
  }

  get all(): readonly DeferredJob[] {
    return this.jobs;
  }
}

/** Few values, so that many are equal, with nearly equal values of each kind. */
const anyKey = fc.constantFrom("a", "b");
const anyArgument = fc.letrec((tie) => ({
  primitive: fc.constantFrom<unknown>(undefined, null, 0, -0, 1, Number.NaN, "", "1", "a".repeat(100), true, 1n, save),
  value: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    tie("primitive"),
    fc.dictionary(anyKey, tie("value"), { maxKeys: 2 }),
    fc.array(tie("value"), { maxLength: 2 }),
    fc.array(fc.tuple(tie("primitive"), tie("value")), { maxLength: 2 }).map((entries) => new Map(entries)),
    fc.array(tie("value"), { maxLength: 2 }).map((values) => new Set(values)),
    fc.constantFrom(0, 1).map((at) => new Date(at)),
    fc.array(fc.constantFrom(0, 1), { maxLength: 2 }).map((bytes) => new Uint8Array(bytes)),
    fc.constantFrom(0, -0).map((number) => new Float64Array([number])),
  ),
})).value;
const anyAction = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ fn: fc.constantFrom(save, mail), argument: anyArgument, isCombined: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.constant("take" as const) },
);

describe("DeferredQueue", () => {
  it("keeps the order and the maximum, and drops what `combined` drops, whatever is added and removed", () => {
    fc.assert(
      fc.property(fc.array(anyAction, { maxLength: 60 }), fc.integer({ min: 1, max: 12 }), (actions, maxJobs) => {
        const [queue, plain] = [new DeferredQueue(), new PlainQueue()];
        for (const [queuedAtMs, action] of actions.entries()) {
          if (action === "take") expect(queue.take()).toBe(plain.take());
          else {
            const job = { fn: action.fn, argument: action.argument, queuedAtMs };
            expect(queue.add(job, action.isCombined, maxJobs)).toBe(plain.add(job, action.isCombined, maxJobs));
          }
          expect(queue.length).toBe(plain.all.length);
          expect(queue.oldest).toBe(plain.all[0]);
        }
        const rest = [...queue];
        expect(rest.length).toBe(plain.all.length);
        for (const [at, job] of rest.entries()) expect(job).toBe(plain.all[at]);
      }),
      { numRuns: 400 },
    );
  });

  it.each([
    ["combined first, then plain", [..."cccccppppp"], 6],
    ["in turns", [..."cpcpcpcpcp"], 6],
    ["plain first, then combined: the plain ones stand for them", [..."pppppccccc"], 5],
  ])("5 combined and 5 plain equal jobs, %s: number of waiting jobs", (_, kinds, waiting) => {
    const queue = new DeferredQueue();
    for (const [queuedAtMs, kind] of kinds.entries()) {
      queue.add({ fn: save, argument: { page: "/" }, queuedAtMs }, kind === "c", MANY);
    }
    expect(queue.length).toBe(waiting);
    // The first of several equal jobs keeps its place.
    expect(queue.take()?.queuedAtMs).toBe(0);
  });

  it("forgets a removed job: an equal job is queued again", () => {
    const queue = new DeferredQueue();
    const add = (argument: unknown) => queue.add({ fn: save, argument, queuedAtMs: 0 }, true, MANY);
    for (const argument of [1, { a: 1 }]) {
      expect([add(argument), add(argument)]).toEqual(["queued", "dropped"]);
      queue.take();
      expect(add(argument)).toBe("queued");
      queue.take();
    }
  });

  it("distinguishes 0 from -0, as isDeepStrictEqual does, and recognizes NaN", () => {
    const queue = new DeferredQueue();
    const outcomes = [0, -0, 0, -0, Number.NaN, Number.NaN].map((argument) =>
      queue.add({ fn: save, argument, queuedAtMs: 0 }, true, MANY),
    );
    expect(outcomes).toEqual(["queued", "queued", "dropped", "dropped", "queued", "dropped"]);
  });

  it("an argument that is changed while it waits affects neither the order nor other jobs", () => {
    const queue = new DeferredQueue();
    const changing = { page: 1 };
    const add = (argument: unknown) => queue.add({ fn: save, argument, queuedAtMs: 0 }, true, MANY);
    add(changing);
    add({ page: 2 });
    changing.page = 7;
    expect(add({ page: 2 })).toBe("dropped");
    expect(queue.take()?.argument).toBe(changing);
    expect(add({ page: 2 })).toBe("dropped");
    expect(queue.take()?.argument).toEqual({ page: 2 });
    expect(add({ page: 2 })).toBe("queued");
  });

  it("does not read the argument of a plain job", () => {
    const queue = new DeferredQueue();
    const secret = new Proxy({}, { ownKeys: () => expect.unreachable(), get: () => expect.unreachable() });
    expect(queue.add({ fn: save, argument: secret, queuedAtMs: 0 }, false, MANY)).toBe("queued");
    expect(queue.add({ fn: mail, argument: {}, queuedAtMs: 0 }, true, MANY)).toBe("queued");
    expect(queue.take()?.argument === secret).toBe(true);
  });

  it("finds an equal argument among 20,000 without comparing each of them", () => {
    const queue = new DeferredQueue();
    let looks = 0;
    /** Counts the accesses to its content. */
    const argument = (id: number) => ({
      id,
      get inside() {
        looks++;
        return [id];
      },
    });
    for (let id = 0; id < 20_000; id++) queue.add({ fn: save, argument: argument(id), queuedAtMs: 0 }, true, MANY);
    expect(queue.length).toBe(20_000);
    for (let id = 0; id < 20_000; id++) {
      expect(queue.add({ fn: save, argument: argument(id), queuedAtMs: 0 }, true, MANY)).toBe("dropped");
    }
    // Three accesses for each of those, and one for a comparison when a digest happens to be equal.
    expect(looks).toBeLessThan(200_000);
  });
});

describe("argumentDigest", () => {
  it("is the same for deeply equal arguments", () => {
    const anyObject = anyArgument.filter((value): value is object => typeof value === "object" && value !== null);
    fc.assert(
      fc.property(anyObject, anyObject, (one, other) => {
        expect(argumentDigest(structured(one))).toBe(argumentDigest(one));
        if (isDeepStrictEqual(one, other)) expect(argumentDigest(other)).toBe(argumentDigest(one));
      }),
      { numRuns: 500 },
    );
  });

  it("ends for an argument that contains itself, and is quick for a large one", () => {
    const circle: Record<string, unknown> = { a: 1 };
    circle.self = circle;
    const again: Record<string, unknown> = { a: 1 };
    again.self = again;
    expect(argumentDigest(circle)).toBe(argumentDigest(again));
    expect(argumentDigest(new Array(2 ** 32 - 1))).toBe(argumentDigest(new Array(2 ** 32 - 1)));
  });

  it.each([
    [{ id: 1 }, { id: 2 }],
    [{ user: { id: 1 } }, { user: { id: 2 } }],
    [
      [1, 2],
      [2, 1],
    ],
    [new Set([1]), new Set([2])],
    [new Map([["a", 1]]), new Map([["a", 2]])],
    [new Date(1), new Date(2)],
    [Buffer.from("a"), Buffer.from("b")],
    [{ text: `${"a".repeat(500)}1` }, { text: `${"a".repeat(500)}2` }],
  ])("distinguishes %j from %j", (one, other) => {
    expect(argumentDigest(one)).not.toBe(argumentDigest(other));
  });
});

/** A deeply equal copy, with everything unordered in reverse order. */
function structured<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(structured) as T;
  if (value instanceof Map) return new Map([...value].reverse().map(([key, each]) => [key, structured(each)])) as T;
  if (value instanceof Set) return new Set([...value].reverse().map(structured)) as T;
  if (value instanceof Date || ArrayBuffer.isView(value)) return structuredClone(value);
  const copy = Object.create(Object.getPrototypeOf(value));
  for (const [key, each] of Object.entries(value).reverse()) copy[key] = structured(each);
  return copy;
}
