/** Requests go to the instances in turn, and the counters show it. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { type Project, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { needs, run } from "./support/processes.js";

const INSTANCES = 4;

/** On a busy machine an instance may be silent for a long time; reassigned requests would then count twice. */
const WITHOUT_MOVES = { balancer: { limits: { stallAfterMs: 60_000 } } };

/** Returns what each instance has counted since `before`, when the sum is `total`. */
async function countersAfter(project: Project, before: number[], total: number): Promise<number[]> {
  const sum = before.reduce((all, each) => all + each, total);
  const status = await project.statusWhere(
    `${sum} counted requests`,
    (seen) => (seen.pools[0]?.requestsTotal ?? 0) >= sum && seen.requestsTotal >= sum,
  );
  expect(status.requestsTotal).toBe(sum);
  expect(status.pools[0]?.requestsTotal).toBe(sum);
  return (
    status.pools[0]?.instances.map(({ requestsTotal }, index) => (requestsTotal ?? 0) - (before[index] ?? 0)) ?? []
  );
}

function spread(counters: number[]): number {
  return Math.max(...counters) - Math.min(...counters);
}

/** By default a busy instance may be skipped, and gets its requests later. */
const POLICIES = [
  ["bun", "round-robin", 33],
  // The policies are pure; each transport runs one of them.
  ["node", "exact", 1],
] as const;

describe.each(POLICIES)("turns on %s, %s", (runtime, policy, most) => {
  test("clients with new connections, with kept ones, and a thousand of ab at once reach every instance equally often", async (context) => {
    const project = await startFleet({
      runtime,
      instances: INSTANCES,
      app: HELLO,
      config: { ...WITHOUT_MOVES, policy },
    });
    const before = Array<number>(INSTANCES).fill(0);
    const check = async (total: number, limit: number = most) => {
      const counters = await countersAfter(project, before, total);
      expect(counters).toHaveLength(INSTANCES);
      expect(spread(counters)).toBeLessThanOrEqual(limit);
      for (const [index, count] of counters.entries()) before[index] = (before[index] ?? 0) + count;
    };

    for (const mode of ["connect-anew", "keep-alive"] as const) {
      const load = project.load({ mode, clients: 10, delayMs: 2, maxConnections: 300, expectBody: HELLO_BODY });
      if (mode === "keep-alive") await load.until("500 responses", ({ ok }) => ok >= 500);
      const counts = mode === "keep-alive" ? await load.stop() : await load.finished();
      expect(failures(counts)).toEqual(NO_FAILURES);
      await check(counts.ok);
      expect(Object.values(counts.byInstance)).toHaveLength(INSTANCES);
      expect(spread(Object.values(counts.byInstance))).toBeLessThanOrEqual(most);
    }

    needs(context, "ab");
    const ab = await run("ab", ["-q", "-n2000", "-c1000", `http://127.0.0.1:${project.port}/`], {});
    expect(ab.output).toMatch(/Complete requests: +2000\n/);
    expect(ab.output).toMatch(/Failed requests: +0\n/);
    expect(ab.output).not.toMatch(/Non-2xx/);
    expect(ab.code).toBe(0);
    // On a busy machine an instance gets no CPU time for a while, and the others get its requests.
    await check(2_000, policy === "exact" ? most : 600);
  });
});
