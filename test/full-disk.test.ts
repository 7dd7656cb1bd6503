/** A full disk below a run directory costs log lines, and no process; a killed supervisor is replaced. */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { Project, RUNTIMES } from "./support/fleet.js";
import { signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
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
    // Both instances, several times each.
    for (let n = 0; n < 6; n++) expect((await get(project.port, "/")).body).toBe("served");
    signal(before.pid, "SIGKILL");
    await waitFor("the supervisor to be gone", () => !project.processes().includes(before.pid));
    for (let n = 0; n < 6; n++) expect((await get(project.port, "/")).body).toBe("served");
    expect((await project.startDetached()).output).toMatch(/all ready/);
    // Another start neither takes it over nor prevents it.
    expect((await project.startDetached()).output).toMatch(/already running/);
    expect(await project.events()).toMatch(/fleet\.json cannot be written/);
    rmSync(ballast);
    const after = await project.statusWhere("the record", ({ problem }) => problem === null);
    const pids = ({ pools, balancers }: typeof before) =>
      [...(pools[0]?.instances ?? []), ...balancers].map(({ pid }) => pid);
    expect(pids(after)).toEqual(pids(before));
  });
});
