/** A busy process reports each second, an idle one rarely, and the reported period is correct for both. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Measured, Reporter } from "./reporter.js";

describe("Reporter", () => {
  let requests: number;
  let inFlight: number;
  let linkIsOpen: boolean;
  let reports: (Measured & { requests: number })[];
  let reporter: Reporter;
  beforeEach(() => {
    vi.useFakeTimers();
    [requests, inFlight, linkIsOpen, reports] = [0, 0, true, []];
    reporter = new Reporter({
      activity: () => 2 * requests + inFlight,
      inFlight: () => inFlight,
      report: (measured) => {
        if (linkIsOpen) reports.push({ ...measured, requests });
        return linkIsOpen;
      },
    });
    reporter.start();
  });
  afterEach(() => {
    reporter.stop();
    vi.useRealTimers();
  });
  const seconds = (count: number) => vi.advanceTimersByTime(count * 1000);

  it("reports each second while requests arrive or are in progress", () => {
    for (let second = 0; second < 5; second++) {
      requests += 7;
      seconds(1);
    }
    expect(reports.map((report) => report.requests)).toEqual([7, 14, 21, 28, 35]);
    inFlight = 1;
    seconds(5);
    expect(reports).toHaveLength(10);
    expect(reports.every(({ periodMs }) => periodMs === 1000)).toBe(true);
  });

  it("reports once that nothing happens any more, and then reports every ten seconds", () => {
    seconds(1);
    requests = 5;
    seconds(1);
    expect(reports.map((report) => report.requests)).toEqual([0, 5]);
    seconds(1);
    expect(reports).toHaveLength(3);
    seconds(9);
    expect(reports).toHaveLength(3);
    seconds(1);
    expect(reports).toHaveLength(4);
    seconds(30);
    expect(reports).toHaveLength(7);
  });

  it("reports for the first requests after a silence that they arrived within a second", () => {
    seconds(8);
    requests = 100;
    seconds(1);
    expect(reports.at(-1)).toMatchObject({ requests: 100, periodMs: 1000 });
  });

  it("includes a report that could not be sent in the next one", () => {
    seconds(5);
    linkIsOpen = false;
    requests = 30;
    seconds(3);
    linkIsOpen = true;
    seconds(1);
    expect(reports.at(-1)).toMatchObject({ requests: 30, periodMs: 4000 });
  });

  it("an idle process that was delayed reports that once", () => {
    seconds(5);
    const before = reports.length;
    const late = vi.spyOn(performance, "now");
    const now = performance.now();
    late.mockImplementation(() => now + 1400);
    seconds(1);
    late.mockImplementation(() => now + 2400);
    seconds(1);
    expect(reports.slice(before).map(({ eventLoopLagMs }) => eventLoopLagMs)).toEqual([400, 0]);
    late.mockRestore();
  });

  it("a process that is woken sleeps for a minute at a time, and reports what woke it within a second", () => {
    reporter.stop();
    let wake = () => {};
    reporter = new Reporter({
      activity: () => requests,
      inFlight: () => 0,
      onNext: (call) => {
        wake = call;
      },
      report: (measured) => {
        reports.push({ ...measured, requests });
        return true;
      },
    });
    reporter.start();
    seconds(130);
    expect(reports).toHaveLength(3);
    expect(reports.every(({ eventLoopLagMs }) => eventLoopLagMs === 0)).toBe(true);
    requests = 40;
    wake();
    seconds(3);
    expect(reports.slice(3)).toMatchObject([
      { requests: 40, periodMs: 1000 },
      { requests: 40, periodMs: 1000 },
    ]);
    seconds(60);
    expect(reports).toHaveLength(6);
  });

  it("calls onRest when much activity has ended, at most every ten seconds", () => {
    reporter.stop();
    const onRest = vi.fn();
    reporter = new Reporter({ activity: () => requests, inFlight: () => 0, report: () => true, onRest });
    reporter.start();
    const callsAfter = (more: number, count: number) => {
      requests += more;
      seconds(count);
      return onRest.mock.calls.length;
    };
    expect(callsAfter(1000, 20)).toBe(0);
    expect(callsAfter(1000, 1)).toBe(0);
    expect(callsAfter(0, 1)).toBe(1);
    expect(callsAfter(5000, 2)).toBe(1);
    expect(callsAfter(0, 20)).toBe(2);
    expect(callsAfter(0, 60)).toBe(2);
  });

  it("reports on request, with everything since the last report", () => {
    seconds(1);
    requests = 3;
    vi.advanceTimersByTime(250);
    reporter.reportNow();
    expect(reports.at(-1)).toMatchObject({ requests: 3, periodMs: 250 });
  });
});
