/** The listening sockets survive the supervisor: a balancer starts the next one with them, and no waiting connection is lost. */
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { PACELINE, RUNTIMES, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, signal } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

describe.each(RUNTIMES)("after kill -9 of the supervisor on %s", (runtime) => {
  test("start keeps the connections that wait: detached, then in the foreground, which ends as the supervisor does", async () => {
    const project = await startFleet({ runtime, app: HELLO });
    const load = project.load({ mode: "connect-anew", clients: 4, path: "/chat", expectBody: HELLO_BODY });
    const killed = (await project.status()).pid;
    await kill(killed);
    const again = await project.startDetached(["--replace"]);
    expect(`${again.code} ${again.output}`).toMatch(/^0 .*all ready/);
    const next = (await project.status()).pid;
    expect(again.output).toContain(`(pid ${next})`);
    expect(next).not.toBe(killed);

    await kill(next);
    project.startInForeground([PACELINE, "start"]);
    const last = (
      await project.statusWhere("the next supervisor", ({ pid, state }) => pid !== next && state === "running")
    ).pid;
    // The balancers that took over the sockets are replaced by one that inherits them from the new supervisor.
    const restarted = await project.restart("balancer");
    expect(restarted.code, restarted.output).toBe(0);
    await load.moreConnections(100);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect(last).not.toBe(project.foregroundPid);
    await waitFor("the log", () => project.output.includes("listens on"));
    signal(project.foregroundPid, "SIGTERM");
    expect(await project.exit()).toEqual({ code: 0, signal: null });
    expect(project.output).toContain("has stopped");
    await project.nothingLeft();
  });
});
