/** A deploy tries a release under load, continues or is rolled back by itself, and a rollback undoes it immediately. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import type { HistoryEntry } from "../packages/supervisor/dist/core/history.js";
import { runKept } from "./support/commands.js";
import { allReady, Project } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, pause, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { inTime, waitFor } from "./support/wait.js";

const GOOD = (word: string) => `export default { fetch: () => new Response("${word}") };\n`;
const HALF_FAILS = `let count = 0;
export default { fetch: () => new Response("bad", { status: ++count % 2 === 0 ? 500 : 200 }) };
`;
const BROKEN = 'throw new Error("no such table: carts");\n';

/** Durations and memory on a busy machine prove nothing about a release; verdict.test.ts tests how they are judged. */
const limits = { p50Ms: 600_000, p99Ms: 600_000, memoryMbPerMinute: 100_000 };

/** Whether it is reported that a client has had a response from the release. */
const hasServed = ({ pools }: Status) => (pools[0]?.deploy?.arms.new?.requestsTotal ?? 0) > 0;
const pidsOf = ({ pools }: Status) => pools[0]?.instances.map(({ pid }) => pid);
const generationOf = ({ pools }: Status) => pools[0]?.generation;

test("goes on with a good release, takes a bad one back, and returns to what is kept warm, also after a kill", async () => {
  const project = await Project.make({ runtime: "bun", instances: 2, app: GOOD("v1") });
  // A deploy goes on when a gross fault is excluded; a verdict may end it earlier.
  const release = (name: string, app: string, judgeMs = 5000) => {
    project.write(`releases/${name}/app.js`, app);
    project.writeConfig({ deploy: { judgeMs, canaryPercent: 50, limits } }, `releases/${name}`);
    return join(project.folder, "releases", name);
  };
  await project.start();
  const first = await project.ready();
  const good = release("good", GOOD("v2"));

  // As good as the old release: in service, with the old processes warm; then these serve again.
  const load = project.load({ mode: "keep-alive", clients: 2, delayMs: 20 });
  await load.moreConnections(1);
  const deployed = await project.deploy({ dir: good });
  expect(deployed.output).toContain("deployed: web generation 2");
  expect(deployed.code).toBe(0);
  expect((await get(project.port)).body).toBe("v2");
  const areWarm = ({ pools }: Status) => pools[0]?.instances.every(({ other }) => other?.state === "warm") === true;
  const during = await project.statusWhere("the old ones to be warm", areWarm);
  expect(during.pools[0]).toMatchObject({ generation: 2, release: good, deploy: null, rollout: null });
  // Not every slot's warm process is the first one: some were restarted as controls.
  const warm = during.pools[0]?.instances.map(({ other }) => other?.pid);
  expect(warm).toContain(pidsOf(first)?.[0]);
  const back = await project.rollback();
  expect(back, back.output).toMatchObject({
    code: 0,
    output: expect.stringContaining("rolled back to web generation 1"),
  });
  expect((await get(project.port)).body).toBe("v1");
  expect(pidsOf(await project.status())).toEqual(warm);
  expect(failures(await load.stop())).toEqual(NO_FAILURES);
  expect(await project.rollback()).toMatchObject({ code: 2, output: expect.stringContaining("rolled back already") });

  // A release whose second response fails.
  const before = await project.statusWhere("the new ones to be gone", allReady);
  const bad = release("bad", HALF_FAILS, 600_000);
  const seen = project.load({ mode: "keep-alive", clients: 2, delayMs: 20 });
  await seen.moreConnections(1);
  const { code, stdout } = await project.cli(["deploy", bad, "--json"]);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.at(-1)).toMatchObject({ result: { ok: false, code: "taken-back" } });
  expect(JSON.stringify(lines.at(-1))).toContain("5xx");
  expect(lines.some(({ step }) => step !== undefined)).toBe(true);
  expect(code).toBe(7);
  const counts = await seen.stop();
  expect({ ...failures(counts), non2xx: 0, notes: [] }).toEqual(NO_FAILURES);
  expect(Object.keys(counts.statuses).sort()).toEqual(["200", "500"]);
  const after = await project.statusWhere("the canary to be gone", allReady);
  expect(generationOf(after)).toBe(1);
  expect(pidsOf(after)?.[0], "the canary's slot kept its process").toBe(pidsOf(before)?.[0]);

  // A release that does not start, or cannot be read, is rejected before it gets a request.
  const broken = await project.deploy({ dir: release("broken", BROKEN) });
  expect(broken.output).toContain("no such table: carts");
  expect(broken.code).toBe(6);
  project.write("releases/broken/paceline.config.json", '{ "instnaces": 2 }');
  expect(await project.deploy({ dir: join(project.folder, "releases/broken") })).toMatchObject({ code: 6 });

  // A deploy without requests cannot be judged; the next supervisor knows what it keeps warm.
  const quiet = await project.deploy({ dir: good, judgeMs: 1, onNoTraffic: "rollback" });
  expect(quiet).toMatchObject({ code: 9, output: expect.stringContaining("could not tell") });
  const promoted = await project.deploy({ dir: good, judgeMs: 0 });
  expect(promoted, promoted.output).toMatchObject({ code: 0 });
  const kept = await project.statusWhere("the old ones to be warm again", areWarm);
  const keptPids = kept.pools[0]?.instances.map(({ other }) => other?.pid);
  await kill(kept.pid);
  await project.start();
  const adopted = await project.statusWhere("both warm processes to be known", areWarm);
  expect(generationOf(adopted)).toBe(generationOf(kept));
  expect(await project.rollback()).toMatchObject({ code: 0 });
  expect(pidsOf(await project.status())).toEqual(keptPids);
  expect((await get(project.port)).body).toBe("v1");

  // The number of instances is restored, also by the next supervisor, but a number that an operator has set since then stays. The name
  // stays anyway.
  const small = release("small", GOOD("v3"));
  project.writeConfig({ instances: 1, name: "other" }, "releases/small");
  const { name } = await project.status();
  const smaller = await project.deploy({ dir: small, judgeMs: 0 });
  expect(smaller, smaller.output).toMatchObject({ code: 0, output: expect.stringContaining("name other is ignored") });
  expect(await project.status()).toMatchObject({ name, pools: [{ wanted: 1 }] });
  expect(await project.rollback()).toMatchObject({ code: 0 });
  expect(await project.statusWhere("both to be back", allReady)).toMatchObject({ name, pools: [{ wanted: 2 }] });
  expect(await project.deploy({ dir: small, judgeMs: 0 })).toMatchObject({ code: 0 });
  expect(await project.scale("web", 3)).toMatchObject({ code: 0 });
  const scaled = await project.rollback();
  expect(scaled).toMatchObject({ code: 0, output: expect.stringContaining("web keeps 3 instances") });
  expect((await project.status()).pools).toMatchObject([{ wanted: 3 }]);
});

