/** The command line for people and scripts: its output, its exit statuses, and what it leaves behind. */

import { existsSync, mkdirSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { canBeKept, canBeKeptToo, runKept } from "../../../test/support/commands.js";
import { freePort } from "../../../test/support/ports.js";
import { testOnce } from "../../../test/support/test-once.js";
import { ControlClient } from "../dist/control/client.js";
import { readFleetFile } from "../dist/run-dir/fleet-file.js";
import { listRunDirs } from "../dist/run-dir/registry.js";
import { firstLine, makeFolder, PACELINE, RUNTIMES, run, start } from "./support.js";

const HELLO = "export default { fetch: () => new Response('Hello World!') };\n";
/** Never becomes ready. */
const HANGING = "await new Promise(() => setInterval(() => {}, 1000));\nexport default { fetch() {} };\n";

function isListening(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => resolve(true));
    socket.on("error", () => resolve(false));
    onTestFinished(() => void socket.destroy());
  });
}

describe.each(RUNTIMES)("paceline on %s", (runtime) => {
  const once = testOnce(runtime);

  const env = { ...process.env, PACELINE_RUNTIME: runtime };
  /** Returns the run directory of a test's fleet. */
  const runDirOf = (folder: string) =>
    listRunDirs(process.env.PACELINE_STATE_DIR as string).find((path) => readFleetFile(path)?.folder === folder) ??
    folder;
  const paceline = (cwd: string, ...args: string[]) =>
    canBeKept(args) || canBeKeptToo(args) ? runKept(args, cwd, env) : run(PACELINE, args, { cwd, env });

  /** Makes sure that a fleet stops with its test. */
  function stopAtEnd(folder: string): void {
    onTestFinished(async () => {
      const socketPath = join(runDirOf(folder), "control.sock");
      if (!existsSync(socketPath)) return;
      const client = new ControlClient({ socketPath, timeoutMs: 20_000 });
      const status = await client.status().catch(() => undefined);
      await client.operate("POST", "/v1/stop").catch(() => status && process.kill(status.pid, "SIGKILL"));
    });
  }

  test.skipIf(!existsSync("/dev/full"))(
    "output that cannot be written is reported, and the exit status is 1",
    async () => {
      const [full, closed] = await Promise.all(
        [">/dev/full", ">&-"].map((to) => run("sh", ["-c", `exec "$0" schema ${to}`, PACELINE], { env })),
      );
      expect(full?.code).toBe(1);
      expect(full?.stderr).toMatch(/^paceline: cannot write the output: ENOSPC[^\n]*\n$/);
      expect([closed?.code, closed?.stderr]).toEqual([1, "paceline: cannot write the output: stdout is closed\n"]);
    },
  );

  once.each([
    [[], /Usage: paceline/],
    [["stauts"], /unknown command 'stauts'[\s\S]*Did you mean status\?/],
    [["status", "--jsn"], /unknown option '--jsn'[\s\S]*Did you mean --json\?/],
    [["scale", "web"], /missing required argument 'n'/],
    [["scale", "web", "many"], /must be a whole number/],
    [["save"], /unknown command 'save'[\s\S]*save is PM2's; .*paceline startup/],
    [["start", "--no-daemon"], /unknown option '--no-daemon'[\s\S]*--no-dashboard/],
    [["stop", "--timeout", "soon"], /must be a number of seconds/],
    [["start", "--instances", "0"], /from 1 to 1024/],
    [["start", "--runtime", "deno"], /Allowed choices are bun, node/],
    [["start", "--listen", "nowhere", "./app.mjs"], /--listen: must be "HOST:PORT"/],
    [["start", "./missing.mjs"], /missing\.mjs: there is no such file or folder/],
    [["serve", "./app.mjs", "--runtime", "deno"], /must be bun or node/],
    [["start", "-c", "a.toml", "b.toml"], /-c a\.toml: use either -c or an argument \(b\.toml\), not both/],
    [["start", "-c", "0 3 * * *"], /-c names the config; .* --cron "0 3 \* \* \*"/],
    [["start", "npm", "--", "start"], /a program follows after --: paceline start -- npm start\n/],
    [["start", "npm", "start"], /a program follows after --: paceline start -- npm start\n/],
    [["start", "node a.js"], /a program follows after --: paceline start -- node a\.js\n/],
    [["start", "--", "node a.js"], /a program follows after --: paceline start -- node a\.js\n/],
    [["start", "pub"], /to serve its files: paceline start --static pub\n/],
    [["start", "bare"], /it has a package\.json: run paceline init bare\n/],
    [["start", "app.mjs", "--cron", "@daily", "-p", "3000"], /--cron: a worker .* omit --port\n/],
    [["lock", ""], /lock: reason is empty: it is needed/],
    [["rehearse", "--replay", "/dev/zero"], /--replay: \/dev\/zero is not a regular file/],
    [["start", "a\nb"], /^paceline: a\\nb: there is no such file or folder\n$/],
    [["start", "app.mjs", "--name", ""], /start: --name is empty: name it, or omit it/],
    [["start", "app.mjs", "--name", "a/b"], /--name: must be 1 to 64 characters .*, not "a\/b"/],
    [["start", "app.mjs", "--name", "a\u001b[2J"], /--name: must be 1 to 64 characters/],
    [["start", "app.mjs", "--name", "n".repeat(65)], /--name: must be 1 to 64 characters/],
    [["check", "-c", "app.mjs", "app.mjs"], /-c app\.mjs: use either -c or an argument \(app\.mjs\), not both/],
    [["init", "simple"], /simple: there is no such folder; init takes a folder/],
  ])("%j is a usage error: exit status 2", async (args, expected) => {
    const folder = makeFolder({ "app.mjs": HELLO, "pub/index.html": "", "bare/package.json": "{}" });
    // A kept process finds them in the same way, but `serve` is a separate program.
    const { code, stdout, stderr } = await (args[0] === "serve"
      ? paceline(folder, ...args)
      : runKept(args, folder, env));
    expect(stderr).toMatch(expected);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  });

  once("help and version are no mistakes", async () => {
    expect(await paceline("/", "--version")).toMatchObject({ code: 0, stdout: "0.1.0\n" });
    const help = await paceline("/", "help");
    expect(help.code).toBe(0);
    for (const name of [
      "start",
      "serve",
      "status",
      "top",
      "scale",
      "reload",
      "restart",
      "stop",
      "logs",
      "events",
      "check",
    ]) {
      expect(help.stdout).toMatch(new RegExp(`^  ${name}\\b`, "m"));
    }
  });

  once("check reports all problems, or that the fleet has none", async () => {
    const folder = makeFolder({ "app.mjs": HELLO, "good.toml": 'app = "app.mjs"\ninstances = 3\n' });
    expect(await paceline(folder, "check", "-c", "good.toml")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^OK: .*: 3 instances of app\.mjs on http:\/\/127\.0\.0\.1:8080\n$/),
    });
    const pools =
      'pools.web.app = "app.mjs"\n[pools.api]\ncommand = ["sh", "{socket}"]\nmaxInFlight = 1\nroutes = ["/api/"]\n';
    const whole = await paceline(makeFolder({ "app.mjs": HELLO, "paceline.toml": pools }), "check", "--json");
    // The documented defaults.
    const policy = { hangAfterMs: 30_000, minReadyMs: 1_000, maxSurge: "25%" };
    expect(JSON.parse(whole.stdout).config.pools).toMatchObject([
      { name: "web", policy, instances: 4 },
      { name: "api", policy, requestTimeoutMs: 60_000 },
    ]);
    const slashes = 'pools.api.command = ["sh", "tcp://{host}:{port}"]\n';
    expect(await paceline(makeFolder({ "paceline.toml": slashes }), "check")).toMatchObject({
      code: 0,
      stdout: expect.stringContaining(": 1 instance of sh tcp://{host}:{port} on "),
    });
    const two = makeFolder({ "app.mjs": HELLO, "paceline.toml": "", "paceline.config.json": '{ "app": "app.mjs" }' });
    expect(await paceline(two, "check", "--no-load")).toMatchObject({
      code: 0,
      stderr: "paceline: warning: paceline.toml is not read: paceline.config.json in the same folder comes first\n",
    });
    const strangers = { "ecosystem.config.js": "module.exports = {};", "conf.yaml": "", "app.py": "" };
    const others = makeFolder(strangers);
    for (const name of Object.keys(strangers)) {
      const { code, stderr } = await paceline(others, "check", name);
      const said = /is the configuration of another program|is neither an app .* nor a config|is Python/;
      expect({ name, code, stderr }).toEqual({ name, code: 2, stderr: expect.stringMatching(said) });
    }
    const bad = makeFolder({ "paceline.toml": 'app = "no.mjs"\ninstnaces = 3\n' });
    const told = await paceline(bad, "check");
    expect(told.code).toBe(2);
    expect(told.stderr.split("\n")).toEqual([
      'paceline: paceline.toml:2: instnaces: unknown key; did you mean "instances"?',
      `paceline: paceline.toml:1: app: there is no such file: ${join(bad, "no.mjs")}`,
      "",
    ]);
    const json = await paceline(bad, "check", "--json");
    expect(json.code).toBe(2);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      code: "config",
      problems: [{ path: ["instnaces"] }, { path: ["app"] }],
    });
    // Problems of the configuration and apps that do not load are found in one run.
    const files = { "app.mjs": HELLO, "throws.mjs": 'throw new Error("no database");\n' };
    const both = '[pools.web]\napp = "app.mjs"\nroutes = ["/"]\n[pools.api]\napp = "throws.mjs"\nroutes = ["/api/"]\n';
    const mixed = makeFolder({ ...files, "paceline.toml": `lisen = "80"\n${both}instances = -1\n` });
    const found = await paceline(mixed, "check");
    expect(found).toMatchObject({ code: 2, stderr: expect.stringMatching(/ \| .*no database/) });
    expect(found.stderr.split("\n").slice(0, 3)).toEqual([
      expect.stringMatching(/^paceline: paceline\.toml:8: pools\.api\.instances: must be /),
      'paceline: paceline.toml:1: lisen: unknown key; did you mean "listen"?',
      expect.stringMatching(/^paceline: paceline\.toml:6: pools\.api\.app: .*no database/),
    ]);
    const unread = makeFolder({ ...files, "paceline.toml": `name = shop\nlisen = "80"\n${both}env = 1\nenv = 2\n` });
    expect((await paceline(unread, "check")).stderr.split("\n").map((line) => line.split(": ").slice(1, 3))).toEqual([
      ["paceline.toml:1", "is not valid TOML"],
      ["paceline.toml:10", "is not valid TOML"],
      ["paceline.toml:9", "pools.api.env"],
      ["paceline.toml:2", "lisen"],
      [],
    ]);
  });

  once("where nothing runs, the exit status is 3", async () => {
    const folder = makeFolder({ "app.mjs": HELLO });
    for (const command of ["status", "reload", "stop", "logs", "events"]) {
      const { code, stderr } = await paceline(folder, command);
      const said = `paceline: nothing is running here: you have no fleet in ${folder} or above it\n`;
      expect({ command, code, stderr }).toEqual({ command, code: 3, stderr: said });
    }
    const json = await paceline(folder, "status", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, code: "not-running" });
    expect((await paceline(folder, "status", "--run-dir", "elsewhere")).code).toBe(3);
  });

  once("a fleet that runs is found from below its folder, by its config and by its run directory", async () => {
    const folder = makeFolder({ "app.mjs": HELLO, "paceline.toml": 'app = "app.mjs"\ninstances = 1\n' });
    mkdirSync(join(folder, "deep/er"), { recursive: true });
    stopAtEnd(folder);
    const port = await freePort();
    const started = await paceline(folder, "start", "--detach", "--json", "--listen", `127.0.0.1:${port}`);
    expect(started).toMatchObject({ code: 0, stderr: "" });
    const { pid, runDir } = JSON.parse(started.stdout);
    expect(runDir).toMatch(new RegExp(`^${process.env.PACELINE_STATE_DIR}/[\\w.-]+-[0-9a-f]{12}$`));
    for (const [cwd, args] of [
      [join(folder, "deep/er"), []],
      ["/", ["--config", folder]],
      ["/", ["-c", join(folder, "paceline.toml")]],
      ["/", ["--run-dir", runDir]],
    ] as const) {
      const { stdout } = await paceline(cwd, "status", "--json", ...args);
      expect(JSON.parse(stdout).pid).toBe(pid);
    }
    const again = await paceline(folder, "start");
    expect(again).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`paceline: already running (pid ${pid}) in ${runDir}; use start --or-reload `),
    });
    expect((await paceline(folder, "scale", "nope", "2")).code).toBe(2);
    expect((await paceline(folder, "restart", "nope")).code).toBe(2);
    expect(await paceline(folder, "stop")).toMatchObject({ code: 0, stdout: "stopped\n" });
    expect(await paceline(folder, "status")).toMatchObject({
      code: 3,
      stderr: `paceline: nothing is running from ${join(folder, "paceline.toml")}: the fleet has stopped\n`,
    });
  });

  once("the name of a fleet stands for all of it, and finds it from elsewhere", async () => {
    const app = "app.mjs";
    const folder = makeFolder({ [app]: HELLO });
    const other = makeFolder();
    const name = `shop-${runtime}`;
    stopAtEnd(folder);
    const port = await freePort();
    const second = await freePort();
    const listen = ["-i", "1", "-p", `${port}`, "-p", `${second}`];
    const started = await paceline(folder, "start", "-d", "--name", name, ...listen, "-c", app);
    expect(started.code, started.stderr).toBe(0);
    for (const each of [port, second]) expect(await isListening(each)).toBe(true);
    const place = join(folder, app);
    const rows: [string, string[], number, RegExp][] = [
      [folder, ["restart", name], 0, /web: /],
      [folder, ["reload", name], 0, /web/],
      [folder, ["scale", name, "1"], 0, /web/],
      [folder, ["scale", name, "+10000000"], 2, /web can have 0 to 1024 instances, not 10000001/],
      [folder, ["scale", "web", "10000000"], 2, /web can have 0 to 1024 instances, not 10000000/],
      [folder, ["logs", name], 0, /web\.1/],
      [folder, ["events", name, "-n", "1000000"], 0, /its last 1000 events; older ones are in .*log/],
      [folder, ["logs", "-n", "5001"], 0, /its last 5000 lines; older ones are in .*log/],
      [folder, ["logs", "-n", "1000001"], 2, /It must be from 0 to 1000000\./],
      [folder, ["start", "-p", "1000000"], 2, /It must be from 1 to 65535\./],
      [folder, ["reload", "nope"], 2, /^paceline: no pool or instance named "nope"/],
      [other, ["status", "-c", name], 0, /web\.1/],
      [other, ["status", "-c", "nope"], 3, /nothing is running from/],
      [other, ["restart", "nope"], 3, /nothing is running here: .* or above it\n$/],
      ...["reload", "stop", "logs", "events"].map((command): [string, string[], number, RegExp] => [
        other,
        [command, name],
        3,
        new RegExp(`nothing is running here: .*; ${name} runs from ${place}: add -c ${name}\n$`),
      ]),
      [folder, ["stop", name], 0, /^stopped\n$/],
      [folder, ["logs", name, "-n", "1000000"], 0, /web\.1/],
    ];
    for (const [cwd, args, code, output] of rows) {
      const done = await paceline(cwd, ...args);
      const said = done.stderr + done.stdout;
      expect({ args, code: done.code, said }).toEqual({ args, code, said: expect.stringMatching(output) });
    }
  });

  test("logs --follow continues until its reader leaves or the fleet stops", async () => {
    const folder = makeFolder({ "app.mjs": `setInterval(() => console.log("a line"), 50);\n${HELLO}` });
    stopAtEnd(folder);
    const port = await freePort();
    // The command fails if its output is lost, but the fleet stays.
    const hasFull = existsSync("/dev/full");
    const line = `exec "$0" start -d -i 1 -l 127.0.0.1:${port} app.mjs ${hasFull ? ">/dev/full" : ""}`;
    const started = await run("sh", ["-c", line, PACELINE], { cwd: folder, env });
    expect(started.code, started.stderr).toBe(hasFull ? 1 : 0);
    // `head` exits after the first line, and so must the command.
    const piped = await run("sh", ["-c", `"${PACELINE}" logs -f -n 1 | head -n 1`], { cwd: folder, env });
    expect(piped.stdout.split("\n")).toHaveLength(2);
    const following = start(PACELINE, ["events", "-f", "--json"], { cwd: folder, env });
    const followed = new Promise((resolve) => following.on("close", resolve));
    let stdout = "";
    following.stdout?.setEncoding("utf8").on("data", (text) => (stdout += text));
    await firstLine(following);
    const late = await paceline(folder, "logs", "-f", "--timeout", "0.2");
    expect(late.code).toBe(4);
    expect((await paceline(folder, "stop")).code).toBe(0);
    expect(await followed).toBe(0);
    expect(
      stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).subject),
    ).toContain("web.1");
  });

  once("a detached start that does not get ready in time exits 4 and leaves nothing", async () => {
    const folder = makeFolder({ "app.mjs": HANGING });
    stopAtEnd(folder);
    const port = await freePort();
    const args = ["start", "--detach", "-i", "1", "-l", `127.0.0.1:${port}`, "--timeout", "1.5", "app.mjs"];
    const { code, stderr } = await paceline(folder, ...args);
    expect(code, stderr).toBe(4);
    // On a slow machine no instance is known by then.
    const late = /^paceline: not all instances became ready within 1\.5 s(?:: web\.1 \(starting\))?\n/;
    expect(stderr).toMatch(late);
    expect(stderr.replace(late, "")).toBe("paceline: nothing was left running\n");
    expect(await isListening(port)).toBe(false);
    expect(existsSync(join(runDirOf(folder), "control.sock"))).toBe(false);
  });

  test("an interrupted detached start leaves nothing behind", async () => {
    const folder = makeFolder({ "app.mjs": HANGING });
    stopAtEnd(folder);
    const port = await freePort();
    const child = start(PACELINE, ["start", "--detach", "-i", "1", "-l", `127.0.0.1:${port}`, "app.mjs"], {
      cwd: folder,
      env,
    });
    const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
    await expect.poll(() => isListening(port)).toBe(true);
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(await isListening(port)).toBe(false);
    expect(existsSync(join(runDirOf(folder), "control.sock"))).toBe(false);
  });

  once("in the foreground it says first what it runs and where, and a stop ends it with 0", async () => {
    const folder = makeFolder({ "app.mjs": HELLO });
    stopAtEnd(folder);
    const port = await freePort();
    const child = start(PACELINE, ["start", "-i", "2", "-l", `127.0.0.1:${port}`, "app.mjs"], { cwd: folder, env });
    const ended = new Promise((resolve) => child.on("exit", (code, signal) => resolve(code ?? signal)));
    expect(await firstLine(child)).toMatch(
      new RegExp(
        `^\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3} paceline   \\| .*: 2 instances of app\\.mjs on http://127\\.0\\.0\\.1:${port} \\(${runtime} \\d`,
      ),
    );
    // Nobody reads its output, and it continues.
    child.stdout?.destroy();
    const client = new ControlClient({ socketPath: join(runDirOf(folder), "control.sock"), timeoutMs: 20_000 });
    expect(await client.operate("GET", "/v1/ready")).toMatchObject({ ok: true });
    expect(await client.operate("POST", "/v1/restart", { target: "web.1" })).toMatchObject({ ok: true });
    child.kill("SIGTERM");
    expect(await ended).toBe(0);
  });

  once("in the foreground a fleet of which nothing gets ready ends with 1 and the app's own error", async () => {
    const folder = makeFolder({ "app.mjs": "throw new Error('no database here');\n" });
    stopAtEnd(folder);
    const port = await freePort();
    const { code, stderr } = await paceline(folder, "start", "-i", "1", "-l", `127.0.0.1:${port}`, "app.mjs");
    expect(code).toBe(1);
    expect(stderr).toContain("no database here");
    expect(await isListening(port)).toBe(false);
  });

  once("--log-format json prints one JSON object a line", async () => {
    const folder = makeFolder({ "app.mjs": HELLO });
    stopAtEnd(folder);
    const port = await freePort();
    const args = ["start", "-i", "1", "-l", `127.0.0.1:${port}`, "--log-format", "json", "app.mjs"];
    const child = start(PACELINE, args, { cwd: folder, env });
    expect(JSON.parse(await firstLine(child))).toMatchObject({
      name: "paceline",
      msg: expect.stringContaining("1 instance"),
    });
    child.kill("SIGTERM");
  });

  once("a run directory far down has its sockets in a short place, and is found all the same", async () => {
    const folder = makeFolder();
    const port = await freePort();
    const source = makeFolder({ "app.mjs": HELLO });
    const short = { ...env, PACELINE_STATE_DIR: join(makeFolder(), "d".repeat(120)) };
    const paceline = (...args: string[]) => run(PACELINE, args, { cwd: folder, env: short });
    const started = await paceline("start", "-d", "-i", "1", "-l", `127.0.0.1:${port}`, join(source, "app.mjs"));
    onTestFinished(() => paceline("stop").then(() => {}));
    expect(started.code, started.stderr).toBe(0);
    expect((await paceline("status")).stdout).toContain("web.1");
    expect((await paceline("stop")).code).toBe(0);
  });
});
