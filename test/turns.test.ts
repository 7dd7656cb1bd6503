/** Requests go to the instances in exact turn, and the counters show it. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { type Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { needs, run } from "./support/processes.js";

const INSTANCES = 4;

/** On a busy machine an instance may be silent for long; reassigned requests would then count twice. */
const WITHOUT_MOVES = { balancer: { limits: { stallAfterMs: 60_000 } } };

/** Returns each instance's counter, once their sum is `total`. */
async function countersAt(project: Project, total: number): Promise<number[]> {
  const status = await project.statusWhere(
    `${total} counted requests`,
    (seen) => (seen.pools[0]?.requestsTotal ?? 0) >= total && seen.requestsTotal >= total,
  );
  expect(status.requestsTotal).toBe(total);
  expect(status.pools[0]?.requestsTotal).toBe(total);
  return status.pools[0]?.instances.map((instance) => instance.requestsTotal ?? 0) ?? [];
}

function spread(counters: number[]): number {
  return Math.max(...counters) - Math.min(...counters);
}

describe.each(RUNTIMES)("turns on %s", (runtime) => {
  test.each(["connect-anew", "keep-alive"] as const)("%s clients reach every instance equally often", async (mode) => {
    const project = await startFleet({ runtime, instances: INSTANCES, app: HELLO, config: WITHOUT_MOVES });
    const load = project.load({ mode, clients: 10, maxConnections: 2_000, expectBody: HELLO_BODY });
    if (mode === "keep-alive") await load.until("3,000 answers", (counts) => counts.ok >= 3_000);
    const counts = mode === "keep-alive" ? await load.stop() : await load.finished();

    expect(failures(counts)).toEqual(NO_FAILURES);
    const counters = await countersAt(project, counts.ok);
    expect(counters).toHaveLength(INSTANCES);
    expect(spread(counters)).toBeLessThanOrEqual(1);
    expect(Object.values(counts.byInstance)).toHaveLength(INSTANCES);
    expect(spread(Object.values(counts.byInstance))).toBeLessThanOrEqual(1);
  });

  test("ab -n20000 -c1000 fails no request", async (context) => {
    needs(context, "ab");
    const project = await startFleet({ runtime, instances: INSTANCES, app: HELLO, config: WITHOUT_MOVES });
    const ab = await run("ab", ["-q", "-n20000", "-c1000", `http://127.0.0.1:${project.port}/`], {});

    expect(ab.output).toMatch(/Complete requests: +20000\n/);
    expect(ab.output).toMatch(/Failed requests: +0\n/);
    expect(ab.output).not.toMatch(/Non-2xx/);
    expect(ab.code).toBe(0);
    const counters = await countersAt(project, 20_000);
    expect(counters).toHaveLength(INSTANCES);
    expect(spread(counters)).toBeLessThanOrEqual(1);
  });
});
