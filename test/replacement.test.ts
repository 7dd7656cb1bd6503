/** Replacements under load: no request is lost and none gets two responses. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { allReady, type Project, RUNTIMES, type RuntimeName, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";

/** PACELINE_CHAOS=full: the number of replacements and connections for a release; otherwise a quick number. */
const FULL = process.env.PACELINE_CHAOS === "full";
const SIZE = FULL
  ? { instances: 8, reloads: 20, low: 2, high: 16, balancers: 5, connections: 20_000, timeoutMs: 1_800_000 }
  : { instances: 3, reloads: 2, low: 1, high: 4, balancers: 2, connections: 1_000, timeoutMs: 90_000 };

/**
 * Runs commands one after another under clients with kept and with new connections, each command over at least SIZE.connections
 * new connections. Then compares the clients' counts with the servers'.
 */
async function underLoad(project: Project, commands: string[][]): Promise<void> {
  const common = { expectBody: HELLO_BODY, path: "/" };
  const kept = project.load({ ...common, mode: "keep-alive", clients: 16, delayMs: 15 });
  const anew = project.load({ ...common, mode: "connect-anew", clients: 16 });
  await kept.until("answers", (counts) => counts.ok > 100);
  await anew.moreConnections(100);

  for (const command of commands) {
    const [done] = await Promise.all([
      project.cli([...command, "--timeout", "120s"], { deadlineMs: 150_000 }),
      anew.moreConnections(SIZE.connections, SIZE.timeoutMs),
    ]);
    expect(`${done.code} ${done.output}`).toMatch(/^0 /);
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

function start(runtime: RuntimeName, instances = SIZE.instances, processes = 1): Promise<Project> {
  // Requests reassigned on a busy machine would count twice; other tests cover that.
  const limits = { stallAfterMs: 60_000 };
  return startFleet({ runtime, instances, app: HELLO, config: { balancer: { processes, limits } } });
}

describe.each(RUNTIMES)("under load on %s", { timeout: SIZE.timeoutMs }, (runtime) => {
  test("reloads lose nothing", async () => {
    const project = await start(runtime);
    const before = (await project.status()).pools[0];
    await underLoad(project, Array(SIZE.reloads).fill(["reload"]));

    const after = (await project.status()).pools[0];
    expect(after?.generation).toBe((before?.generation ?? Number.NaN) + SIZE.reloads);
    const pidsBefore = before?.instances.map((instance) => instance.pid);
    for (const instance of after?.instances ?? []) {
      expect(instance.generation).toBe(after?.generation);
      expect(pidsBefore).not.toContain(instance.pid);
    }
  });

  test("scaling up and down loses nothing", async () => {
    const project = await start(runtime, SIZE.low);
    await underLoad(project, [
      ["scale", "web", String(SIZE.high)],
      ["scale", "web", String(SIZE.low)],
    ]);

    const pool = (await project.status()).pools[0];
    expect(pool?.wanted).toBe(SIZE.low);
    expect(pool?.instances.filter((instance) => instance.state === "ready")).toHaveLength(SIZE.low);
  });

  test("replacing the balancer loses nothing", async () => {
    const project = await start(runtime);
    const before = (await project.status()).balancers[0];
    await underLoad(project, Array(SIZE.balancers).fill(["restart", "balancer"]));

    const after = (await project.status()).balancers[0];
    expect(after?.attempt).toBe((before?.attempt ?? Number.NaN) + SIZE.balancers);
    expect(after?.pid).not.toBe(before?.pid);
  });

  test("replacing one of two balancers loses nothing", async () => {
    const project = await start(runtime, 2, 2);
    await underLoad(project, [["restart", "balancer.2"], ["reload"]]);
    expect((await project.status()).balancers.map((balancer) => balancer.state)).toEqual(["ready", "ready"]);
  });

  test("restarting one instance loses nothing", async () => {
    const project = await start(runtime);
    const before = (await project.status()).pools[0]?.instances ?? [];
    await underLoad(project, [["restart", "web.2"]]);

    const after = (await project.status()).pools[0]?.instances ?? [];
    expect(after.map((instance, index) => instance.pid === before[index]?.pid)).toEqual(
      before.map((instance) => instance.name !== "web.2"),
    );
  });
});
