/** Workers beside an app and alone: they get no requests, say when they are ready, and never run twice in one slot. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { askControl, Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

/** Notes in a file when it comes and goes; it takes a while to go. Of the version `broken` it ends at once. */
const JOBS = `
import { appendFileSync } from "node:fs";
const version = process.env.VERSION ?? "";
const note = (what) => appendFileSync(process.env.PACELINE_INSTANCE + ".txt", what + " " + version + "\\n");
note("in");
if (version === "broken") {
  note("out");
  throw new Error("no queue");
}
process.on("SIGTERM", () => setTimeout(() => { note("out"); process.exit(0); }, 100));
setInterval(() => {}, 1000);
process.send?.("ready");
`;

const IN_TYPESCRIPT = JOBS.replace("(what)", "(what: string)");

/** What a run does is in the file mode: it ends at once, fails, or waits for a file. */
const TICK = `
import { appendFileSync, existsSync, readFileSync } from "node:fs";
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// On a busy machine it may be ended for its time before it has begun.
let isIn = false;
process.on("exit", () => isIn && appendFileSync("tick.txt", "out\\n"));
process.on("SIGTERM", () => process.exit(1));
appendFileSync("tick.txt", "in\\n");
isIn = true;
const mode = readFileSync("mode", "utf8");
while (mode === "wait" && !existsSync("released")) await sleep(10);
if (mode === "fail") throw new Error("no disk");
`;

const notes = (project: Project, instance: string) => readFileSync(join(project.folder, `${instance}.txt`), "utf8");

