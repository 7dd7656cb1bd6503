import { Histogram } from "@paceline/wire";
import { expect, test } from "vitest";
import { JudgedCounts } from "./judged.js";

test("counts are totals, and latencies are those since the last report", () => {
  const counts = new JudgedCounts();
  expect(counts.take()).toEqual({ lost: 0, classes: [] });
  counts.countResponse(3, 200, 10);
  counts.countResponse(3, 503, 3);
  counts.countResponse(0, 499, 0.5);
  counts.lose();
  expect(counts.take()).toEqual({
    lost: 1,
    classes: [
      { routeClass: 0, requests: 1, errors: 0, latency: [Histogram.bucketOf(500), 1] },
      {
        ...{ routeClass: 3, requests: 2, errors: 1, latency: [Histogram.bucketOf(10_000), 1] },
        failed: [Histogram.bucketOf(3_000), 1],
      },
    ],
  });
  counts.countResponse(0, 200, 0.5);
  expect(counts.take().classes).toMatchObject([
    { routeClass: 0, requests: 2, latency: [Histogram.bucketOf(500), 1] },
    { routeClass: 3, requests: 2, latency: [] },
  ]);
});

test("abandoned requests are counted separately, since the last report", () => {
  const counts = new JudgedCounts();
  counts.abandoned(1, 2000);
  const judged = { routeClass: 1, requests: 0, errors: 0, latency: [] };
  expect(counts.take().classes).toEqual([{ ...judged, abandoned: [Histogram.bucketOf(2_000_000), 1] }]);
  expect(counts.take().classes).toEqual([judged]);
});
