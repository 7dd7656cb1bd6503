/**
 * A full disk under a run directory costs log lines, but no process; a killed supervisor is replaced, and a removed run directory is
 * created again.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { allReady, Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

const APP = `
export default (request) => {
  process.stdout.write("to stdout\\n");
  process.stderr.write("to stderr\\n");
  console.log("by console.log");
  return new Response("served");
};
`;

describe.each(RUNTIMES)("on a full disk on %s", (runtime) => {
  test("instances that write and balancers that lose their supervisor live on", async (context) => {
    const project = await Project.make({ runtime, app: APP });
    mkdirSync(project.runDir, { mode: 0o700 });
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", project.runDir]);
    if (mounted.status !== 0) return context.skip(`no small disk: ${mounted.stderr ?? mounted.error}`);
    onTestFinished(() => void spawnSync("umount", ["-l", project.runDir]));
    const started = await project.startDetached();
    expect(started.output).toMatch(/all ready/);
    const before = await project.status();
    const ballast = join(project.runDir, "ballast");
    expect(() => writeFileSync(ballast, Buffer.alloc(16 << 20))).toThrow("ENOSPC");
    // Both instances get several requests.
    for (let n = 0; n < 6; n++) expect((await get(project.port, "/")).body).toBe("served");
    // An operation is not recorded, but done all the same.
    const unsaved = /warning: .*state\.json cannot be written: .*; if the supervisor ends now/;
    expect(await project.scale("web", 3)).toMatchObject({ code: 0, output: expect.stringMatching(unsaved) });
    expect(await project.scale("web", 2)).toMatchObject({ code: 0 });
    expect(await project.events()).toMatch(
      /the history is incomplete: .*no space left on device.*; operations continue/i,
    );
    await kill(before.pid);
    for (let n = 0; n < 6; n++) expect((await get(project.port, "/")).body).toBe("served");
    expect((await project.startDetached()).output).toMatch(/all ready/);
    // Another start neither takes the fleet over nor prevents that.
    expect((await project.startDetached()).output).toMatch(/already running/);
    expect(await project.events()).toMatch(/fleet\.json cannot be written/);
    rmSync(ballast);
    const after = await project.statusWhere("the record", ({ problem }) => problem === null);
    const pids = ({ pools, balancers }: typeof before) =>
      [...(pools[0]?.instances ?? []), ...balancers].map(({ pid }) => pid);
    expect(pids(after)).toEqual(pids(before));
  });

  // The test above covers the files of both runtimes.
  testOnce(runtime)("a removed run directory is made again, and all processes get sockets in it", async () => {
    const project = await startFleet({ runtime, app: APP });
    const { pid } = await project.status();
    const load = project.load({ mode: "connect-anew", clients: 1, path: "/", expectBody: "served", delayMs: 10 });
    rmSync(project.runDir, { recursive: true });
    const after = await project.statusWhere("all of them to be restarted", (status) => {
      const all = [...status.balancers, ...status.pools.flatMap(({ instances }) => instances)];
      // An outgoing process would make the next supervisor undo the restart.
      return allReady(status) && all.every(({ attempt, other }) => attempt === 2 && other === null);
    });
    expect([after.pid, after.problem]).toEqual([pid, null]);
    expect(await project.events()).toMatch(/was removed while the fleet runs: it was created again/);
    // Another supervisor finds everything that it needs there, after the end of the restart was saved.
    await waitFor("the state", () => {
      const state = JSON.parse(readFileSync(join(project.runDir, "state.json"), "utf8"));
      const ids = state.processes.map(({ id }: { id: string }) => id);
      return ids.sort().join(" ") === "balancer.1#2 web.1#2 web.2#2";
    });
    await kill(pid);
    expect((await project.startDetached()).output).toMatch(/all ready/);
    await project.eventWhere(/adopted 2 instances and 1 balancer; started 0, ended 0/);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });
});
