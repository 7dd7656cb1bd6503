/**
 * Hooks and the lock, on one fleet: each hook runs once for a reload, before anything changes, and is killed with all its processes at its
 * deadline.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startFleet } from "./support/fleet.js";
import { commandLine, kill } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const SERVING = (version: string) => `export default { fetch: () => new Response("${version}") };\n`;

const HOOK = `
echo "$PACELINE_HOOK $PACELINE_REASON $PACELINE_GENERATION $PACELINE_POOLS $TOKEN $LEVEL $PACELINE_RELEASE" >> calls
echo "$PACELINE_HOOK speaks"; echo "and complains" >&2
[ -z "$PACELINE_FAILURE" ] || echo "$PACELINE_FAILURE" > failure
[ ! -e "fail-$PACELINE_HOOK" ] || { echo "no such table: carts"; exit 3; }
[ ! -e "talk-$PACELINE_HOOK" ] || seq 1 500
[ ! -e stubborn ] || trap '' TERM
[ ! -e "hang-$PACELINE_HOOK" ] || { (trap '' TERM; sleep 600) & echo $! $$ > pids; sleep 600; }
`;

const isAlive = (pid: number) => !["", "(gone)"].includes(commandLine(pid));

test("hooks run once, refuse and undo; the lock refuses whoever changes the fleet, and outlives the supervisor", async () => {
  const hook = (timeoutMs = 60_000) => ({ command: ["sh", "hook.sh"], timeoutMs });
  const hooks = { before: hook(), afterReady: hook(), after: hook(), onFailure: hook() };
  const project = await startFleet({
    ...{ runtime: "bun", instances: 2, app: SERVING("v1"), files: { "hook.sh": HOOK, token: "hunter2" } },
    config: { hooks, env: { TOKEN: { file: "token" }, LEVEL: "info" } },
  });
  const path = (name: string) => join(project.folder, name);
  /** Returns the names of the hooks that ran since the last call. */
  const calls = () => {
    const lines = existsSync(path("calls")) ? readFileSync(path("calls"), "utf8").trim().split("\n") : [];
    rmSync(path("calls"), { force: true });
    return lines.map((line) => line.split(" ")[0]);
  };
  const pids = async () => (await project.status()).pools[0]?.instances.map(({ pid }) => pid);
  const reload = async () => ({ ...(await project.reload()), calls: calls() });
  const during = async <T>(name: string, run: () => Promise<T>) => {
    project.write(name, "");
    const result = await run();
    rmSync(path(name));
    return result;
  };

  // A start runs none; a reload runs each in order, with the environment of the pool and its secrets.
  expect(calls()).toEqual([]);
  project.write("app.js", SERVING("v2"));
  const done = await project.reload();
  expect(done).toMatchObject({ code: 0 });
  const line = (name: string) => `${name} reload 2 web hunter2 info ${project.folder}`;
  expect(readFileSync(path("calls"), "utf8")).toBe(`${["before", "afterReady", "after"].map(line).join("\n")}\n`);
  expect(calls()).toHaveLength(3);
  const said = done.output.split("\n");
  const order = [/^hook before: .*sh hook\.sh$/, /^ {2}\| before speaks$/, /^ {2}\| and complains$/];
  const rest = [/^hook before: done after/, /^web: 2 of 2$/, /^hook afterReady: done/, /^hook after: done/];
  const found = [...order, ...rest].map((pattern) => said.findIndex((text) => pattern.test(text)));
  expect(found.filter((at, index) => at < 0 || (index !== 2 && at < (found[index - 1] ?? 0)))).toEqual([]);
  expect((await get(project.port)).body).toBe("v2");
  const entry = JSON.parse(readFileSync(join(project.runDir, "history/2-reload.json"), "utf8"));
  expect(entry.steps.map(({ text }: { text: string }) => text)).toEqual(said.slice(0, -2));

  // A failing `before` changes nothing.
  const former = await pids();
  const refused = await during("fail-before", reload);
  expect(refused).toMatchObject({ code: 1, calls: ["before", "onFailure"] });
  expect(refused.output).toMatch(/the hook before failed after .*: exited with code 3; nothing was changed\n/);
  expect(refused.output).toContain("no such table: carts\n");
  expect(readFileSync(path("failure"), "utf8")).toContain("exited with code 3; nothing was changed");
  expect(await pids()).toEqual(former);

  // A failing `afterReady` rolls the new version back.
  project.write("v3/app.js", SERVING("v3"));
  project.writeConfig({ app: "./v3/app.js" });
  const undone = await during("fail-afterReady", reload);
  expect(undone).toMatchObject({ code: 1, calls: ["before", "afterReady", "onFailure"] });
  expect(undone.output).toMatch(/the hook afterReady failed.*web returned to its previous configuration/);
  expect((await get(project.port)).body).toBe("v2");
  calls();
  const deployed = await during("fail-afterReady", () => project.deploy({ judgeMs: 0 }));
  expect(deployed).toMatchObject({ code: 6, output: expect.stringContaining("the hook afterReady failed") });
  const reasons = readFileSync(path("calls"), "utf8")
    .trim()
    .split("\n")
    .map((each) => each.split(" ").slice(0, 2));
  expect(reasons).toEqual(["before", "afterReady", "onFailure"].map((name) => [name, "deploy"]));
  expect((await get(project.port)).body).toBe("v2");
  const one = await during("fail-afterReady", () => project.reload("web"));
  expect(one).toMatchObject({ code: 1, output: expect.stringContaining("web returned to") });
  expect((await get(project.port)).body).toBe("v2");
  calls();

  // A failing `after` or `onFailure` is only reported. Long output is cut.
  project.write("talk-before", "");
  const reported = await during("fail-after", reload);
  rmSync(path("talk-before"));
  expect(reported).toMatchObject({ code: 0, calls: ["before", "afterReady", "after"] });
  expect(reported.output).toMatch(/web: reload done, 2 of 2; the hook after failed after/);
  expect(reported.output).toMatch(/ {2}\| \[42\d lines are omitted\]\n(?: {2}\| .*\n)* {2}\| 500\n/);
  expect(reported.output.split("\n").length).toBeLessThan(130);
  expect((await get(project.port)).body).toBe("v3");
  project.write("fail-onFailure", "");
  const both = await during("fail-before", reload);
  rmSync(path("fail-onFailure"));
  expect(both.output).toMatch(/the hook before failed .*; nothing was changed; the hook onFailure failed after/);

  // A rollback ends the hook of a deploy, says what it waits for, and decides, even if the release is already in service.
  const group = () => readFileSync(path("pids"), "utf8").trim().split(" ").map(Number);
  const hangs = () => existsSync(path("pids")) && group().length === 2;
  project.write("v4/app.js", SERVING("v4"));
  const nothing = /the hook before failed after .*: rolled back by an operator; nothing was changed\n/;
  const restored = /the hook afterReady failed after .*: rolled back by an operator; the old version is restored\n/;
  const returned = /rolled back by an operator: rolled back to web generation \d+ .*\n/;
  for (const [name, served, code, message] of [
    ["before", "v3", 6, nothing],
    ["afterReady", "v4", 7, restored],
    ["after", "v4", 7, returned],
  ] as const) {
    project.writeConfig({ app: "./v4/app.js" });
    project.write(`hang-${name}`, "");
    const deploying = project.deploy({ judgeMs: 0 });
    await waitFor(`the hook ${name}`, hangs);
    expect((await get(project.port)).body).toBe(served);
    const rolled = await project.rollback();
    expect(rolled).toMatchObject({
      code: 0,
      output: expect.stringContaining(`ending the hook ${name}: it gets SIGTERM`),
    });
    expect(rolled.output).toMatch(/\nhook onFailure: done.*\n(?:.*\n)*the deploy was rolled back/);
    expect(await deploying).toMatchObject({ code, output: expect.stringMatching(message) });
    expect(calls().slice(-2)).toEqual([name, "onFailure"]);
    expect((await get(project.port)).body).toBe("v3");
    const result = (await project.cli(["history", "--json", "-n", "2"])).stdout;
    expect(JSON.parse(result).history.map((each: { result: string }) => each.result)).toEqual([
      "done",
      code === 6 ? "release-refused" : "taken-back",
    ]);
    await waitFor("the hook's processes to be gone", () => !group().some(isAlive));
    for (const each of [`hang-${name}`, "pids"]) rmSync(path(each));
  }
  project.writeConfig({ app: "./v3/app.js" });

  // At its deadline the whole group is killed, even a hook that ignores SIGTERM.
  project.writeConfig({ hooks: { before: hook(2_000) } });
  project.write("stubborn", "");
  let late = await during("hang-before", reload);
  // On a busy machine it may be killed before it has begun.
  while (!existsSync(path("pids"))) late = await during("hang-before", reload);
  rmSync(path("stubborn"));
  expect(late).toMatchObject({ code: 1, calls: ["before"] });
  expect(late.output).toMatch(/took longer than 2 s, and was ended; nothing was changed/);
  await waitFor("the hook's processes to be gone", () => !group().some(isAlive));

  // The lock. The next supervisor has the same config as this one.
  project.writeConfig({ app: "./v3/app.js" });
  expect(await project.cli(["lock", "migration of carts"])).toMatchObject({ code: 0 });
  expect((await project.status()).lock).toMatchObject({ reason: "migration of carts", by: expect.any(String) });
  expect((await project.cli(["status", "--wide"])).stdout).toMatch(/\nlocked by \S+ for .*: migration of carts\n/);
  const before = await pids();
  const refusal = /the fleet is locked by \S+ since .* UTC: migration of carts; paceline unlock removes the lock\n/;
  const operations = [
    ...[() => project.reload(), () => project.restart(), () => project.scale("web", 3), () => project.stop("web")],
    ...[() => project.deploy({ judgeMs: 0 }), () => project.rollback()],
    ...[() => project.cli(["lock", "again"]), () => project.cli(["upgrade", "--force"])],
  ];
  for (const operate of operations)
    expect(await operate()).toMatchObject({ code: 5, output: expect.stringMatching(refusal) });
  const { pid } = await project.status();
  await kill(pid);
  await project.start();
  expect(await project.reload()).toMatchObject({ code: 5, output: expect.stringMatching(refusal) });
  expect(await pids()).toEqual(before);
  const unlocked = await project.cli(["unlock"]);
  expect(unlocked).toMatchObject({
    code: 0,
    output: expect.stringMatching(/unlocked; it was locked by .*: migration/),
  });
  expect((await project.status()).lock).toBe(null);
  expect((await project.cli(["unlock"])).output).toBe("the fleet is not locked\n");

  // A stop ends a running hook.
  project.writeConfig({ hooks: { before: hook(900_000) } });
  rmSync(path("pids"));
  project.write("hang-before", "");
  const reloading = project.reload();
  await waitFor("the hook", hangs);
  expect((await project.stop()).code).toBe(0);
  expect((await reloading).code).toBe(1);
  await waitFor("the hook's processes to be gone", () => !group().some(isAlive));

  // Also a hook of a killed supervisor, for which the next one waits before it runs another.
  rmSync(path("pids"));
  await project.start();
  const cutOff = project.reload();
  await waitFor("the hook", hangs);
  const { pid: next } = await project.status();
  await kill(next);
  await cutOff;
  await project.start();
  calls();
  const waiting = project.cli(["deploy", "--judge", "0"]);
  const historyFolder = join(project.runDir, "history");
  const steps = () => readdirSync(historyFolder).map((name) => readFileSync(join(historyFolder, name), "utf8"));
  await waitFor("the deploy to wait", () => steps().some((text) => text.includes("waiting for the hook before")));
  expect((await project.stop()).code).toBe(0);
  expect((await waiting).output).toMatch(
    /waiting for the hook before of the killed supervisor; it is ended after [\d.]+ s/,
  );
  expect(calls()).toEqual([]);
  await waitFor("the hook's processes to be gone", () => !group().some(isAlive));
});