test("held at its canary refuses other operations, and ends by a rollback or with its supervisor, without a trace", async () => {
  const project = await Project.make({ runtime: "bun", instances: 2, app: GOOD("v1") });
  project.write("releases/next/app.js", GOOD("v2"));
  project.writeConfig({}, "releases/next");
  const request = { dir: join(project.folder, "releases/next"), judgeMs: 600_000 };
  await project.start();
  const [first] = pidsOf(await project.ready()) ?? [];
  const isHeld = ({ pools }: Status) => pools[0]?.deploy?.leftMs != null;

  const deploy = project.deploy(request);
  const held = await project.statusWhere("the canary to be held", isHeld);
  const { deploy: deployed, instances } = held.pools[0] ?? {};
  expect(deployed).toMatchObject({ from: 1, to: 2, phase: "canary", canaries: ["web.1#2"], verdict: "wait" });
  expect(instances?.[0]).toMatchObject({ pid: first, other: { role: "replacement", state: "ready" } });
  const refused = await Promise.all([
    ...[project.scale("web", 3), project.restart("web.2"), project.reload(), project.deploy(request)],
    ...[project.stop("web"), project.turn("drain", "web.1")],
  ]);
  expect(refused.map(({ code }) => code)).toEqual([5, 5, 5, 5, 5, 5]);
  expect(await project.rollback()).toMatchObject({ code: 0, output: expect.stringContaining("rolled back") });
  // No client has had a response of it.
  expect(await deploy).toMatchObject({ code: 6, output: expect.stringContaining("by an operator") });
  const after = await project.statusWhere("the canary to be gone", allReady);
  expect(after.pools[0]).toMatchObject({ generation: 1, deploy: null });
  expect(pidsOf(after)?.[0]).toBe(first);

  // Without waiting, the command exits although the first instance never gets ready.
  project.write("releases/hangs/app.js", "setInterval(() => {}, 1000);\nawait new Promise(() => {});\n");
  project.writeConfig({}, "releases/hangs");
  const begun = await project.cli(["deploy", join(project.folder, "releases/hangs"), "--no-wait"]);
  expect(begun).toMatchObject({ code: 0, output: expect.stringContaining("continues") });
  expect((await project.status()).pools[0]?.deploy).toMatchObject({ phase: "canary", leftMs: null });
  expect(await project.rollback()).toMatchObject({ code: 0 });

  // Also while its config is read, which is aborted immediately, and not only after the 20 s that it may take.
  const marker = join(project.folder, "read");
  const reading = `import { writeFileSync } from "node:fs";\nwriteFileSync(${JSON.stringify(marker)}, "");\n`;
  project.write(
    "releases/reads/paceline.config.mjs",
    `${reading}await new Promise((resolve) => setTimeout(resolve, 600_000));\n`,
  );
  const rollBackUnread = async () => {
    rmSync(marker, { force: true });
    const unread = project.deploy({ dir: join(project.folder, "releases/reads") });
    await waitFor("the config to be read", () => existsSync(marker));
    const from = performance.now();
    const rollback = await project.rollback();
    return { rollback, unread: await unread, isLate: performance.now() - from > 15_000 };
  };
  const { rollback, unread, isLate } = await inTime(rollBackUnread, (result) => result.isLate);
  expect(isLate).toBe(false);
  expect(rollback).toMatchObject({ code: 0, output: expect.stringContaining("nothing was changed") });
  expect(unread).toMatchObject({ code: 6, output: expect.stringContaining("by an operator") });

  const kept = (...words: string[]) => runKept(words, project.folder, project.startEnvironment());
  // An unset variable of a script means nothing by itself, and each failure with --json is one line with a time.
  for (const words of [
    ["deploy", ""],
    ["reload", "-c", ""],
    ["scale", "", "2"],
    ["lock", ""],
    ["stop", "--run-dir", ""],
  ])
    expect(await kept(...words)).toMatchObject({
      code: 2,
      output: expect.stringMatching(/^paceline: .* is empty: .*\n$/),
    });
  for (const words of [[""], ["nowhere"], [".", "--env-file", "nowhere"], [".", "--canary", "none"]]) {
    const { code, stdout } = await kept("deploy", ...words, "--json");
    expect(code).toBe(2);
    expect(JSON.parse(stdout)).toEqual({
      at: expect.any(Number),
      result: { ok: false, code: "usage", message: expect.any(String) },
    });
    expect(stdout.trim()).not.toContain("\n");
  }

  const cutOff = project.deploy(request);
  await project.statusWhere("the next canary to be held", isHeld);
  await kill(after.pid);
  expect(await cutOff).toMatchObject({ code: 1 });
  await project.start();
  const adopted = await project.statusWhere("its canary to be gone", allReady);
  expect(adopted.pools[0]).toMatchObject({ generation: 1, deploy: null });
  expect(pidsOf(adopted)?.[0]).toBe(first);
  expect((await get(project.port)).body).toBe("v1");

  // Interrupted between two slots: the first one returns to its process, and the history says how far the deploy came and what serves.
  const half = `if (process.env.PACELINE_INSTANCE === "web.2") await new Promise(() => setInterval(() => {}, 1000));\n`;
  project.write("releases/half/app.js", half + GOOD("v2"));
  project.writeConfig({}, "releases/half");
  const rolling = project.deploy({ dir: join(project.folder, "releases/half"), judgeMs: 0 });
  await project.statusWhere("the second slot to start", ({ pools }) => pools[0]?.deploy?.phase === "rolling");
  const entry = () =>
    JSON.parse(readFileSync(join(project.runDir, "history", lastDeploy(project)), "utf8")) as HistoryEntry;
  await waitFor("its steps to be written", () => entry().steps.length > 0);
  await kill(adopted.pid);
  expect(await rolling).toMatchObject({ code: 1 });
  await project.start();
  const isOld = ({ pools }: Status) =>
    pools[0]?.instances.every(({ generation, other }) => generation === 1 && other === null);
  const whole = await project.statusWhere(
    "all to be of the old generation",
    (status) => allReady(status) && isOld(status) === true,
  );
  expect(pidsOf(whole)).toEqual(pidsOf(adopted));
  expect((await get(project.port)).body).toBe("v1");
  const serving = `its supervisor was killed; the next one went on with web generation 1 (${project.folder})`;
  expect(entry()).toMatchObject({ result: "cut off", durationMs: null, message: serving });

  // The second slot fails after the first one has got the release: nothing is left of the release, and the next deploy succeeds.
  const fails = 'if (process.env.PACELINE_INSTANCE === "web.2") throw new Error("no more");\n';
  project.write("releases/fails/app.js", fails + GOOD("v2"));
  project.writeConfig({}, "releases/fails");
  const failed = await project.deploy({ dir: join(project.folder, "releases/fails"), judgeMs: 0 });
  expect(failed).toMatchObject({ code: 6, output: expect.stringContaining("no more") });
  const back = await project.statusWhere(
    "each slot to have one process",
    (status) => allReady(status) && isOld(status) === true,
  );
  expect(pidsOf(back)).toEqual(pidsOf(whole));
  expect(await project.deploy({ ...request, judgeMs: 0 })).toMatchObject({ code: 0 });
  expect(await project.rollback()).toMatchObject({ code: 0 });

  // Interrupted while its hook decides: the next supervisor returns to what served before, whatever was deployed earlier.
  const hook = join(project.folder, "hook.sh");
  project.write("hook.sh", `touch "$1/ran"; while [ -e "$1/ran" ]; do sleep 0.1; done\n`);
  project.writeConfig({ hooks: { afterReady: { command: ["sh", hook, project.folder] } } }, "releases/next");
  const hookRuns = () => waitFor("the hook to run", () => existsSync(join(project.folder, "ran")));
  // All instances had it, although no client had a response.
  const inService = project.deploy({ ...request, judgeMs: 0 });
  await hookRuns();
  expect(await project.rollback()).toMatchObject({ code: 0 });
  expect(await inService).toMatchObject({ code: 7, output: expect.stringContaining("by an operator") });
  rmSync(join(project.folder, "ran"));
  const undecided = project.deploy({ ...request, judgeMs: 0 });
  await hookRuns();
  // No process is being replaced any more, but the deploy is not finished.
  const others = await Promise.all([kept("upgrade", "--force"), project.restart("web"), project.scale("web", 3)]);
  expect(others.map(({ code }) => code)).toEqual([5, 5, 5]);
  // A process that is started now is in the state file only after the generation that was recorded before the hook.
  const [, second] = pidsOf(await project.status()) ?? [];
  if (second) signal(second, "SIGKILL");
  const isNew = ({ pools }: Status) =>
    pools[0]?.instances[1]?.state === "ready" && pools[0].instances[1].pid !== second;
  const [, another] = pidsOf(await project.statusWhere("another process to be ready", isNew)) ?? [];
  const isSaved = () => readFileSync(join(project.runDir, "state.json"), "utf8").includes(`"pid":${another},`);
  await waitFor("the state to be written", isSaved);
  await kill(whole.pid);
  expect(await undecided).toMatchObject({ code: 1 });
  await project.start();
  const former = await project.statusWhere(
    "all to be of the old generation again",
    (status) => allReady(status) && isOld(status) === true,
  );
  rmSync(join(project.folder, "ran"));
  expect(pidsOf(former)).toEqual(pidsOf(whole));
  expect((await get(project.port)).body).toBe("v1");

  // Interrupted in its last hook, which decides nothing: the release is in service.
  project.writeConfig({ hooks: { after: { command: ["sh", hook, project.folder] } } }, "releases/next");
  const done = project.deploy({ ...request, judgeMs: 0 });
  await waitFor("the last hook to run", () => existsSync(join(project.folder, "ran")));
  await kill(former.pid);
  expect(await done).toMatchObject({ code: 1 });
  await project.start();
  const last = await project.statusWhere("all to be ready", ({ pools }) => pools[0]?.ready === 2);
  rmSync(join(project.folder, "ran"));
  expect(last.pools[0]).toMatchObject({ release: join(project.folder, "releases/next") });
  expect((await get(project.port)).body).toBe("v2");
});

