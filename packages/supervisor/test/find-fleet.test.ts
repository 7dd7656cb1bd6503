/** Which fleet a command selects, which files it trusts, and its message about a fleet that it cannot ask. */
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { canBeKept, canBeKeptToo, runKept } from "../../../test/support/commands.js";
import { askControl } from "../../../test/support/fleet.js";
import { listFleets } from "../dist/fleet/known-fleets.js";
import { takeLock } from "../dist/run-dir/lock.js";
import { makeFolder, PACELINE, run } from "./support.js";

const SAYING = (text: string) => `export default { fetch: () => new Response("${text}") };\n`;
const isRoot = process.getuid?.() === 0;
/** A uid that is not the user who runs the tests. */
const STRANGER = 65_534;

/** Nothing here depends on the runtime. */
const runtime = "bun";

describe("fleets on bun", () => {
  /** A user of paceline with a separate state folder, whose fleets are stopped after the test. */
  function user(identity: { uid?: number; gid?: number } = {}) {
    const home = makeFolder();
    if (identity.uid !== undefined) chownSync(home, identity.uid, identity.uid);
    const state = join(home, "state");
    const env: NodeJS.ProcessEnv = {
      ...process.env,
      PACELINE_RUNTIME: runtime,
      PACELINE_STATE_DIR: state,
      TMPDIR: home,
    };
    const paceline = (cwd: string, ...args: string[]) =>
      identity.uid === undefined && (canBeKept(args) || canBeKeptToo(args))
        ? runKept(args, cwd, env)
        : run(PACELINE, args, { cwd, env: { ...env, PWD: cwd }, ...identity });
    const pids = new Set<number>();
    onTestFinished(() => {
      for (const pid of pids) kill(pid);
    });
    const start = async (cwd: string, ...args: string[]) => {
      const listen = args.includes("-l") ? [] : ["-l", `unix:${cwd}/up.sock`];
      const started = await paceline(cwd, "start", "--detach", "--json", "-i", "1", ...listen, ...args);
      expect(started, started.stderr).toMatchObject({ code: 0 });
      const { pid, runDir } = JSON.parse(started.stdout) as { pid: number; runDir: string };
      pids.add(pid);
      return { pid, runDir };
    };
    const ask = async (cwd: string, ...args: string[]) => {
      const { code, stdout, stderr } = await paceline(cwd, "status", "--json", ...args);
      return code === 0
        ? (JSON.parse(stdout) as { pid: number }).pid
        : `${code} ${JSON.parse(stdout).message}${stderr}`;
    };
    return { env, state, paceline, start, ask };
  }

  test("through a link, the fleet belongs to the link, whatever it leads to; it is found from anywhere in a release", async () => {
    const shop = makeFolder({
      "releases/1/app.mjs": SAYING("one"),
      "releases/1/paceline.toml": 'app = "app.mjs"\n',
      "releases/2/app.mjs": SAYING("two"),
      "releases/2/paceline.toml": 'app = "app.mjs"\n',
    });
    const [current, first, second] = ["current", "releases/1", "releases/2"].map((name) => join(shop, name)) as [
      string,
      string,
      string,
    ];
    symlinkSync("releases/1", current);
    const { paceline, start, ask } = user();
    const { pid, runDir } = await start(current);
    expect(runDir.startsWith(shop)).toBe(false);
    for (const [cwd, ...args] of [[current], [first], ["/", "-c", current]] as const)
      expect(await ask(cwd, ...args), `${cwd} ${args}`).toBe(pid);
    // -c selects the fleet by the path with which it was started, not by another path to the same file.
    const named = (path: string, fleet: string, itsPid: number) =>
      `3 nothing is running from ${path}; it points to the fleet of ${fleet} (pid ${itsPid}): name that path`;
    const file = (folder: string) => join(folder, "paceline.toml");
    for (const path of [first, file(first)])
      expect(await ask("/", "-c", path)).toBe(named(file(first), file(current), pid));
    const bare = join(shop, "bare");
    symlinkSync("releases", bare);
    const other = await start("/", "-l", `unix:${shop}/2.sock`, second);
    expect(await ask("/", "-c", join(bare, "2"))).toBe(named(file(join(bare, "2")), file(second), other.pid));
    expect((await paceline("/", "stop", "-c", join(bare, "2"))).code).toBe(3);
    expect(await paceline("/", "stop", "-c", `${second}/../2/`)).toMatchObject({ code: 0 });

    rmSync(current);
    symlinkSync("releases/2", current);
    // The release in service is still the first one: both it and the link select the fleet.
    for (const [cwd, ...args] of [[first], [second], ["/", "-c", current]] as const)
      expect(await ask(cwd, ...args), `${cwd} ${args}`).toBe(pid);
    expect(await paceline(first, "reload")).toMatchObject({ code: 0 });
    expect(await get(join(current, "up.sock"), join(first, "up.sock"))).toBe("two");
    // The supervisor was started in the folder that is removed now.
    rmSync(first, { recursive: true });
    expect(await ask(second)).toBe(pid);
    // A command for each check would take a process.
    const instance = async () => {
      const status = JSON.parse(await askControl(join(runDir, "control.sock"), "/v1/status"));
      return status.pools[0].instances[0] as { pid: number; state: string; lastExit: { reason: string } };
    };
    const before = (await instance()).pid;
    kill(before);
    const isBack = async () => {
      const { state, pid } = await instance();
      return state === "ready" && pid !== before;
    };
    await expect.poll(isBack).toBe(true);
    expect(await paceline("/", "reload", "-c", current)).toMatchObject({ code: 0 });
    // A release that is removed too early is named.
    rmSync(second, { recursive: true });
    kill((await instance()).pid);
    const reason = async () => (await instance()).lastExit.reason;
    await expect.poll(reason).toContain(`not started: its working directory is gone: ${second} `);
    expect(await paceline("/", "stop", "-c", current)).toMatchObject({ code: 0 });
  });

  test("-c means that config, and several fleets of one folder are distinguished", async () => {
    const folder = makeFolder({ "app.mjs": SAYING("x"), "prod.config.json": '{ "app": "app.mjs" }' });
    const files = { prod: join(folder, "prod.config.json"), staging: join(folder, "staging.config.json") };
    writeFileSync(files.staging, '{ "app": "app.mjs" }');
    const { paceline, start, ask } = user();
    const { pid } = await start(folder, "prod.config.json");
    const beside = `nothing is running from ${files.staging}; the fleet of that folder is ${files.prod} (pid ${pid})`;
    expect(await paceline(folder, "stop", "-c", "staging.config.json")).toMatchObject({
      code: 3,
      stderr: `paceline: ${beside}\n`,
    });
    expect(await ask(folder)).toBe(pid);
    const { pid: other, runDir } = await start(folder, "staging.config.json", "-l", `unix:${folder}/staging.sock`);
    expect(await ask(folder, "-c", "staging.config.json")).toBe(other);
    const both = await ask(folder);
    expect(both).toMatch(/^2 several fleets run in .*prod\.config\.json \(pid \d+\).*; name one with --config$/);
    expect(both).toContain(`${files.staging} (pid ${other})`);
    // A given run directory must also belong to that config.
    expect(await ask(folder, "--run-dir", runDir, "-c", "prod.config.json")).toBe(
      `3 ${runDir} is the run directory of ${files.staging}, not of ${files.prod}`,
    );
    for (const name of ["prod", "staging"])
      expect((await paceline(folder, "stop", "-c", `${name}.config.json`)).code).toBe(0);
  });

  test("a fleet whose supervisor was killed is reported as such, can be stopped, and is replaced by a start", async () => {
    const folder = makeFolder({
      "app.mjs": SAYING("x"),
      "paceline.json": '{ "app": "app.mjs", "orphanGraceMs": 60000, "restartSupervisor": false }',
    });
    const { paceline, start } = user();
    const lose = async () => {
      const { pid, runDir } = await start(folder, "paceline.json");
      kill(pid);
      await expect.poll(() => existsSync(join(runDir, "channel.sock.lost"))).toBe(true);
      return { pid, state: join(runDir, "state.json") };
    };
    const { pid, state } = await lose();
    // Otherwise a start would take it over.
    truncateSync(state, 50);
    for (const [command, status] of [
      ["status", 3],
      ["explain", 3],
      ["reload", 3],
      ["start", 1],
    ] as const) {
      const args = command === "start" ? ["paceline.json"] : ["-c", "paceline.json"];
      const { code, stderr } = await paceline(folder, command, ...args);
      expect({ command, code }).toEqual({ command, code: status });
      expect(stderr).toMatch(
        new RegExp(
          `^paceline: the supervisor of \\S+ \\(pid ${pid}\\) was killed at \\d\\d:\\d\\d:\\d\\d; 2 processes of it keep running until \\d\\d:\\d\\d:\\d\\d, then drain and exit\n` +
            (command === "start"
              ? "paceline: its state cannot be used, because it is damaged: .*/state.json.unusable\n"
              : "") +
            "paceline: `paceline stop` ends them; `paceline start --replace` ends them and starts the fleet again\n$",
        ),
      );
    }
    expect(await paceline(folder, "logs")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/web\.1/),
      stderr: expect.stringMatching(
        new RegExp(
          `^paceline: .* \\(pid ${pid}\\) was killed at .*; 2 processes of it keep running .*; these are the last lines of its log\n$`,
        ),
      ),
    });
    expect(await paceline(folder, "stop")).toMatchObject({
      code: 0,
      stdout: "stopped the processes of a killed supervisor\n",
    });
    expect((await paceline(folder, "status")).code).toBe(3);
    await lose();
    const advice = "`paceline start` takes them over; `paceline stop` ends them";
    expect((await paceline(folder, "status")).stderr).toContain(advice);
    const args = ["start", "--detach", "--replace", "-i", "1", "-l", `unix:${folder}/up.sock`, "paceline.json"];
    expect(await paceline(folder, ...args)).toMatchObject({ code: 0, stderr: "" });
    expect((await paceline(folder, "stop")).code).toBe(0);
  });

  test("a run directory that others own, share or have redirected is neither read nor connected to", async () => {
    const folder = makeFolder({ "app.mjs": SAYING("x") });
    const bait = join(folder, ".paceline");
    mkdirSync(bait, { mode: 0o755 });
    let heard = 0;
    const server = createServer((_request, response) => {
      heard++;
      response.end('{"result":{"ok":true,"message":"done"}}\n');
    });
    await new Promise<void>((resolve) => server.listen(join(bait, "control.sock"), resolve));
    onTestFinished(() => void server.close());
    const link = join(folder, "link");
    symlinkSync(bait, link);
    const { state, paceline } = user();
    const refused = async (path: string, reason: RegExp) => {
      const { code, stderr } = await paceline(folder, "reload", "--update-env", "--run-dir", path);
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(reason) });
    };
    await refused(bait, /permission denied: .*\.paceline is open to others \(mode 0755\)/);
    await refused(link, /permission denied: .*link is a symbolic link/);
    // Nor is the run directory of a parent folder used.
    expect((await paceline(folder, "reload", "--update-env")).code).toBe(3);
    // Nor behind a link in a state folder that others could have written.
    mkdirSync(state, { mode: 0o700 });
    chmodSync(bait, 0o700);
    symlinkSync(bait, join(state, "shop-0123456789ab"));
    const record = {
      version: 1,
      source: join(folder, "app.mjs"),
      folder,
      release: folder,
      name: "shop",
      pid: 1,
      startedAt: 1,
      endedAt: null,
    };
    const sockets = {
      controlSocket: join(bait, "control.sock"),
      channelSocket: join(bait, "channel.sock"),
      orphanGraceMs: 1,
    };
    writeFileSync(join(bait, "fleet.json"), JSON.stringify({ ...record, ...sockets }));
    chmodSync(state, 0o777);
    const doubted = await paceline(folder, "reload");
    expect(doubted.code).toBe(3);
    expect(doubted.stderr).toMatch(/are ignored: .*state is open to others \(mode 0777\)/);
    expect(heard).toBe(0);
    // The same state folder, owned only by this user: the prepared run directory is found, or not.
    chmodSync(state, 0o700);
    // A run directory that others can read is named while a supervisor has it, and never connected to.
    const lock = takeLock(bait);
    chmodSync(bait, 0o755);
    const open = await paceline(folder, "reload");
    expect(open).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/\.paceline is open to others \(mode 0755\)/),
    });
    expect(heard).toBe(0);
    lock.release();
    chmodSync(bait, 0o700);
    expect((await paceline(folder, "reload")).code).toBe(0);
    expect(heard).toBe(1);
    // A record that is a link is not read.
    renameSync(join(bait, "fleet.json"), join(folder, "fleet.json"));
    symlinkSync(join(folder, "fleet.json"), join(bait, "fleet.json"));
    expect((await paceline(folder, "reload")).code).toBe(3);
    expect(heard).toBe(1);
    chmodSync(state, 0o777);
    const start = await paceline(folder, "start", "--detach");
    expect(start).toMatchObject({ code: 1, stderr: expect.stringMatching(/state is open to others .*--run-dir/) });
  });

  test("nothing is written through a link in a run directory, and the sockets of a long path are in a folder that nobody could have created before", async () => {
    const folder = makeFolder({ "app.mjs": SAYING("x"), victim: "theirs" });
    const { start, paceline, ask } = user();
    const runDir = join(folder, "d".repeat(120));
    mkdirSync(join(runDir, "log"), { recursive: true, mode: 0o700 });
    const links = ["supervisor.out", "log/paceline.log"].map((name) => join(runDir, name));
    for (const link of links) symlinkSync(join(folder, "victim"), link);
    const args = ["-l", `unix:${folder}/up.sock`, "--run-dir", runDir, "app.mjs"];
    expect(await paceline(folder, "start", "-d", ...args)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/supervisor\.out/),
    });
    rmSync(links[0] as string);
    const { pid } = await start(folder, ...args);
    expect((await paceline(folder, "status", "--run-dir", runDir)).stdout).toMatch(/^log .*cannot be written: ELOOP/m);
    expect(readFileSync(join(folder, "victim"), "utf8")).toBe("theirs");
    const short = dirname(JSON.parse(readFileSync(join(runDir, "fleet.json"), "utf8")).controlSocket);
    // Its name is unpredictable, so nobody can have created it.
    expect(short).toMatch(/^\/tmp\/paceline-\w{6}$/);
    expect(statSync(short)).toMatchObject({ uid: process.getuid?.(), mode: 0o40700 });
    expect(await ask(folder)).toBe(pid);
    chmodSync(short, 0o755);
    expect(await ask(folder)).toBe(`1 permission denied: ${short} is open to others (mode 0755)`);
    chmodSync(short, 0o700);
    expect((await paceline(folder, "stop")).code).toBe(0);
  });

  test("nothing is left of a check: no file for its answer, and no cache in a HOME that is relative", async () => {
    const config =
      'import { readdirSync } from "node:fs";\nimport { tmpdir } from "node:os";\n' +
      'const left = readdirSync(tmpdir()).filter((name) => name.startsWith("paceline-config-"));\n' +
      'if (left.length > 0) throw new Error("would be left by a kill: " + left);\nexport default { app: "app.mjs" };\n';
    const folder = makeFolder({ "app.mjs": SAYING("x"), "paceline.config.mjs": config });
    const env = { ...user().env, HOME: "relative" };
    expect(await run(PACELINE, ["check"], { cwd: folder, env })).toMatchObject({ code: 0, stderr: "" });
    expect(existsSync(join(folder, "relative"))).toBe(false);
  });

  test("a user without the right to a port is told how to get it", async (context) => {
    const first = Number(readFileSync("/proc/sys/net/ipv4/ip_unprivileged_port_start", "utf8"));
    if (!isRoot || first <= 80) context.skip("only root can be another user, who may not have port 80");
    const folder = makeFolder({ "app.mjs": SAYING("x") });
    chmodSync(folder, 0o755);
    const { paceline } = user({ uid: STRANGER, gid: STRANGER });
    const { code, stdout } = await paceline(folder, "start", "-d", "--json", "-l", "127.0.0.1:80", "app.mjs");
    expect(JSON.parse(stdout)).toEqual({
      code: "EACCES",
      ok: false,
      message: expect.stringMatching(/^cannot listen on 127\.0\.0\.1:80: .* capability CAP_NET_BIND_SERVICE/),
    });
    expect(code).toBe(1);
  });

  test("a path that cannot be written is reported with a solution", async () => {
    const folder = makeFolder({ "app.mjs": SAYING("x") });
    const { env } = user();
    const file = join(folder, "app.mjs");
    const said = async (more: NodeJS.ProcessEnv, ...args: string[]) => {
      const { code, stderr } = await run(PACELINE, ["start", "-d", ...args], { cwd: folder, env: { ...env, ...more } });
      expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(/--run-dir or PACELINE_RUN_DIR/) });
      return stderr;
    };
    expect(await said({}, "--run-dir", `${file}/x`)).toContain(`cannot make the directory ${file}/x: `);
    const gone = makeFolder();
    const script = 'cd "$1" && rmdir "$1" && exec "$2" status';
    expect(await run("sh", ["-c", script, "sh", gone, PACELINE], { env })).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/the working directory was deleted/),
    });
  });

  test("another user is told who owns the fleet, and root that the fleet must be named", async (context) => {
    if (!isRoot) context.skip("needs root, to be another user");
    const folder = makeFolder({ "app.mjs": SAYING("x"), "paceline.toml": 'app = "app.mjs"\n' });
    const root = user();
    const { state, runDir, pid } = { state: root.state, ...(await root.start(folder)) };
    for (const path of [folder, join(state, "..")]) chmodSync(path, 0o755);
    const stranger = user({ uid: STRANGER, gid: STRANGER });
    stranger.env.PACELINE_STATE_DIR = state;
    for (const args of [["status"], ["status", "-c", "paceline.toml"], ["stop", "--run-dir", runDir]]) {
      const { code, stderr } = await stranger.paceline(folder, ...args);
      const said = expect.stringMatching(/^paceline: permission denied: .*root.*sudo -u root/);
      expect({ args, code, stderr }).toEqual({ args, code: 1, stderr: said });
    }
    // A user without a home directory must name the place; the message must not claim that nothing is running.
    const { PACELINE_STATE_DIR: _, HOME: __, ...homeless } = stranger.env;
    const as = { cwd: folder, env: homeless, uid: STRANGER, gid: STRANGER };
    const lost = await run(PACELINE, ["start", "-d", "app.mjs"], as);
    expect({ code: lost.code, stderr: lost.stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(
        /^paceline: (cannot make the directory|this user has no home).*PACELINE_RUN_DIR\n$/,
      ),
    });
    expect((await run(PACELINE, ["status", "-c", "app.mjs"], as)).stderr).toMatch(/name it with --run-dir again/);
    // This uid is unknown.
    const unknown = { ...as, cwd: "/", uid: 54_321, gid: 54_321 };
    expect((await run(PACELINE, ["ls"], unknown)).stdout).toMatch(
      /^you have no fleet; if .* --run-dir, .*PACELINE_RUN_DIR$/m,
    );
    const theirs = makeFolder({ "app.mjs": SAYING("x"), "paceline.toml": 'app = "app.mjs"\n' });
    chownSync(theirs, STRANGER, STRANGER);
    stranger.env.PACELINE_STATE_DIR = stranger.state;
    const fleet = await stranger.start(theirs);
    expect(await root.ask(theirs)).toMatch(/^3 nothing is running/);
    const { fleets } = await listFleets(root.env, [{ uid: STRANGER, state: stranger.state }]);
    const listed = fleets.map(({ runDir, owner, state }) => ({ runDir, owner, state }));
    expect(listed).toContainEqual({ runDir: fleet.runDir, owner: "nobody", state: "up" });
    expect(listed).toContainEqual({ runDir, owner: undefined, state: "up" });
    // Not what is in a folder of another user.
    expect((await listFleets(root.env, [{ uid: STRANGER + 1, state: stranger.state }])).fleets.length).toBe(
      fleets.length - 1,
    );
    const elsewhere = { ...root.env, PWD: theirs, PACELINE_STATE_DIR: stranger.state };
    expect(await run(PACELINE, ["status"], { cwd: theirs, env: elsewhere })).toMatchObject({
      code: 1,
      stderr: `paceline: root has no fleet of ${join(theirs, "paceline.toml")}, but nobody has one: use --run-dir ${fleet.runDir}\n`,
    });
    expect(await root.ask(theirs, "--run-dir", fleet.runDir)).toBe(fleet.pid);
    expect(await root.paceline(theirs, "reload", "--update-env", "--run-dir", fleet.runDir)).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^paceline: the fleet is nobody's: --update-env would hand over/),
    });
    expect((await root.paceline(theirs, "stop", "--run-dir", fleet.runDir)).code).toBe(0);
    // A fleet belongs to another user while one of its processes has a socket there, with or without its supervisor.
    stranger.env.PACELINE_STATE_DIR = state;
    kill(pid);
    await expect.poll(() => existsSync(join(runDir, "channel.sock.lost"))).toBe(true);
    expect(await stranger.paceline(folder, "status")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/denied/),
    });
    expect((await root.paceline(folder, "stop")).code).toBe(0);
    expect(existsSync(runDir)).toBe(true);
    expect(await stranger.ask(folder)).toMatch(/^3 nothing is running/);
    expect(await run(PACELINE, ["status"], { cwd: theirs, env: elsewhere })).toMatchObject({ code: 3 });
  });
});

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has exited.
  }
}

async function get(...sockets: string[]): Promise<string> {
  const { request } = await import("node:http");
  for (const socketPath of sockets) {
    const body = await new Promise<string | undefined>((resolve) => {
      const asked = request({ socketPath, path: "/", agent: false }, (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (part) => {
          text += part;
        });
        response.on("end", () => resolve(text));
      });
      asked.on("error", () => resolve(undefined));
      asked.end();
    });
    if (body !== undefined) return body;
  }
  throw new Error(`nobody answers on ${sockets.join(", ")}`);
}
