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
