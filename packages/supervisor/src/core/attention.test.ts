/** What needs attention: exactly what explain finds wrong now; and which figures stand out. */
import { describe, expect, it } from "vitest";
import { instance, pool, status } from "../../test/dashboard-models.js";
import type { PoolStatus, Status } from "../control/api.js";
import { attentionOf } from "./attention.js";
import type { DeathReport } from "./deaths.js";
import { marksOf, mediansOf } from "./marks.js";

const NOW = 1_800_000_000_000;
const found = (fleet: Status, deaths: DeathReport[] = []) =>
  attentionOf(fleet, { now: NOW, events: [], deaths }).map(({ severity, what }) => `${severity} ${what}`);
const fleetOf = (instances: PoolStatus["instances"], more: Partial<PoolStatus> = {}) =>
  status([pool("web", instances, more)]);

const death = (id: number, name: string, generation: number, running: string | null = null): DeathReport => ({
  ...{ version: 1, id, at: NOW - 1000 * id, process: `${name}#${id}`, name, pool: "web", kind: "exit", attempt: id },
  ...{ generation, pid: 7, runtime: "bun", release: "/srv", uptimeMs: 4000 + id, state: "ready", code: 1 },
  ...{ signal: null, reason: `exited with code 1 after 4.${id} s: TypeError: x`, running, inFlight: 0 },
  ...{ requestsTotal: 9, requests: [], requestsOmitted: 0, stack: [], history: null, lastLines: [] },
});

