/** The state file: what is written at which time, and what is read back. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { makeFolder } from "../../test/support.js";
import { EMPTY_FLEET, type Fleet } from "../core/fleet.js";
import { addPool, resize, setGeneration } from "../core/fleet-changes.js";
import { PoolConfigs } from "../processes/pool-configs.js";
import { SlotBook } from "../processes/slot-book.js";
import { type FleetState, readState, setStateAside, textOfState, withSecrets } from "../run-dir/fleet-state.js";
import { StatsBook } from "../stats/stats.js";
import { type BeforeDeploy, StateKeeper, type StateSources, stateOf } from "./state-keeper.js";

const policy = { readyTimeoutMs: 1000 } as never;
const SECRETS = { TOKEN: { file: "/run/token", value: "never-written" } };
const ROUTE = {
  ...{ pool: "web", route: "/", access: "reads" as const, counts: [0, 9, 0, 0, 1, 0] },
  last: [["balancer.1#1", [0, 4, 0, 0, 0, 0]] as const],
};
const web = { name: "web", routes: ["/"], serves: true, secrets: SECRETS } as never;

function sources(folder: string, events: string[] = []): StateSources & { version: number } {
  const environment = { SECRET: "s" };
  const configs = new PoolConfigs({ name: "shop", listen: [], balancer: {}, pools: [web] } as never, environment);
  configs.addGeneration(web, environment);
  configs.addGeneration(web, { other: "1" });
  configs.setRoutes(web);
  const context = { now: 10, random: 0, policyOf: () => policy };
  const { fleet } = resize(addPool(EMPTY_FLEET, "web", 1), "web", 1, context);
  const stats = new StatsBook();
  stats.open("web.1#0", "web").restore({ requestsTotal: 7, errorsTotal: 1, relayed: [] });
  stats.close("web.1#0");
  const counted = stats.open("web.1#1", "web");
  counted.restore({
    requestsTotal: 5,
    errorsTotal: 2,
    relayed: [{ balancer: "balancer.1#1", requestsTotal: 5, errorsTotal: 2 }],
  });
  const slots = new SlotBook();
  const lastLines = Array.from({ length: 90 }, () => "x".repeat(4000));
  Object.assign(slots.of("web.1"), { restarts: 3, lastExit: { code: 1, signal: null, at: 1, reason: "r", lastLines } });
  const child = {
    ...{ id: "web.1#1", pool: "web", name: "web.1", index: 1, attempt: 1, generation: 1, token: "t", runtime: "bun" },
    ...{ socket: "/s", tcp: null, commandTag: null, tag: "g", maxInFlight: null, perClient: false, protocol: "lane" },
    ...{ pid: 4, startTime: "77", spawnedAt: 20, stats: counted, outputRow: 9, output: { maxBytes: 100 } },
  };
  const all = {
    runDir: { path: folder, outputFolder: join(folder, "run-3") } as never,
    ...{ runner: { fleet } as never, configs, slots, stats, version: 6 },
    routes: { saved: () => [ROUTE] },
    listensOn: () => ["http://127.0.0.1:80", "unix:/s"],
    children: {
      templates: { lastAttempts: [["web", 2]] as [string, number][] },
      alive: () => [child, { ...child, pid: null }] as never,
    },
    log: { event: (...event: (string | undefined)[]) => events.push(event.join(" ")) },
    areBalancersMixed: () => false,
    floors: () => [["web", 2]] as [string, number][],
    deployed: () => ({}),
  };
  return Object.assign(all, {
    coordination: {
      get version() {
        return all.version;
      },
    },
  });
}

describe("the state of a fleet", () => {
  test("has what a new supervisor needs, in Unix time, each environment once, and short last lines", () => {
    const folder = makeFolder();
    writeFileSync(join(folder, "state.json"), textOfState(stateOf(sources(folder), 5)));
    const { state } = readState(folder);
    expect(JSON.stringify(state)).not.toContain("never-written");
    const loaded = { pools: [{ name: "web", secrets: { TOKEN: { file: "/run/token", value: "new" } } }] } as never;
    const { config, generations } = withSecrets(state as FleetState, loaded);
    for (const { secrets } of [...config.pools, ...generations.map((each) => each.config)])
      expect(secrets.TOKEN).toEqual({ file: "/run/token", value: "new" });
    expect(state).toMatchObject({
      ...{
        version: 1,
        boot: expect.any(String),
        startedAt: 5,
        folder: "run-3",
        snapshotVersion: 6,
        routed: ["web"],
        config: { name: "shop" },
      },
      environments: [{ SECRET: "s" }, { other: "1" }],
      generations: [
        { pool: "web", number: 1, environment: 0 },
        { pool: "web", number: 2, environment: 1 },
      ],
      slots: [{ name: "web.1", restarts: 3, lastExit: { code: 1 } }],
      ports: [80, null],
      templates: [["web", 2]],
      floors: [["web", 2]],
      totals: [{ pool: "web", requestsTotal: 7, errorsTotal: 1 }],
      routes: [ROUTE],
      processes: [
        {
          ...{ id: "web.1#1", pid: 4, startTime: "77", token: "t", socket: "/s", tag: "g", protocol: "lane" },
          ...{ outputRow: 9, requestsTotal: 5, errorsTotal: 2, relayed: [{ balancer: "balancer.1#1" }] },
          spawnedAt: Math.round(performance.timeOrigin + 20),
        },
      ],
    });
    const process = state?.fleet.pools[0]?.slots[0]?.member.process;
    expect(process).toMatchObject({ state: "starting", attempt: 1, deadline: performance.timeOrigin + 1010 });
    expect(JSON.stringify(state).length).toBeLessThan(20_000);
  });

  test.each([
    ["cut short", (path: string) => truncateSync(path, 900), "it is damaged"],
    ["empty", (path: string) => truncateSync(path, 0), "it is damaged"],
    ["null", (path: string) => writeFileSync(path, "null"), "it is damaged"],
    [
      "newer",
      (path: string) => writeFileSync(path, '{"version":2}'),
      "it is of version 2, and this supervisor reads version 1",
    ],
    ["without its parts", (path: string) => writeFileSync(path, '{"version":1}'), "it is incomplete"],
    ["a list", (path: string) => writeFileSync(path, "[]"), "it is damaged"],
    ["huge", (path: string) => truncateSync(path, (16 << 20) + 1), `it has more than ${16 << 20} bytes`],
  ])("is not used if it is %s; it can be set aside, and one is kept", (_, damage, problem) => {
    const folder = makeFolder();
    const path = join(folder, "state.json");
    for (const round of [1, 2]) {
      writeFileSync(path, JSON.stringify(stateOf(sources(folder), round)));
      damage(path);
      expect(readState(folder)).toEqual({ problem });
      expect(setStateAside(folder)).toBe(join(folder, "state.json.unusable"));
    }
    expect(readdirSync(folder)).toEqual(["state.json.unusable"]);
    expect(readState(folder)).toEqual({});
  });

  test("is not used if a single value of it is of another kind", () => {
    const folder = makeFolder();
    const state = stateOf(sources(folder), 5);
    const text = textOfState(state);
    // Values that are only shown or only compared, or may be null; and configurations, of which only these keys are checked.
    const free =
      /(^areBalancersMixed|^ports\.\d+|\.(lastExit|lastRun|linesTotal|linesLost|everReady|unwanted|hasServed|mark|tag|socket|tcp|maxInFlight|perClient|deadline|value|file|routes|serves)\b.*)$/;
    const found: string[] = [];
    const visit = (holder: Record<string, unknown>, key: string, path: string) => {
      const former = holder[key];
      if (!free.test(path)) {
        for (const other of [true, ...(former === null ? [] : [null])]) {
          holder[key] = other;
          writeFileSync(join(folder, "state.json"), JSON.stringify(value));
          if (readState(folder).state !== undefined) found.push(`${path} = ${other}`);
        }
        holder[key] = former;
      }
      if (typeof former === "object" && former !== null)
        for (const inner of Object.keys(former)) visit(former as Record<string, unknown>, inner, `${path}.${inner}`);
    };
    const value = JSON.parse(text) as Record<string, unknown>;
    for (const key of Object.keys(value)) visit(value, key, key);
    expect(found).toEqual([]);
    writeFileSync(join(folder, "state.json"), JSON.stringify(value));
    expect(readState(folder).state).toEqual(value);
  });

  test.each([
    ["a deploy that is decided", undefined, { generation: 2, wanted: 1, config: "new" }],
    ["one that is not, of the same size", { generation: 1, size: 1 }, { generation: 1, wanted: 1, config: "old" }],
    ["one that is not, of another size", { generation: 1, size: 3 }, { generation: 1, wanted: 3, config: "old" }],
    ["one of an autoscaled pool", { generation: 1, size: undefined }, { generation: 1, wanted: 1, config: "old" }],
  ])("names what the next supervisor continues with: %s", (_, former, expected) => {
    const from = sources(makeFolder());
    const { configs, runner } = from;
    const before = configs.fleet;
    const context = { now: 10, random: 0, policyOf: () => policy };
    configs.setPool({ ...(web as object), routes: ["/new"] } as never);
    const jobs = { name: "jobs", routes: ["/jobs"], serves: true, secrets: {} } as never;
    configs.setPool(jobs);
    configs.setRoutes(jobs);
    configs.addGeneration(jobs, {});
    const added = resize(addPool(setGeneration(runner.fleet, "web", 2), "jobs", 1), "jobs", 1, context);
    (runner as { fleet: Fleet }).fleet = added.fleet;
    const pools = former && [{ name: "web", ...former }];
    const undecided = pools && ({ config: before, pools } satisfies BeforeDeploy);
    const state = stateOf({ ...from, undecided: () => undecided }, 5);
    const isOld = expected.config === "old";
    const names = isOld ? ["web"] : ["web", "jobs"];
    expect(state.fleet.pools.map(({ name }) => name)).toEqual(names);
    expect(state.fleet.pools[0]).toMatchObject({ generation: expected.generation, wanted: expected.wanted });
    expect(state.config.pools.map(({ routes }) => routes)).toEqual(isOld ? [["/"]] : [["/new"], ["/jobs"]]);
    expect([...new Set(state.generations.map(({ pool }) => pool))]).toEqual(names);
    expect(state.routed).toEqual(names);
    expect(state.slots.map(({ name }) => name)).toEqual(names.map((name) => `${name}.1`));
  });

  test("is read without the minimum sizes that an older supervisor does not write", () => {
    const folder = makeFolder();
    const { floors: _, ...older } = stateOf(sources(folder), 5);
    writeFileSync(join(folder, "state.json"), JSON.stringify(older));
    expect(readState(folder).state).toMatchObject({ version: 1, startedAt: 5 });
  });

  test("is not read through a link", () => {
    const folder = makeFolder({ elsewhere: "{}" });
    symlinkSync(join(folder, "elsewhere"), join(folder, "state.json"));
    expect(readState(folder).problem).toMatch(/^it cannot be read: ELOOP/);
  });
});

describe("the state file", () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] }));
  afterEach(() => void vi.useRealTimers());
  const written = (folder: string, version: number) =>
    vi.waitFor(() => expect(readState(folder).state?.snapshotVersion).toBe(version), { timeout: 60_000, interval: 5 });

  test("is written once for simultaneous changes, only if something differs, and readable only by its owner", async () => {
    const folder = makeFolder();
    const from = sources(folder);
    const keeper = new StateKeeper(from);
    const timers = vi.getTimerCount();
    for (let version = 1; version <= 5; version++) {
      from.version = version;
      keeper.changed();
    }
    expect(existsSync(join(folder, "state.json"))).toBe(false);
    expect(vi.getTimerCount() - timers).toBe(1);
    await vi.advanceTimersByTimeAsync(50);
    await written(folder, 5);
    const { mode, ino } = statSync(join(folder, "state.json"));
    expect(mode & 0o777).toBe(0o600);
    keeper.changed();
    await vi.advanceTimersByTimeAsync(1000);
    expect(statSync(join(folder, "state.json")).ino).toBe(ino);
    from.version = 6;
    keeper.changed();
    await vi.advanceTimersByTimeAsync(1000);
    await written(folder, 6);
    from.version = 7;
    keeper.changed();
    await keeper.handOver();
    expect(readState(folder).state?.snapshotVersion).toBe(7);
    keeper.changed();
    await keeper.end();
    await vi.advanceTimersByTimeAsync(1000);
    expect(readdirSync(folder), "nothing was due any more").toEqual([]);
  });

  test("has the last change when its writer says so, however soon after another one; a full disk delays nobody", async () => {
    const folder = makeFolder();
    const from = sources(folder);
    const keeper = new StateKeeper(from);
    for (const version of [7, 8, 9]) {
      from.version = version;
      keeper.changed();
      await Promise.all([keeper.saved(), keeper.saved()]);
      expect(readState(folder).state?.snapshotVersion).toBe(version);
    }
    mkdirSync(join(folder, `state.json.${process.pid}`));
    from.version = 10;
    keeper.changed();
    await keeper.saved();
    expect(keeper.problem).toMatch(/state.json cannot be written: EISDIR/);
    expect(readState(folder).state?.snapshotVersion).toBe(9);
    await keeper.end();
  });

  test("that cannot be written does not change, is reported once, and is written when it can be", async () => {
    const folder = makeFolder();
    const events: string[] = [];
    const from = sources(folder, events);
    const keeper = new StateKeeper(from);
    keeper.changed();
    await vi.advanceTimersByTimeAsync(50);
    await written(folder, 6);
    const before = readFileSync(join(folder, "state.json"), "utf8");
    const obstacle = join(folder, `state.json.${process.pid}`);
    mkdirSync(obstacle);
    from.version = 7;
    keeper.changed();
    for (let tries = 0; tries < 3; tries++) {
      await vi.advanceTimersByTimeAsync(6000);
      await vi.waitFor(() => expect(keeper.problem).toMatch(/state.json cannot be written: EISDIR/), {
        timeout: 60_000,
      });
    }
    expect(events).toEqual([expect.stringMatching(/^warn paceline .*state.json cannot be written: EISDIR/)]);
    expect(readFileSync(join(folder, "state.json"), "utf8")).toBe(before);
    (await import("node:fs")).rmdirSync(obstacle);
    await vi.waitFor(
      async () => {
        await vi.advanceTimersByTimeAsync(6000);
        expect(keeper.problem).toBeNull();
      },
      { timeout: 60_000 },
    );
    await written(folder, 7);
    await keeper.end();
  });
});
