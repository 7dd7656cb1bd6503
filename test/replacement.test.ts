/** Replacements under load: no request is lost and none gets two responses. */
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { allReady, type Operated, type Project, RUNTIMES, type RuntimeName, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { testOnce } from "./support/test-once.js";

/** PACELINE_CHAOS=full: the number of replacements and connections for a release; otherwise a small number. */
const FULL = process.env.PACELINE_CHAOS === "full";
const SIZE = FULL
  ? { instances: 8, reloads: 20, low: 2, high: 16, balancers: 5, connections: 20_000, timeoutMs: 1_800_000 }
  : { instances: 3, reloads: 1, low: 1, high: 4, balancers: 1, connections: 150, timeoutMs: 90_000 };

/** An operation, and what must hold after it. */
interface Step {
  run: (project: Project) => Promise<Operated>;
  check: (before: Status, after: Status) => void;
}

const instancesOf = (status: Status) => status.pools[0]?.instances ?? [];

const reload: Step = {
  run: (project) => project.reload(),
  check: (before, after) => {
    const generation = (before.pools[0]?.generation ?? Number.NaN) + 1;
    const pids = instancesOf(before).map(({ pid }) => pid);
    expect(instancesOf(after).every((instance) => instance.generation === generation)).toBe(true);
    expect(instancesOf(after).filter(({ pid }) => pids.includes(pid))).toEqual([]);
  },
};

const scale = (instances: number): Step => ({
  run: (project) => project.scale("web", instances),
  check: (_, { pools }) => {
    expect(pools[0]?.wanted).toBe(instances);
    expect(pools[0]?.instances.filter(({ state }) => state === "ready")).toHaveLength(instances);
  },
});

const restartBalancer: Step = {
  run: (project) => project.restart("balancer"),
  check: ({ balancers: [before] }, { balancers: [after] }) => {
    expect(after?.attempt).toBe((before?.attempt ?? Number.NaN) + 1);
    expect(after?.pid).not.toBe(before?.pid);
  },
};

const restartSecond: Step = {
  run: (project) => project.restart("web.2"),
  check: (before, after) => {
    const was = instancesOf(before);
    expect(instancesOf(after).map(({ pid }, index) => pid === was[index]?.pid)).toEqual(
      was.map(({ name }) => name !== "web.2"),
    );
  },
};

const restartSecondBalancer: Step = {
  run: (project) => project.restart("balancer.2"),
  check: (before, { balancers }) => {
    expect(balancers.map(({ state }) => state)).toEqual(["ready", "ready"]);
    expect(balancers.map(({ pid }, index) => pid === before.balancers[index]?.pid)).toEqual([true, false]);
  },
};

/**
 * Runs steps one after another under clients with kept and with new connections, each step over at least SIZE.connections new connections.
 * Then compares the clients' counts with the servers'.
 */
async function underLoad(project: Project, steps: Step[]): Promise<void> {
  const common = { expectBody: HELLO_BODY, path: "/" };
  const kept = project.load({ ...common, mode: "keep-alive", clients: 8, delayMs: FULL ? 100 : 200 });
  const anew = project.load({ ...common, mode: "connect-anew", clients: 8, delayMs: FULL ? 40 : 60 });
  await kept.until("responses", (counts) => counts.ok > 32);
  await anew.moreConnections(50);

  for (const { run, check } of steps) {
    const before = await project.status();
    const [done] = await Promise.all([run(project), anew.moreConnections(SIZE.connections, SIZE.timeoutMs)]);
    expect(`${done.code} ${done.output}`).toMatch(/^0 /);
    check(before, await project.status());
  }

  const [keptCounts, anewCounts] = await Promise.all([kept.stop(), anew.stop()]);
  expect(failures(keptCounts)).toEqual(NO_FAILURES);
  expect(failures(anewCounts)).toEqual(NO_FAILURES);

  const responses = keptCounts.ok + anewCounts.ok;
  const status = await project.statusWhere(
    `${responses} requests, counted by balancers and instances`,
    (seen) => seen.requestsTotal >= responses && (seen.pools[0]?.requestsTotal ?? 0) >= responses && allReady(seen),
  );
  expect({ byBalancers: status.requestsTotal, byInstances: status.pools[0]?.requestsTotal }).toEqual({
    byBalancers: responses,
    byInstances: responses,
  });
}

function start(runtime: RuntimeName, instances: number, processes = 1): Promise<Project> {
  // Requests that are reassigned on a busy machine would count twice; other tests cover that.
  const limits = { stallAfterMs: 60_000 };
  return startFleet({ runtime, instances, app: HELLO, config: { balancer: { processes, limits } } });
}

describe.each(RUNTIMES)("under load on %s", { timeout: SIZE.timeoutMs }, (runtime) => {
  test("reloads, a restarted instance, scaling up and down, and replaced balancers lose nothing", async () => {
    const project = await start(runtime, SIZE.instances);
    const reloads = Array<Step>(SIZE.reloads).fill(reload);
    const balancers = Array<Step>(SIZE.balancers).fill(restartBalancer);
    await underLoad(project, [...reloads, restartSecond, scale(SIZE.high), scale(SIZE.low), ...balancers]);
  });

  // Each runtime replaces its balancers in the test above; how their socket is shared is up to the kernel.
  const onceUnlessFull = FULL ? test : testOnce(runtime);
  onceUnlessFull("replacing one of two balancers loses nothing", async () => {
    const project = await start(runtime, 2, 2);
    await underLoad(project, [restartSecondBalancer, reload]);
  });
});