/** The file of the newest deploy in the history. */
function lastDeploy({ runDir }: Project): string {
  const names = readdirSync(join(runDir, "history")).filter((name) => name.endsWith("-deploy.json"));
  return names.sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10)).at(-1) ?? "";
}

test("of several pools, the exit status says whether a client has had a response of any canary", async () => {
  const pools = (folder: string) => ({
    web: { app: join(folder, "app.js"), instances: 1, minReadyMs: 50, routes: ["/"] },
    api: { app: join(folder, "api.js"), instances: 1, minReadyMs: 50, routes: ["/api/"] },
    jobs: { worker: ["sleep", "600"], instances: 1, minReadyMs: 50 },
  });
  const project = await Project.make({ runtime: "bun", app: GOOD("v1"), config: {} });
  const gate = join(project.folder, "gate");
  const next = join(project.folder, "releases/next");
  project.write("api.js", GOOD("api"));
  project.write("releases/next/app.js", GOOD("v2"));
  const importing = 'import { existsSync } from "node:fs";';
  const waiting = `while (!existsSync(${JSON.stringify(gate)})) await new Promise((resolve) => setTimeout(resolve, 20));`;
  project.write("releases/next/api.js", `${importing}\n${waiting}\n${BROKEN}`);
  const common = { listen: `127.0.0.1:${project.port}`, runtime: "bun" };
  for (const folder of [project.folder, next])
    project.write(
      `${folder === next ? "releases/next/" : ""}paceline.config.json`,
      JSON.stringify({ ...common, pools: pools(folder) }),
    );
  await project.start();
  await project.statusWhere("all pools", allReady);
  // The canary of web runs, and that of api fails when the gate opens.
  const request = { dir: next, judgeMs: 0, canaryPercent: 100 };
  const isUp = ({ pools }: Status) => pools.some(({ deploy }) => deploy !== null && deploy.canaries.length > 0);
  for (const [status, isSeen] of [
    [6, false],
    [7, true],
  ] as const) {
    project.write("gate", "");
    rmSync(gate);
    const deploy = project.deploy(request);
    await project.statusWhere("the canary", isUp);
    if (isSeen) {
      await expect.poll(async () => (await get(project.port)).body).toBe("v2");
      await project.statusWhere("its requests to be reported", hasServed);
    }
    writeFileSync(gate, "");
    expect(await deploy).toMatchObject({ code: status, output: expect.stringContaining("no such table: carts") });
  }
  expect((await get(project.port)).body).toBe("v1");

  // A finished pool waits for the other one: processes started there in the meantime would have its former generation.
  expect(await project.scale("api", 2)).toMatchObject({ code: 0 });
  rmSync(gate);
  const last = 'if (process.env.PACELINE_INSTANCE === "api.2")';
  project.write("releases/next/api.js", `${importing}\n${last} ${waiting}\n${GOOD("api 2")}`);
  const deploy = project.deploy({ ...request, canaryPercent: 50 });
  const isThrough = ({ pools: [web, api] }: Status) =>
    web?.rollout === null && web.deploy?.phase === "rolling" && api?.rollout !== null;
  await project.statusWhere("web to be through", isThrough);
  const others = await Promise.all([project.scale("web", 2), project.restart("web"), project.restart("web.1")]);
  expect(others.map(({ code }) => code)).toEqual([5, 5, 5]);
  // A pool whose turn comes later follows completely, and keeps its new size.
  expect(await project.scale("jobs", 3)).toMatchObject({ code: 0 });
  writeFileSync(gate, "");
  expect(await deploy).toMatchObject({ code: 0 });
  const { pools: after } = await project.status();
  expect(after.map(({ wanted }) => wanted)).toEqual([1, 2, 3]);
  for (const { generation, instances } of after)
    expect(new Set(instances.map((each) => each.generation))).toEqual(new Set([generation]));
  expect(await project.rollback()).toMatchObject({
    code: 0,
    output: expect.stringContaining("jobs keeps 3 instances"),
  });
});

