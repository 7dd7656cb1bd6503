/** What a check finds about the processes, and what it starts; core/recycle.test.ts has the decisions. */
import { expect, onTestFinished, test, vi } from "vitest";
import type { Fleet, Slot } from "../core/fleet.js";
import type { RecycleLimits } from "../core/model.js";
import { newProcess, type Process } from "../core/process.js";
import type { LiveProcess } from "../processes/live-process.js";
import { Recycling } from "./recycling.js";

const MB = 1e6;
const ready: Process = { ...newProcess(), state: "ready", goal: "up", attempt: 1, deadline: null };
const draining: Process = {
  ...{ ...newProcess(), state: "draining", goal: "up", attempt: 1, step: "drain", drainTime: "1 s", deadline: 9 },
};

interface World {
  slots?: Partial<Slot>[];
  counts?: number[];
  limits?: Partial<RecycleLimits>;
  rolls?: boolean;
  mayBegin?: boolean;
  wanted?: number;
}

function world({ slots = [], counts = [0], limits = {}, rolls = false, mayBegin = true, wanted }: World) {
  const started: number[][] = [];
  const events: string[] = [];
  const memory = { bytes: 0, at: 0 };
  const outcome: { result: unknown } = { result: { ok: true } };
  const all = counts.map((_, at): Slot => {
    return {
      name: `web.${at + 1}`,
      index: at + 1,
      member: { process: ready, generation: 2 },
      other: null,
      ...slots[at],
    };
  });
  const children = new Map(
    counts.map((requestsTotal, at) => {
      const id = `web.${at + 1}#1`;
      const child = {
        id,
        name: `web.${at + 1}`,
        exit: null,
        spawnedAt: 0,
        stats: { last: { requestsTotal } },
        death: {},
      };
      return [id, child as unknown as LiveProcess];
    }),
  );
  const pool = {
    ...{ name: "web", wanted: wanted ?? counts.length, generation: 2, hasServed: true, served: new Set<number>() },
    slots: all,
  };
  const recycling = new Recycling({
    children,
    rollouts: {
      of: () => (rolls ? ({} as never) : undefined),
      run: (_kind, _pool, indexes) => {
        started.push([...indexes]);
        return Promise.resolve(outcome.result as never);
      },
    },
    log: { event: (level, subject, message) => void events.push(`${level} ${subject} ${message}`) },
    fleet: () => ({ pools: [{ ...pool, nextAttempts: new Map() }] }) as Fleet,
    limitsOf: () => ({
      ...{ maxMemoryMb: 0, memoryMetric: "rss", maxRequests: 100, maxAgeMs: 0, schedule: null, jitter: 0 },
      ...limits,
    }),
    mayBegin: () => mayBegin,
    memoryOf: () => ({ ...memory }),
    requestsOf: () => 0,
  });
  onTestFinished(() => recycling.stop());
  return { recycling, started, events, outcome, memory, children };
}

test.each<[string, World, number[][]]>([
  ["the first that has reached the limit", { counts: [99, 100, 250] }, [[2]]],
  ["nobody while another rollout is at work", { counts: [100], rolls: true }, []],
  ["nobody while something else is to begin", { counts: [100], mayBegin: false }, []],
  ["no process that drains", { counts: [100], slots: [{ member: { process: draining, generation: 2 } }] }, []],
  ["none of an older generation", { counts: [100], slots: [{ member: { process: ready, generation: 1 } }] }, []],
  [
    "none whose slot has a second process",
    { counts: [100], slots: [{ other: { role: "outgoing" as const, process: draining, generation: 1 } }] },
    [],
  ],
  ["none that is surplus", { counts: [1, 100], wanted: 1 }, []],
])("recycles %s", (_, options, expected) => {
  const { recycling, started } = world(options);
  recycling.look(0);
  expect(started).toEqual(expected);
});

test("each process has its own limit, never above the pool's limit or below what the jitter leaves", () => {
  const dueAt = (draw: number, requests: number) => {
    const random = vi.spyOn(Math, "random").mockReturnValue(draw);
    const { recycling, started } = world({ counts: [requests], limits: { jitter: 0.5 } });
    recycling.look(0);
    random.mockReturnValue(1);
    // It is drawn once.
    recycling.look(1);
    random.mockRestore();
    return started.length > 0;
  };
  expect([dueAt(0, 99), dueAt(0, 100), dueAt(0.5, 74), dueAt(0.5, 75), dueAt(0.999, 50)]).toEqual([
    false,
    true,
    false,
    true,
    false,
  ]);
});