describe("what needs attention", () => {
  it("is nothing in a healthy fleet, nor in one that starts", () => {
    expect(found(fleetOf([instance("web.1")]))).toEqual([]);
    const short = fleetOf([instance("web.1"), instance("web.2", { state: "starting" })]);
    expect(found(short)).toEqual(["warning 1 of 2 instances of web are ready"]);
    expect(found({ ...short, state: "starting" })).toEqual([]);
    const failing = fleetOf([instance("web.1"), instance("web.2", { state: "backoff", pid: null })]);
    expect(found({ ...failing, state: "starting" })[0]).toBe("fault web.2 exited, and waits for its next start");
  });

  it("has the most severe first, no notes, and says whether a restart may help", () => {
    const lock = { reason: "migration", by: "ann", since: NOW };
    const all = attentionOf(
      {
        ...fleetOf([
          instance("web.1", { growthBytesPerMinute: 60e6 }),
          instance("web.2", { exposed: ["0.0.0.0:80"] }),
          instance("web.3", { stalledMs: 4000 }),
        ]),
        ...{ lock, watch: { failure: "web.1 failed to start\nmore" } },
      },
      { now: NOW, events: [], deaths: [] },
    );
    expect(all.map(({ kind, about, mayRestart }) => [kind, about, mayRestart])).toEqual([
      ["stalled", "web.3", true],
      ["watch", "shop", false],
      ["grows", "web.1", true],
      ["exposed", "web.2", false],
    ]);
    expect(all[1]?.evidence).toEqual(["web.1 failed to start"]);
  });

  it("has deaths of the generation in service: a crash loop, a request that kills, one death", () => {
    const fleet = fleetOf([instance("web.1", { uptimeSeconds: 0 }), instance("web.2")], { generation: 2 });
    expect(
      found(
        fleet,
        [1, 2, 3].map((id) => death(id, "web.1", 2)),
      ),
    ).toEqual(["fault web.1 died 3 times in the last hour: exit 1 (3)"]);
    expect(found(fleet, [death(1, "web.1", 2)])).toEqual(["warning web.1 died 1 s ago (exit 1) and was restarted"]);
    const kills = [death(1, "web.1", 2, "GET /boom"), death(2, "web.2", 2, "GET /boom")];
    // It names all of these deaths.
    expect(attentionOf(fleet, { now: NOW, events: [], deaths: kills })).toMatchObject([
      {
        ...{ what: "GET /boom ends the processes that run it: twice in the last hour", death: 1 },
        evidence: [
          "web.1#1, 1 s ago: exited with code 1 after 4.1 s: TypeError: x",
          expect.stringMatching(/^web\.2#2/),
        ],
      },
    ]);
    const another = death(3, "web.1", 2);
    expect(found(fleet, [...kills, another])).toEqual([
      expect.stringMatching(/^fault GET \/boom ends/),
      expect.stringMatching(/^warning web\.1 died 1 s ago/),
    ]);
    expect(
      found(
        fleet,
        [1, 2, 3].map((id) => death(id, "web.1", 1, "GET /boom")),
      ),
    ).toEqual([]);
  });

  it("has 5xx of the last minute, of the one instance that has nearly all of them or else of the pool", () => {
    const errors = (...counts: number[]) =>
      found(
        fleetOf(
          counts.map((errorsPerMinute, at) =>
            instance(`web.${at + 1}`, { errorsPerMinute, requestsPerSecond: 1, errorsTotal: 90, requestsTotal: 100 }),
          ),
          {
            ...{ errorsPerMinute: counts.reduce((a, b) => a + b), requestsPerSecond: 3 },
            ...{ errorsTotal: 270, requestsTotal: 300 },
          },
        ),
      );
    expect(errors(90, 0, 1)).toEqual(["warning web.1 fails: 90 of its responses in the last minute were 5xx"]);
    expect(errors(30, 31, 30)).toEqual(["warning web fails: 91 of its responses in the last minute were 5xx"]);
    // Errors since the start belong to the past.
    expect(errors(1, 1, 0)).toEqual([]);
  });

  it("has a slow route", () => {
    const counts = { requestsTotal: 8_200, recentRequests: 20, errorsTotal: 0 };
    const route = { ...counts, route: "reads /", p50Ms: 0.6, p99Ms: 2, isSlow: false };
    const slow = { ...route, route: "reads /report/", p50Ms: 299, p99Ms: 302 };
    expect(found(fleetOf([instance("web.1")], { routeClasses: [route, slow] }))).toEqual([
      "warning reads /report/ is slow: p99 302 ms, p50 299 ms",
    ]);
    // A few requests in that half minute prove nothing, whatever happened before; and the only route has none to be compared with.
    for (const routeClasses of [
      [route, { ...slow, recentRequests: 19 }],
      [slow],
      [{ ...route, recentRequests: 19 }, slow],
    ])
      expect(found(fleetOf([instance("web.1")], { routeClasses }))).toEqual([]);
  });
});

describe("figures that stand out", () => {
  const usual = { latencyMs: { p50: 1, p99: 10 }, latencyShape: [60, 30, 8, 2, 0, 0, 0, 0, 0, 0], rssBytes: 40e6 };
  const marks = (own: Partial<PoolStatus["instances"][number]>, others = 3) => {
    const names = Array.from({ length: others }, (_, at) => `web.${at + 2}`);
    const web = pool("web", [instance("web.1", { ...usual, ...own }), ...names.map((name) => instance(name, usual))]);
    return marksOf(web.instances[0] as PoolStatus["instances"][number], web, mediansOf(web));
  };
  const sick = { latencyMs: { p50: 1, p99: 54 }, latencyShape: [50, 0, 0, 0, 0, 0, 50, 0, 0, 0] };

  it.each([
    ["usual ones", {}, {}],
    ["half as much again", { rssBytes: 62e6 }, { rssBytes: { times: 1.6, isBad: false } }],
    ["twice as much", { rssBytes: 80e6 }, { rssBytes: { times: 2, isBad: true } }],
    ["where the others have none", { errorsPerMinute: 9 }, { errorsPerMinute: { times: null, isBad: true } }],
    ["too small to matter", { errorsPerMinute: 2 }, {}],
    ["a latency", sick, { "latencyMs.p99": { times: 5.4, isBad: true } }],
    ["a latency that may be chance", { ...sick, latencyShape: usual.latencyShape }, {}],
  ])("%s", (_, own, expected) => {
    expect(marks(own)).toEqual(expected);
  });

  it("none in a pool of two, where no value is usual", () => {
    expect(marks({ rssBytes: 900e6 }, 1)).toEqual({});
  });
});
