/** A fleet that root starts and that runs as another user. */
import { chmodSync, lchownSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, type TestContext, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { askControl, PACELINE, Project, RUNTIMES } from "./support/fleet.js";
import { freePort } from "./support/ports.js";
import { kill, run } from "./support/processes.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

/** www-data of Debian. */
const UID = 33;
const APP = `import { readFileSync } from "node:fs";
const status = (pid) => readFileSync("/proc/" + pid + "/status", "utf8");
const of = (pid) => ["Uid", "Gid", "CapPrm"].map((name) => status(pid).match(new RegExp(name + ":\\\\s*(.*)"))[1].replace(/\\s+/g, " "));
export default { fetch: () => Response.json([of("self"), of(process.ppid), process.getgroups(), process.env.HOME, process.env.USER]) };
`;
const DROPPED = [`${UID} ${UID} ${UID} ${UID}`, `${UID} ${UID} ${UID} ${UID}`, "0000000000000000"];

function needsRoot(context: TestContext): void {
  if (process.getuid?.() !== 0) context.skip("needs root");
}

for (const runtime of RUNTIMES)
  test(`on ${runtime} ports and sockets are root's, the rest is the user's`, async (context) => {
    needsRoot(context);
    const port = await lowPort();
    const project = await Project.make({ runtime, instances: 1, app: APP, files: { token: "s3cret" } });
    const config = {
      ...{ user: "www-data", env: { TOKEN: { file: "token" } }, balancer: { spoolDir: "spool" } },
      listen: [`127.0.0.1:${port}`, "unix:web.sock?mode=660"],
    };
    project.writeConfig(config);
    chmodSync(project.folder, 0o755);
    chmodSync(join(project.folder, "token"), 0o600);
    const socket = join(project.folder, "web.sock");

    const started = await project.startDetached();
    expect(started.code, started.output).toBe(0);
    expect(JSON.parse((await get(port)).body)).toEqual([DROPPED, DROPPED, [UID], "/var/www", "www-data"]);
    expect([lstatSync(socket).uid, lstatSync(socket).mode & 0o777]).toEqual([UID, 0o660]);
    const files = readdirSync(project.runDir, { recursive: true, encoding: "utf8" });
    expect(files.some((name) => name.startsWith("log/"))).toBe(true);
    for (const name of [".paceline", "spool", ...files.map((name) => `.paceline/${name}`)])
      expect([name, lstatSync(join(project.folder, name)).uid]).toEqual([name, UID]);
    // Each file is also closed to others by its own mode.
    const isOpen = (name: string) => (lstatSync(join(project.runDir, name)).mode & 0o077) !== 0;
    expect(files.filter((name) => /\.(scoreboard|sock|json|out)$/.test(name) && isOpen(name))).toEqual([]);
    const boards = files.filter((name) => name.endsWith(".scoreboard"));
    // Whoever truncates it kills its instance.
    expect(boards.map((name) => lstatSync(join(project.runDir, name)).mode & 0o777)).toEqual(
      runtime === "bun" ? [0o400] : [],
    );
    const events = await project.events();
    expect(events).toContain("runs as the user www-data");
    expect(events).toContain(`a reload will be refused: www-data cannot read ${project.folder}/token`);

    // Root finds it from the folder and by its run directory, and operates it.
    expect((await project.cli(["status", "--wide"])).output).toContain("1/1 ready");
    const refused = await project.reload();
    expect([refused.code, refused.output]).toEqual([2, expect.stringContaining("cannot be read by this user")]);
    lchownSync(join(project.folder, "token"), UID, UID);
    expect(await project.reload()).toMatchObject({ code: 0 });
    for (const changes of [{ user: "nobody" }, { listen: [`127.0.0.1:${await lowPort()}`] }]) {
      project.writeConfig({ ...config, ...changes });
      const { code, output } = await project.reload();
      expect([code, output]).toEqual([2, expect.stringMatching(/changed.*stop and start the fleet to apply it/)]);
    }
    project.writeConfig(config);
    // Its balancers keep the port that root has bound.
    await kill((await project.status()).pid);
    const revived = await project.startDetached(["--replace"]);
    expect(revived.code, revived.output).toBe(0);
    expect(JSON.parse((await get(port)).body)).toEqual([DROPPED, DROPPED, [UID], "/var/www", "www-data"]);
    expect(await project.stop()).toMatchObject({ code: 0 });

    // The socket's file is left in root's folder, and does not block anything.
    project.startInForeground();
    await project.ready();
    expect(JSON.parse((await get(port)).body)[1]).toEqual(DROPPED);
    expect(await project.stop()).toMatchObject({ code: 0 });
    expect(await project.exit()).toEqual({ code: 0, signal: null });
  });

test("another user cannot start it, and a program that the user may not run is named", async (context) => {
  needsRoot(context);
  const project = await Project.make({ runtime: "node", instances: 1, app: APP, config: { user: "nobody" } });
  chmodSync(project.folder, 0o755);
  mkdirSync(join(project.folder, "run"), { mode: 0o700 });
  lchownSync(join(project.folder, "run"), UID, UID);
  const start = { cwd: project.folder, env: { ...project.startEnvironment(), PACELINE_RUN_DIR: "run" } };
  const other = await run("setpriv", ["--reuid=33", "--clear-groups", PACELINE, "start"], start);
  expect([other.code, other.output]).toEqual([
    2,
    expect.stringMatching(
      /paceline.config.json: user: www-data cannot start a fleet of the user nobody: start it as root, or as that user: sudo -u nobody paceline start/,
    ),
  ]);
  const mine = await run(PACELINE, ["start"], start);
  expect([mine.code, mine.output]).toEqual([1, expect.stringContaining("run belongs to www-data, from a start with")]);

  // Certificates are ordered later, as the user.
  const key = join(project.folder, "eab");
  writeFileSync(key, "AAAA\n", { mode: 0o600 });
  const automatic = { names: ["a.test"], externalAccount: { keyId: "a", key: { file: "eab" } } };
  project.writeConfig({ listen: [`https://127.0.0.1:${await freePort()}`], tls: { automatic } });
  const ordering = await project.startDetached();
  expect([ordering.code, ordering.output]).toEqual([
    1,
    expect.stringContaining(`nobody cannot read ${key}, which is needed to order certificates`),
  ]);

  // The user cannot open the folder of files either, but root can.
  const files = join(project.folder, "files");
  mkdirSync(join(files, "inner"), { recursive: true, mode: 0o700 });
  const write = (config: object) => writeFileSync(join(project.folder, "paceline.config.json"), JSON.stringify(config));
  const pool = { listen: `127.0.0.1:${await freePort()}`, static: "files" };
  write({ ...pool, user: "nobody" });
  const closed = await project.startDetached();
  expect([closed.code, closed.output]).toEqual([
    1,
    expect.stringContaining(`nobody may not open the files in ${files},`),
  ]);
  for (const [folder, problem] of [
    ["files", `paceline.config.json:1: static: this user (uid 33) may not open the files in ${files}`],
    ["files/inner", "files/inner: this user (uid 33) may not open a folder on the way to it"],
  ] as const) {
    write({ ...pool, static: folder });
    const checked = await run("setpriv", ["--reuid=33", "--clear-groups", PACELINE, "check"], start);
    expect([checked.code, checked.output]).toEqual([2, `paceline: ${problem}\n`]);
  }
});

test("root and a balancer start the killed supervisor of another user again, and root stops what it left", async (context) => {
  needsRoot(context);
  const project = await Project.make({ runtime: "node", instances: 1, app: APP, config: { user: "www-data" } });
  chmodSync(project.folder, 0o755);
  // As by default, the run directory is in a folder of root, which only root finds without its path.
  const { PACELINE_RUN_DIR: _, ...environment } = project.startEnvironment();
  const env = { ...environment, PACELINE_STATE_DIR: join(project.folder, "state") };
  const cli = (...args: string[]) => run(PACELINE, args, { cwd: project.folder, env });
  const runDir = () => join(env.PACELINE_STATE_DIR, readdirSync(env.PACELINE_STATE_DIR)[0] ?? "");
  const locks = () => readdirSync(runDir()).filter((name) => name.startsWith("lock."));
  const status = async () => JSON.parse(await askControl(join(runDir(), "control.sock"), "/v1/status")) as Status;
  const instance = async () => (await status()).pools[0]?.instances[0]?.pid;
  const killed = async () => {
    const { pid } = await status();
    await kill(pid);
    return pid;
  };

  expect(await cli("start", "-d")).toMatchObject({ code: 0 });
  const before = await instance();
  await killed();
  const adopted = await cli("start", "-d");
  expect(adopted.code, adopted.output).toBe(0);
  expect(await instance()).toBe(before);
  expect(lstatSync(`/proc/${(await status()).pid}`).uid).toBe(UID);

  // Without the key it would belong to root, and it leaves no lock of root.
  await killed();
  const locked = locks();
  project.writeConfig({ user: undefined });
  const refused = await cli("start", "-d", "--run-dir", runDir());
  expect([refused.code, refused.output]).toEqual([1, expect.stringContaining("belongs to www-data")]);
  expect(locks()).toEqual(locked);
  const stopped = await cli("stop");
  expect([stopped.code, stopped.output]).toEqual([0, expect.stringContaining("stopped the processes of a killed")]);
  expect(project.processes()).toEqual([]);
  for (const name of locks()) expect([name, lstatSync(join(runDir(), name)).uid]).toEqual([name, UID]);

  project.writeConfig({ restartSupervisor: true });
  expect(await cli("start", "-d")).toMatchObject({ code: 0 });
  const first = await killed();
  await waitFor("the next supervisor", async () => {
    const pid = await status().then(
      (now) => now.pid,
      () => first,
    );
    return pid !== first;
  });
  expect((await cli("ls")).output.split(project.folder).length).toBe(2);
  expect(await cli("stop")).toMatchObject({ code: 0 });
});

/** Returns a free port that only root can bind. */
async function lowPort(): Promise<number> {
  for (;;) {
    const port = 600 + Math.floor(Math.random() * 400);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
