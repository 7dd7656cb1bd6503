/** What `paceline explain` finds, rule by rule: each finding occurs for its own facts, and for no others. */
import { describe, expect, it } from "vitest";
import type { DeathReport } from "./deaths.js";
import { explain, targetOf } from "./explain.js";
import { INSTANCE_RULES } from "./explain-instance.js";
import type { Facts, FleetFacts, InstanceFacts, PoolFacts } from "./explain-model.js";
import { POOL_RULES } from "./explain-pool.js";
import type { HistoryEntry } from "./history.js";

const NOW = 1_800_000_000_000;
const instanceFacts: InstanceFacts = {
  ...{ name: "web.1", state: "ready", pid: 7, attempt: 1, generation: 3, uptimeSeconds: 600, restarts: 0, recycles: 0 },
  ...{ rssBytes: 50e6, cpuPercent: 10, requestsPerSecond: 20, requestsTotal: 9_000, inFlight: 1, errorsTotal: 0 },
  latencyShape: [0, 150, 30, 20, 0, 0, 0, 0, 0, 0],
  ...{ latencyMs: { p50: 1, p99: 5 }, stalledMs: null, eventLoopLagMs: 2, outOfTurn: null, ejections: [], weight: 100 },
  ...{ recycle: null, lastExit: null, linesLost: 0, exposed: [], deferred: null, schedule: null },
};
const others = [2, 3, 4].map((index) => ({ ...instanceFacts, name: `web.${index}` }));
const poolFacts: PoolFacts = {
  ...{ name: "web", kind: "app", generation: 3, release: "/srv/3", wanted: 4, ready: 4, requestsPerSecond: 80 },
  ...{ requestsTotal: 36_000, errorsTotal: 0, receiving: 0, sending: 0, recyclePauseSeconds: null, scaling: null },
  ...{ rollout: null, deploy: null, instances: [instanceFacts, ...others] },
};
const balancer = {
  ...{
    name: "balancer.1",
    state: "ready",
    pid: 8,
    attempt: 1,
    uptimeSeconds: 600,
    restarts: 0,
    rssBytes: 30e6,
    cpuPercent: 9,
  },
  ...{ requestsPerSecond: 80, requestsTotal: 36_000, inFlight: 2, errorsTotal: 0, latencyMs: { p50: 1, p99: 6 } },
  ...{
    latencyShape: [0, 150, 30, 20, 0, 0, 0, 0, 0, 0],
    stalledMs: null,
    lastExit: null,
    linesLost: 0,
    connections: 4,
    retriesTotal: 0,
    spoolBytes: 0,
    snapshotVersion: 2,
  },
};
const fleetFacts: FleetFacts = {
  ...{ name: "shop", state: "running", version: "1.0.0", uptimeSeconds: 601, problem: null, log: null, lock: null },
  ...{ rolledBack: null, balancers: [balancer], pools: [poolFacts] },
};
const nothing: Facts = {
  ...{
    now: NOW,
    fleet: fleetFacts,
    events: [],
    deaths: [],
    history: [],
    requests: [],
    open: [],
    watchedMs: 0,
    lines: [],
  },
};

const death = (id: number, changes: Partial<DeathReport> = {}): DeathReport => ({
  ...{
    version: 1,
    id,
    at: NOW - id * 1000,
    process: `web.1#${id}`,
    name: "web.1",
    pool: "web",
    kind: "exit",
    attempt: id,
  },
  ...{
    generation: 3,
    pid: 7,
    runtime: "bun",
    release: "/srv/3",
    uptimeMs: 4_000,
    state: "ready",
    code: 1,
    signal: null,
  },
  ...{
    reason: "exited with code 1 after 4 s: TypeError: x",
    running: null,
    inFlight: 0,
    requestsTotal: 9,
    requests: [],
  },
  ...{ requestsOmitted: 0, stack: [], history: null, lastLines: [], ...changes },
});

