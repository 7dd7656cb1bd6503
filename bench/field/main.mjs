/**
 * `npm run field`: installs public frameworks and programs into a cache outside of this repository. Runs each alone and behind
 * three instances: the same responses, a reload under load, a crash. Prints a table; exits 1 on any difference.
 *
 * --only TEXT: those whose name contains it. --runtime bun|node: for those that run on both. Default: Bun.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { freePort, PACELINE, wait } from "../soak/support.mjs";
import { memory } from "../support/processes.mjs";
import { bunPath } from "../support/programs.mjs";
import { APPS } from "./apps.mjs";
import { echoes, loadWhile, outcomes } from "./clients.mjs";

const { values } = parseArgs({
  options: { only: { type: "string", default: "" }, runtime: { type: "string", default: "bun" } },
});
const CACHE = path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "paceline-field");
const START_MS = 30_000;
const INSTANCES = 3;

/** Installs an app's packages once; the name of the folder lists them. */
function install({ packages }) {
  const folder = path.join(CACHE, packages.join("+").replaceAll("/", "_") || "none");
  if (existsSync(path.join(folder, "installed"))) return folder;
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "package.json"), '{ "private": true }\n');
  if (packages.length > 0) {
    const args = ["install", "--no-audit", "--no-fund", "--ignore-scripts", ...packages];
    const { status, stderr } = spawnSync("npm", args, { cwd: folder, encoding: "utf8", timeout: 300_000 });
    if (status !== 0) throw new Error(`npm install failed: ${stderr.trim().split("\n").at(-1)}`);
  }
  writeFileSync(path.join(folder, "installed"), "");
  return folder;
}

/** Returns the version of the app's main package. */
function versionOf(folder, [first]) {
  if (first === undefined) return "";
  const name = first.replace(/(.)@.*/, "$1");
  return JSON.parse(readFileSync(path.join(folder, "node_modules", name, "package.json"), "utf8")).version;
}

async function responds(port, page) {
  for (const endAt = Date.now() + START_MS; Date.now() < endAt; await wait(50)) {
    if (
      await fetch(`http://127.0.0.1:${port}${page}`).then(
        () => true,
        () => false,
      )
    )
      return;
  }
  throw new Error("it did not respond");
}

/** Runs it as documented, on a separate port; resolves with the result of `use`. */
async function alone(file, runtime, page, use) {
  const port = await freePort();
  const child = spawn(runtime === "bun" ? bunPath() : process.execPath, [file], {
    cwd: path.dirname(file),
    env: { ...process.env, PORT: `${port}`, NODE_ENV: "production" },
    stdio: "ignore",
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    await responds(port, page);
    return await use(port, child.pid);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

class Fleet {
  constructor(file, runtime) {
    this.file = file;
    this.runtime = runtime;
    this.folder = mkdtempSync(path.join(tmpdir(), "paceline-field-"));
  }

  cli(...args) {
    const all = [PACELINE, ...args];
    const env = { ...process.env, NODE_ENV: "production", PACELINE_RUN_DIR: path.join(this.folder, "run") };
    const child = spawn("sh", all, { cwd: path.dirname(this.file), env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    return new Promise((resolve) => child.on("close", (code) => resolve({ code, output: output.trim() })));
  }

  async start() {
    this.port = await freePort();
    const options = ["-i", `${INSTANCES}`, "-p", `${this.port}`, "--runtime", this.runtime, "--detach"];
    const { code, output } = await this.cli("start", this.file, ...options);
    if (code !== 0) throw new Error(output.split("\n")[0]);
  }

  async status() {
    return JSON.parse((await this.cli("status", "--json")).output);
  }

  /** It is measured at intervals. */
  async instancePss() {
    for (const endAt = Date.now() + START_MS; Date.now() < endAt; await wait(500)) {
      const { pssBytes } = (await this.status()).pools[0].instances[0];
      if (pssBytes !== null) return pssBytes;
    }
    return null;
  }

  async stop() {
    await this.cli("stop", "--timeout", "30");
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Returns the problem of an app behind Paceline; empty if there is none. */
async function tryApp(app, row) {
  const folder = install(app);
  row.version = versionOf(folder, app.packages);
  const runtime = app.runtime ?? values.runtime;
  row.runtime = runtime;
  const page = app.page ?? "/";
  const file = path.join(folder, `${app.name.replaceAll(/\W+/g, "-").toLowerCase()}.${app.extension ?? "cjs"}`);
  writeFileSync(file, app.source);
  const problems = [];
  const expected = await alone(file, runtime, page, async (port, pid) => {
    const seen = await outcomes(port, app);
    row.aloneBytes = memory([pid]).pssMB * 1e6;
    return seen;
  });
  const fleet = new Fleet(file, runtime);
  try {
    await fleet.start();
    const seen = await outcomes(fleet.port, app);
    for (const [name, outcome] of Object.entries(expected)) {
      if (seen[name] !== outcome) problems.push(`${name}: alone ${outcome}, behind ${seen[name]}`);
    }
    if (app.websocket !== undefined) problems.push(...(await echoes(fleet.port, app.websocket)));
    row.instanceBytes = await fleet.instancePss();
    const reload = await loadWhile(fleet.port, page, app.headers, () => fleet.cli("reload"));
    row.requests = reload.ok;
    if (reload.failed.length > 0) problems.push(`${reload.failed.length} failed in a reload: ${reload.failed[0]}`);
    if (reload.result.code !== 0) problems.push(`reload: ${reload.result.output.split("\n").at(-1)}`);
    // Only idle clients notice a crash cleanly; a request in flight may be lost with its process.
    process.kill((await fleet.status()).pools[0].instances[0].pid, "SIGKILL");
    await wait(300);
    const after = await loadWhile(fleet.port, page, app.headers, () => wait(1000));
    if (after.failed.length > 0) problems.push(`${after.failed.length} failed after a crash: ${after.failed[0]}`);
    for (const endAt = Date.now() + START_MS; ; await wait(100)) {
      if ((await fleet.status()).pools[0].ready === INSTANCES) break;
      if (Date.now() > endAt) {
        problems.push("the instance that was killed did not come back");
        break;
      }
    }
  } finally {
    await fleet.stop();
  }
  return problems;
}

const megabytes = (bytes) => (bytes === undefined || bytes === null ? "–" : (bytes / 1e6).toFixed(0));
const rows = [];
let isGood = true;
for (const app of APPS.filter(({ name }) => name.toLowerCase().includes(values.only.toLowerCase()))) {
  const row = { name: app.name, setting: app.setting ?? "" };
  let problems;
  try {
    problems = await tryApp(app, row);
  } catch (error) {
    problems = [error.message];
  }
  rows.push({ ...row, problems });
  if (problems.length > 0) isGood = false;
  process.stdout.write(
    `${problems.length === 0 ? "holds" : "FAILS"}  ${app.name}${problems.map((each) => `\n       ${each}`).join("")}\n`,
  );
}
process.stdout.write(
  "\n| app | version | runtime | set | requests in a reload, failed | MB alone | MB an instance |\n|---|---|---|---|--:|--:|--:|\n",
);
for (const { name, version, runtime, setting, requests, aloneBytes, instanceBytes, problems } of rows) {
  const reload = problems.length === 0 ? `${requests}, 0` : "see above";
  process.stdout.write(
    `| ${name} | ${version ?? ""} | ${runtime ?? ""} | ${setting} | ${reload} | ${megabytes(aloneBytes)} | ${megabytes(instanceBytes)} |\n`,
  );
}
process.exit(isGood ? 0 : 1);
