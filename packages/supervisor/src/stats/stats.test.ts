import type { InstanceStats, UpstreamStats } from "@paceline/wire";
import { expect, test } from "vitest";
import { latenciesOf, ProcessStats, StatsBook } from "./stats.js";

function report(requestsTotal: number, latency: number[] = [], periodMs = 1000): InstanceStats {
  const rest = { errorsTotal: 1, inFlight: 0, periodMs, eventLoopLagMs: 0, heapBytes: 0 };
  return { type: "stats", role: "instance", requestsTotal, latency, ...rest };
}

test("the rate is that of the last second, and fades if reports are missing", () => {
  const stats = new ProcessStats();
  stats.record(report(100), 1000);
  stats.record(report(350), 2000);
  expect(stats.requestsPerSecond(2500)).toBe(250);
  expect(stats.requestsPerSecond(9000)).toBe(0);
});

test("the rate after a silence is that of the second that ended it, and the report after it says 0", () => {
  const stats = new ProcessStats();
  stats.record(report(100), 1000);
  stats.record(report(150), 11_000);
  expect(stats.requestsPerSecond(11_500)).toBe(50);
  stats.record(report(150), 12_000);
  expect(stats.requestsPerSecond(12_500)).toBe(0);
});

test("the total of a process never decreases, however many balancers were replaced while one was not", () => {
  const stats = new ProcessStats();
  const count = (balancer: string, requestsTotal: number) =>
    stats.recordRelayed(balancer, { id: "web.1#1", inFlight: 0, requestsTotal } as UpstreamStats, 1000, 1000);
  for (let n = 1; n <= 200; n++) {
    count("balancer.1#1", n);
    count(`balancer.2#${n}`, 10);
    stats.balancerEnded(`balancer.2#${n}`);
    expect(stats.last?.requestsTotal).toBe(11 * n);
  }
  const later = new ProcessStats();
  later.restore(stats.saved());
  later.recordRelayed("balancer.1#1", { id: "web.1#1", inFlight: 0, requestsTotal: 201 } as UpstreamStats, 1000, 1000);
  expect(later.last?.requestsTotal).toBe(2201);
  expect(later.saved().relayed.length).toBeLessThan(70);
});

test("responses by status class are those of all balancers, even after one was replaced", () => {
  const stats = new ProcessStats();
  expect(stats.statuses).toBeUndefined();
  stats.recordStatuses("balancer.1#1", [0, 5, 0, 1, 0, 0]);
  stats.recordStatuses("balancer.1#1", [0, 9, 0, 1, 0, 2]);
  stats.recordStatuses("balancer.1#2", [0, 1, 0, 0, 1, 0]);
  expect(stats.statuses).toEqual([0, 10, 0, 1, 1, 2]);
});

test("the report before an exit, soon after the one before it, causes no wrong rate", () => {
  const stats = new ProcessStats();
  stats.record(report(100), 1000);
  stats.record(report(110, [], 5), 1005);
  expect(stats.requestsPerSecond(1100)).toBe(100);
});

test("latencies are those of about the last ten seconds", () => {
  const stats = new ProcessStats();
  stats.record(report(1, [40, 99, 60, 1]), 1000);
  expect(latenciesOf(stats.recentLatencies(1500)).latencyMs.p50).toBeCloseTo(0.04);
  expect(latenciesOf(stats.recentLatencies(1500)).latencyMs.p99).toBeCloseTo(0.04);
  expect(latenciesOf(stats.recentLatencies(13_000)).latencyMs).toEqual({ p50: null, p99: null });
});

test("a pool's totals keep the counts of its exited processes", () => {
  const book = new StatsBook();
  book.open("web.1#1", "web").record(report(10), 0);
  book.open("web.2#1", "web").record(report(5), 0);
  book.open("api.1#1", "api").record(report(7), 0);
  book.close("web.1#1");
  book.close("web.1#1");
  book.open("web.1#2", "web").record(report(1), 0);
  expect(book.totals("web", 10)).toMatchObject({ requestsTotal: 16, errorsTotal: 3 });
});

