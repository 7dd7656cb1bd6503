/** Programs that start and operate a fleet themselves: `createFleet` and `connectFleet`. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { findRuntimes } from "../packages/supervisor/dist/runtime/runtimes.js";
import { Project, ROOT, RUNTIMES } from "./support/fleet.js";
import { run } from "./support/processes.js";
import { waitFor } from "./support/wait.js";

const PACELINE = JSON.stringify(pathToFileURL(join(ROOT, "packages/supervisor/dist/index.js")).href);

const sayingApp = (text: string) => `export default { fetch: () => new Response("${text}") };\n`;

/** Starts a fleet from a value, does everything with it, and prints the results as one JSON document. */
const OPERATES = `
import { writeFileSync } from "node:fs";
import { connectFleet, createFleet, listFleets } from ${PACELINE};
const [port, runtime] = process.argv.slice(2);
const saw = {};
const failure = (promise) => promise.then(() => "no error", ({ name, code, exitStatus, lastLines, problems }) =>
  ({ name, code, exitStatus, lastLines: lastLines.join(" "), problems: problems?.map(({ path }) => path.join(".")) }));
const get = async () => (await fetch("http://127.0.0.1:" + port)).text();
const config = (more = {}) => ({
  name: "made", listen: "127.0.0.1:" + port, runtime, minReadyMs: 50, balancer: { runtime },
  pools: { web: { app: "./app.js", instances: 1, ...more } },
});

saw.wrong = await failure(createFleet({ config: { ...config(), lisen: 1 } }));
saw.aborted = await failure(createFleet({ config: config(), signal: AbortSignal.abort() }));
const fleet = await createFleet({ config: config() });
const events = [];
const watching = (async () => {
  for await (const { subject, message } of fleet.events()) events.push(subject + " " + message);
})();
saw.first = await get();
saw.again = await failure(createFleet({ config: config() }));
const steps = [];
saw.scaled = (await fleet.scale("web", { by: 1 }, { onProgress: (message) => steps.push(message) })).message;
writeFileSync("app.js", ${JSON.stringify(sayingApp("second"))});
saw.reloaded = (await fleet.reload({ onProgress: (message) => steps.push(message) })).message;
saw.steps = steps.length;
saw.second = await get();
await fleet.restart("web.1");
saw.unknown = await failure(fleet.scale("wbe", 1));
writeFileSync("app.js", 'throw new Error("no database");');
saw.broken = await failure(fleet.reload());
writeFileSync("app.js", ${JSON.stringify(sayingApp("third"))});
saw.notAConfig = await failure(fleet.reload({ config: { ...config(), pools: { web: { app: 3n } } } }));
await fleet.reload({ config: config({ instances: 3, env: { GREETING: "hi" } }) });
const other = await connectFleet();
const { state, pools } = await other.status();
saw.status = [other.pid === fleet.pid, state, pools[0].name, pools[0].ready];
for await (const line of other.logs()) { saw.line = typeof line.text; break; }
saw.listed = (await listFleets()).filter(({ runDir }) => runDir === fleet.runDir).map(({ state, instances }) => [state, instances.ready]);
const waits = other.events({ lines: 0 }).next();
await other.close();
saw.closed = (await waits).done;
saw.stopped = (await fleet.stop()).message;
await watching;
saw.events = ["is stopping", "has stopped"].every((text) => events.includes("paceline " + text));
saw.ended = await fleet.ended;
saw.gone = await failure(fleet.status());
saw.signals = process.eventNames().filter((name) => String(name).startsWith("SIG"));
saw.cwd = process.cwd() === process.env.PWD;
console.log(JSON.stringify(saw));
`;

/**
 * Starts a fleet that fails to start, then one that starts, prints, and waits to be killed; or starts one, detaches it and exits by itself.
 */
const LEAVES = `
import { renameSync } from "node:fs";
import { createFleet } from ${PACELINE};
const failed = process.argv[2] === "detach" ? {} : await createFleet().catch((error) => error);
renameSync("good.js", "app.js");
const fleet = await createFleet();
console.log(JSON.stringify({ code: failed.code, message: failed.message, pid: fleet.pid }));
if (process.argv[2] === "detach") await fleet.detach();
`;

