/** When an overdue request makes its process be killed. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Fleet } from "../core/fleet.js";
import { ProcessStats } from "../stats/stats.js";
import { noteRunning } from "./child-channel.js";
import type { Children } from "./children.js";
import type { LiveProcess } from "./live-process.js";
import { LivenessWatch } from "./liveness-watch.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function watched(timeoutMs = 5000, counted: object = { commandTag: "command" }) {
  const reasons: string[] = [];
  /** How long after the process has left its pool it is killed. */
  const delays: (number | undefined)[] = [];
  const child = {
    id: "web.1#1",
    pool: "web",
    runtime: "command",
    verdict: null,
    death: {},
    relayed: new Map(),
    ...counted,
  } as unknown as LiveProcess;
  const watch = new LivenessWatch({
    children: { alive: () => [child] } as unknown as Children,
    fleet: () => ({ pools: [] }) as unknown as Fleet,
    policyOf: () => ({ hangAfterMs: 0 }) as never,
    requestTimeoutMs: () => timeoutMs,
    report: (_, event: { reason?: string; afterMs?: number }) => {
      reasons.push(event.reason as string);
      delays.push(event.afterMs);
    },
    onRanAgain: () => {},
  } as ConstructorParameters<typeof LivenessWatch>[0]);
  /** A balancer reports a request that has been overdue for that time. */
  const owedFor = (forMs: number) => {
    child.overdue = { by: "balancer.1#1", request: "GET /", since: performance.now() - forMs };
    watch.lookAtOverdue(child);
  };
  return { watch, child, reasons, delays, owedFor };
}

test.each([
  ["at once when it has passed", 6000, 20],
  ["when it passes, before the next look", 4700, 310],
])("a request that exceeded its time limit makes its process be killed %s", (_, forMs, withinMs) => {
  const { reasons, owedFor } = watched();
  owedFor(forMs);
  owedFor(forMs);
  vi.advanceTimersByTime(withinMs);
  expect(reasons).toEqual(["hung: GET / took over 5 s (requestTimeoutMs)"]);
});

test("a request that is due in a fraction of a millisecond, or is not due when the timer of another fires, is checked again", () => {
  const { reasons, owedFor } = watched();
  owedFor(4974.7);
  // By this clock, the timer may fire early.
  vi.spyOn(performance, "now").mockReturnValue(performance.now() + 24.9);
  vi.advanceTimersByTime(26);
  vi.mocked(performance.now).mockRestore();
  expect(reasons).toEqual([]);
  vi.advanceTimersByTime(10);
  expect(reasons).toEqual(["hung: GET / took over 5 s (requestTimeoutMs)"]);
});

test("the oldest of several requests at an instance need not be the cause, and the others may finish first", () => {
  const { reasons, delays, owedFor } = watched(5000, { commandTag: "command", maxInFlight: 3 });
  owedFor(6000);
  vi.advanceTimersByTime(20);
  expect(reasons).toEqual(["hung: GET /, its oldest request, took over 5 s (requestTimeoutMs)"]);
  expect(delays).toEqual([300]);
  const alone = watched(5000, { commandTag: "command", maxInFlight: 1 });
  alone.owedFor(6000);
  vi.advanceTimersByTime(20);
  expect(alone.delays).toEqual([undefined]);
});

test("while another balancer has a request there, its report is awaited, because that request may be older", () => {
  const relayed = new Map([["balancer.1#1", 0]]);
  const { child, reasons, owedFor } = watched(5000, {
    commandTag: null,
    maxInFlight: 1,
    relayed,
    stats: new ProcessStats(),
  });
  relayed.set("balancer.2#1", 1);
  owedFor(4980);
  vi.advanceTimersByTime(140);
  expect(reasons).toEqual([]);
  child.overdue = { by: "balancer.2#1", request: "GET /older", since: performance.now() - 5140 };
  vi.advanceTimersByTime(60);
  expect(reasons).toEqual(["hung: GET /older took over 5 s (requestTimeoutMs)"]);
  const waiting = watched(5000, { commandTag: null, relayed, stats: new ProcessStats() });
  waiting.owedFor(5100);
  vi.advanceTimersByTime(80);
  expect(waiting.reasons).toEqual(["hung: GET / took over 5 s (requestTimeoutMs)"]);
});

test("a request that finished in time does not, nor one without a limit, nor after the watch is closed", () => {
  const ended = watched();
  ended.owedFor(4900);
  ended.child.overdue = null;
  const unbounded = watched(0);
  unbounded.owedFor(6000);
  const over = watched();
  over.owedFor(6000);
  over.watch.stop();
  vi.advanceTimersByTime(2000);
  expect([ended, unbounded, over].flatMap(({ reasons }) => reasons)).toEqual([]);
});

test.each([
  ["from before the request says nothing", -100, 1],
  ["that was under way when the request came says nothing", 20, 1],
  ["from after it ended says that it did", 3000, 0],
])("a process's own report that it is idle %s", (_, laterMs, ends) => {
  const stats = new ProcessStats();
  const { reasons, owedFor } = watched(5000, { commandTag: null, stats });
  const idle = { errorsTotal: 0, inFlight: 0, periodMs: 1000, eventLoopLagMs: 0, heapBytes: 0, latency: [] };
  stats.record({ type: "stats", role: "instance", requestsTotal: 1, ...idle }, performance.now() - 6000 + laterMs);
  owedFor(6000);
  vi.advanceTimersByTime(20);
  expect(reasons).toHaveLength(ends);
});

test("a later balancer does not rename the request of a stalled process; once the process has replied, any may", () => {
  const child = { running: null as string | null, runningBy: null as string | null, verdict: null as string | null };
  const told = (by: string, request: string | undefined) => {
    noteRunning(child, by, request);
    return child.running;
  };
  expect([told("balancer.1#1", undefined), told("balancer.1#1", "GET /a")]).toEqual([null, "GET /a"]);
  expect([told("balancer.1#2", "GET /waits"), told("balancer.1#1", "GET /b")]).toEqual(["GET /a", "GET /b"]);
  child.running = null;
  expect(told("balancer.1#2", "GET /waits")).toBe("GET /waits");
  child.verdict = "hung";
  expect(told("balancer.1#2", "GET /c")).toBe("GET /waits");
});