test("a pool's totals include what the balancers had from a process that was killed before its report", () => {
  const book = new StatsBook();
  const stats = book.open("web.1#1", "web");
  stats.record(report(10), 0);
  stats.recordStatuses("balancer.1#1", [0, 10, 0, 0, 1, 3]);
  // While no supervisor was running, it had 40 more and was killed. The next supervisor knows what was saved.
  const next = new StatsBook();
  next.open("web.1#1", "web").restore(JSON.parse(JSON.stringify(stats.saved())));
  next.close("web.1#1");
  expect(next.totals("web", 0)).toMatchObject({ requestsTotal: 11, errorsTotal: 1 });
  for (const _ of [1, 2]) {
    next.recordLate("web.1#1", "balancer.1#1", [0, 45, 0, 0, 5, 3]);
    expect(next.totals("web", 0)).toMatchObject({ requestsTotal: 50, errorsTotal: 5 });
  }
  next.recordLate("web.1#1", "balancer.2#1", [0, 2, 0, 0, 0, 0]);
  expect(next.totals("web", 0)).toMatchObject({ requestsTotal: 52, errorsTotal: 5 });
  next.recordLate("web.9#1", "balancer.1#1", [0, 45, 0, 0, 5, 3]);
  next.forget("web");
  next.recordLate("web.1#1", "balancer.1#1", [0, 99, 0, 0, 5, 3]);
  expect(next.totals("web", 0)).toMatchObject({ requestsTotal: 0, errorsTotal: 0 });
});

test("the totals of exited processes never decrease, and only the last ones are kept", () => {
  const book = new StatsBook();
  for (let n = 1; n <= 1000; n++) {
    book.open(`web.1#${n}`, "web").record(report(10), 0);
    book.close(`web.1#${n}`);
  }
  for (let n = 1; n <= 1000; n++) book.recordLate(`web.1#${n}`, "balancer.1#1", [0, 9, 0, 0, 0, 0]);
  expect(book.totals("web", 0).requestsTotal).toBe(10_000);
  for (let n = 1; n <= 1000; n++) book.recordLate(`web.1#${n}`, "balancer.1#1", [0, 11, 0, 0, 0, 0]);
  expect(book.totals("web", 0).requestsTotal).toBe(10_256);
});

test("what was counted since an older state is in the totals, but not in the rate and the errors of the last second", () => {
  const stats = new ProcessStats();
  stats.restore({ requestsTotal: 0, errorsTotal: 0, relayed: [] });
  stats.record({ ...report(1_000_000), errorsTotal: 500 }, 1000);
  expect([stats.requestsPerSecond(1000), stats.takeSample(1000).errors]).toEqual([0, 0]);
  stats.record({ ...report(1_000_100), errorsTotal: 502 }, 2000);
  expect([stats.requestsPerSecond(2000), stats.takeSample(2000).errors]).toEqual([100, 2]);
  const program = new ProcessStats();
  const relayed = (requestsTotal: number, errorsTotal: number) =>
    program.recordRelayed("balancer.1#1", { id: "api.1#1", inFlight: 0, requestsTotal, errorsTotal }, 1000, 1000);
  program.restore({
    requestsTotal: 3,
    errorsTotal: 1,
    relayed: [{ balancer: "balancer.2#1", requestsTotal: 3, errorsTotal: 1 }],
  });
  relayed(1_000_000, 500);
  expect([program.requestsPerSecond(1000), program.takeSample(1000).errors]).toEqual([0, 0]);
  relayed(1_000_100, 502);
  expect([program.requestsPerSecond(1000), program.takeSample(1000).errors]).toEqual([100, 2]);
  expect(program.last?.requestsTotal).toBe(1_000_103);
});

test("responses by status class continue under another supervisor", () => {
  const stats = new ProcessStats();
  stats.recordStatuses("balancer.1#1", [0, 5, 0, 0, 1, 0]);
  stats.recordStatuses("balancer.1#2", [0, 2, 0, 0, 0, 0]);
  const later = new ProcessStats();
  later.restore(JSON.parse(JSON.stringify(stats.saved())));
  later.recordStatuses("balancer.1#2", [0, 3, 0, 0, 0, 0]);
  expect(later.statuses).toEqual([0, 8, 0, 0, 1, 0]);
  expect(new ProcessStats().statuses).toBeUndefined();
});

test("the counts of balancers for a process form one sum, and an exited balancer has nothing in flight", () => {
  const stats = new ProcessStats();
  const counted = (requestsTotal: number, inFlight: number) => ({
    id: "api.1#1",
    requestsTotal,
    inFlight,
    errorsTotal: 1,
  });
  stats.recordRelayed("balancer.1#1", { ...counted(100, 2), latency: [40, 99] }, 1000, 1000);
  stats.recordRelayed("balancer.2#1", counted(50, 3), 500, 1000);
  expect(stats.last).toEqual({ role: "relayed", requestsTotal: 150, errorsTotal: 2, inFlight: 5 });
  expect(stats.requestsPerSecond(1500)).toBe(200);
  expect(latenciesOf(stats.recentLatencies(1500)).latencyMs.p50).toBeCloseTo(0.04);
  stats.balancerEnded("balancer.1#1");
  stats.recordRelayed("balancer.1#2", counted(10, 1), 1000, 2000);
  expect(stats.last).toEqual({ role: "relayed", requestsTotal: 160, errorsTotal: 3, inFlight: 4 });
  expect(stats.requestsPerSecond(2000)).toBe(110);
});