/** Returns the facts with a changed first instance, a changed pool, and more changes. */
function having(instance: Partial<InstanceFacts>, pool: Partial<PoolFacts> = {}, more: Partial<Facts> = {}): Facts {
  const changed = { ...poolFacts, instances: [{ ...instanceFacts, ...instance }, ...others], ...pool };
  return { ...nothing, fleet: { ...fleetFacts, pools: [changed] }, ...more };
}

const kindsIn = (facts: Facts, name: string | undefined = undefined) => {
  const target = targetOf(name, facts, undefined);
  return typeof target === "string" ? [target] : explain(target, facts).findings.map(({ kind }) => kind);
};

const growing = { due: null, memoryLimitInSeconds: 600, memoryBytesPerHour: 90e6 };
const lastRun = { at: NOW - 1000, durationSeconds: 1, code: 1, signal: null, failure: "exited with code 1" };
const schedule = {
  nextAt: null,
  nextInSeconds: null,
  runningSeconds: null,
  last: lastRun,
  runs: 3,
  failures: 1,
  skipped: 0,
};
const deployFacts = {
  ...{ from: 3, to: 4, release: "/srv/4", phase: "canary" as const, percent: 10, leftMs: 9_000, verdict: "wait" },
  ...{ canaries: [], tests: [] },
};
const OF_INSTANCES: [kind: string, facts: Facts][] = [
  ["failed", having({ state: "failed", pid: null })],
  ["crash-loop", having({}, {}, { deaths: [death(1), death(2), death(3)] })],
  ["died", having({}, {}, { deaths: [death(1)] })],
  ["waiting", having({ state: "backoff", pid: null })],
  ["starting", having({ state: "starting" })],
  ["stopped", having({ state: "stopped", pid: null })],
  ["leaving", having({ state: "draining" })],
  ["replacing", having({ other: { role: "replacement", state: "starting" } })],
  ["stalled", having({ stalledMs: 12_000 })],
  ["long-request", having({}, {}, { open: [{ name: "web.1", request: "GET /report", ageMs: 42_000 }] })],
  ["drained", having({ outOfTurn: "drained" })],
  ["ejected", having({ outOfTurn: "ejected" })],
  ["failing", having({ outOfTurn: "failing" })],
  ["canary", having({}, { deploy: { ...deployFacts, canaries: ["web.1#9"] } })],
  [
    "slow-start",
    having(
      { uptimeSeconds: 20, requestsPerSecond: 1, latencyShape: [0, 30, 6, 4, 0, 0, 0, 0, 0, 0] },
      { slowStartMs: 30_000 },
    ),
  ],
  ["weight", having({ weight: 50 })],
  ["blocked", having({ eventLoopLagMs: 400 })],
  ["slow", having({ latencyMs: { p50: 9, p99: 400 }, latencyShape: [0, 50, 30, 20, 40, 20, 0, 20, 20, 0] })],
  ["full", having({ cpuPercent: 99 })],
  ["passed-over", having({ requestsPerSecond: 1, latencyShape: [0, 30, 6, 4, 0, 0, 0, 0, 0, 0] })],
  ["errors", having({ errorsTotal: 900 })],
  ["leak", having({ recycle: growing })],
  ["grows", having({ growthBytesPerMinute: 60e6 })],
  ["large", having({ rssBytes: 300e6 })],
  ["recycle-due", having({ recycle: { due: "ran for 2 h", memoryLimitInSeconds: null, memoryBytesPerHour: null } })],
  ["run-failed", having({ schedule })],
  ["jobs-wait", having({ deferred: { jobs: 3, oldestMs: 90_000 } })],
  ["lines-lost", having({ linesLost: 3 })],
  ["exposed", having({ exposed: ["0.0.0.0:3000"] })],
];

const killer = { running: "GET /report" };

