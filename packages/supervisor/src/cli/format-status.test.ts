/** The table of `paceline status`: aligned, with the reason why something is not ready. */
import { expect, test } from "vitest";
import type { BalancerStatus, InstanceStatus, PoolStatus, Status } from "../control/api.js";
import type { ScheduleStatus } from "../core/figures.js";
import type { FleetConfig } from "../core/model.js";
import { describeFleet } from "../fleet/prepare-start.js";
import { formatStatus } from "./format-status.js";

const instance: InstanceStatus = {
  name: "web.1",
  state: "ready",
  pid: 31022,
  attempt: 1,
  generation: 3,
  release: "/srv/shop/releases/3",
  runtime: "bun",
  version: "0.1.0",
  uptimeSeconds: 90_061,
  rssBytes: 28_100_000,
  pssBytes: 9_100_000,
  cpuPercent: 41.2,
  requestsTotal: 123_456,
  requestsPerSecond: 1554.4,
  inFlight: 3,
  errorsTotal: 0,
  latencyMs: { p50: 0.4, p99: 12.34 },
  latencyShape: [],
  errorsPerMinute: 0,
  eventLoopLagMs: 1,
  stalledMs: null,
  outOfTurn: null,
  ejections: [],
  ejectionsTotal: 0,
  slow: null,
  growthBytesPerMinute: null,
  marks: {},
  weight: 100,
  heapBytes: 1,
  responses: null,
  deferred: null,
  schedule: null,
  shim: null,
  exposed: [],
  restarts: 0,
  recycles: 0,
  recycle: null,
  lastExit: null,
  linesTotal: 0,
  linesLost: 0,
  other: null,
};
const failed: InstanceStatus = {
  ...instance,
  name: "web.12",
  state: "backoff",
  pid: null,
  rssBytes: null,
  pssBytes: null,
  cpuPercent: null,
  latencyMs: { p50: null, p99: null },
  requestsPerSecond: 0,
  inFlight: 0,
  restarts: 4,
  lastExit: { code: 1, signal: null, at: 0, reason: "exited with code 1 after 4 s", lastLines: ["Error: no database"] },
  other: { role: "outgoing", pid: 31023, state: "draining", attempt: 7, generation: 3, isCanary: false },
};
const balancer = {
  ...instance,
  name: "balancer.1",
  connections: 4,
  spoolBytes: 0,
  unreadEndedTotal: 0,
  snapshotVersion: 2,
} as unknown as BalancerStatus;
const figures = {
  ...{ latencyMs: { p50: null, p99: null }, latencyShape: [], errorsPerMinute: 0 },
  ...{ inFlight: 0, cpuPercent: null, rssBytes: null },
};
const status: Status = {
  version: "0.1.0",
  name: "shop",
  pid: 31000,
  runtime: "bun 1.4.5",
  uptimeSeconds: 61,
  state: "running",
  listen: ["http://127.0.0.1:8080"],
  requestsTotal: 1,
  errorsTotal: 0,
  rssBytes: 90_000_000,
  pssBytes: 40_000_000,
  pssOfRssBytes: null,
  cpuPercent: null,
  traffic: { ...figures, requestsPerSecond: 1554, connections: 4, queued: 0 },
  machine: { cpus: 1, memoryBytes: null, availableBytes: null },
  limits: { connections: 20_000, queue: 1024 },
  supervisor: { rssBytes: 30_000_000, pssBytes: 10_000_000 },
  watch: null,
  problem: null,
  rolledBack: null,
  lastDeath: null,
  lock: null,
  log: null,
  balancers: [balancer],
  pools: [
    {
      name: "web",
      kind: "app",
      release: "/srv/shop/releases/3",
      generation: 3,
      cron: null,
      wanted: 2,
      ready: 1,
      requestsTotal: 1,
      requestsPerSecond: 1554,
      errorsTotal: 0,
      ...figures,
      routes: ["/"],
      routeClasses: [],
      receiving: 0,
      sending: 0,
      instances: [instance, failed],
      medians: {},
      templates: [],
      recyclePauseSeconds: null,
      scaling: null,
      deploy: null,
      rollout: { kind: "reload", done: 1, total: 2 },
    },
  ],
};

