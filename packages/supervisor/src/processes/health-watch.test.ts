import type { HealthConfig } from "@paceline/wire";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { HealthWatch } from "./health-watch.js";
import type { LiveProcess } from "./live-process.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const HEALTH = {
  healthPath: "/health",
  healthIntervalMs: 1000,
  healthTimeoutMs: 5000,
  healthFailures: 1,
  checkHost: "localhost",
} as HealthConfig;

/** The result; "nothing" while there is none. */
async function settled<T>(outcome: Promise<T>): Promise<T | "nothing"> {
  let now: T | "nothing" = "nothing";
  void outcome.then((value) => {
    now = value;
  });
  await vi.advanceTimersByTimeAsync(0);
  return now;
}

/** A watch over one instance on a lane that responds to each check after `responseMs`; null: never. */
function watched({ responseMs, health = {} }: { responseMs: number | null; health?: Partial<HealthConfig> }) {
  const reports: string[] = [];
  const asked: string[] = [];
  const instance = {
    problem: undefined as string | undefined,
    child: {
      kind: "instance",
      commandTag: null,
      protocol: "lane",
      maxInFlight: null,
      exit: null,
      drainDeadline: null,
      verdict: null,
      fault: null,
      connection: {
        send({ id, path }: { id: number; path: string }) {
          asked.push(path);
          if (responseMs === null) return;
          const { problem } = instance;
          setTimeout(
            () => watch.probed(instance.child, { type: "probed", id, ...(problem && { problem }) }),
            responseMs,
          );
        },
      },
    } as unknown as LiveProcess,
  };
  const watch = new HealthWatch({
    healthOf: () => ({ ...HEALTH, ...health }),
    ...{ warmupOf: () => undefined, isServing: () => false, onCold: () => {} },
    report: (_, report) => reports.push(report.type === "hung" ? report.reason : report.type),
  });
  return { watch, instance, child: instance.child, reports, asked };
}

test.each([
  { title: "while a question of the watch's own is under way", after: 1100, responseMs: 300, intervalMs: 1000 },
  { title: "just before a question of the watch's own", after: 900, responseMs: 300, intervalMs: 1000 },
  { title: "with an interval that is shorter than a response takes", after: 500, responseMs: 300, intervalMs: 100 },
])("a healthy instance is found healthy $title, and stays", async ({ after, responseMs, intervalMs }) => {
  const { watch, child, reports, asked } = watched({ responseMs, health: { healthIntervalMs: intervalMs } });
  watch.listens(child);
  for (let round = 0; round < 5; round++) {
    await vi.advanceTimersByTimeAsync(after);
    const found = Promise.all([watch.examine(child), watch.examine(child)]);
    const before = asked.length;
    await vi.advanceTimersByTimeAsync(responseMs);
    expect(await settled(found)).toEqual([undefined, undefined]);
    expect(asked.length - before).toBeLessThan(3);
  }
  const before = asked.length;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(reports).toEqual(["ready"]);
  expect(asked.length - before, "it asks once an interval").toBeLessThan(2 + 20_000 / (intervalMs + responseMs));
});

test("an unhealthy instance is found unhealthy by every caller, and so is one that never responds", async () => {
  const sick = watched({ responseMs: 300 });
  sick.watch.listens(sick.child);
  sick.instance.problem = "GET /health returned 500";
  await vi.advanceTimersByTimeAsync(1100);
  const found = sick.watch.examine(sick.child);
  await vi.advanceTimersByTimeAsync(200);
  expect(await found).toBe("GET /health returned 500");
  expect(sick.reports).toEqual(["ready", "unhealthy: GET /health returned 500"]);
  expect(sick.asked).toHaveLength(1);

  const silent = watched({ responseMs: null });
  silent.watch.listens(silent.child);
  await vi.advanceTimersByTimeAsync(1100);
  const unanswered = silent.watch.examine(silent.child);
  await vi.advanceTimersByTimeAsync(5000);
  expect(await unanswered).toBe("GET /health got no response within 5000 ms");
  expect(silent.reports).toEqual(["ready", "unhealthy: GET /health got no response within 5000 ms"]);
});

test("an instance that is being stopped is reported with the reason for that, and not with its consequence", async () => {
  const { watch, child, instance } = watched({ responseMs: 300 });
  instance.problem = "nothing listens on 127.0.0.1:4000";
  child.fault = "node is unhealthy: GET /health returned 500";
  const found = watch.examine(child);
  await vi.advanceTimersByTimeAsync(300);
  expect(await settled(found)).toBe("node is unhealthy: GET /health returned 500");
});

test("checks of two paths do not replace each other", async () => {
  const { watch, child, asked, reports } = watched({ responseMs: 300, health: { readyPath: "/ready" } });
  watch.listens(child);
  const found = watch.examine(child);
  await vi.advanceTimersByTimeAsync(300);
  expect(asked).toEqual(["/ready", "/health"]);
  expect(await settled(found)).toBeUndefined();
  expect(reports).toEqual(["ready"]);
});