it("a request that a balancer has found to crash processes is counted with all its deaths, and has a remedy", () => {
  const lost = { request: "GET /merge", ageMs: 9, state: "started", outcome: "failed" } as const;
  const deaths = Array.from({ length: 9 }, (_, at) => death(at + 1, { requests: [lost] }));
  const message = "lost processes to GET /merge: web.4#3 and web.3#3 exited while running it; for the next minute …";
  const events = [{ at: NOW - 1000, level: "error", subject: "web", message }] as Facts["events"];
  const facts = having({}, {}, { deaths, events });
  const { findings } = explain(targetOf(undefined, facts, undefined) as never, facts);
  expect(findings.filter(({ kind }) => kind === "poison")).toEqual([]);
  const found = findings.find(({ kind }) => kind === "killer");
  expect(found?.what).toBe("GET /merge ends the processes that run it: 9 times in the last hour");
  expect(found?.todo).toMatch(/^Correct its handler/);
  // Without the event, another request may have been the cause as well.
  const beside = deaths.map((each) => ({ ...each, requests: [lost, { ...lost, request: `GET /${each.id}` }] }));
  const alike = deaths.map((each) => ({ ...each, requests: [lost, { ...lost, request: "GET /" }] }));
  expect(kindsIn({ ...facts, deaths: alike, events: [] })).not.toContain("killer");
  const killedAs = (kind: DeathReport["kind"]) =>
    kindsIn({ ...facts, deaths: deaths.map((each) => ({ ...each, kind, signal: "SIGKILL" })), events: [] });
  for (const kind of ["signal", "perhapsOutOfMemory", "unhealthy"] as const)
    expect(killedAs(kind)).not.toContain("killer");
  for (const kind of ["hung", "outOfMemory"] as const) expect(killedAs(kind)).toContain("killer");
  // Reports are enough for a new supervisor: it suffices that two reports name only this request, or name it as running; then other reports
  // that contain it count, too.
  const running = beside.map((each) => (each.id > 2 ? each : { ...each, running: lost.request }));
  const alone = beside.map((each) => (each.id > 2 ? each : { ...each, requests: [lost] }));
  for (const reports of [running, alone]) {
    const known = explain({ kind: "fleet" }, { ...facts, deaths: reports, events: [] }).findings;
    expect(known.find(({ kind }) => kind === "killer")?.what).toMatch(/^GET \/merge ends .* 9 times/);
  }
  // Requests that another instance got are no suspects, except one that was lost at another death.
  const handedOn = (request: string) => ({ ...lost, request, outcome: "reassigned" as const });
  const busy = deaths.map((each) => ({ ...each, requests: [lost, handedOn("GET /"), handedOn(`GET /${each.id}`)] }));
  expect(kindsIn({ ...facts, deaths: busy, events: [] })).toContain("killer");
  const either = [death(10, { requests: [{ ...lost, request: "GET /" }, lost] }), ...busy];
  expect(kindsIn({ ...facts, deaths: either, events: [] })).not.toContain("killer");
  const ofCanaries = deaths.map((each) => ({ ...each, ...killer, generation: 4 }));
  expect(kindsIn(having({}, {}, { deaths: ofCanaries }))).not.toContain("killer");
});

