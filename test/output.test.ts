/** What instances write, and what happens to the fleet, can be read by name, and followed; what is lost of it is counted. */
import { existsSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HELLO, HELLO_BODY } from "./support/apps.js";
import { PACELINE, Project, RUNTIMES, startFleet } from "./support/fleet.js";
import { get } from "./support/raw-http.js";
import { waitFor } from "./support/wait.js";

const LINE = "a line for each request";
const STORM = 30_000;
/** Writes STORM lines at once when it is asked to, and one that is longer than most. */
const STORMY = `
import { writeSync } from "node:fs";
const write = (text) => {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
};
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/storm")) {
      for (let n = 0; n < ${STORM}; n += 100) {
        write(Array.from({ length: 100 }, (_, i) => "storm " + (n + i) + " " + "x".repeat(80) + "\\n").join(""));
      }
    }
    if (pathname.endsWith("/long")) write(JSON.stringify({ long: "y".repeat(100000), clear: "\\u001b[2J" }) + "\\n");
    return new Response("written");
  },
};
`;

interface Line {
  name: string;
  msg: string;
  lost?: number;
}

/** The lines that are whole by now. */
function parse(text: string): Line[] {
  const whole = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
  return whole.flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Line]));
}

/** How many lines of the storm are there, and how many are told to be missing. */
function count(lines: Line[], name: string) {
  const ours = lines.filter((line) => line.name === name);
  return {
    printed: ours.filter(({ msg, lost }) => lost === undefined && msg.startsWith("storm ")).length,
    lost: ours.reduce((sum, { lost = 0 }) => sum + lost, 0),
  };
}

describe.each(RUNTIMES)("output on %s", (runtime) => {
  test("logs shows the lines of each instance with its name; events tells what happened", async () => {
    const project = await startFleet({ runtime, app: HELLO });
    for (let turn = 0; turn < 2; turn++) expect((await get(project.port, "/chat")).body).toBe(HELLO_BODY);
    await waitFor("a line of both instances", async () => {
      const { stdout } = await project.cli(["logs"]);
      return ["web.1", "web.2"].every((name) => new RegExp(`${name.replace(".", "\\.")}\\b.*${LINE}`).test(stdout));
    });
    const one = await project.cli(["logs", "web.1"]);
    expect(one.stdout).toContain(LINE);
    expect(one.stdout).not.toContain("web.2");
    expect((await project.cli(["scale", "web", "3"])).code).toBe(0);
    const events = await project.cli(["events", "--json"]);
    expect(events.code).toBe(0);
    const subjects = events.stdout
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line).subject);
    expect(subjects).toContain("web.3");
  });

  test("lines printed and lines counted as lost are the lines written, and none is lost within the bound", async () => {
    const pools = {
      calm: { app: "./app.js", instances: 1, routes: ["/calm/"] },
      wild: { app: "./app.js", instances: 2, routes: ["/"], maxOutputBytes: 65_536 },
    };
    const project = await Project.make({ runtime, app: STORMY, config: { pools } });
    project.startInForeground([PACELINE, "start", "--log-format", "json"]);
    await project.ready();
    for (const path of ["/calm/storm", "/storm", "/storm", "/calm/long"])
      expect((await get(project.port, path)).body).toBe("written");
    const names = ["calm.1", "wild.1", "wild.2"];
    await project.statusWhere("all lines to be read", ({ pools }) =>
      pools.flatMap(({ instances }) => instances).every(({ linesTotal }) => linesTotal >= STORM),
    );
    await waitFor("all lines to be printed", () =>
      names.every(
        (name) => count(parse(project.output), name).printed + count(parse(project.output), name).lost === STORM,
      ),
    );
    expect(count(parse(project.output), "calm.1")).toEqual({ printed: STORM, lost: 0 });
    const status = await project.status();
    const [calm, wild] = status.pools.map(({ instances }) => instances);
    expect(calm).toMatchObject([{ linesTotal: STORM + 1, linesLost: 0 }]);
    expect(status.log).toMatchObject({ problem: null, linesLost: 0 });
    for (const { name, linesLost } of wild ?? []) {
      expect(linesLost).toBeGreaterThan(0);
      expect(count(parse(project.output), name).lost).toBe(linesLost);
    }
    expect((await project.cli(["status"])).stdout).toMatch(/^wild\.1: \d+ of 30000 lines lost/m);

    // A line of any length is whole, and nothing in it acts on a terminal.
    const long = parse(project.output).find(({ msg }) => msg.startsWith('{"long"'));
    expect(JSON.parse(long?.msg ?? "")).toMatchObject({ clear: "\x1b[2J" });

    // The log in files: the same lines, and a new file when the old one is moved.
    const file = join(project.runDir, "log/paceline.log");
    expect(count(parse(readFileSync(file, "utf8")), "wild.1")).toEqual(count(parse(project.output), "wild.1"));
    renameSync(file, `${file}.moved`);
    process.kill(project.foregroundPid, "SIGUSR1");
    expect((await project.cli(["scale", "calm", "2"])).code).toBe(0);
    await waitFor("a new log file", () => existsSync(file) && readFileSync(file, "utf8").includes("calm.2 is ready"));

    // Names that nobody has are mistakes, also while following; running or not.
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
    expect((await project.cli(["stop"])).code).toBe(0);
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
});
