/** `paceline start` in a terminal: the dashboard, and a fleet that stops with it unless it is detached. */
import { describe, expect, test } from "vitest";
import { HELLO } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { Screen } from "./support/terminal.js";
import { testOnce } from "./support/test-once.js";

describe.each(RUNTIMES)("start in a terminal on %s", (runtime) => {
  const once = testOnce(runtime);

  const options = { runtime, instances: 1, app: HELLO, config: { name: "店 🎉 shop" } };

  function startInTerminal(project: Project, ...args: string[]): Screen {
    return Screen.open(PACELINE, ["start", ...args], { cwd: project.folder, env: project.startEnvironment() });
  }

  test("the fleet ends with the dashboard, if that is the answer", async () => {
    const project = await Project.make(options);
    const screen = startInTerminal(project);
    await screen.sees(/^▸web\.1 +ready/m);
    await project.ready();
    screen.press("q");
    await screen.sees(/ Stop 店 □ shop\? {2}y stop it and wait {3}n leave it running {3}Esc go back/);
    screen.press("\x1b");
    await screen.sees(/q quit/);
    // A key sent together with its question is not an answer.
    screen.press("qy");
    await screen.sees(/ Stop 店 □ shop\? /);
    await screen.answer("y");
    expect(await screen.exit()).toBe(0);
    expect(screen.isRestored()).toBe(true);
    expect(screen.lines().join("\n")).toMatch(/paceline: 店 🎉 shop has stopped/);
    await project.nothingLeft();
  });

  once("or it runs on, if that is the answer", async () => {
    const project = await Project.make(options);
    const screen = startInTerminal(project);
    await screen.sees(/^▸web\.1 +ready/m);
    screen.press("q");
    await screen.sees(/ Stop 店 □ shop\? /);
    await screen.answer("n");
    expect(await screen.exit()).toBe(0);
    expect(screen.lines().join("\n")).toMatch(/keeps running \(pid \d+\)/);
    const { pid } = await project.ready();
    // By its next response it would have begun to stop.
    expect((await project.scale("web", 3)).code).toBe(0);
    expect(await project.status()).toMatchObject({ pid, state: "running" });
    expect((await project.stop()).code).toBe(0);
  });

  once.each([
    ["Ctrl-C", (screen: Screen) => screen.press("\x03"), 0],
    ["SIGTERM", (screen: Screen) => screen.kill("SIGTERM"), 0],
    ["SIGHUP", (screen: Screen) => screen.kill("SIGHUP"), 0],
  ])("%s stops it gracefully and gives the terminal back", async (_, end, code) => {
    const project = await Project.make(options);
    const screen = startInTerminal(project);
    await screen.sees(/^▸web\.1 +ready/m);
    await project.ready();
    end(screen);
    expect(await screen.exit()).toBe(code);
    expect(screen.isRestored()).toBe(true);
    await project.nothingLeft();
  });

  test("a client that is killed takes its fleet with it, in order", async () => {
    const project = await Project.make(options);
    const screen = startInTerminal(project);
    await screen.sees(/^▸web\.1 +ready/m);
    await project.ready();
    screen.kill("SIGKILL");
    await project.nothingLeft();
  });

  once("a start that fails is told as plain text, with exit status 1", async () => {
    const project = await Project.make({ ...options, app: 'throw new Error("\\x1b]0;theirs\\x07no database");\n' });
    const screen = startInTerminal(project);
    expect(await screen.exit()).toBe(1);
    expect(screen.isRestored()).toBe(true);
    expect(screen.output).toMatch(/failed to start: [\s\S]*no database[\s\S]*nothing was left running/);
    expect(screen.output).not.toContain("\x1b]0;theirs");
    expect(screen.output).toContain(String.raw`\x1b]0;theirs\x07no database`);
    await project.nothingLeft();
  });

  once("--no-dashboard prints the log in a terminal too", async () => {
    const project = await Project.make(options);
    const screen = startInTerminal(project, "--no-dashboard");
    await screen.sees(/web\.1 is ready/);
    await project.ready();
    expect(screen.output).not.toContain("\x1b[?1049h");
    screen.press("\x03");
    expect(await screen.exit()).toBe(0);
    await project.nothingLeft();
  });
});