it("a request that has ended processes is reported for an hour also after a reload, but not after another release", () => {
  const message = "lost processes to GET /pay: web.1#3 and web.2#3 exited while running it; for the next minute …";
  const toldAgo = (agoMs: number) => [{ at: NOW - agoMs, level: "error", subject: "web", message }] as Facts["events"];
  const before = [1, 2, 3, 4].map((id) => death(id, { running: "GET /pay", generation: 2 }));
  const found = (deaths: DeathReport[], events = toldAgo(59_000)) =>
    explain({ kind: "fleet" }, having({}, {}, { deaths, events })).findings.map(
      ({ kind, severity, what }) => `${kind} ${severity} ${what.split(";")[0]}`,
    );
  expect(found(before)).toEqual([
    "killer warning GET /pay ended the processes that ran it: 4 times in the last hour, but not since the last reload or deploy",
  ]);
  expect(found([death(9, { running: "GET /pay" }), ...before])).toContain(
    "killer fault GET /pay ends the processes that run it: 5 times in the last hour",
  );
  const poison = "poison fault web lost processes to GET /pay: web.1#3 and web.2#3 exited while running it";
  const elsewhere = before.map((each) => ({ ...each, release: "/srv/2" }));
  expect(found(elsewhere)).toEqual([poison]);
  // The balancers retry such requests again after a minute.
  expect(found(elsewhere, toldAgo(60_000))).toEqual([]);
});
const scaling = { min: 1, max: 4, target: { metric: "queueMs", value: 20 }, figure: 90, last: null };
const routeClass = { requestsTotal: 100, errorsTotal: 0, p50Ms: 1, p99Ms: 5 };
const OF_POOLS: [kind: string, facts: Facts][] = [
  ["down", having({}, { ready: 0, instances: [{ ...instanceFacts, state: "backoff", pid: null }] })],
  ["empty", having({}, { wanted: 0, ready: 0, instances: [] })],
  ["short", having({}, { ready: 3 })],
  ["killer", having({}, {}, { deaths: [death(1, killer), death(2, killer)] })],
  ["full", having({}, { instances: others.map((each) => ({ ...each, cpuPercent: 97 })) })],
  ["errors", having({}, { errorsTotal: 4_000 })],
  [
    "slow-route",
    having(
      {},
      {
        routeClasses: [
          { route: "/", ...routeClass },
          { route: "/report", ...routeClass, p99Ms: 900 },
        ],
      },
    ),
  ],
  [
    "slow-path",
    having({}, {}, { requests: [{ method: "GET", path: "/report?x=", status: 200, ms: 700 }], watchedMs: 5_000 }),
  ],
  ["leak", having({}, { instances: others.map((each) => ({ ...each, recycle: growing })) })],
  ["recycle-failed", having({}, { recyclePauseSeconds: 20 })],
  ["at-maximum", having({}, { scaling })],
  ["rollout", having({}, { rollout: { kind: "reload", done: 1, total: 4 } })],
  ["slow-clients", having({}, { receiving: 2 })],
];

