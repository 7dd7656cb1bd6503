/** A killed process loses only its own requests. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { RUNTIMES, sharedFleet, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { signal } from "./support/processes.js";
import { get, RawConnection } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";

/** Returns the pid, or fails the test. */
function present(pid: number | null | undefined): number {
  if (typeof pid !== "number") throw new Error("no pid");
  return pid;
}

describe.each(RUNTIMES)("kill -9 on %s", (runtime) => {
  const fleet = sharedFleet({ runtime, instances: 4, app: HELLO, config: { orphanGraceMs: 5_000 } });

  test("of an instance: no client sees an error, and it is soon back", async () => {
    const project = fleet();
    const kept = project.load({ mode: "keep-alive", clients: 16, expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: 8, expectBody: HELLO_BODY });
    await anew.moreConnections(150);

    for (const name of ["web.1", "web.3"]) {
      const find = (status: Awaited<ReturnType<typeof project.status>>) =>
        status.pools[0]?.instances.find((instance) => instance.name === name);
      const pid = present(find(await project.status())?.pid);
      signal(pid, "SIGKILL");
      const status = await project.statusWhere(
        `${name} to be back`,
        (seen) => find(seen)?.state === "ready" && find(seen)?.pid !== pid,
      );
      expect(find(status)).toMatchObject({ restarts: 1, lastExit: { code: null, signal: "SIGKILL" } });
      await anew.moreConnections(150);
    }

    expect(failures(await kept.stop())).toEqual(NO_FAILURES);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);
    expect(await project.events()).not.toContain("lost its control channel");
  });

  // The balancer's tests have its queue on both runtimes.
  testOnce(runtime)("of the only instance: requests wait for the next one", async () => {
    const project = await startFleet({ runtime, instances: 1, app: HELLO });
    const anew = project.load({ mode: "connect-anew", clients: 8, expectBody: HELLO_BODY });
    await anew.moreConnections(100);
    const pid = present((await project.status()).pools[0]?.instances[0]?.pid);
    signal(pid, "SIGKILL");
    await project.statusWhere("the next one", ({ pools: [web] }) => web?.ready === 1 && web.instances[0]?.pid !== pid);
    await anew.moreConnections(100);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);
    expect((await project.stop("web")).code).toBe(0);
    expect((await get(project.port)).status).toBe(503);
  });

  test("of a balancer: connections that wait are served by the next one", async () => {
    const project = fleet();
    const first = (await project.status()).balancers[0];
    const inFlight = await RawConnection.open(project.port);
    inFlight.write("GET /slow?ms=20000 HTTP/1.1\r\nHost: x\r\n\r\n");
    await project.statusWhere("the slow request to be in flight", (status) =>
      Boolean(status.pools[0]?.instances.some((instance) => instance.inFlight === 1)),
    );

    // A stopped balancer does not accept: these connections wait in the queue of the listening socket.
    signal(present(first?.pid), "SIGSTOP");
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
    const kept = project.load({ mode: "keep-alive", clients: 16, expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: 16, expectBody: HELLO_BODY });
    await anew.moreConnections(150);
    const pid = present((await project.status()).balancers[0]?.pid);
    signal(pid, "SIGKILL");
    await project.statusWhere("the next balancer", (seen) => {
      const balancer = seen.balancers[0];
      return balancer?.state === "ready" && balancer.pid !== pid;
    });
    await anew.moreConnections(150);

    for (const counts of [await kept.stop(), await anew.stop()]) {
      const { resets, truncated, notes, ...others } = failures(counts);
      expect((resets ?? 0) + (truncated ?? 0)).toBeLessThanOrEqual(16);
      const { resets: _r, truncated: _t, notes: _n, ...none } = NO_FAILURES;
      expect(others).toEqual(none);
    }
  });

  test("of the supervisor: requests go on being answered, and after the grace nothing is left", async () => {
    const project = fleet();
    const kept = project.load({ mode: "keep-alive", clients: 8, path: "/chat", expectBody: HELLO_BODY, delayMs: 100 });
    const anew = project.load({ mode: "connect-anew", clients: 8, path: "/chat", expectBody: HELLO_BODY });
    await anew.moreConnections(100);
    signal((await project.status()).pid, "SIGKILL");
    await anew.moreConnections(50);
    expect(failures(await kept.stop())).toEqual(NO_FAILURES);
    expect(failures(await anew.stop())).toEqual(NO_FAILURES);

    await project.nothingLeft();
    await project.start();
    expect((await get(project.port)).body).toBe(HELLO_BODY);
  });
});
