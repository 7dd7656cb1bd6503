/** The counts of pools under judgement: sums over processes and balancers, young processes, and exited processes. */
import type { JudgedStats, LostRequest } from "@paceline/wire";
import { Histogram } from "@paceline/wire";
import { describe, expect, test } from "vitest";
import { JudgedCounts } from "./judged-counts.js";

const MINUTE = 60_000;
const ROUTES = ["/", "/api/"];

function process(id: string, spawnedAt = 0) {
  return { id, name: id.replace(/#.*/, ""), pool: "web", spawnedAt };
}

/** Returns a report with this many responses of 10 ms for the given route class. */
function report(requests: number, { errors = 0, lost = 0, routeClass = 0, fresh = requests } = {}): JudgedStats {
  const latency = fresh === 0 ? [] : [Histogram.bucketOf(10_000), fresh];
  return { lost, classes: [{ routeClass, requests, errors, latency }] };
}

const NONE = { routeClass: 0, requests: 0, errors: 0, latency: [] };

test("the last totals of each balancer are added, and so are latencies since each report", () => {
  const counts = new JudgedCounts();
  counts.begin("web");
  const now = 2 * MINUTE;
  counts.record("web.1#1", process("web.1#1"), "balancer.1#1", report(100, { errors: 1 }), now);
  counts.record("web.1#1", process("web.1#1"), "balancer.1#1", report(150, { errors: 2, fresh: 50 }), now + 1000);
  counts.record("web.1#1", process("web.1#1"), "balancer.2#1", report(10, { lost: 3 }), now);
  counts.record("web.2#1", process("web.2#1"), "balancer.1#1", report(7, { routeClass: 3 }), now);
  const arm = counts.armOf("web", ROUTES, new Set(["web.1#1", "web.2#1"]));
  expect(arm).toMatchObject({ processes: 2, requests: 170, errors: 2, resets: 3, crashes: 0 });
  expect(Object.keys(arm.durations)).toEqual(["reads /", "writes /", "reads /api/", "writes /api/"]);
  expect(Object.values(arm.durations).map(({ counts: all }) => all)).toEqual([[160], [], [], [7]]);
  const [from, to] = arm.durations["reads /"]?.edges ?? [];
  expect(from).toBeLessThanOrEqual(10);
  expect(to).toBeGreaterThan(10);
  expect(counts.armOf("web", ROUTES, new Set(["web.2#1"])).requests).toBe(7);
});

test("the durations of a young process do not count for two seconds, its errors do", () => {
  const counts = new JudgedCounts();
  counts.begin("web");
  const young = process("web.3#2", 1000);
  const seen = (now: number, requests: number, fresh: number) => {
    counts.record(young.id, young, "balancer.1#1", report(requests, { errors: requests, fresh }), now);
    const { errors, durations } = counts.armOf("web", ROUTES, new Set([young.id]));
    return [errors, durations["reads /"]?.counts];
  };
  expect(seen(2000, 0, 0)).toEqual([0, []]);
  expect(seen(3000, 5, 5)).toEqual([5, []]);
  expect(seen(4900, 9, 4)).toEqual([9, []]);
  expect(seen(5000, 12, 3)).toEqual([12, [3]]);
});

test("errors have no duration, but a slow error ends the open request", () => {
  const counts = new JudgedCounts();
  counts.begin("web");
  const one = process("web.1#1");
  for (let second = 1; second <= 20; second++) {
    const classes = [
      {
        ...{ routeClass: 0, requests: 10 * second, errors: 5 * second },
        ...{ latency: [Histogram.bucketOf(10_000), 5], failed: [Histogram.bucketOf(2_000_000), 5] },
      },
    ];
    counts.record(one.id, one, "balancer.1#1", { lost: 0, classes }, 100_000 + 1000 * second, 30);
  }
  const arm = counts.armOf("web", ROUTES, new Set([one.id]), { longerThanMs: 5000, now: 120_000 });
  expect(arm).toMatchObject({ requests: 200, errors: 100, open: 0 });
  expect(arm.durations["reads /"]?.counts).toEqual([100]);
});

test("abandoned requests are added in the same buckets, even those of a process that never responds", () => {
  const counts = new JudgedCounts();
  counts.begin("web");
  const silent = process("web.3#2", 1000);
  const abandoned = (many: number) => [Histogram.bucketOf(40_000), many];
  const classes = (many: number) => [
    { routeClass: 0, requests: 0, errors: 0, latency: [], abandoned: abandoned(many) },
  ];
  counts.record(silent.id, silent, "balancer.1#1", { lost: 0, classes: classes(5) }, 2000);
  counts.record(silent.id, silent, "balancer.1#1", { lost: 0, classes: classes(2) }, 4000);
  counts.record(silent.id, silent, "balancer.1#1", { lost: 0, classes: classes(1) }, 5000);
  const durations = () => counts.armOf("web", ROUTES, new Set([silent.id])).durations["reads /"];
  expect(durations()).toMatchObject({ counts: [0], abandoned: [3] });
  counts.record(silent.id, silent, "balancer.1#1", report(4), 6000);
  const { edges = [], counts: responses, abandoned: left } = durations() ?? {};
  expect([responses?.[0], responses?.at(-1), left?.[0], left?.at(-1)]).toEqual([4, 0, 0, 3]);
  expect(edges).toHaveLength((left?.length ?? 0) + 1);
});

describe("a request is open for long", () => {
  const LONGER = { longerThanMs: 5000, now: 20_000 };
  /** Reports each second until 20 s: all responses, those that took 2 s, and the requests in flight. */
  const openAfter = (at: (second: number) => [finished: number, inFlight: number, slow?: number], last = 20) => {
    const counts = new JudgedCounts();
    counts.begin("web");
    const one = process("web.1#1");
    let before = 0;
    for (let second = 1; second <= last; second++) {
      const [finished, inFlight, slow = 0] = at(second);
      const latency = [Histogram.bucketOf(10_000), finished - before, Histogram.bucketOf(2_000_000), slow];
      const classes = [{ routeClass: 0, requests: finished, errors: 0, latency }];
      counts.record(one.id, one, "balancer.1#1", { lost: 0, classes }, 1000 * second, inFlight);
      before = finished;
    }
    return counts.armOf("web", ROUTES, new Set([one.id]), LONGER).open;
  };

  test.each<[string, number, number]>([
    ["fast responses", openAfter((second) => [100 * second, 8]), 0],
    ["no response any more: those in flight five seconds ago", openAfter((second) => [20, 10 * second]), 150],
    ["some of many", openAfter((second) => [10 * second, 20 * second]), 290],
    ["slow responses, which may be to those", openAfter((second) => [10 * second, 30, 10]), 0],
    ["clients that have gone", openAfter((second) => [20, second === 18 ? 3 : 50]), 3],
    ["fewer reports than that", openAfter(() => [20, 50], 5), 0],
    ["a balancer that reports no more", openAfter(() => [20, 50], 12), 0],
  ])("%s", (_, found, expected) => expect(found).toBe(expected));
});

test("an exited process still counts, with later reports", () => {
  const counts = new JudgedCounts();
  counts.begin("web");
  const ended = process("web.3#2");
  counts.record(ended.id, ended, "balancer.1#1", report(5), MINUTE);
  counts.crashed(ended);
  counts.record(ended.id, undefined, "balancer.1#1", report(6, { lost: 2, fresh: 1 }), MINUTE);
  expect(counts.armOf("web", ROUTES, new Set([ended.id]))).toMatchObject({ requests: 8, resets: 2, crashes: 1 });
  // Even one that exits before its first report.
  const brief = process("web.3#3");
  counts.know(brief);
  counts.record(brief.id, undefined, "balancer.1#1", report(1), MINUTE);
  expect(counts.armOf("web", ROUTES, new Set([brief.id])).requests).toBe(1);
});

test.each<
  [string, boolean, Partial<{ report: JudgedStats; inFlight: number; lost: LostRequest["state"]; omitted: number }>]
>([
  ["nothing", false, {}],
  ["reports without requests", false, { report: report(0) }],
  ["a response", true, { report: report(1) }],
  ["a response that was cut off", true, { report: report(0, { lost: 1 }) }],
  ["a request whose client left", true, { report: { lost: 0, classes: [{ ...NONE, abandoned: [3, 1] }] } }],
  ["a request under way at one that hangs", true, { report: report(0), inFlight: 1 }],
  ["a request that ended it", true, { lost: "running" }],
  ["a request of which nothing is known", true, { lost: "unknown" }],
  ["a request that it had not begun", false, { lost: "notStarted" }],
  ["more requests than are listed", true, { omitted: 1 }],
])(
  "%s: whether a process has had a client's request is %s",
  (_, expected, { report: stats, inFlight, lost, omitted = 0 }) => {
    const counts = new JudgedCounts();
    counts.begin("web");
    counts.know(process("web.1#2"));
    if (stats !== undefined) counts.record("web.1#2", undefined, "balancer.1#1", stats, MINUTE, inFlight);
    const requests =
      lost === undefined ? [] : [{ request: "POST /", ageMs: 1, state: lost, outcome: "failed" as const }];
    counts.lost({ upstream: "web.1#2", requests, omitted });
    counts.lost({ upstream: "web.2#9", requests, omitted: 1 });
    expect(counts.hadRequest("web", "web.1#2")).toBe(expected);
    expect(counts.hadRequest("web", "web.2#9")).toBe(false);
  },
);

test("only pools under judgement are counted, each from its beginning", () => {
  const counts = new JudgedCounts();
  const one = process("web.1#1");
  counts.record(one.id, one, "balancer.1#1", report(5), MINUTE);
  counts.crashed(one);
  expect(counts.isJudged("web")).toBe(false);
  counts.begin("web");
  expect(counts.isJudged("web")).toBe(true);
  expect(counts.armOf("web", ROUTES, new Set([one.id]))).toMatchObject({ processes: 0, requests: 0, crashes: 0 });
  counts.record(one.id, one, "balancer.1#1", report(5), MINUTE);
  counts.end("web");
  expect(counts.armOf("web", ROUTES, new Set([one.id])).requests).toBe(0);
});