test("examples/program prints events, scales and stops", async () => {
  const project = await Project.make({ runtime: "bun", app: sayingApp("unused") });
  const env = { ...project.startEnvironment(), PWD: ROOT };
  const child = spawn(process.execPath, ["examples/program/program.mjs", `127.0.0.1:${project.port}`], {
    ...{ cwd: ROOT, env, stdio: ["pipe", "pipe", "inherit"] },
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let printed = "";
  child.stdout?.setEncoding("utf8").on("data", (text) => {
    printed += text;
  });
  const prints = (pattern: RegExp) => waitFor(`${pattern}`, () => pattern.test(printed), { details: () => printed });
  await prints(/^serves .*\n/);
  child.stdin?.write("\n");
  await prints(/^info web\.3 .*ready/m);
  child.kill("SIGINT");
  await waitFor("the program to end", () => child.exitCode !== null || child.signalCode !== null);
  expect(child.exitCode).toBe(0);
  await prints(/^info paceline has stopped$/m);
  await project.nothingLeft();
});

describe.each(RUNTIMES)("a program and its fleet on %s", (runtime) => {
  const command = findRuntimes()[runtime] as string;

  test("it starts, watches, scales, reloads, restarts and stops it, prints nothing, and ends by itself", async () => {
    const project = await Project.make({ runtime, app: sayingApp("first"), files: { "program.mjs": OPERATES } });
    const env = { ...project.startEnvironment(), PWD: project.folder };
    const args = ["program.mjs", String(project.port), runtime];
    const { code, stdout, stderr } = await run(command, args, { cwd: project.folder, env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const failure = (code: string, exitStatus: number, more = {}) =>
      expect.objectContaining({ name: "PacelineError", code, exitStatus, ...more });
    expect(JSON.parse(stdout)).toEqual({
      wrong: failure("config", 2, { problems: ["lisen"] }),
      aborted: failure("interrupted", 130),
      first: "first",
      again: failure("running", 1),
      scaled: expect.stringMatching(/web/),
      reloaded: expect.stringMatching(/web/),
      steps: expect.any(Number),
      second: "second",
      unknown: failure("invalid", 2),
      broken: failure("failed", 1, { lastLines: expect.stringContaining("no database") }),
      notAConfig: failure("config", 2, { problems: ["pools.web.app"] }),
      status: [true, "running", "web", 3],
      line: "string",
      listed: [["running", 3]],
      closed: true,
      stopped: "stopped",
      events: true,
      ended: { code: 0, signal: null },
      gone: failure("not-running", 3),
      signals: [],
      cwd: true,
    });
    await project.nothingLeft();
  });

  test("a fleet ends with a program that is killed, and not with one that has detached it", async () => {
    const files = { "program.mjs": LEAVES, "good.js": sayingApp("good") };
    const project = await Project.make({ runtime, instances: 1, app: "throw new Error('no database');\n", files });
    const options = { cwd: project.folder, env: { ...project.startEnvironment(), PWD: project.folder } };
    const child = spawn(command, ["program.mjs"], { ...options, stdio: ["ignore", "pipe", "inherit"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text) => {
      stdout += text;
    });
    await waitFor("the program to have started its fleet", () => stdout.endsWith("\n") || child.exitCode !== null);
    expect(JSON.parse(stdout)).toEqual({
      code: "failed",
      message: expect.stringContaining("web.1"),
      pid: (await project.status()).pid,
    });
    child.kill("SIGKILL");
    await project.nothingLeft();

    project.write("good.js", sayingApp("good"));
    const detached = await run(command, ["program.mjs", "detach"], options);
    expect(detached.code).toBe(0);
    expect(await project.status()).toMatchObject({ pid: JSON.parse(detached.stdout).pid, state: "running" });
    expect((await project.stop()).code).toBe(0);
    await project.nothingLeft();
  });
});
