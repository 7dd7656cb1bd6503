/** Output of instances and events of the fleet can be read by name and followed; losses are counted. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Status } from "../packages/supervisor/dist/control/api.js";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { askControl, PACELINE, Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { needs, pause, run } from "./support/processes.js";
import { differentBodies, get } from "./support/raw-http.js";
import { Screen } from "./support/terminal.js";
import { testOnce } from "./support/test-once.js";
import { waitFor } from "./support/wait.js";

const LINE = "a line for each request";
const STORM = 10_000;
/** Writes STORM lines at once on the first request, and one very long line; responds with its instance. */
const STORMY = `
import { writeSync } from "node:fs";
const write = (text) => {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
};
let isOver = false;
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/storm") && !isOver) {
      isOver = true;
      for (let n = 0; n < ${STORM}; n += 100) {
        write(Array.from({ length: 100 }, (_, i) => "storm " + (n + i) + " " + "x".repeat(80) + "\\n").join(""));
      }
    }
    if (pathname.endsWith("/long")) write(JSON.stringify({ long: "y".repeat(100000), clear: "\\u001b[2J" }) + "\\n");
    return new Response(process.env.PACELINE_INSTANCE);
  },
};
`;

interface Line {
  name: string;
  msg: string;
  lost?: number;
}

/** Returns the lines that are complete by now. */
function parse(text: string): Line[] {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return whole.flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Line]));
}

/** Returns how many lines of the storm exist, and how many are reported as lost. */
function count(lines: Line[], name: string) {
  const ours = lines.filter((line) => line.name === name);
  return {
    printed: ours.filter(({ msg, lost }) => lost === undefined && msg.startsWith("storm ")).length,
    lost: ours.reduce((sum, { lost = 0 }) => sum + lost, 0),
  };
}

