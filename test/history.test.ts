/** The history of a fleet, and what a reload or a deploy would change: on one fleet, with its supervisor killed in between. */
import { readdirSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { HistoryEntry } from "../packages/supervisor/dist/core/history.js";
import { HELLO } from "./support/apps.js";
import { startFleet } from "./support/fleet.js";
import { kill } from "./support/processes.js";

const HANGS = "await new Promise(() => setInterval(() => {}, 1000));\n";

test("who did what, when and with which result is kept, without values of variables; also by a killed supervisor", async () => {
  const project = await startFleet({
    ...{ runtime: "bun", instances: 1, app: HELLO, files: { token: "hunter2\n", ".env": "LEVEL=info\nOLD=1\n" } },
    config: { env: { TOKEN: { file: "token" } }, envFiles: ".env" },
  });
  const folder = join(project.runDir, "history");
  const history = async (...args: string[]) => {
    const { code, output, stdout } = await project.cli(["history", "--json", ...args]);
    expect(code, output).toBe(0);
    return (JSON.parse(stdout) as { history: HistoryEntry[] }).history;
  };
  const diff = async (...args: string[]) => {
    const { code, stdout, output } = await project.cli(["diff", ...args]);
    return { code, stdout, output };
  };
  const { username } = userInfo();
  expect((await project.cli(["history", "-n", "0"])).stdout).toBe("");

  // First nothing differs, then everything does.
  expect(await diff()).toMatchObject({ code: 0, stdout: "nothing differs\n" });
  project.write("app.js", `${HELLO}// another one\n`);
  project.write("token", "hunter3\n");
  project.write(".env", "LEVEL=swordfish\nNEW=1\n");
  project.writeConfig({ minReadyMs: 60, log: { maxFiles: 3 } });
  const text = await diff();
  expect(text.code).toBe(1);
  for (const line of [/log\.maxFiles +5 → 3\n/, /web\.minReadyMs +50 → 60\n/, /~ app\.js +[0-9a-f]{12}\n/])
    expect(text.stdout).toMatch(line);
  const compared = await diff("--json");
  expect(compared.code).toBe(1);
  expect(JSON.parse(compared.stdout)).toMatchObject({
    ...{ differs: true, runtimes: [], files: [{ pools: ["web"], cutOff: null, problem: null }] },
    env: [
      { name: "LEVEL", change: "changed", isSecret: false, pools: ["web"] },
      { name: "NEW", change: "added", isSecret: false, pools: ["web"] },
      { name: "OLD", change: "removed", isSecret: false, pools: ["web"] },
      { name: "TOKEN", change: "changed", isSecret: true, pools: ["web"] },
    ],
  });
  expect(text.output + compared.output).not.toMatch(/hunter|swordfish/);

  // A release, as a deploy takes it; a pool takes precedence over a folder with its name.
  project.write("web/app.js", `${HELLO}// a release\n`);
  project.writeConfig({ minReadyMs: 70, env: { TOKEN: { file: "../token" } }, envFiles: "../.env" }, "web");
  project.write("next.env", "COLOUR=vermilion\n");
  const before = await project.status();
  const release = await diff("./web", "--env-file", "next.env");
  expect(release.code, release.output).toBe(1);
  const found = [/web\.minReadyMs +50 → 70\n/, /\+ COLOUR +added +web\n/, /~ TOKEN +changed, a secret +web\n/];
  const files = [
    `files of ${project.folder} → ${join(project.folder, "web")}\n`,
    /~ app\.js +[0-9a-f]{12} → [0-9a-f]{12}\n/,
  ];
  for (const line of [...found, ...files]) expect(release.stdout).toMatch(line);
  expect(release.output).not.toMatch(/hunter|swordfish|vermilion|refused|maxFiles/);
  const variables = await diff("--env-file", "next.env");
  expect(variables.stdout).toMatch(/\+ COLOUR +added/);
  expect(variables.stdout).toContain("maxFiles");
  expect((await diff("web")).stdout).not.toMatch(/→ 70|COLOUR/);
  project.writeConfig({ env: {}, envFiles: [], pools: { shop: { app: "./app.js" } } }, "web");
  const refused =
    /^a deploy would be refused: the release removes the pool web, which serves, and adds the pool shop: /m;
  expect((await diff("./web")).stdout).toMatch(refused);
  const after = await project.status();
  expect(after.pools.map(({ generation, instances }) => [generation, instances[0]?.pid])).toEqual(
    before.pools.map(({ generation, instances }) => [generation, instances[0]?.pid]),
  );

  const env = { ...process.env, PACELINE_RUN_DIR: project.runDir, SUDO_USER: "ann", PACELINE_ACTOR: "octocat" };
  expect(await project.cli(["reload"], { env })).toMatchObject({ code: 0 });
  expect((await diff()).stdout).toBe("nothing differs\n");
  project.write("app.js", "throw new Error('no such table: carts');\n");
  expect((await project.reload()).code).toBe(1);
  project.write("app.js", HELLO);
  expect((await project.scale("web", 2)).code).toBe(0);
  expect((await project.restart("web.1")).code).toBe(0);
  const [restart, scale, failed, reload, start] = await history();
  expect(start).toMatchObject({ id: 1, command: "start", result: "done", by: { user: username, via: "command" } });
  expect(start?.pools).toMatchObject([{ name: "web", generation: [null, 1], instances: [null, 1] }]);
  expect(reload).toMatchObject({
    ...{ command: "reload", result: "done", by: { user: username, sudoUser: "ann", actor: "octocat" } },
    pools: [{ name: "web", generation: [1, 2], instances: [1, 1] }],
    message: "web: reload done, 1 of 1",
  });
  expect(reload?.steps.map((step) => step.text)).toEqual(["reading the config", "web: 1 of 1"]);
  expect(reload?.durationMs).toBeGreaterThan(0);
  expect(failed).toMatchObject({ command: "reload", result: "failed", pools: [] });
  expect(failed?.message).toContain("no such table: carts");
  expect(scale).toMatchObject({ command: "scale", target: "web", detail: "to 2", pools: [{ instances: [1, 2] }] });
  expect(restart).toMatchObject({ command: "restart", target: "web.1", result: "done" });
  for (const name of readdirSync(folder)) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  expect(statSync(folder).mode & 0o777).toBe(0o700);

  // For people: a list, and one of its entries.
  const listed = (await project.cli(["history", "-n", "4"])).stdout;
  expect(listed).toMatch(new RegExp(`2 +.* ago +reload +${username} \\(sudo by ann\\) for octocat +done`));
  expect(listed.trim().split("\n")).toHaveLength(5);
  const shown = (await project.cli(["history", "show", "3"])).stdout;
  expect(shown).toMatch(/^3: reload, /);
  expect(shown).toContain("no such table: carts");

  // An operation that a killed supervisor had begun was interrupted; a damaged entry is named and left out.
  project.write("app.js", HANGS);
  const reloading = project.reload();
  await project.statusWhere("the reload", ({ pools }) => pools[0]?.rollout !== null);
  const { pid } = await project.status();
  await kill(pid);
  expect((await reloading).code).toBe(1);
  project.write("app.js", HELLO);
  writeFileSync(join(folder, "2-reload.json"), '{"version":1,"id":2,');
  await project.start();
  const damaged = /2-reload\.json: this history entry cannot be read\n/;
  expect(await project.events()).toMatch(damaged);
  const [again, cutOff, ...older] = await history();
  expect(again).toMatchObject({ command: "start", detail: "takes over the fleet of a killed supervisor" });
  const serving = `its supervisor was killed; the next one went on with web generation 2 (${project.folder})`;
  expect(cutOff).toMatchObject({ id: 6, command: "reload", result: "cut off", durationMs: null, message: serving });
  expect(older.map(({ id }) => id)).toEqual([5, 4, 3, 1]);
  expect((await project.cli(["history"])).output).toContain("1 entry of the history cannot be read and is left out");

  expect((await project.stop()).code).toBe(0);
  expect((await history())[0]).toMatchObject({ command: "stop", result: "done", by: { user: username } });
});
