/** The counts of routes. */
import { expect, it } from "vitest";
import { RouteBook, RouteCounts } from "./route-counts.js";

it("counts by method class and status class, and has the latencies since the last report", () => {
  const counts = new RouteCounts();
  expect(counts.take("web", "/")).toEqual([]);
  for (const status of [101, 200, 204, 301, 404, 500, 503, 599]) counts.countResponse(true, status, 1);
  counts.countResponse(false, 201, 2);
  counts.abandoned(false);
  counts.failed(true);
  const [reads, writes] = counts.take("web", "/");
  expect(reads).toMatchObject({ pool: "web", route: "/", access: "reads", counts: [1, 2, 1, 1, 3, 0, 1] });
  expect(writes).toMatchObject({ access: "writes", counts: [0, 1, 0, 0, 0, 1, 0] });
  expect(reads?.latency).toEqual([expect.any(Number), 8]);
  expect(counts.take("web", "/")).toEqual([]);
  counts.countResponse(true, 200, 1);
  // Counts continue, latencies start again.
  expect(counts.take("web", "/")[0]).toMatchObject({ counts: [1, 3, 1, 1, 3, 0, 1], latency: [expect.any(Number), 1] });
});

it("keeps the counts of a route over snapshots, and a bounded number of routes per pool", () => {
  const book = new RouteBook();
  const first = book.of("web", "/", 0);
  book.settle();
  expect(book.of("web", "/", 0)).toBe(first);
  const many = Array.from({ length: 500 }, (_, ordinal) => book.of("api", `/${ordinal}/`, ordinal));
  expect(new Set(many).size).toBe(16);
  book.settle();
  for (const counts of many) counts.countResponse(true, 200, 1);
  expect(book.take().length).toBe(16);
  expect(book.take()).toEqual([]);
  // Sent to a new supervisor, even if nothing has changed.
  book.again();
  expect(book.take().map(({ counts, latency }) => [counts[1], latency])).toEqual(
    many.slice(0, 16).map((_, at) => [at < 15 ? 1 : 485, []]),
  );
  book.of("web", "/", 0);
  book.settle();
  many[0]?.countResponse(true, 200, 1);
  expect(book.take()).toEqual([]);
});