describe("the findings", () => {
  it("do not explain an instance by deaths from before its pool was scaled up from 0", () => {
    const message = "is being scaled from 0 to 2";
    const at = NOW - 1000;
    const event = { at, level: "info", subject: "web", message } as Facts["events"][number];
    const found = (events: Facts["events"], diedAt = at - 1) =>
      kindsIn(having({}, {}, { deaths: [death(1, { at: diedAt })], events }), "web.1").includes("died");
    expect([found([]), found([event]), found([event], at + 1)]).toEqual([true, false, true]);
    expect(found([{ ...event, message: "is being scaled from 1 to 2" }])).toBe(true);
    expect(found([{ ...event, subject: "web2" }])).toBe(true);
  });

  it("say once that a pool serves no requests, in plain words", () => {
    const backoff = { ...instanceFacts, state: "backoff", pid: null };
    const facts = having({}, { ready: 0, instances: [backoff] });
    const problem = "web serves no requests: none of its instances is ready";
    const { findings } = explain({ kind: "fleet" }, { ...facts, fleet: { ...(facts.fleet as FleetFacts), problem } });
    expect(findings.map(({ kind }) => kind)).not.toContain("problem");
    expect(findings.find(({ kind }) => kind === "down")?.evidence).toEqual(["web.1 is waiting for its next start"]);
    expect(
      kindsIn({ ...facts, fleet: { ...(facts.fleet as FleetFacts), problem: `web2${problem.slice(3)}` } }),
    ).toContain("problem");
  });

  it("are none in a healthy fleet", () => {
    expect(kindsIn(nothing)).toEqual([]);
    expect(explain({ kind: "instance", name: "web.1" }, nothing).summary).toBe(
      "Nothing is wrong, as far as can be seen.",
    );
  });

  it.each(OF_INSTANCES)("of an instance: %s, and nothing else", (kind, facts) => {
    expect(kindsIn(facts, "web.1").filter((found) => found in INSTANCE_RULES)).toEqual([kind]);
    expect(kindsIn(nothing, "web.1")).toEqual([]);
    // The other instances are not to blame.
    expect(kindsIn(facts, "web.2")).toEqual([]);
  });

  it.each([
    [20, 5, true],
    [20, 6, false],
    [19, 0, false],
  ])("reports only from enough responses that an instance is skipped: %i, own %i", (rest, own, isFound) => {
    const instances = [
      { ...instanceFacts, requestsPerSecond: 0, latencyShape: [own] },
      ...others.map((each) => ({ ...each, latencyShape: [rest] })),
    ];
    expect(kindsIn(having({}, { instances }), "web.1").includes("passed-over")).toBe(isFound);
  });

  it.each(OF_POOLS)("of a pool: %s", (kind, facts) => {
    expect(kindsIn(facts, "web")).toContain(kind);
    expect(kindsIn(facts)).toContain(kind);
  });

  it("names the route with most 5xx without figures, because they do not cover the last minute", () => {
    const routeClasses = [{ route: "reads /", ...routeClass, errorsTotal: 34 }];
    const facts = having({}, { errorsPerMinute: 15, requestsPerSecond: 4, errorsTotal: 20, routeClasses });
    const found = explain({ kind: "pool", name: "web" }, facts).findings.find(({ kind }) => kind === "errors");
    expect(found).toMatchObject({
      what: "web fails: 15 of its responses in the last minute were 5xx",
      evidence: ["most 5xx since the start were of reads /"],
    });
  });

  it("says how few requests there were, if some of them failed", () => {
    const counts = { requestsTotal: 2, errorsTotal: 2 };
    expect(explain({ kind: "fleet" }, having({}, counts)).summary).toBe(
      "There were few requests, and some failed with 5xx: 2 of 2 of web.",
    );
    expect(explain({ kind: "pool", name: "web" }, having({}, { ...counts, requestsTotal: 9_000 })).summary).toMatch(
      /^Nothing/,
    );
  });

  it("reports that a start was given up, and why", () => {
    const by = { uid: 0, user: "root", sudoUser: null, actor: null, job: null, from: null, via: "command" };
    const entry = { version: 1 as const, target: null, detail: null, pools: [], steps: [], stepsOmitted: 0 };
    const start = { ...entry, id: 1, command: "start" as const, at: NOW - 9_000, by, durationMs: 4_000 };
    const failed = { ...start, result: "failed", message: "web.1 failed to start: no express" };
    const stop = { ...start, id: 2, command: "stop" as const, at: NOW - 5_000, by: { ...by, via: "SIGTERM" } };
    const stopped = { ...stop, result: "done", message: "" };
    const ofStopped = (more: object) => explain({ kind: "fleet" }, { ...nothing, fleet: null, ...more });
    const { summary, changes } = ofStopped({ history: [stopped, failed] });
    expect(summary).toContain("its start was given up 5 s ago: web.1 failed to start: no express. `paceline start`");
    expect(changes.at(-1)?.text).toBe("stop, as the start was given up");
    const later = { ...stopped, by };
    expect(ofStopped({ history: [later, failed] }).summary).toContain("not running: root stopped it 5 s ago.");
    const killed = ofStopped({ history: [later], record: { name: "shop", endedAt: null } });
    expect([killed.target, killed.summary]).toEqual([
      "shop",
      expect.stringContaining("all its processes were killed."),
    ]);
    const seen = ofStopped({ record: { name: "shop", endedAt: null }, seenAt: NOW - 5_000 });
    expect(seen.summary).toContain("all its processes were killed, no earlier than 5 s ago.");
  });

  it("has a death that was found a second ago, whenever the process ended", () => {
    const deaths = [death(1, { at: NOW - 7_200_000, foundAt: NOW - 1000 })];
    expect(explain({ kind: "fleet" }, having({}, {}, { deaths })).findings.map(({ kind }) => kind)).toEqual(["died"]);
  });

  it("has a case for each rule", () => {
    expect(OF_INSTANCES.map(([kind]) => kind)).toEqual(Object.keys(INSTANCE_RULES));
    expect(OF_POOLS.map(([kind]) => kind)).toEqual(Object.keys(POOL_RULES));
  });

  it("of a balancer that had to repeat many requests", () => {
    const fleet = { ...fleetFacts, balancers: [{ ...balancer, retriesTotal: 900 }] };
    expect(kindsIn({ ...nothing, fleet }, "balancer")).toEqual(["retries"]);
    expect(kindsIn({ ...nothing, fleet }, "balancer.2")).toEqual([]);
  });

  it.each([
    [0, []],
    [2, ["note"]],
    [400, ["warning"]],
  ])("of a balancer that had no room for %i requests", (noRoomTotal, severities) => {
    const fleet = { ...fleetFacts, balancers: [{ ...balancer, noRoomTotal }] };
    const { findings } = explain({ kind: "balancer", name: "balancer.1" }, { ...nothing, fleet });
    expect(findings.map(({ kind, severity }) => `${kind} ${severity}`)).toEqual(
      severities.map((each) => `no-room ${each}`),
    );
  });

  it("are sorted by severity, and have the numbers", () => {
    const facts = having({ rssBytes: 300e6, stalledMs: 9_000 });
    const { findings, now } = explain({ kind: "instance", name: "web.1" }, facts);
    expect(findings.map(({ severity }) => severity)).toEqual(["fault", "warning"]);
    expect(findings[1]?.what).toBe("web.1 uses more memory than the others: RSS 300 MB, the pool's median is 50 MB");
    expect(now).toContain("the others of web (median): 20 req/s · p99 5.0 ms · RSS 50 MB · CPU 10 %");
  });
});

