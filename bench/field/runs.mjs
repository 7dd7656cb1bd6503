/** Runs an app of `npm run field` as documented, alone, and behind several instances of Paceline. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { controlStatus, freePort, PACELINE, wait } from "../soak/support.mjs";
import { bunPath } from "../support/programs.mjs";

const START_MS = 60_000;
/** The port in the arguments of an app behind Paceline. */
const OF_APP = 4873;
/** Longer than processes wait with a report, in milliseconds. */
const REPORTED_MS = 600;

async function responds(port, page, hasEnded) {
  for (const endAt = Date.now() + START_MS; Date.now() < endAt && !hasEnded(); await wait(50)) {
    const isUp = await fetch(`http://127.0.0.1:${port}${page}`).then(
      () => true,
      () => false,
    );
    if (isUp) return;
  }
  throw new Error(`alone it ${hasEnded() ? "ended" : "did not respond"}`);
}

/** Runs it on a separate port; resolves with the result of `use`. */
export async function alone({ file, folder, args = [], env = {} }, runtime, page, use) {
  const port = await freePort();
  const words = args.map((each) => each.replace("PORT", `${port}`));
  const child = spawn(runtime === "bun" ? bunPath() : process.execPath, [file, ...words], {
    cwd: folder,
    env: { ...process.env, PORT: `${port}`, HOST: "127.0.0.1", HOSTNAME: "127.0.0.1", NODE_ENV: "production", ...env },
    stdio: "ignore",
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  try {
    await responds(port, page, () => child.exitCode !== null);
    return await use(port, child.pid);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

export class Fleet {
  /** @param config keys of a configuration; without them `paceline start FILE` runs the app */
  constructor(project, { runtime, instances, config }) {
    this.project = project;
    this.runtime = runtime;
    this.instances = instances;
    this.config = config;
    this.folder = mkdtempSync(path.join(tmpdir(), "paceline-field-"));
  }

  cli(...args) {
    const { folder, env: own = {} } = this.project;
    const ours = { PACELINE_RUN_DIR: path.join(this.folder, "run"), PACELINE_REPORT_EVERY_MS: "250" };
    const env = { ...process.env, NODE_ENV: "production", ...own, ...ours };
    const child = spawn("sh", [PACELINE, ...args], { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text) => (output += text));
    return new Promise((resolve) => child.on("close", (code) => resolve({ code, output: output.trim() })));
  }

  async start() {
    this.port = await freePort();
    const { file, folder } = this.project;
    // Whatever port the app requests, it does not get it.
    const args = (this.project.args ?? []).map((each) => each.replace("PORT", `${OF_APP}`));
    const own = path.join(this.folder, "paceline.config.json");
    if (this.config !== undefined) writeFileSync(own, JSON.stringify({ app: file, cwd: folder, args, ...this.config }));
    const what = this.config === undefined ? file : own;
    const options = ["-i", `${this.instances}`, "-p", `${this.port}`, "--runtime", this.runtime, "--detach"];
    const words = this.config === undefined && args.length > 0 ? ["--", ...args] : [];
    const { code, output } = await this.cli("start", what, ...options, ...words);
    if (code !== 0) throw new Error(output.split("\n").slice(0, 4).join("\n       "));
  }

  /** Returns the pool of the app. */
  async pool() {
    const { pid, pools } = await controlStatus(path.join(this.folder, "run/control.sock"));
    this.pid = pid;
    return pools[0];
  }

  async poolWhere(what, accepts) {
    for (const endAt = Date.now() + START_MS; Date.now() < endAt; await wait(100)) {
      const pool = await this.pool();
      if (accepts(pool)) return pool;
    }
    throw new Error(`waited in vain for ${what}`);
  }

  /** Returns a value once it has not changed for longer than the interval of reports. */
  async steady(read) {
    let [last, since] = ["", Date.now()];
    for (const endAt = Date.now() + START_MS; Date.now() < endAt; await wait(100)) {
      const value = await read();
      if (JSON.stringify(value) !== last) [last, since] = [JSON.stringify(value), Date.now()];
      else if (Date.now() - since > REPORTED_MS) return value;
    }
    throw new Error("the counts do not stand still");
  }

  async stop() {
    await this.cli("stop", "--timeout", "30");
    // Its supervisor writes its last record after the command has returned.
    for (const endAt = Date.now() + START_MS; existsSync(`/proc/${this.pid}`) && Date.now() < endAt; ) await wait(20);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
