/** The counts of routes over several balancer processes. */
import { expect, it } from "vitest";
import { StatsBook } from "./stats.js";
import { RouteTotals } from "./totals.js";

const routes: Record<string, string[]> = { web: ["/", "/api/"], docs: ["docs.example/"] };
const stats = (pool: string, route: string, ok: number, errors = 0, latency: number[] = []) => ({
  ...{ pool, route, access: "reads" as const, counts: [0, ok, 0, 0, errors, 0], latency },
});

it("adds up processes, including exited ones, and continues with their next reports", () => {
  const totals = new RouteTotals((pool) => routes[pool] ?? []);
  totals.record("balancer.1#1", [stats("web", "/", 5)], 0);
  totals.record("balancer.1#1", [stats("web", "/", 7, 1)], 0);
  totals.record("balancer.2#1", [stats("web", "/", 3)], 0);
  totals.ended("balancer.1#1");
  totals.record("balancer.1#2", [stats("web", "/", 1)], 0);
  expect([...(totals.all(["web"])[0]?.counts ?? [])]).toEqual([0, 11, 0, 0, 1, 0]);
});

it("continues under another supervisor: from the saved counts, and from the next report of each balancer", () => {
  const first = new RouteTotals((pool) => routes[pool] ?? []);
  first.record("balancer.1#1", [stats("web", "/", 5, 1)], 0);
  first.ended("balancer.1#1");
  first.record("balancer.1#2", [stats("web", "/", 3), stats("docs", "docs.example/", 2)], 0);
  const saved = JSON.parse(JSON.stringify(first.saved()));
  // Counted after the state was written.
  const next = new RouteTotals((pool) => (pool === "web" ? ["/"] : []));
  next.restore(saved);
  next.record("balancer.1#2", [stats("web", "/", 4)], 0);
  expect([...(next.all(["web"])[0]?.counts ?? [])]).toEqual([0, 9, 0, 0, 1, 0]);
  expect(next.saved().map(({ pool }) => pool)).toEqual(["web"]);
});

it("keeps only routes of the configuration, even after that has changed", () => {
  const own = structuredClone(routes);
  const totals = new RouteTotals((pool) => own[pool] ?? []);
  const named = ["/", "/api/", "/evil", "other routes", "none"];
  totals.record(
    "balancer.1#1",
    ["web", "docs", "", "evil"].flatMap((pool) => named.map((route) => stats(pool, route, 1))),
    0,
  );
  const names = () => totals.all(["docs", "web"]).map(({ pool, route, access }) => `${pool} ${access} ${route}`);
  expect(names().filter((name) => name.includes("reads"))).toEqual([
    "docs reads docs.example/",
    "web reads /",
    "web reads /api/",
    " reads none",
  ]);
  expect(names().length).toBe(8);
  own.web = ["/"];
  expect(names()).not.toContain("web reads /api/");
  own.web = Array.from({ length: 300 }, (_, index) => `/${index}/`);
  expect(names().length).toBe(2 + 32 + 2);
});

it("has the latencies of the last half minute for the status", () => {
  const totals = new RouteTotals((pool) => routes[pool] ?? []);
  totals.record("balancer.1#1", [stats("web", "/api/", 4, 1, [40, 5])], 1_000);
  expect(totals.of("web", 2_000)).toEqual([
    { route: "reads /api/", requestsTotal: 5, errorsTotal: 1, recentRequests: 5, p50Ms: 0.04, p99Ms: 0.04 },
  ]);
  expect(totals.of("web", 40_000)[0]).toMatchObject({ recentRequests: 0, p50Ms: null });
  expect(totals.of("docs", 2_000)).toEqual([]);
});

it("the balancers' own errors count once for their pool, also under another supervisor", () => {
  const own = (balancer: string, errors: number, book: StatsBook, totals: RouteTotals) => {
    totals.record(balancer, [{ ...stats("web", "/", 9), counts: [0, 9, 0, 0, errors + 1, 0, errors] }], 0);
    return book.totals("web", 0);
  };
  const started = () => {
    const book = new StatsBook();
    return [
      book,
      new RouteTotals(
        (pool) => routes[pool] ?? [],
        (pool, errors, isNew) => book.addOwnErrors(pool, errors, isNew),
      ),
    ] as const;
  };
  const first = started();
  own("balancer.1#1", 2, ...first);
  own("balancer.1#1", 3, ...first);
  first[1].ended("balancer.1#1");
  expect(own("balancer.1#2", 1, ...first)).toMatchObject({ requestsTotal: 4, errorsTotal: 4 });
  expect(first[0].takeEndedErrors().map(({ name, pool, errors }) => `${name} ${pool} ${errors}`)).toEqual([
    " web 2",
    " web 1",
    " web 1",
  ]);
  // A report without a new error, and one of an earlier version.
  expect(own("balancer.1#2", 1, ...first)).toMatchObject({ errorsTotal: 4 });
  first[1].record("balancer.2#1", [stats("web", "/", 1, 7)], 0);
  const next = started();
  next[0].restoreEnded(JSON.parse(JSON.stringify(first[0].endedTotals())));
  next[1].restore(JSON.parse(JSON.stringify(first[1].saved())));
  // Nobody knows when those before the first report happened.
  next[1].record("balancer.1#2", [{ ...stats("web", "/", 9), counts: [0, 9, 0, 0, 3, 0, 2] }], 0, true);
  expect([next[0].totals("web", 0).errorsTotal, next[0].takeEndedErrors()]).toEqual([5, []]);
  expect(own("balancer.1#2", 3, ...next)).toMatchObject({ requestsTotal: 6, errorsTotal: 6 });
  expect(next[0].takeEndedErrors()).toEqual([{ name: "", pool: "web", errors: 1 }]);
});
