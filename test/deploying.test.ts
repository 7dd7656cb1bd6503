/** The release layout of docs/deploying.md: its script, run exactly as printed. */
import { spawn, spawnSync } from "node:child_process";
import { once as eventOf } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import type { HistoryEntry } from "../packages/supervisor/dist/core/history.js";
import { askControl, PACELINE, Project, ROOT } from "./support/fleet.js";
import { failures, NO_FAILURES } from "./support/load.js";
import { kill, needs, run, signal } from "./support/processes.js";
import { get } from "./support/raw-http.js";

const PAGE = readFileSync(join(ROOT, "docs/deploying.md"), "utf8");
const [SCRIPT = "", FROM_GIT = ""] = [...PAGE.matchAll(/^```sh\n(#!\/bin\/sh\n[\s\S]*?)^```$/gm)].map(
  ([, text]) => text,
);

const SERVING = (version: string) => `export default { fetch: () => new Response("${version}") };\n`;

describe("deploying", () => {
  const runtime = "bun";

  test("the script of the page: first, under load, two at once, without npm, broken, unstable, locked, pruned, interrupted, after a killed supervisor, without a fleet; crashes stay with the release in service", async () => {
    const project = await Project.make({ runtime, app: "", config: {} });
    const shop = mkdtempSync(join(tmpdir(), "pl-shop-"));
    onTestFinished(() => rmSync(shop, { recursive: true, force: true }));
    mkdirSync(join(shop, "tools/node_modules/.bin"), { recursive: true });
    symlinkSync(PACELINE, join(shop, "tools/node_modules/.bin/paceline"));
    const script = join(shop, "deploy.sh");
    writeFileSync(script, SCRIPT, { mode: 0o700 });
    const { PACELINE_RUN_DIR: _, ...inherited } = project.startEnvironment();
    // The run directory that the test support sets is the fleet's default one.
    const env = { ...inherited, SHOP: shop, PACELINE_STATE_DIR: join(project.folder, "state") };
    const paceline = (...args: string[]) => run(PACELINE, [...args, "-c", join(shop, "current")], { cwd: "/", env });

    let sources = 0;
    const prepare = (app: string, config: object = {}, files: Record<string, string> = {}) => {
      const source = join(shop, `next.${++sources}`);
      mkdirSync(source);
      for (const [name, text] of Object.entries(files)) writeFileSync(join(source, name), text);
      writeFileSync(join(source, "package.json"), '{ "type": "module" }\n');
      writeFileSync(join(source, "app.js"), app);
      const settings = { listen: `127.0.0.1:${project.port}`, runtime, app: "./app.js", instances: 2, minReadyMs: 50 };
      // Other tests cover the verdict, and balancers that start the next supervisor.
      const quick = { deploy: { judgeMs: 0 }, restartSupervisor: false };
      writeFileSync(join(source, "paceline.config.json"), JSON.stringify({ ...settings, ...quick, ...config }));
      symlinkSync(source, `${source}.link`);
      return `${source}.link`;
    };
    const deploy = async (...release: Parameters<typeof prepare>) =>
      run(script, [prepare(...release)], { cwd: "/", env });
    // It is the first npm that the script finds, and fails as without a network.
    writeFileSync(join(shop, "tools/node_modules/.bin/npm"), "#!/bin/sh\necho no network\nexit 1\n", { mode: 0o700 });
    const deployWithoutNetwork = () => deploy(SERVING("v0"), {}, { "package-lock.json": "{}" });
    const releases = () => readdirSync(join(shop, "releases")).sort();
    const serves = async (version: string) => {
      for (let turn = 0; turn < 4; turn++) expect((await get(project.port)).body).toBe(version);
    };
    const status = async () => {
      const [runDir = ""] = readdirSync(env.PACELINE_STATE_DIR);
      return JSON.parse(await askControl(join(env.PACELINE_STATE_DIR, runDir, "control.sock"), "/v1/status"));
    };
    /** Kills all instances at once, and waits until as many others serve. */
    const crashAll = async () => {
      const pids = (await status()).pools[0].instances.map(({ pid }: { pid: number }) => pid) as number[];
      for (const pid of pids) signal(pid, "SIGKILL");
      await expect
        .poll(async () => {
          // In addition, warm processes wait for a rollback.
          return (await status()).pools[0].instances.every(
            ({ pid, state }: { pid: number; state: string }) => !pids.includes(pid) && state === "ready",
          );
        })
        .toBe(true);
    };

    expect(await deployWithoutNetwork()).toMatchObject({ code: 1, output: "no network\n" });
    expect(releases()).toEqual([]);
    expect(readdirSync(shop)).not.toContain("current");

    const first = await deploy(SERVING("v1"));
    expect(first, first.output).toMatchObject({ code: 0 });
    expect(lstatSync(join(shop, "releases/1")).isDirectory()).toBe(true);
    expect((await status()).name).toBe(shop.slice(shop.lastIndexOf("/") + 1));
    await serves("v1");

    const load = project.load({ mode: "connect-anew", clients: 4 });
    await load.moreConnections(50);
    expect(await deploy(SERVING("v2"))).toMatchObject({ code: 0 });
    await load.moreConnections(50);
    expect(failures(await load.stop())).toEqual(NO_FAILURES);
    await serves("v2");
    expect(releases()).toEqual(["1", "2"]);

    expect(await deployWithoutNetwork()).toMatchObject({ code: 1 });
    const broken = await deploy('throw new Error("no such table: carts");\n');
    expect(broken).toMatchObject({ code: 6, output: expect.stringContaining("no such table: carts") });
    // It exits once it has become ready.
    const ends = join(shop, "ends");
    const ending = `import { existsSync } from "node:fs";\nsetInterval(() => existsSync("${ends}") && process.exit(7), 20);\n`;
    const trying = deploy(ending + SERVING("v3"), { minReadyMs: 600_000 });
    await expect.poll(async () => (await status()).pools[0].instances[0].other?.state).toBe("ready");
    writeFileSync(ends, "");
    const unstable = await trying;
    expect(unstable.code, unstable.output).toBe(6);
    expect(unstable.output).toMatch(/did not stay ready: exited with code 7/);
    expect(await paceline("lock", "migration")).toMatchObject({ code: 0 });
    const locked = await deploy(SERVING("v3"));
    expect(locked).toMatchObject({ code: 5, output: expect.stringContaining("migration") });
    expect(locked.output).not.toContain("is not in service");
    expect(await paceline("unlock")).toMatchObject({ code: 0 });
    expect(readlinkSync(join(shop, "current"))).toBe("releases/2");
    expect(releases()).toEqual(["1", "2"]);
    await serves("v2");

    // As if the release had been left there, with the link on it: the serving release stays pinned.
    const pointTo = (release: string) => {
      rmSync(join(shop, "current"));
      symlinkSync(release, join(shop, "current"));
    };
    mkdirSync(join(shop, "releases/3"));
    writeFileSync(join(shop, "releases/3/app.js"), 'throw new Error("not in service");\n');
    pointTo("releases/3");
    await crashAll();
    await serves("v2");
    rmSync(join(shop, "releases/3"), { recursive: true });
    pointTo("releases/2");

    // The disk is full when the link is replaced: the new release serves, and the script says what remains to be done.
    const ln = join(shop, "tools/node_modules/.bin/ln");
    writeFileSync(ln, "#!/bin/sh\necho no room\nexit 1\n", { mode: 0o700 });
    const stuck = await deploy(SERVING("v3"));
    rmSync(ln);
    expect(stuck.code, stuck.output).toBe(1);
    expect(stuck.output).toContain(
      `releases/3 serves, but ${shop}/current still points to releases/2: point it to releases/3\n`,
    );
    await serves("v3");
    pointTo("releases/3");

    const both = await Promise.all([deploy(SERVING("v4")), deploy(SERVING("v5"))]);
    expect(both.map(({ code, output }) => [code, code === 0 ? "" : output])).toEqual(Array(2).fill([0, ""]));
    expect(releases()).toEqual(["4", "5"]);
    expect(readlinkSync(join(shop, "current"))).toBe("releases/5");
    const newest = /v\d/.exec(readFileSync(join(shop, "releases/5/app.js"), "utf8"))?.[0] ?? "";
    await serves(newest);

    // Interrupted like by Ctrl-C while the new release starts in the supervisor, which would wait for it: the deploy is rolled back.
    const hangs = "setInterval(() => {}, 1000);\nawait new Promise(() => {});\n";
    const deploying = spawn(script, [prepare(hangs)], { cwd: "/", env, detached: true, stdio: "ignore" });
    const ended = new Promise((resolve) => deploying.on("exit", resolve));
    await expect.poll(async () => (await status()).pools[0].deploy?.phase).toBe("canary");
    signal(-(deploying.pid as number), "SIGINT");
    expect(await ended).toBe(130);
    const [pool] = (await status()).pools;
    expect(pool).toMatchObject({ rollout: null, deploy: null, release: join(shop, "releases/5") });
    await serves(newest);
    expect([readlinkSync(join(shop, "current")), ...releases()]).toEqual(["releases/5", "4", "5"]);
    // Nothing of another release is undone, although the last deploy could be.
    expect(await paceline("rollback", join(shop, "releases/6"))).toMatchObject({
      ...{
        code: 2,
        output: expect.stringContaining("releases/6 is neither being deployed nor what was deployed last"),
      },
    });
    await serves(newest);

    // The fleet of a killed supervisor is continued, and a stopped one is started before the deploy.
    const lost = await status();
    await kill(lost.pid);
    const broke = await deploy('throw new Error("no such table: carts");\n');
    expect(broke.code, broke.output).toBe(6);
    const pids = ({ pools }: { pools: { instances: { pid: number }[] }[] }) =>
      pools[0]?.instances.map(({ pid }) => pid);
    expect(pids(await status())).toEqual(pids(lost));
    expect(await paceline("stop")).toMatchObject({ code: 0 });
    // A release that failed, and was still in use then, is no former release.
    mkdirSync(join(shop, "releases/6"));
    writeFileSync(join(shop, "releases/6/.failed"), "");
    expect(await deploy(SERVING("v7"))).toMatchObject({ code: 0 });
    await serves("v7");
    expect([readlinkSync(join(shop, "current")), ...releases()]).toEqual(["releases/7", "5", "7"]);
    expect(await paceline("stop")).toMatchObject({ code: 0 });
  });

  test("the script from git: a build step and a migration, two at once, a migration that fails, a full disk", async (context) => {
    needs(context, "git");
    const project = await Project.make({ runtime, app: "", config: {} });
    const shop = join(project.folder, "shop");
    const repository = join(project.folder, "shop.git");
    for (const folder of [shop, repository]) mkdirSync(folder);
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=8m", "tmpfs", shop]);
    if (mounted.status === 0) onTestFinished(() => void spawnSync("umount", ["-l", shop]));
    mkdirSync(join(shop, "tools/node_modules/.bin"), { recursive: true });
    symlinkSync(PACELINE, join(shop, "tools/node_modules/.bin/paceline"));
    for (const [name, text] of Object.entries({ "deploy.sh": SCRIPT, "release.sh": FROM_GIT }))
      writeFileSync(join(shop, name), text, { mode: 0o700 });
    const { PACELINE_RUN_DIR: _, ...inherited } = project.startEnvironment();
    const state = join(project.folder, "state");
    const env = { ...inherited, SHOP: shop, REPOSITORY: repository, PACELINE_STATE_DIR: state };
    const release = () => run(join(shop, "release.sh"), ["main"], { cwd: "/", env });
    const git = async (...args: string[]) => {
      const identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"];
      const done = await run("git", [...identity, "-C", repository, ...args], { env });
      expect(done, done.output).toMatchObject({ code: 0 });
      return done.stdout.trim();
    };
    const commit = async (files: Record<string, string | Buffer>) => {
      for (const [name, text] of Object.entries(files)) writeFileSync(join(repository, name), text);
      await git("add", "-A");
      await git("commit", "-q", "-m", "next");
      return git("log", "-1", "--format=%h");
    };
    const releases = () => [readlinkSync(join(shop, "current")), ...readdirSync(join(shop, "releases")).sort()];
    const builds = () => readdirSync(shop).filter((name) => name.startsWith("build."));
    const serves = async (version: string) => expect((await get(project.port)).body).toBe(version);
    const history = async (): Promise<HistoryEntry[]> => {
      const listed = await run(PACELINE, ["history", "--json", "-c", join(shop, "current")], { cwd: "/", env });
      return JSON.parse(listed.stdout).history;
    };

    await git("init", "-q", "-b", "main");
    const hooks = { before: { command: ["sh", "./migrate.sh"] } };
    const quick = { instances: 2, minReadyMs: 50, deploy: { judgeMs: 0 } };
    const settings = { listen: `127.0.0.1:${project.port}`, runtime, app: "./app.js", ...quick };
    await commit({
      "package.json": '{ "type": "module" }\n',
      "paceline.config.json": JSON.stringify({ ...settings, hooks }),
      "app.template": SERVING("VERSION"),
      "build.sh": "sed s/VERSION/v1/ app.template > app.js\n",
      "migrate.sh": 'echo "migrates for $PACELINE_RELEASE" >> "$SHOP/migrations"\n',
    });
    const first = await release();
    expect(first, first.output).toMatchObject({ code: 0 });
    await serves("v1");

    // The migration runs once, for two instances, and the history says who asked for it.
    const hash = await commit({ "build.sh": "sed s/VERSION/v2/ app.template > app.js\n" });
    const second = await release();
    expect(second, second.output).toMatchObject({ code: 0 });
    await serves("v2");
    expect(readFileSync(join(shop, "migrations"), "utf8")).toBe(`migrates for ${join(shop, "releases/2")}\n`);
    expect((await history())[0]).toMatchObject({
      ...{ command: "deploy", detail: join(shop, "releases/2"), result: "done", by: { actor: `${hash} of Ann` } },
    });

    // While one script builds, another one reports that it is busy.
    const gate = join(project.folder, "gate");
    const building = join(project.folder, "building");
    const wait = `touch ${building}; while [ ! -e ${gate} ]; do sleep 0.1; done; sed s/VERSION/v3/ app.template > app.js\n`;
    await commit({ "build.sh": wait });
    const held = release();
    await expect.poll(() => existsSync(building), { timeout: 60_000 }).toBe(true);
    expect(await release()).toMatchObject({
      ...{ code: 5, output: "another release is being built or deployed: try again later\n" },
    });
    writeFileSync(gate, "");
    expect(await held).toMatchObject({ code: 0 });
    await serves("v3");
    expect(releases()).toEqual(["releases/3", "2", "3"]);

    await commit({ "migrate.sh": "echo no such table: carts\nexit 1\n" });
    const failed = await release();
    expect(failed.code, failed.output).toBe(6);
    expect(failed.output).toMatch(/the hook before failed .*; nothing was changed\n/);
    expect(releases()).toEqual(["releases/3", "2", "3"]);
    await serves("v3");

    // A signal only to the script, as from a CI runner, rolls back the deploy that is being judged.
    const judged = { ...settings, deploy: { judgeMs: 600_000 } };
    await commit({
      "paceline.config.json": JSON.stringify(judged),
      "build.sh": "sed s/VERSION/v4/ app.template > app.js\n",
    });
    const cancelled = spawn(join(shop, "release.sh"), ["main"], { cwd: "/", env, stdio: "ignore" });
    const exited = new Promise((resolve) => cancelled.on("exit", resolve));
    const runDir = join(state, readdirSync(state)[0] ?? "");
    const deploys = async () =>
      JSON.parse(await askControl(join(runDir, "control.sock"), "/v1/status")).pools[0].deploy;
    await expect.poll(async () => (await deploys())?.leftMs ?? null, { timeout: 60_000 }).not.toBe(null);
    signal(cancelled.pid as number, "SIGTERM");
    expect(await exited).toBe(130);
    expect([releases(), builds(), await deploys()]).toEqual([["releases/3", "2", "3"], [], null]);
    await serves("v3");
    await commit({ "paceline.config.json": JSON.stringify({ ...settings, hooks }) });

    if (mounted.status === 0) {
      await commit({
        "migrate.sh": "",
        "build.sh": "sed s/VERSION/v4/ app.template > app.js\n",
        picture: Buffer.alloc(2 << 20, "picture"),
      });
      const ballast = join(shop, "ballast");
      for (const room of [0, 3 << 20]) {
        expect(() => writeFileSync(ballast, Buffer.alloc(16 << 20))).toThrow("ENOSPC");
        // With some room the build succeeds, but its copy fails.
        truncateSync(ballast, Math.max(0, statSync(ballast).size - room));
        const full = await release();
        expect(full.code, full.output).not.toBe(0);
        expect(full.output).toMatch(/no space left on device/i);
        expect([releases(), builds()]).toEqual([["releases/3", "2", "3"], []]);
        await serves("v3");
      }
      rmSync(ballast);
      expect(await release()).toMatchObject({ code: 0 });
      await serves("v4");
    }
    expect(await run(PACELINE, ["stop", "-c", join(shop, "current")], { cwd: "/", env })).toMatchObject({ code: 0 });
    if (mounted.status !== 0) context.skip(`no small disk: ${mounted.stderr ?? mounted.error}`);
  });

  test("a relative unix socket lies beside the link, and outlives the release that it was bound by", async () => {
    const project = await Project.make({ runtime, app: "", config: {} });
    const listen = ["unix:s.sock", `127.0.0.1:${project.port}`];
    for (const version of ["1", "2"]) {
      const config = { runtime, listen, app: "./app.js", instances: 1, minReadyMs: 50 };
      project.write(`rel/${version}/package.json`, '{ "type": "module" }\n');
      project.write(`rel/${version}/paceline.config.json`, JSON.stringify(config));
      project.write(`rel/${version}/app.js`, SERVING(version));
    }
    const point = (version: string) => {
      symlinkSync(`rel/${version}`, join(project.folder, "next"));
      renameSync(join(project.folder, "next"), join(project.folder, "current"));
    };
    const socketPath = join(project.folder, "s.sock");
    const read = async () => {
      const [response] = await eventOf(http.get({ socketPath, agent: false }), "response");
      return String(await response.setEncoding("utf8").reduce((all: string, part: string) => all + part, ""));
    };
    point("1");
    const started = await project.startDetached([join(project.folder, "current")]);
    expect(started.code, started.output).toBe(0);
    expect((await project.status()).listen).toContain(`unix:${socketPath}`);
    expect(await read()).toBe("1");
    point("2");
    expect(await project.cli(["reload", "-c", join(project.folder, "current")])).toMatchObject({ code: 0 });
    rmSync(join(project.folder, "rel/1"), { recursive: true });
    expect(await read()).toBe("2");
    expect(await project.cli(["stop", "-c", join(project.folder, "current")])).toMatchObject({ code: 0 });
    await project.nothingLeft();
  });
});
