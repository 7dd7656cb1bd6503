/** A killed process loses only its own requests. */
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { RUNTIMES, sharedFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, pause, signal } from "./support/processes.js";
import { RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

/** The number of clients of each load on a balancer that is killed. */
const CLIENTS = 8;

/** Returns the pid, or fails the test. */
function present(pid: number | null | undefined): number {
  if (typeof pid !== "number") throw new Error("no pid");
  return pid;
}

describe.each(RUNTIMES)("kill -9 on %s", (runtime) => {
  const fleet = sharedFleet({ runtime, instances: 2, app: HELLO, config: { orphanGraceMs: 10_000 } });

  test("of an instance: no client sees an error, and it is soon back", async () => {
    const project = fleet();
    const kept = project.load({ mode: "keep-alive", clients: 8, expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: 4, expectBody: HELLO_BODY });
    await anew.moreConnections(50);

    // Only one: if requests for one path have crashed two processes, the last of them are not repeated.
    const find = ({ pools: [web] }: Status) => web?.instances.find(({ name }) => name === "web.1");
    const pid = present(find(await project.status())?.pid);
    signal(pid, "SIGKILL");
    const status = await project.statusWhere(
      "it to be back",
      (seen) => find(seen)?.state === "ready" && find(seen)?.pid !== pid,
    );
    expect(find(status)).toMatchObject({ restarts: 1, lastExit: { code: null, signal: "SIGKILL" } });
    await anew.moreConnections(50);

    expect(failures(await kept.stop())).toEqual(NO_FAILURES);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);
    expect(await project.events()).not.toContain("lost its control channel");
  });

  test("of a balancer: connections that wait are served by the next one", async () => {
    const project = fleet();
    const atWork = ({ pools: [web] }: Status) => web?.instances.reduce((sum, { inFlight }) => sum + (inFlight ?? 0), 0);
    const first = (await project.statusWhere("earlier requests to be over", (status) => atWork(status) === 0))
      .balancers[0];
    const inFlight = await RawConnection.open(project.port);
    inFlight.write("GET /slow?ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n");
    await project.statusWhere("the slow request to be in flight", (status) => atWork(status) === 1);

    // A stopped balancer does not accept: these connections wait in the queue of the listening socket.
    await pause(present(first?.pid));
    const waiting = await Promise.all(Array.from({ length: 50 }, () => RawConnection.open(project.port)));
    for (const connection of waiting) {
      connection.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    }
    signal(present(first?.pid), "SIGKILL");

    for (const connection of waiting) {
      expect(await connection.end()).toBe("closed");
      expect(connection.received).toMatch(/^HTTP\/1\.1 200 /);
      expect(connection.received.endsWith(`\r\n\r\n${HELLO_BODY}`)).toBe(true);
    }
    await inFlight.end();
    expect(inFlight.received).toBe("");
    const status = await project.ready();
    expect(status.balancers[0]).toMatchObject({ restarts: 1, lastExit: { signal: "SIGKILL" } });
  });

  test("of a balancer under load: each client loses at most the request that it had there", async () => {
    const project = fleet();
    const kept = project.load({ mode: "keep-alive", clients: CLIENTS, expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: CLIENTS, expectBody: HELLO_BODY });
    await anew.moreConnections(50);
    const pid = present((await project.status()).balancers[0]?.pid);
    signal(pid, "SIGKILL");
    await project.statusWhere("the next balancer", (seen) => {
      const balancer = seen.balancers[0];
      return balancer?.state === "ready" && balancer.pid !== pid;
    });
    await anew.moreConnections(50);

    for (const counts of [await kept.stop(), await anew.stop()]) {
      const { resets, truncated, notes, ...others } = failures(counts);
      expect((resets ?? 0) + (truncated ?? 0)).toBeLessThanOrEqual(CLIENTS);
      const { resets: _r, truncated: _t, notes: _n, ...none } = NO_FAILURES;
      expect(others).toEqual(none);
    }
  });

  // The tests of the balancer cover its queue on both runtimes.
  testOnce(runtime)("of the only instance: requests wait for the next one", async () => {
    const project = fleet();
    expect(await project.scale("web", 1)).toMatchObject({ code: 0 });
    const anew = project.load({ mode: "connect-anew", clients: 4, expectBody: HELLO_BODY });
    await anew.moreConnections(50);
    const pid = present((await project.status()).pools[0]?.instances[0]?.pid);
    signal(pid, "SIGKILL");
    await project.statusWhere("the next one", ({ pools: [web] }) => web?.ready === 1 && web.instances[0]?.pid !== pid);
    await anew.moreConnections(50);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);
  });

  test("of the supervisor: requests go on being answered, and after the grace nothing is left", async () => {
    const project = fleet();
    const kept = project.load({ mode: "keep-alive", clients: 8, path: "/chat", expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: 8, path: "/chat", expectBody: HELLO_BODY });
    await anew.moreConnections(100);
    await kill((await project.status()).pid);
    await anew.moreConnections(50);
    expect(failures(await kept.stop())).toEqual(NO_FAILURES);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);

    await project.nothingLeft();
  });
});