describe.each(RUNTIMES)("workers on %s", (runtime) => {
  const once = testOnce(runtime);

  test("beside an app get no requests, and a reload ends the old process before it starts the new one", async () => {
    const jobs = (VERSION: string) => ({
      worker: "./jobs.mjs",
      instances: 2,
      readySignal: true,
      env: { VERSION },
    });
    const pools = (version: string) => ({ web: { app: "./app.js", instances: 1 }, jobs: jobs(version) });
    const project = await startFleet({
      runtime,
      app: HELLO,
      files: { "jobs.mjs": JOBS },
      config: { pools: pools("1") },
    });
    const { pools: shown, listen } = await project.ready();
    expect(shown.map(({ name, kind, ready }) => `${name} ${kind} ${ready}`)).toEqual(["web app 1", "jobs worker 2"]);
    expect(shown[1]).toMatchObject({ routes: [], requestsTotal: null, requestsPerSecond: null });
    expect(shown[1]?.instances[0]).toMatchObject({ requestsPerSecond: null, inFlight: null, restarts: 0 });
    expect(listen).toHaveLength(1);
    for (let at = 0; at < 6; at++) {
      expect((await get(project.port, "/")).headers.get("x-instance")).toBe("web.1");
    }

    project.writeConfig({ pools: pools("2") });
    expect(await project.reload()).toMatchObject({ code: 0 });
    for (const name of ["jobs.1", "jobs.2"]) expect(notes(project, name)).toBe("in 1\nout 1\nin 2\n");

    project.writeConfig({ pools: pools("broken") });
    const failed = await project.reload("jobs");
    expect(failed.code).toBe(1);
    expect(failed.output).toMatch(/the new jobs\.1 failed to start: .* before it was ready, .*: error: no queue/i);
    expect(failed.output).toContain("the old version runs again");
    expect(notes(project, "jobs.1")).toBe("in 1\nout 1\nin 2\nout 2\nin broken\nout broken\nin 2\n");
    expect(notes(project, "jobs.2")).toBe("in 1\nout 1\nin 2\n");

    expect(await project.cli(["scale", "jobs", "+1"])).toMatchObject({ code: 0 });
    const pid = (await project.status()).pools[1]?.instances[0]?.pid;
    expect(await project.restart("jobs.1")).toMatchObject({ code: 0 });
    expect((await project.status()).pools[1]?.instances[0]?.pid).not.toBe(pid);
    // No balancer knows a worker, so none is waited for.
    expect(await project.events()).not.toContain("drains although");
    expect(await project.stop()).toMatchObject({ code: 0 });
    for (const name of ["jobs.1", "jobs.2", "jobs.3"]) {
      expect(notes(project, name).split("\n").at(-2), name).toBe("out 2");
    }
    await project.nothingLeft();
  });

  test("with a schedule run at its times and never twice at once; a failed run is no failed process", async () => {
    const tick = (more: object) => ({ worker: "./tick.mjs", cron: "* * * * * *", timezone: "Asia/Tokyo", ...more });
    const files = { "tick.mjs": TICK, mode: "succeed" };
    const config = { pools: { tick: tick({}) }, listen: undefined };
    const project = await startFleet({ runtime, app: "", files, config });
    const event = (pattern: RegExp) => waitFor(`${pattern}`, async () => pattern.test(await project.events()));
    const instance = async () => (await project.status()).pools[0]?.instances[0];
    await event(/ info tick\.1 +run of [\d-]+ [\d:]+ Asia\/Tokyo succeeded in [\d.]+ s; next at /);
    expect((await project.status()).pools[0]).toMatchObject({ cron: "* * * * * *", requestsTotal: null });

    project.write("mode", "fail");
    await event(/ error tick\.1 +run of .* failed after [\d.]+ s: exited with code 1: error: no disk/i);
    const shown = await instance();
    expect(shown).toMatchObject({ state: "ready", restarts: 0, attempt: 1, schedule: { last: { code: 1 } } });
    expect((await project.cli(["status", "--wide"])).output).toMatch(
      /tick\.1: the last run failed: exited with code 1/,
    );
    const refused = await project.scale("tick", 2);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.output).toContain("tick can have 0 to 1 instances, not 2");

    project.write("mode", "wait");
    await event(/ warn tick\.1 +skips the run of .*: the run of .* has not ended/);
    expect((await instance())?.schedule?.runningSeconds).not.toBeNull();
    project.writeConfig({ pools: { tick: tick({ runTimeoutMs: 500 }) } });
    const reload = project.reload();
    await project.statusWhere(
      "the reload to wait for the run",
      ({ pools }) => pools[0]?.instances[0]?.state === "draining",
    );
    project.write("released", "");
    expect(await reload).toMatchObject({ code: 0 });
    await event(/ info tick\.1 +run of .* succeeded in .*; skipped \d+ meanwhile/);
    expect((await instance())?.attempt).toBe(2);

    rmSync(join(project.folder, "released"));
    await event(/ error tick\.1 +run of .* failed after .*: took longer than 0\.5 s \(runTimeoutMs\)/);
    expect(await project.stop()).toMatchObject({ code: 0 });
    expect(readFileSync(join(project.folder, "tick.txt"), "utf8")).toMatch(/^(in\nout\n)+$/);
    await project.nothingLeft();
  });

  once("alone need no port and no balancer", async () => {
    const project = await Project.make({ runtime, app: "" });
    project.write("paceline.config.json", "{}");
    const started = await project.startDetached([
      ...["--worker", "--", process.execPath, "-e", "console.log('polls'); setInterval(() => {}, 1000)"],
    ]);
    expect(started).toMatchObject({ code: 0 });
    expect(started.output).not.toContain("127.0.0.1");
    const status = await project.status();
    expect(status).toMatchObject({ listen: [], balancers: [], state: "running" });
    const shown = await project.cli(["status", "--check"]);
    expect(shown).toMatchObject({ code: 0 });
    expect(shown.output).toMatch(/worker {2}worker {2}1\/1 ready {2}generation 1\n/);
    expect(shown.output).not.toMatch(/req\/s|REQ|P50|127\.0\.0\.1/);
    const refused = await project.scale("balancer", 1);
    expect(refused).toMatchObject({ code: 2 });
    expect(refused.output).toContain("balancer can have no instances, not 1");
    await waitFor("its output", async () => (await project.logs("worker")).includes("worker.1 | polls\n"));
    // With no instance at all, the fleet still runs, and nothing is left to wait for.
    expect(await project.scale("worker", 0)).toMatchObject({ code: 0 });
    expect(await project.status()).toMatchObject({ state: "running" });
    expect(await askControl(join(project.runDir, "control.sock"), "/v1/ready")).toContain('"ok":true');
    expect((await project.cli(["status", "--wide"])).output).not.toMatch(/REQ|P50/);
    expect(await project.stop()).toMatchObject({ code: 0 });
    await project.nothingLeft();
  });

  once("that ends before it is ready fails its start in one line", async () => {
    const jobs = { worker: "./jobs.ts", env: { VERSION: "broken" } };
    const config = { restartBudget: { maxFailures: 1 }, listen: undefined, pools: { jobs } };
    const project = await Project.make({ runtime, app: "", files: { "jobs.ts": IN_TYPESCRIPT }, config });
    const { code, output } = await project.startDetached();
    expect(code).toBe(1);
    expect(output).toMatch(/jobs\.1 failed to start: exited with code 1 .* before it was ready, .*: error: no queue/i);
    await project.nothingLeft();
  });
});