test("an autoscaled pool has its bounds, its target and its last change", () => {
  const last = { at: Date.now() - 125_000, from: 2, to: 4, reason: "the minimum is 4" };
  const scaling = { min: 4, max: 8, floor: 4, target: { metric: "inFlight" as const, value: 5 }, figure: 2.25, last };
  const [pool] = status.pools as [PoolStatus];
  const text = formatStatus({ ...status, pools: [{ ...pool, scaling }] }, { colour: false });
  expect(text).toContain("web  app  1/2 ready (4–8)  generation");
  expect(text).toContain(
    "\nweb scales by inFlight: target 5, now 2.3, at least 4 until the next reload\nweb went from 2 to 4 2 min 5 s ago: the minimum is 4\n",
  );
  const calm = { ...scaling, min: 1, floor: null, figure: null, last: null };
  const shown = formatStatus({ ...status, pools: [{ ...pool, scaling: calm }] }, { colour: false });
  expect(shown).toContain("web scales by inFlight: target 5\nrelease");
});

test("is aligned and complete, and shows the last exit of each instance that is not ready", () => {
  expect(formatStatus(status, { colour: false })).toBe(
    [
      "shop · http://127.0.0.1:8080 · pid 31000 · up 1 min 1 s · paceline 0.1.0 (bun 1.4.5)",
      "web  app  1/2 ready  generation 3  /  1554 req/s · reload 1/2",
      "release  /srv/shop/releases/3",
      "",
      "NAME        STATE       PID  RSS MB  CPU %  REQ/S  REQUESTS  FLIGHT  P50 MS  P99 MS  RESTARTS       UP",
      "web.1       ready     31022    28.1     41   1554    123456       3    0.40      12         0  1 d 1 h",
      "web.12      backoff       –       –      –      0    123456       0       –       –         4        –",
      "  outgoing  draining  31023",
      "balancer.1  ready     31022    28.1     41   1554    123456       3    0.40      12         0  1 d 1 h",
      "",
      "web.12: exited with code 1 after 4 s",
      "  | Error: no database",
    ].join("\n"),
  );
});

test("names the processes of another version of Paceline, during an upgrade", () => {
  const [pool] = status.pools;
  const instances = [
    { ...instance, version: "0.1.0" },
    { ...instance, name: "web.2", version: "0.2.0" },
  ] as InstanceStatus[];
  const shown = formatStatus(
    {
      ...status,
      version: "0.2.0",
      pools: [{ ...(pool as PoolStatus), instances }],
      balancers: [{ ...balancer, version: "0.1.0" }],
    },
    { colour: false },
  );
  expect(shown).toContain("\npaceline 0.1.0  web.1, balancer.1\n");
});

test("shows the bytes that wait for slow clients, if there are any", () => {
  const pool = { ...status.pools[0], receiving: 3, sending: 2, rollout: null } as PoolStatus;
  const shown = formatStatus(
    { ...status, pools: [pool], balancers: [{ ...balancer, spoolBytes: 12_340_000 }] },
    { colour: false },
  );
  expect(shown).toContain("1554 req/s · receiving 3 · sending 2\n");
  expect(shown).toContain("\nspool: 12.3 MB of slow clients' bodies on disk\n");
});

test("a leak has the time to its limit in a column; a process that is due to be recycled has a line, and so has a pool whose recycling failed", () => {
  const due = { due: "uses 212 MB of memory (maxMemoryMb 200)", memoryLimitInSeconds: null, memoryBytesPerHour: null };
  const leak = { due: null, memoryLimitInSeconds: 111_600, memoryBytesPerHour: 4_230_000 };
  const hogs = [1, 2, 3, 4, 5].map((index) => ({ ...instance, name: `web.${index}`, recycle: due }));
  const instances = [...hogs, { ...instance, name: "web.6", recycle: leak }];
  const pool = { ...status.pools[0], instances, recyclePauseSeconds: 59 } as PoolStatus;
  const { recycle: _, ...plain } = balancer as unknown as InstanceStatus;
  const balancers = [plain as unknown as BalancerStatus];
  const lines = formatStatus({ ...status, balancers, pools: [pool] }, { colour: false }).split("\n");
  expect(lines.slice(-5)).toEqual([
    "web.1: uses 212 MB of memory (maxMemoryMb 200); its replacement is due",
    "web.2: uses 212 MB of memory (maxMemoryMb 200); its replacement is due",
    "web.3: uses 212 MB of memory (maxMemoryMb 200); its replacement is due",
    "web: 2 more are due to be recycled",
    "web: the last recycling failed; the next attempt is in 59 s",
  ]);
  expect(lines.find((line) => line.startsWith("NAME"))).toMatch(/ LIMIT IN$/);
  expect(lines.find((line) => line.startsWith("web.6"))).toMatch(/ 1 d 7 h$/);
  expect(lines.find((line) => line.startsWith("web.5"))).toMatch(/ –$/);
  expect(lines.find((line) => line.startsWith("balancer.1"))).not.toMatch(/–$/);
});