describe("a slow instance", () => {
  const usual = { latencyMs: { p50: 1, p99: 5 }, latencyShape: [0, 45, 3, 2, 0, 0, 0, 0, 0, 0] };
  const report = { latencyMs: { p50: 1, p99: 299 }, latencyShape: [0, 45, 0, 0, 0, 0, 0, 0, 0, 5] };
  const routes = [
    { route: "reads /", ...routeClass, p50Ms: 0.6, p99Ms: 2 },
    { route: "reads /report/", ...routeClass, p50Ms: 299, p99Ms: 302 },
  ];
  it.each<[string, boolean, Partial<InstanceFacts>, Partial<InstanceFacts>, PoolFacts["routeClasses"]]>([
    [
      "whose middle is slow",
      true,
      { latencyMs: { p50: 60, p99: 90 }, latencyShape: [0, 0, 0, 0, 0, 5, 15, 30, 0, 0] },
      usual,
      [],
    ],
    [
      "a tenth of whose responses is slow",
      true,
      { ...report, latencyShape: [0, 450, 0, 0, 0, 0, 0, 0, 0, 50] },
      usual,
      [],
    ],
    [
      "of a few requests",
      false,
      { latencyMs: { p50: 299, p99: 299 }, latencyShape: [0, 0, 0, 0, 0, 0, 0, 0, 0, 9] },
      usual,
      [],
    ],
    ["without requests", false, { latencyMs: { p50: null, p99: null }, latencyShape: [] }, usual, []],
    [
      "with the slow requests by chance",
      false,
      report,
      { ...usual, latencyShape: [0, 47, 1, 1, 0, 0, 0, 0, 0, 1] },
      [],
    ],
    [
      "that has all requests of a slow route",
      false,
      { ...report, latencyShape: [0, 350, 0, 0, 0, 0, 0, 0, 0, 150] },
      usual,
      routes,
    ],
    [
      "whose middle is not that of the slow route",
      true,
      { latencyMs: { p50: 60, p99: 299 }, latencyShape: [0, 0, 0, 0, 0, 0, 0, 45, 0, 5] },
      usual,
      routes,
    ],
    [
      "slow also beside a slow route",
      true,
      { latencyMs: { p50: 1, p99: 900 }, latencyShape: [0, 350, 0, 0, 0, 0, 0, 0, 0, 150] },
      usual,
      routes,
    ],
    [
      "beyond the slowest bucket, like the others",
      true,
      { latencyMs: { p50: 2_000, p99: 2_000 }, latencyShape: [0, 0, 0, 0, 0, 0, 0, 0, 0, 50] },
      { latencyMs: { p50: 300, p99: 300 }, latencyShape: [0, 0, 0, 0, 0, 0, 0, 0, 0, 50] },
      [],
    ],
  ])("%s: %s", (_, isSlow, own, rest, routeClasses) => {
    const instances = [{ ...instanceFacts, ...own }, ...others.map((each) => ({ ...each, ...rest }))];
    expect(kindsIn(having({}, { instances, routeClasses: routeClasses ?? [] }), "web.1").includes("slow")).toBe(isSlow);
  });

  it("is not blamed for a slow route, which is named although there are only two", () => {
    expect(kindsIn(having({}, { routeClasses: routes }))).toEqual(["slow-route"]);
    expect(explain({ kind: "fleet" }, having({}, { routeClasses: routes })).findings[0]?.what).toBe(
      "reads /report/ is slow: p99 302 ms, p50 299 ms",
    );
  });
});

