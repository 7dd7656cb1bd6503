/** The deferred queue does what a plain list that compares everything would do. */
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DeferredJob, DeferredQueue, type JobFunction } from "./deferred-queue.js";
import { argumentDigest } from "./queued-arguments.js";

const save: JobFunction = () => {};
const mail: JobFunction = () => {};
const MANY = 1_000_000;

/** The queue as the words say it. */
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

/** Few values, so that many are equal, and of each kind some that are nearly so. */
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
  it("keeps the order, the bound, and what combined drops, whatever is added and taken", () => {
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
  ])("5 combined and 5 plain equal jobs, %s: so many wait", (_, kinds, waiting) => {
    const queue = new DeferredQueue();
    for (const [queuedAtMs, kind] of kinds.entries()) {
      queue.add({ fn: save, argument: { page: "/" }, queuedAtMs }, kind === "c", MANY);
    }
    expect(queue.length).toBe(waiting);
    // The first of equal ones keeps its place.
    expect(queue.take()?.queuedAtMs).toBe(0);
  });

  it("forgets what was taken: an equal job is queued again", () => {
    const queue = new DeferredQueue();
    const add = (argument: unknown) => queue.add({ fn: save, argument, queuedAtMs: 0 }, true, MANY);
    for (const argument of [1, { a: 1 }]) {
      expect([add(argument), add(argument)]).toEqual(["queued", "dropped"]);
      queue.take();
      expect(add(argument)).toBe("queued");
      queue.take();
    }
  });

  it("tells 0 from -0, as isDeepStrictEqual does, and knows NaN again", () => {
    const queue = new DeferredQueue();
    const outcomes = [0, -0, 0, -0, Number.NaN, Number.NaN].map((argument) =>
      queue.add({ fn: save, argument, queuedAtMs: 0 }, true, MANY),
    );
    expect(outcomes).toEqual(["queued", "queued", "dropped", "dropped", "queued", "dropped"]);
  });

  it("an argument that is changed while it waits does no harm to the order or to the others", () => {
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

  it("does not look into the argument of a plain job", () => {
    const queue = new DeferredQueue();
    const secret = new Proxy({}, { ownKeys: () => expect.unreachable(), get: () => expect.unreachable() });
    expect(queue.add({ fn: save, argument: secret, queuedAtMs: 0 }, false, MANY)).toBe("queued");
    expect(queue.add({ fn: mail, argument: {}, queuedAtMs: 0 }, true, MANY)).toBe("queued");
    expect(queue.take()?.argument === secret).toBe(true);
  });

  it("finds an equal argument among 20,000 without comparing each of them", () => {
    const queue = new DeferredQueue();
    let looks = 0;
    /** Counts how often its inside is read. */
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
    // Three each for those, one for a comparison that meets a digest by chance now and then.
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

  it("ends for an argument that holds itself, and is quick with one that is large", () => {
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
  ])("tells %j from %j", (one, other) => {
    expect(argumentDigest(one)).not.toBe(argumentDigest(other));
  });
});

/** A deeply equal copy, with everything whose order does not count the other way round. */
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