test("a template has a separate line, with its memory", () => {
  const template = {
    ...{ name: "web.template", pid: 31030, state: "ready", generation: 3, uptimeSeconds: 61 },
    ...{ rssBytes: 20_000_000, pssBytes: 10_000_000 },
  };
  const pool = { ...status.pools[0], templates: [template] } as PoolStatus;
  const lines = formatStatus({ ...status, pools: [pool] }, { colour: false }).split("\n");
  const line = lines.find((each) => each.startsWith("web.template"));
  expect(line).toMatch(/^web\.template +ready +31030 +20\.0 +(– +){7}1 min 1 s$/);
});

test("lost lines and a log that cannot be written are shown, and no text of an app controls the terminal", () => {
  const lossy = { ...instance, linesTotal: 1000, linesLost: 7 };
  const lastExit = { code: 1, signal: null, at: 0, reason: "exited: \x1b[2Jboo", lastLines: ["\x9b2Jboo\r"] };
  const pool = { ...status.pools[0], instances: [lossy, { ...failed, lastExit }] } as PoolStatus;
  const log = { path: "/run/log/paceline.log", problem: "ENOSPC: no space left on device, write", linesLost: 12 };
  const shown = formatStatus({ ...status, pools: [pool], log }, { colour: false });
  expect(shown.split("\n").slice(-4)).toEqual([
    "web.1: 7 of 1000 lines lost: written faster than they could be read",
    "web.12: exited: \\x1b[2Jboo",
    "  | \\u009b2Jboo\\r",
    "log /run/log/paceline.log: cannot be written: ENOSPC: no space left on device, write; 12 lines lost",
  ]);
});

test("no name, path or text of others controls the terminal, or ends a line", () => {
  const foreign = "\x1b]0;pwn\x07\x1b[2Jy\ngone\u202e";
  const spoilt = (value: unknown): unknown => {
    if (typeof value === "string") return value + foreign;
    if (Array.isArray(value)) return value.map(spoilt);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, spoilt(each)]));
  };
  const full = { ...status, problem: "disk", log: { path: "/run/log", problem: "ENOSPC", linesLost: 1 } };
  const [pool] = full.pools as [PoolStatus];
  const exposed = { ...instance, exposed: ["0.0.0.0:80"], linesLost: 3 };
  const whole = { ...full, pools: [{ ...pool, instances: [exposed, failed] }] };
  const lines = (of: Status) => formatStatus(of, { colour: false }).split("\n");
  const shown = lines(spoilt(whole) as Status);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression is meant to match control characters
  expect(shown.filter((line) => /[\x00-\x1f\x7f-\x9f\u202e]/.test(line))).toEqual([]);
  expect(shown).toHaveLength(lines(whole).length);
  expect(shown[0]).toMatch(/^shop\\x1b\]0;pwn\\x07\\x1b\[2Jy\\ngone\\u202e /);
  const config = { name: foreign, listen: [], pools: [{ name: "web", instances: 1, source: `/x/${foreign}` }] };
  expect(describeFleet(config as unknown as FleetConfig, "/")).toBe(
    "\\x1b]0;pwn\\x07\\x1b[2Jy\\ngone\\u202e: 1 instance of x/\\x1b]0;pwn\\x07\\x1b[2Jy\\ngone\\u202e",
  );
});

test("where an app has deferred jobs, a column shows how many wait and for how long", () => {
  const deferred = { jobs: 1200, oldestMs: 61_000 };
  const pool = { ...status.pools[0], instances: [{ ...instance, deferred }, failed] } as PoolStatus;
  const idle = { ...pool, instances: [{ ...instance, deferred: { jobs: 0, oldestMs: 0 } }] };
  const lines = formatStatus({ ...status, pools: [pool, idle] }, { colour: false }).split("\n");
  expect(lines.slice(5, 10).map((line) => line.slice(94))).toEqual([
    "      UP                DEFERRED",
    " 1 d 1 h  1200, oldest 1 min 1 s",
    "       –                       –",
    "",
    " 1 d 1 h                       0",
  ]);
});

test("if not all run the same release, each different one is shown", () => {
  const [pool] = status.pools as [PoolStatus];
  const replaced = { ...instance, release: "/srv/shop/releases/4" };
  const api = { ...pool, name: "api", release: "/srv/shop/releases/2", instances: [] };
  const shown = formatStatus(
    { ...status, pools: [{ ...pool, instances: [replaced, failed] }, api] },
    { colour: false },
  );
  expect(shown.split("\n").slice(3, 6)).toEqual([
    "release of web  /srv/shop/releases/3",
    "release of web.1  /srv/shop/releases/4",
    "release of api  /srv/shop/releases/2",
  ]);
});

