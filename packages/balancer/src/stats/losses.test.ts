import type { LostRequests } from "@paceline/wire";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { UpstreamLoss } from "../upstreams/upstream-client.js";
import { Losses } from "./losses.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const request = (path: string) => () => ({ request: `GET ${path}`, ageMs: 5, outcome: "failed" as const });

test("losses at the same moment are reported together, for each upstream", () => {
  const reports: LostRequests[] = [];
  const losses = new Losses((lost) => void reports.push(lost));
  losses.add("web.1#1", "fatal", request("/a"));
  losses.add("web.2#1", "closed", request("/b"));
  losses.add("web.1#1", "notStarted", request("/c"));
  expect(reports).toEqual([]);
  vi.runAllTimers();
  expect(reports.map(({ upstream, requests }) => [upstream, requests.map(({ state }) => state)])).toEqual([
    ["web.1#1", ["running", "notStarted"]],
    ["web.2#1", ["unknown"]],
  ]);
  losses.add("web.1#1", "broken", request("/d"));
  vi.runAllTimers();
  expect(reports.at(-1)?.requests).toEqual([{ request: "GET /d", ageMs: 5, outcome: "failed", state: "started" }]);
});

test("beyond a few, losses are only counted, not described", () => {
  const reports: LostRequests[] = [];
  const losses = new Losses((lost) => void reports.push(lost));
  const describe = vi.fn(request("/"));
  const timers = vi.getTimerCount();
  for (let n = 0; n < 1000; n++) losses.add("web.1#1", "closed", describe);
  losses.flush();
  expect(reports).toMatchObject([{ omitted: 1000 - 32 }]);
  expect(describe).toHaveBeenCalledTimes(32);
  expect(vi.getTimerCount()).toBe(timers);
});

test.each<UpstreamLoss>(["refused", "staleConnection", "stalled", "behindStalled"])(
  "%s does not mean that a process has ended",
  (loss) => {
    const report = vi.fn();
    const losses = new Losses(report);
    losses.add("web.1#1", loss, request("/"));
    losses.flush();
    expect(report).not.toHaveBeenCalled();
  },
);