const THEN_SILENT = `let count = 0;
export default { fetch: () => (++count > 3 ? new Promise(() => {}) : new Response("v2")) };
`;

test("a release that stops responding, stalls, or replaces a pool by another one does not get through", async () => {
  const project = await Project.make({
    runtime: "bun",
    instances: 2,
    app: GOOD("v1"),
    config: { drainTimeoutMs: 300, termTimeoutMs: 300 },
  });
  const release = (name: string, app: string, changes: Record<string, unknown> = {}) => {
    project.write(`releases/${name}/app.js`, app);
    project.writeConfig(changes, `releases/${name}`);
    return join(project.folder, "releases", name);
  };
  await project.start();
  const [first] = pidsOf(await project.ready()) ?? [];

  const renamed = release("renamed", GOOD("v2"), { pools: { site: { app: "./app.js" } } });
  const refused = await project.deploy({ dir: renamed, judgeMs: 0 });
  expect(refused.output).toContain("removes the pool web, which serves, and adds the pool site");
  expect(refused.output).toContain("paceline reload");
  expect(refused.code).toBe(6);

  // Most of its requests stay open, or until the client gives up.
  const silent = release("silent", THEN_SILENT);
  const deployTo = async (signalOf: (end: AbortSignal) => AbortSignal) => {
    const clients = new AbortController();
    const responses: Promise<unknown>[] = [];
    const sending = setInterval(() => {
      const asked = fetch(`http://127.0.0.1:${project.port}/`, { signal: signalOf(clients.signal) });
      responses.push(
        asked.then(
          (response) => response.text(),
          () => undefined,
        ),
      );
    }, 25);
    const done = await project.deploy({ dir: silent, judgeMs: 600_000, canaryPercent: 50 });
    clearInterval(sending);
    clients.abort();
    await Promise.all(responses);
    await project.statusWhere("the canary to be gone", allReady);
    return done;
  };
  const open = await deployTo((end) => end);
  expect(open.output).toMatch(/web is worse than before: .*open \+/);
  expect(open.code).toBe(7);
  const givenUp = await deployTo(() => AbortSignal.timeout(500));
  expect(givenUp.output).toMatch(
    /web is worse than before: p50 reads \/ \+|web is worse than before: .*p99 reads \/ \+/,
  );
  expect(givenUp.code).toBe(7);

  // It hangs while it is judged, under load, and is killed sooner than an instance in service would be.
  const load = project.load({ mode: "keep-alive", clients: 2, delayMs: 60 });
  await load.moreConnections(1);
  const isJudged = ({ pools }: Status) => pools[0]?.deploy?.leftMs != null;
  // So long that a busy machine does not stall an instance in service for a third of it.
  const blocked = project.deploy({
    dir: release("blocks", GOOD("v2"), { hangAfterMs: 24_000, deploy: { limits } }),
    judgeMs: 600_000,
  });
  const tried = await project.statusWhere("the canary to have served", hasServed);
  await pause(tried.pools[0]?.instances[0]?.other?.pid as number);
  const taken = await blocked;
  expect(taken.output).toMatch(/hung: its event loop was blocked for .* s.*, while the instances in service respond/);
  expect(taken.code).toBe(7);
  expect(failures(await load.stop())).toEqual(NO_FAILURES);
  await project.statusWhere("the canary to be gone", allReady);

  // Without load, it is checked before the deploy continues.
  const good = release("good", GOOD("v2"), { hangAfterMs: 0 });
  const stalled = project.deploy({ dir: good, judgeMs: 600_000 });
  const held = await project.statusWhere("the canary to be held", isJudged);
  await pause(held.pools[0]?.instances[0]?.other?.pid as number);
  expect(await project.steer("promote")).toMatchObject({ code: 0 });
  const { code, output } = await stalled;
  expect(output).toContain("is stalled: it does not respond to a ping");
  expect([6, 7]).toContain(code);
  const after = await project.statusWhere("the canary to be gone", allReady);
  expect(pidsOf(after)?.[0]).toBe(first);

  // An added pool, and a pool without instances, are named.
  await project.scale("web", 0);
  const nothing = await project.deploy({ dir: good });
  expect(nothing.output.match(/web has no instances, so nothing was tried there/g)).toHaveLength(2);
  expect(nothing.code).toBe(0);
  await project.scale("web", 1);
  const pools = { web: { app: "./app.js" }, api: { app: "./app.js", routes: ["/api/"] } };
  const added = await project.deploy({ dir: release("added", GOOD("v3"), { pools }), judgeMs: 1 });
  expect(added.output).toContain("added and not judged: api");
  expect(added.output).toContain("there was no verdict in time: web had no response from a canary");
  expect(added.code).toBe(0);
});