test("a pool whose replacement did not start is left alone for a time, and the event says so; after an interruption it is not", async () => {
  const { recycling, started, events, outcome } = world({ counts: [100] });
  outcome.result = { ok: false, code: "busy" };
  recycling.look(0);
  await Promise.resolve();
  await Promise.resolve();
  outcome.result = { ok: false, code: "failed" };
  recycling.look(performance.now());
  expect(started).toHaveLength(2);
  await Promise.resolve();
  await Promise.resolve();
  const at = performance.now();
  recycling.look(at + 1000);
  expect(started).toHaveLength(2);
  expect(recycling.pauseSeconds("web")).toBe(60);
  recycling.look(at + 61_000);
  expect(started).toHaveLength(3);
  expect(events).toEqual([
    "info web.1 is being recycled: it has handled 100 requests (maxRequests 100)",
    "info web.1 is being recycled: it has handled 100 requests (maxRequests 100)",
    "warn web recycling is tried again in 1 min",
    "info web.1 is being recycled: it has handled 100 requests (maxRequests 100)",
  ]);
});

test("scheduled recycling takes the first time after the start, delayed by the jitter", async () => {
  vi.useFakeTimers({ now: new Date(2026, 0, 1, 3, 59, 0), toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  vi.spyOn(Math, "random").mockReturnValue(0.5);
  const { recycling, started } = world({ limits: { maxRequests: 0, schedule: "0 4 * * *", jitter: 0.1 } });
  // The library is loaded on demand.
  recycling.look(30_000);
  await import("@paceline/wire/cron");
  await vi.dynamicImportSettled();
  await new Promise((resolve) => setImmediate(resolve));
  recycling.look(30_000);
  vi.setSystemTime(new Date(2026, 0, 1, 4, 2, 59));
  recycling.look(269_000);
  expect(started).toEqual([]);
  vi.setSystemTime(new Date(2026, 0, 1, 4, 3, 0));
  recycling.look(270_000);
  expect(started).toEqual([[1]]);
  vi.restoreAllMocks();
});

test("a leak is predicted once and shown, and its process is replaced before the limit", () => {
  const { recycling, started, events, memory, children } = world({ limits: { maxMemoryMb: 1000 } });
  const child = children.get("web.1#1");
  let replacedAt = 0;
  for (let second = 10; second < 900 && replacedAt === 0; second += 10) {
    Object.assign(memory, { bytes: (100 + second) * MB, at: second * 1000 });
    recycling.look(second * 1000);
    if (second === 300) {
      const shown = recycling.statusOf(child);
      expect(shown?.due).toBeNull();
      expect(shown?.memoryBytesPerHour).toBeCloseTo(3600 * MB, -6);
    }
    if (started.length > 0) replacedAt = second;
  }
  expect(replacedAt).toBeGreaterThan(600);
  expect(replacedAt).toBeLessThan(890);
  expect(events).toEqual([
    expect.stringMatching(
      /^info web.1 grows by 60 MB a minute, and reaches its memory limit in \d+ min.* \(maxMemoryMb 1000\)$/,
    ),
    expect.stringMatching(/^info web.1 is being recycled: it would reach its memory limit in .*\(maxMemoryMb 1000\)$/),
  ]);
  expect(recycling.statusOf(child)?.due).toMatch(/^would reach/);
  expect(recycling.isPressing).toBe(true);
});

test("a reading from before the start of the process does not count", () => {
  const { recycling, started, memory, children } = world({ limits: { maxMemoryMb: 10 } });
  Object.assign(memory, { bytes: 300 * MB, at: -1 });
  recycling.look(0);
  expect(started).toEqual([]);
  memory.at = 1;
  recycling.look(1);
  expect(started).toEqual([[1]]);
  // If it must be killed, the report of its death says why.
  expect(children.get("web.1#1")?.death.isOverMemory).toBe(true);
});
