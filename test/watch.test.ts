/** `paceline start --watch`: saved changes are served; one that does not start is reported and changes nothing. */
import { existsSync, rmSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { saying, throwing } from "./support/apps.js";
import { PACELINE, Project, type ProjectOptions, RUNTIMES } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { Screen } from "./support/terminal.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

async function startWatching(options: ProjectOptions): Promise<Project> {
  const project = await Project.make(options);
  const started = await project.startDetached(["--watch"]);
  if (started.code !== 0) throw new Error(`start --watch exited ${started.code}:\n${started.output}`);
  return project;
}

/** Resolves when all instances respond with this text: the reload is over. */
async function serves(project: Project, text: string, path = "/"): Promise<void> {
  let last = "";
  await waitFor(
    `${path} to answer ${text}`,
    async () => {
      last = (await get(project.port, path)).body;
      if (last !== text) return false;
      await project.ready();
      return (await get(project.port, path)).body === text;
    },
    { details: () => last },
  );
}

async function tells(project: Project, pattern: RegExp): Promise<string> {
  let last = "";
  return waitFor(
    `an event like ${pattern}`,
    async () => {
      last = await project.events();
      return pattern.test(last) && last;
    },
    { details: () => last },
  );
}

describe.each(RUNTIMES)("start --watch on %s", (runtime) => {
  const once = testOnce(runtime);

  test("serves what is saved; what does not start is told, and the old code serves on until it is mended", async () => {
    const project = await startWatching({ runtime, app: saying("one") });
    const before = await project.ready();
    expect(before.watch).toMatchObject({ failure: null });
    project.write("app.js", saying("two"));
    await serves(project, "two");

    project.write("app.js", throwing("no such table: users"));
    await tells(project, /warn +paceline +the change was not applied: the previous version keeps serving/);
    const told = await project.events();
    expect(told).toMatch(/error web +reload failed: the new web\.1 failed to start: .*no such table: users/);
    const { watch, pools } = await project.status();
    expect(watch?.failure).toMatch(/^web: reload failed: .*no such table: users/);
    expect(pools[0]).toMatchObject({ ready: 2 });
    for (let turn = 0; turn < 4; turn++) expect((await get(project.port)).body).toBe("two");

    project.write("app.js", saying("three"));
    await serves(project, "three");
    await project.statusWhere("the failure to be over", (status) => status.watch?.failure === null);
  });

  // What a change means is decided by the same code; folder-watch.test.ts has the watching on Node.
  testOnce(runtime)("reloads the pools that a change means: by the app's folder, the config, an env file", async () => {
    const env = "export default { fetch: () => new Response([process.env.A, process.env.B].join()) };\n";
    const pools = {
      web: { app: "./app.js", instances: 1 },
      docs: { app: "./docs/app.js", instances: 1, routes: ["/docs/"], envFiles: ["conf/docs.env"] },
    };
    const files = { "docs/app.js": env, "conf/docs.env": "A=1\n" };
    const project = await startWatching({ runtime, app: saying("one"), files, config: { pools, env: { B: "x" } } });
    const pids = async () => {
      const status = await project.ready();
      return Object.fromEntries(status.pools.map(({ name, instances }) => [name, instances[0]?.pid]));
    };
    const first = await pids();
    await serves(project, "1,x", "/docs/");
    // A module of the app, in a folder created after the watch began.
    project.write("docs/lib/word.js", 'export const word = "!";\n');
    project.write("docs/app.js", `import { word } from "./lib/word.js";\n${env.replace("join()", "join() + word")}`);
    await serves(project, "1,x!", "/docs/");
    project.write("docs/lib/word.js", 'export const word = "?";\n');
    await serves(project, "1,x?", "/docs/");
    project.write("conf/docs.env", "A=2\n");
    await serves(project, "2,x?", "/docs/");
    const second = await pids();
    expect(second.web).toBe(first.web);
    expect(second.docs).not.toBe(first.docs);
    // A problem in a config is reported, and changes nothing.
    project.writeConfig({ pools, env: { B: "y" }, instnaces: 3 });
    await tells(
      project,
      /error paceline +the change was not applied: .*instnaces: unknown key; did you mean "instances"\?/,
    );
    expect(await pids()).toEqual(second);
    project.writeConfig({ pools, env: { B: "y" } });
    await serves(project, "2,y?", "/docs/");
    const third = await pids();
    expect(third.web).not.toBe(first.web);
    // The web's folder contains the docs'; only a file outside the docs affects the web.
    project.write("node_modules/m/index.js", "");
    project.write(".cache/x.js", "");
    project.write("debug.log", "");
    project.write("app.js", saying("two"));
    await serves(project, "two");
    expect((await pids()).docs).toBe(third.docs);
    expect(await project.events()).not.toMatch(/node_modules|\.cache|debug\.log/);
  });

  once("makes one reload of a burst, and one more of what changes during it", async () => {
    // Becomes ready when the gate exists.
    const gated = (gates: string, text: string) => `
      import { existsSync, writeFileSync } from "node:fs";
      const folder = ${JSON.stringify(gates)};
      writeFileSync(folder + "${text}.waits", "");
      while (!existsSync(folder + "${text}.open")) await new Promise((resolve) => setTimeout(resolve, 20));
      ${saying(text)}`;
    const project = await startWatching({ runtime, app: saying("one"), instances: 1, files: { ".gates/x": "" } });
    const gates = `${project.folder}/.gates/`;
    const save = (text: string) => project.write("app.js", gated(gates, text));
    for (let n = 0; n < 20; n++) {
      save("two");
      project.write(`lib/${n}.js`, `// ${n}\n`);
    }
    await waitFor("the new code to be loaded", () => existsSync(`${gates}two.waits`));
    for (const text of ["three", "four"]) {
      save(text);
      project.write("lib/0.js", text);
    }
    for (const text of ["two", "four"]) project.write(`.gates/${text}.open`, "");
    await serves(project, "four");
    const told = await project.events();
    expect(told.match(/changed: reloads web/g)).toHaveLength(2);
    expect(told.match(/reload done: 1 of 1/g)).toHaveLength(2);
    expect(existsSync(`${gates}three.waits`)).toBe(false);
  });

  once("shows on the dashboard what did not start, until it is mended", async () => {
    const project = await Project.make({ runtime, app: saying("one") });
    const env = project.startEnvironment();
    const screen = Screen.open(PACELINE, ["start", "--watch"], { cwd: project.folder, env, columns: 150, rows: 30 });
    await screen.sees(/^▸web\.1 +ready/m, /^ test +2\/2 ready .* watching/m);
    await project.ready();
    project.write("app.js", throwing("no such table: users"));
    await screen.sees(
      /web +reload failed: the new web\.1 failed to start/,
      /^ ✗ web: reload failed: the new web\.1 failed to start: .*no such table: users/m,
    );
    expect((await get(project.port)).body).toBe("one");
    project.write("app.js", saying("two"));
    await serves(project, "two");
    await waitFor("the failure to be gone", () => !screen.lines().join("\n").includes("✗ web: reload failed"));
    screen.press("\x03");
    expect(await screen.exit()).toBe(0);
    await project.nothingLeft();
  });

  once(
    "says when nothing serves on, and forgets it when the newest code gets ready by itself; a scale says why not",
    async () => {
      const breakable = (text: string) => `
      import { existsSync } from "node:fs";
      if (existsSync(new URL("./.broken", import.meta.url))) throw new Error("the database is away");
      setTimeout(() => {
        setInterval(() => existsSync(new URL("./.broken", import.meta.url)) && process.exit(9), 20);
      });
      ${saying(text)}`;
      const config = { backoff: { initialMs: 20, maxMs: 100 } };
      const project = await startWatching({ runtime, app: breakable("one"), instances: 2, config });
      project.write(".broken", "");
      await project.statusWhere("no instance to be ready", ({ pools: [web] }) => web?.ready === 0);
      const scaled = await project.scale("web", 2);
      expect(scaled.output).toMatch(/web\.\d failed to start: .*the database is away/);
      expect(scaled.code).toBe(1);
      project.write("app.js", breakable("two"));
      await tells(project, /the change was not applied: the previous version is not ready either/);
      expect((await project.status()).watch?.failure).toMatch(/^web: reload failed: .*; no instance is ready$/);
      rmSync(`${project.folder}/.broken`);
      await project.statusWhere("the failure to be over", (status) => status.watch?.failure === null);
      await serves(project, "two");
      expect(await project.events()).not.toMatch(/reload done/);
    },
  );
});