it("distinguishes the death of a replacement from that of the instance", () => {
  const whatOf = (uptimeSeconds: number) => {
    const facts = having({ uptimeSeconds }, {}, { deaths: [death(5)] });
    const target = targetOf("web.1", facts, undefined);
    return typeof target === "string" ? target : explain(target, facts).findings[0]?.what;
  };
  expect(whatOf(4)).toMatch(/^web\.1 died 5 s ago .* and was restarted$/);
  expect(whatOf(600)).toMatch(/^a replacement of web\.1 died 5 s ago .*; web\.1 itself keeps running$/);
});

it("finds no deaths of a former generation, or from before the start", () => {
  const deaths = [death(1, { generation: 2 }), death(2, { at: NOW - 602_000 })];
  expect(kindsIn({ ...nothing, deaths })).toEqual([]);
});

describe("a deploy", () => {
  const entry: HistoryEntry = {
    ...{ version: 1, id: 9, at: NOW - 60_000, command: "deploy", target: "/srv/4", detail: null, durationMs: 30_000 },
    by: { uid: 0, user: "ann", sudoUser: null, actor: null, job: null, from: null, via: "command" },
    ...{
      pools: [],
      stepsOmitted: 0,
      result: "taken-back",
      message: "5xx: +12 pp (allowed +1 pp)\nweb.1 took 40 requests",
    },
    steps: [{ afterMs: 1_000, text: "web.1 is the canary" }],
  };

  it("that was rolled back says why, and which of its processes died", () => {
    const facts = { ...nothing, history: [entry], deaths: [death(40, { generation: 4 }), death(50_000)] };
    const { summary, findings, changes } = explain({ kind: "deploy", id: null }, facts);
    expect(summary).toBe("The deploy of 1 min ago by ann failed (taken-back).");
    expect(findings.map(({ kind }) => kind)).toEqual(["taken-back", "died"]);
    expect(findings[0]?.what).toBe("5xx: +12 pp (allowed +1 pp)");
    expect(changes).toEqual([{ at: NOW - 59_000, subject: "deploy", text: "web.1 is the canary" }]);
  });

  it("that does not exist is no error", () => {
    expect(explain({ kind: "deploy", id: null }, nothing).summary).toBe("Nothing was deployed.");
    expect(explain({ kind: "deploy", id: 4 }, nothing).summary).toBe("The history has no entry 4.");
  });
});