test("colour changes only the colour", () => {
  const coloured = formatStatus(status, { colour: true });
  expect(coloured).toContain("\x1b[31mbackoff\x1b[0m");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of.
  expect(coloured.replace(/\x1b\[\d+m/g, "")).toBe(formatStatus(status, { colour: false }));
});

test("a pool that gets no requests has no rate and no route; a schedule has its pattern, its last run and the next", () => {
  const nothing = { requestsTotal: null, requestsPerSecond: null, inFlight: null };
  const last = { at: 0, durationSeconds: 2, code: 1, signal: null, failure: "exited with code 1: no disk" };
  const schedule = { nextAt: 1, nextInSeconds: 240, runningSeconds: null, last, runs: 3, failures: 1, skipped: 0 };
  const worker = { ...instance, ...nothing, name: "nightly.1", schedule };
  const of = (more: Partial<ScheduleStatus>) => {
    const instances = [{ ...worker, schedule: { ...schedule, ...more } }];
    const pool = {
      ...(status.pools[0] as PoolStatus),
      ...{ requestsTotal: null, requestsPerSecond: null, errorsTotal: null },
      name: "nightly",
      kind: "worker",
      routes: [],
      instances,
    };
    const fleet = { ...status, listen: [], balancers: [], pools: [{ ...pool, cron: "0 3 * * *", rollout: null }] };
    return formatStatus(fleet, { colour: false });
  };
  const shown = of({});
  expect(shown).toMatch(/^shop · pid /);
  expect(shown).toMatch(/nightly {2}worker {2}.* {2}cron 0 3 \* \* \*\n/);
  expect(shown).not.toMatch(/REQ|FLIGHT|P50|req\/s/);
  expect(shown).toMatch(/LAST RUN, NEXT\n.*failed in 2 s, next in 4 min\n/);
  expect(shown).toContain("nightly.1: the last run failed: exited with code 1: no disk");
  expect(of({ runningSeconds: 3 })).toMatch(/running 3 s\n/);
  expect(of({ nextInSeconds: null })).toMatch(/failed in 2 s, no next\n/);
});

const LONG = "a-name-of-the-longest-kind-of-pool";
const schedule: ScheduleStatus = {
  ...{ nextAt: 0, nextInSeconds: 3_700, runningSeconds: null, runs: 1, failures: 1, skipped: 0 },
  last: { at: 0, durationSeconds: 100, code: 1, signal: null, failure: "exited with code 1" },
};
const rich: InstanceStatus = {
  ...{ ...instance, pid: 4_194_303, rssBytes: 12_345e6, requestsTotal: 987_654_321, inFlight: 4_000, restarts: 120 },
  ...{ deferred: { jobs: 1_200, oldestMs: 60_000 }, schedule },
  recycle: { due: "uses 212 MB of memory (maxMemoryMb 200)", memoryLimitInSeconds: 90_000, memoryBytesPerHour: 1 },
};

test.each([80, 60, 40])("fits %i columns, with long names and many figures", (width) => {
  const named = { ...rich, name: `${LONG}.1024`, stalledMs: 120_000 };
  const routes = ["/", "/api/", "shop.example/", "/a/very/long/prefix/of/a/path/that/goes/on/and/on/for/ever/and/ever"];
  const pool = { ...(status.pools[0] as PoolStatus), name: LONG, routes, instances: [rich, failed, named] };
  const text = formatStatus({ ...status, pools: [pool] }, { colour: false, width, wraps: true });
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(width);
  expect(text).toMatch(/^web\.1 .*ready/m);
});

test("has all columns if there is room, and shortens columns before it leaves one out", () => {
  const wide = formatStatus(status, { colour: false });
  expect(formatStatus(status, { colour: false, width: 200 })).toContain("REQUESTS");
  expect(wide).toContain("RESTARTS");
  const narrow = formatStatus(status, { colour: false, width: 80 });
  expect(narrow).toMatch(/^NAME +STATE +PID +RSS +CPU%? +REQ\/S .*P99 +RST/m);
});

test("shows 5xx, within 80 columns, and only if there are any", () => {
  const failing = { ...instance, errorsPerMinute: 30, errorsTotal: 30, requestsTotal: 30 };
  const pool = { ...(status.pools[0] as PoolStatus), requestsTotal: 30, errorsTotal: 30, instances: [failing] };
  const text = formatStatus({ ...status, pools: [pool] }, { colour: false, width: 80 });
  expect(text).toMatch(/^NAME .* 5XX/m);
  expect(text).toContain("5xx 100 % (30 of 30)");
  const table = text.slice(text.indexOf("\n\n")).split("\n\n", 2).join("").split("\n");
  expect(Math.max(...table.map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(formatStatus(status, { colour: false })).not.toMatch(/5xx/i);
});
