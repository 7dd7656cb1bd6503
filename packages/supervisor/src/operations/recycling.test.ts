import { expect, test } from "vitest";
import type { Fleet, Slot } from "../core/fleet.js";
import { newProcess, type Process } from "../core/process.js";
import type { LiveProcess } from "../processes/live-process.js";
import { Recycling } from "./recycling.js";

interface World {
  slots?: Partial<Slot>[];
  counts: number[];
  jitter?: number;
  rolls?: boolean;
  mayBegin?: boolean;
}

/** Checks once, at that time; returns the recycled slots. */
function world({ slots = [], counts, jitter = 0, rolls = false, mayBegin = true }: World) {
  const workload: number[][] = [];
  const outcome = { ok: true };
  const ready: Process = { ...newProcess(), state: "ready", goal: "up", attempt: 1, deadline: null };
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
    counts.map((requestsTotal, at) => [
      `web.${at + 1}#1`,
      { exit: null, stats: { last: { requestsTotal } } } as unknown as LiveProcess,
    ]),
  );
  const pool = {
    name: "web",
    wanted: counts.length,
    generation: 2,
    hasServed: true,
    served: new Set<number>(),
    slots: all,
  };
  const recycling = new Recycling({
    children,
    rollouts: {
      of: () => (rolls ? ({} as never) : undefined),
      run: (_kind, _pool, indexes) => {
        workload.push([...indexes]);
        return Promise.resolve(outcome as never);
      },
    },
    log: { event: () => {} },
    fleet: () => ({ pools: [{ ...pool, nextAttempts: new Map() }] }) as Fleet,
    limitsOf: () => ({ maxRequests: 100, jitter }),
    mayBegin: () => mayBegin,
  });
  return { recycling, workload, outcome };
}

const draining: Process = {
  ...newProcess(),
  state: "draining",
  goal: "up",
  attempt: 1,
  step: "drain",
  drainTime: "1 s",
  deadline: 9,
};

test.each([
  ["those that have reached the limit", { counts: [99, 100, 250] }, [[2, 3]]],
  ["nobody while another rollout is at work", { counts: [100], rolls: true }, []],
  ["nobody while something else is to begin", { counts: [100], mayBegin: false }, []],
  ["no process that drains", { counts: [100], slots: [{ member: { process: draining, generation: 2 } }] }, []],
  [
    "none of an older generation",
    { counts: [100], slots: [{ member: { process: { ...draining, state: "ready" } as Process, generation: 1 } }] },
    [],
  ],
  [
    "none whose slot has a second process",
    { counts: [100], slots: [{ other: { role: "outgoing" as const, process: draining, generation: 1 } }] },
    [],
  ],
])("recycles %s", (_, options, expected) => {
  const { recycling, workload } = world(options);
  recycling.look(0);
  expect(workload).toEqual(expected);
});

test("each process has a limit of its own, never above the pool's nor below what the jitter leaves", () => {
  const counts = Array.from({ length: 200 }, (_, at) => at % 101);
  const { recycling, workload } = world({ counts, jitter: 0.5 });
  recycling.look(0);
  recycling.look(1);
  const [first = [], second] = workload;
  const had = first.map((index) => counts[index - 1] as number);
  expect(Math.min(...had)).toBeGreaterThan(50);
  expect(had.filter((count) => count === 100)).toHaveLength(1);
  expect(had.length).toBeLessThan(counts.filter((count) => count > 50).length);
  // It is drawn once.
  expect(second).toEqual(first);
});

test("a pool whose replacement did not start is left alone for a while", async () => {
  const { recycling, workload, outcome } = world({ counts: [100] });
  outcome.ok = false;
  recycling.look(0);
  await Promise.resolve();
  await Promise.resolve();
  const at = performance.now();
  recycling.look(at + 1000);
  expect(workload).toHaveLength(1);
  recycling.look(at + 61_000);
  expect(workload).toHaveLength(2);
});