describe.each(RUNTIMES)("output on %s", (runtime) => {
  test("logs shows the lines of each instance with its name; events tells what happened; neither acts on a terminal, nor grows for ever", async () => {
    // Sets a title, and clears the screen in two ways.
    const acting = "\x1b]0;theirs\x07\x1b[2J\x9b2J";
    const flood = 'for (let n = 0; n < 3000; n++) console.log("a flood " + n + " ".repeat(100));';
    const app = HELLO.replace(
      'case "/chat":',
      `case "/flood": ${flood}\n      case "/chat": console.log(${JSON.stringify(acting)} + " done");`,
    );
    // By number on one runtime, by total size on the other.
    const bounds =
      runtime === "bun" ? { maxFiles: 2, maxTotalBytes: 1 << 20 } : { maxFiles: 9, maxTotalBytes: 131_072 };
    const log = { maxFileBytes: 65_536, ...bounds };
    const project = await startFleet({ runtime, app, config: { log, name: "shop" } });
    for (let turn = 0; turn < 2; turn++) expect((await get(project.port, "/chat")).body).toBe(HELLO_BODY);
    await waitFor("a line of both instances", async () => {
      const logged = await project.logs();
      return ["web.1", "web.2"].every((name) => logged.includes(`${name} | ${LINE}`));
    });
    const all = await project.cli(["logs"]);
    for (const name of ["web\\.1", "web\\.2"]) expect(all.stdout).toMatch(new RegExp(`${name}\\b.*${LINE}`));
    const one = await project.cli(["logs", "web.1"]);
    expect(one.stdout).toContain(LINE);
    expect(one.stdout).not.toContain("web.2");
    expect((await project.scale("web", 3)).code).toBe(0);
    const events = await project.cli(["events", "--json"]);
    expect(events.code).toBe(0);
    const subjects = events.stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line).subject);
    expect(subjects).toContain("web.3");

    const env = { ...process.env, PACELINE_RUNTIME: runtime, PACELINE_RUN_DIR: project.runDir };
    for (const [args, shown] of [
      [["logs"], String.raw`\x1b]0;theirs\x07\x1b[2J\u009b2J done`],
      [["logs", "--json"], String.raw`\u001b]0;theirs`],
      [["logs", acting], String.raw`no pool or instance named "\u001b]0;theirs`],
    ] as const) {
      const screen = Screen.open(PACELINE, [...args], { cwd: project.folder, env, columns: 200 });
      await screen.exit();
      expect(screen.output).toContain(shown);
      for (const text of ["\x1b]0;theirs", "\x1b[2J", "\x9b"]) expect(screen.output).not.toContain(text);
    }
    const json = Screen.open(PACELINE, ["status", "--json"], { cwd: project.folder, env, columns: 400 });
    await json.exit();
    expect(JSON.parse(json.output)).toMatchObject({ name: "shop" });

    expect((await get(project.port, "/flood")).body).toBe(HELLO_BODY);
    await waitFor("the flood in the log", async () => (await project.logs()).includes("a flood 2999"));
    const folder = join(project.runDir, "log");
    // During a rotation, there is a moment with only one file, and with a name that is gone when it is examined.
    const sizes = await waitFor("both files, with the whole flood", () => {
      try {
        const files = readdirSync(folder).map((name) => readFileSync(join(folder, name)));
        return (
          files.length === 2 && files.some((file) => file.includes("a flood 2999")) && files.map(({ length }) => length)
        );
      } catch {
        return undefined;
      }
    });
    expect(Math.max(...sizes)).toBeLessThanOrEqual(log.maxFileBytes);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(log.maxTotalBytes);
  });

  test("lines printed and lines counted as lost are the lines written, and none is lost within the bound", async () => {
    const pools = {
      calm: { app: "./app.js", instances: 1, routes: ["/calm/"] },
      wild: { app: "./app.js", instances: 2, routes: ["/"], maxOutputBytes: 65_536 },
    };
    const project = await Project.make({ runtime, app: STORMY, config: { pools } });
    project.startInForeground([PACELINE, "start", "--log-format", "json"]);
    await project.ready();
    for (const path of ["/calm/storm", "/calm/long"]) expect((await get(project.port, path)).body).toBe("calm.1");
    // The output that arrives while the supervisor is stopped exceeds the limit, however slow the instances are.
    await pause(project.foregroundPid);
    const wildOnes = await differentBodies(project.port, 2, "/storm").finally(() =>
      process.kill(project.foregroundPid, "SIGCONT"),
    );
    expect(wildOnes).toEqual(["wild.1", "wild.2"]);
    const names = ["calm.1", "wild.1", "wild.2"];
    await project.statusWhere("all lines to be read", ({ pools }) =>
      pools
        .flatMap(({ instances }) => instances)
        .every(({ name, linesTotal }) => linesTotal >= (name === "calm.1" ? STORM + 1 : STORM)),
    );
    const printed = await waitFor(
      "all lines to be printed",
      () => {
        const lines = parse(project.output);
        const counts = names.map((name) => count(lines, name));
        return counts.every(({ printed, lost }) => printed + lost === STORM) && lines;
      },
      { intervalMs: 250 },
    );
    expect(count(printed, "calm.1")).toEqual({ printed: STORM, lost: 0 });
    const status = await project.status();
    const [calm, wild] = status.pools.map(({ instances }) => instances);
    expect(calm).toMatchObject([{ linesTotal: STORM + 1, linesLost: 0 }]);
    expect(status.log).toMatchObject({ problem: null, linesLost: 0 });
    for (const { name, linesLost } of wild ?? []) {
      expect(linesLost).toBeGreaterThan(0);
      expect(count(printed, name).lost).toBe(linesLost);
    }
    expect((await project.cli(["status", "--wide"])).stdout).toMatch(/^wild\.1: \d+ of 10000 lines lost/m);

    // A line of any length is complete, and nothing in it controls a terminal.
    const long = await waitFor("the long line", () =>
      parse(project.output).find(({ msg }) => msg.startsWith('{"long"')),
    );
    expect(JSON.parse(long.msg)).toMatchObject({ clear: "\x1b[2J" });

    // The log in files: the same lines, and a new file when the old one is moved.
    const file = join(project.runDir, "log/paceline.log");
    const written = () => count(parse(readFileSync(file, "utf8")), "wild.1");
    await expect.poll(written).toEqual(count(printed, "wild.1"));
    renameSync(file, `${file}.moved`);
    process.kill(project.foregroundPid, "SIGUSR1");
    expect((await project.scale("calm", 2)).code).toBe(0);
    await waitFor("a new log file", () => existsSync(file) && readFileSync(file, "utf8").includes("calm.2 is ready"));

    // Unknown names are errors, even while following, whether the fleet is running or not.
    for (const args of [
      ["logs", "wlid"],
      ["logs", "-f", "wlid"],
      ["events", "-f", "wlid.1"],
    ]) {
      const { code, stderr } = await project.cli(args);
      expect({ args, code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/no pool or instance named "wlid.*known: .*wild/),
      });
    }
    expect((await project.stop()).code).toBe(0);
    await project.exit();
    const stopped = await project.cli(["logs", "calm", "-n", "5"]);
    expect(stopped).toMatchObject({
      code: 0,
      stderr: "paceline: the fleet is not running; these are the last lines of its log\n",
    });
    expect(stopped.stdout).toMatch(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} paceline {3}\| calm\.2 /m);
    expect((await project.cli(["events", "-n", "1"])).stdout).toMatch(/ info +paceline +has stopped$/m);
    expect(await project.cli(["logs", "-f", "wlid"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("known:"),
    });
  });

  test("a full disk stops nothing, and is told in status with what it costs", async (context) => {
    needs(context, "unshare");
    needs(context, "nsenter");
    if (process.getuid?.() !== 0) context.skip("only root can mount a small disk");
    const chatty = HELLO.replace("export default", "const fill = 'y'.repeat(1000);\nexport default");
    const app = `${chatty}\nsetInterval(() => { for (let n = 0; n < 100; n++) console.log(fill); }, 200);\n`;
    const project = await Project.make({ runtime, app, instances: 1, config: { maxOutputBytes: 524_288 } });
    const disk = join(project.folder, "disk");
    const runDir = join(disk, "run");
    mkdirSync(disk);
    const start = `mount -t tmpfs -o size=2m none ${disk} && exec ${PACELINE} start --run-dir ${runDir}`;
    project.startInForeground(["unshare", "--mount", "sh", "-c", start]);
    const inside = (...args: string[]) =>
      run("nsenter", ["--target", `${project.foregroundPid}`, "--mount", ...args], {
        cwd: project.folder,
        env: project.startEnvironment(),
      });
    // The fleet's disk as seen from here. Checks with commands inside would take a process or two each.
    const seen = `/proc/${project.foregroundPid}/root${runDir}`;
    const status = async () => JSON.parse(await askControl(`${seen}/control.sock`, "/v1/status")) as Status;
    await waitFor("the disk to be full", async () => {
      const now = await status().catch(() => undefined);
      return (now?.log?.linesLost ?? 0) > 0;
    });
    expect((await get(project.port)).body).toBe(HELLO_BODY);
    expect((await inside(PACELINE, "status", "--run-dir", runDir)).stdout).toMatch(/^log .*; \d+ lines lost$/m);
    const { stdout: events } = await inside(PACELINE, "events", "--run-dir", runDir);
    expect(events).toMatch(/ warn +paceline +the log cannot be written, lines are lost: ENOSPC/);
    // When there is room again, it continues; losses are reported as soon as possible. During a rotation, a file may disappear.
    const textOf = (file: string) => (existsSync(file) ? readFileSync(file, "utf8") : "");
    const log = () =>
      readdirSync(`${seen}/log`)
        .map((name) => textOf(`${seen}/log/${name}`))
        .join("");
    const before = log();
    await inside("sh", "-c", `rm ${runDir}/log/*`);
    await waitFor("the log to go on, with what is missing", () => {
      const after = parse(log());
      const told = [...parse(before), ...after].some(
        ({ name, lost = 0, msg }) => name === "web.1" && lost > 0 && msg.includes("ENOSPC"),
      );
      return told && after.some(({ name }) => name === "web.1");
    });
    expect((await status()).pools[0]?.instances[0]).toMatchObject({ state: "ready", restarts: 0, attempt: 1 });
    expect((await get(project.port)).body).toBe(HELLO_BODY);
  });

  testOnce(runtime)(
    "on a full disk a reload that is done says so, a clean stop is known, and nothing blames the config",
    async (context) => {
      needs(context, "unshare");
      if (process.getuid?.() !== 0) context.skip("only root can mount a small disk");
      const quiet = (text: string) => `export default { fetch: () => new Response("${text}") };\n`;
      const project = await Project.make({ runtime, app: quiet("v1"), instances: 1, config: { minReadyMs: 50 } });
      project.write("next.js", quiet("v2"));
      mkdirSync(join(project.folder, "disk"));
      project.write(
        "full.sh",
        `mount -t tmpfs -o size=1m none disk
      step() { echo "== $1"; shift; "$@" 2>&1; echo "exit $?"; }
      export PACELINE_RUN_DIR=$PWD/disk/run
      step start paceline start --detach
      trap 'paceline stop >/dev/null 2>&1' EXIT
      dd if=/dev/zero of=disk/fill bs=4k 2>/dev/null
      mv next.js app.js
      step reload paceline reload
      step again paceline reload
      step status paceline status
      step events paceline events
      step check env TMPDIR=$PWD/disk paceline check
      step other paceline start --run-dir disk/other
      step json paceline start --detach --json --run-dir disk/json
      step stop paceline stop
      step stopped paceline status
      step left ls disk/run
      rm disk/fill
      step anew paceline start --detach`,
      );
      const env = { ...project.startEnvironment(), PATH: `${dirname(PACELINE)}:${process.env.PATH}` };
      const { stdout } = await run("unshare", ["--mount", "sh", "full.sh"], { cwd: project.folder, env });
      const steps = Object.fromEntries(
        stdout
          .split(/^== /m)
          .slice(1)
          .map((text) => [text.slice(0, text.indexOf("\n")), text.slice(text.indexOf("\n") + 1)]),
      );
      expect(steps.start).toMatch(/exit 0\n$/);
      expect(steps.reload).toMatch(/exit 0\n$/);
      expect(steps.again).toMatch(/exit 0\n$/);
      expect(steps.status).toMatch(/^problem: .*\/fleet\.json cannot be written: ENOSPC/m);
      expect(steps.events?.match(/warn +paceline +.*\/fleet\.json cannot be written: ENOSPC/g)).toHaveLength(1);
      // A config is loaded without a folder for temporary files.
      expect(steps.check).toMatch(/^OK: [\s\S]*exit 0\n$/);
      expect(steps.other).toMatch(/disk\/other\/.*cannot be written: ENOSPC[\s\S]*exit 1\n$/);
      expect(steps.json).toMatch(/^\{\n[\s\S]*"ok": false[\s\S]*"message": ".*ENOSPC[\s\S]*\n\}\nexit 1\n$/);
      expect(steps.stop).toMatch(/exit 0\n$/);
      expect(steps.stopped).toMatch(/the fleet has stopped\nexit 3\n$/);
      expect(steps.left).not.toMatch(/draft|fleet\.json\./);
      expect(steps.anew).toMatch(/exit 0\n$/);
    },
  );
});