describe("a request", () => {
  const line = (fields: object) => ({
    at: NOW,
    name: "balancer.1",
    text: JSON.stringify({ requestId: "abc-1", ...fields }),
  });
  const whole = {
    method: "GET",
    target: "/cart",
    status: 200,
    outcome: "whole",
    phase: "response",
    pool: "web",
    instance: "web.2",
  };

  it.each([
    ["queueMs", { queueMs: 900, connectMs: 0.1, laneMs: 0.2, handlerMs: 1, firstByteMs: 902, durationMs: 903 }],
    ["handlerMs", { queueMs: 0.1, connectMs: 0.1, laneMs: 0.2, handlerMs: 400, firstByteMs: 401, durationMs: 402 }],
    ["laneMs", { queueMs: 0.1, connectMs: 0.1, laneMs: 300, handlerMs: 1, firstByteMs: 301, durationMs: 302 }],
    ["delivery", { queueMs: 0.1, connectMs: 0.1, laneMs: 0.3, handlerMs: 1, firstByteMs: 2, durationMs: 302 }],
  ])("spent its time in %s", (kind, times) => {
    const facts = { ...nothing, lines: [line({ ...whole, ...times })] };
    expect(targetOf("abc-1", facts, undefined)).toEqual({ kind: "request", id: "abc-1" });
    expect(kindsIn(facts, "abc-1")).toEqual([kind]);
  });

  it("that was not found: the explanation says where it was searched", () => {
    const told = (accessLog: Facts["accessLog"]) =>
      targetOf("019aa5c2-9b7e", { ...nothing, ...(accessLog && { accessLog }) }, undefined);
    expect(told(undefined)).toMatch(/^no line of the log and no death names a request "019aa5c2-9b7e": .*"json" }$/);
    expect(told({ path: "/a.log", problem: undefined })).toContain("no line at the end of /a.log and no death");
    expect(told({ path: "/a.log", problem: "EACCES" })).toMatch(/the log and no death .*was not read: EACCES$/);
  });

  it("that was lost names the death", () => {
    const requests = [{ id: "abc-1", request: "GET /report", ageMs: 12, state: "running", outcome: "failed" } as const];
    const facts = { ...nothing, deaths: [death(3, { requests })] };
    const { summary, findings } = explain({ kind: "request", id: "abc-1" }, facts);
    expect(summary).toBe("GET /report was in flight when its process died.");
    expect(findings[0]?.what).toBe(
      "web.1#3 was running it when it died 3 s ago: exited with code 1 after 4 s: TypeError: x",
    );
  });

  it("that failed: the explanation says in which phase", () => {
    const fields = { ...whole, status: 504, outcome: "instance-late", phase: "wait", durationMs: 30_000, queueMs: 1 };
    const { summary, findings } = explain({ kind: "request", id: "abc-1" }, { ...nothing, lines: [line(fields)] });
    expect(summary).toBe("GET /cart got 504 after 30.0 s from web.2: the instance did not respond in time (wait).");
    expect(findings.map(({ kind }) => kind)).toEqual(["instance-late"]);
  });
});

describe("a name", () => {
  it.each([
    [undefined, { kind: "fleet" }],
    ["shop", { kind: "fleet" }],
    ["web", { kind: "pool", name: "web" }],
    ["web.3", { kind: "instance", name: "web.3" }],
    ["balancer", { kind: "balancer", name: "balancer" }],
    ["deploy", { kind: "deploy", id: null }],
    ["wbe", 'no pool or instance named "wbe" (known: web, balancer, deploy)'],
    ["web.9", 'no pool or instance named "web.9" (known: web.1, web.2, web.3, web.4)'],
  ])("%s", (name, target) => {
    expect(targetOf(name, nothing, undefined)).toEqual(target);
  });

  it.each(["/", "/img/", "GET /pay"])(
    "%s is a path, and no id of a request, although lines of the log contain it",
    (path) => {
      const lines = [{ at: NOW, name: "access log", text: JSON.stringify({ target: "/img/", requestId: "abc-1" }) }];
      expect(targetOf(path, { ...nothing, lines }, undefined)).toBe(
        `"${path}" is a path: explain takes a pool, an instance, balancer, deploy or the id of a request; the explanation of a pool names its slow routes`,
      );
    },
  );

  it("of an instance that is gone is known from its deaths, even in a stopped fleet", () => {
    const facts = { ...nothing, fleet: null, deaths: [death(1, { name: "web.9" })] };
    expect(targetOf("web.9", facts, undefined)).toEqual({ kind: "instance", name: "web.9" });
    expect(explain({ kind: "instance", name: "web.9" }, facts).summary).toMatch(/^The fleet is not running: /);
  });
});
