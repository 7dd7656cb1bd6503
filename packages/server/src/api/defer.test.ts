/** Deferred jobs run in their order, one at a time, and only when a turn of the event loop brought no request and no response. */
import { afterEach, beforeEach, describe, expect, it, test, vi } from "vitest";
import type { BackgroundWork } from "../shared/bridge.js";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { DeferredJobs, defer, nextStep, QUIET_MS, SETTLE_MS, type Step } from "./defer.js";

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
  const allEnd = () => vi.waitUntil(() => jobs.unfinished === 0, { timeout: 10_000, interval: 1 });

  it("runs them first in, first out, and none at once", async () => {
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

  it("logs the error of a job by its name, and goes on", async () => {
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

  it("waits while each turn brings a request or an answer, and then runs", async () => {
    let requests = 0;
    let looks = 0;
    let isBusy = true;
    work.requestActivity = () => {
      looks++;
      return isBusy ? ++requests : requests;
    };
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "job");
    await vi.waitUntil(() => looks > 500, { timeout: 10_000, interval: 1 });
    expect(ran).toEqual([]);
    isBusy = false;
    await allEnd();
    expect(ran).toEqual(["job"]);
  });

  it("a young job waits for the end of a burst, also when an older one has just run", async () => {
    let requests = 0;
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    work.requestActivity = () => requests;
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "old");
    now.mockReturnValue(200);
    requests++;
    add(run, "young");
    await vi.waitUntil(() => jobs.unfinished === 1, { timeout: 10_000, interval: 1 });
    await turns(10);
    expect(ran).toEqual(["old"]);
    now.mockReturnValue(210);
    await allEnd();
    expect(ran).toEqual(["old", "young"]);
  });

  it("a request that waits for something holds no job up", async () => {
    work.requestActivity = () => 1;
    work.limits = { ...DEFAULT_LIMITS, maxDeferDelayMs: 60_000 };
    add(run, "job");
    await allEnd();
    expect(ran).toEqual(["job"]);
  });

  it("runs one a turn when they have waited for maxDeferDelayMs, however busy the server is", async () => {
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

  it("lets the loop have a turn between two jobs", async () => {
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

  it("throws over its bound, and still drops what is combined", async () => {
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

  it("a combined job that is under way is not queued any more: what came since needs another run", async () => {
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

  it("tells how many have not ended and how old the oldest is, grows with what happens, and wakes who waits for a job", async () => {
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

  it("tells by name what has not ended", async () => {
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

test("a delay of 0 puts nothing off but to the end of a turn", () => {
  expect(nextStep({ ageMs: 0, hasChanged: true, quietMs: 0 }, 0)).toBe("run");
});
