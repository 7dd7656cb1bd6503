/** The README's first command: `npm start` serves examples/hello, with other options if given, until Ctrl-C. */
import { describe, expect, test } from "vitest";
import { Project, ROOT } from "./support/fleet.js";
import { run, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";

describe("npm start", () => {
  test("a second set-up does nothing and needs no network", async () => {
    const setUp = await run(process.execPath, ["scripts/setup.mjs"], { cwd: ROOT });
    expect(`${setUp.code} ${setUp.output}`).toMatch(/^0 /);
    const unreachable = { ...process.env, npm_config_registry: "http://127.0.0.1:9/" };
    const done = await run(process.execPath, ["scripts/setup.mjs"], { cwd: ROOT, env: unreachable });
    expect(done).toMatchObject({ code: 0, output: "" });
  });

  // Examples run on both runtimes.
  test("serves Hello World! where it is told to, and stops at SIGINT", async () => {
    const runtime = "bun";
    const project = await Project.make({ runtime, app: "" });
    const options = ["--instances", "3", "--listen", `127.0.0.1:${project.port}`, "--runtime", runtime];
    project.startInForeground(["npm", "start", "--", ...options, "--run-dir", `${project.folder}/.paceline`], ROOT);
    const status = await project.ready();
    expect(status.pools[0]).toMatchObject({ wanted: 3, ready: 3 });
    expect((await get(project.port)).body.trim()).toBe("Hello World!");
    const shown = await run("npx", ["--no-install", "paceline", "status", "--run-dir", `${project.folder}/.paceline`], {
      cwd: ROOT,
    });
    expect(`${shown.code} ${shown.output}`).toMatch(/^0 [\s\S]*web\.3/);

    // A terminal sends it to every process of the group: npm, the shell and the supervisor.
    signal(-project.foregroundPid, "SIGINT");
    await project.exit();
    await project.nothingLeft();
  });
});
