/**
 * Measures a large fleet: `npm run bench:fleet`. How long a start and a reload of 200 instances take, whether a request is lost during the
 * reload, and what the supervisor costs at rest: more than a minute after the last client has requested figures, because until then it
 * reads them for clients.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { availableParallelism, tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cpuBetween, cpuSnapshot, memory, tree } from "./support/processes.mjs";

const { values: options } = parseArgs({
  options: {
    instances: { type: "string", default: "200" },
    seconds: { type: "string", default: "20" },
    settle: { type: "string", default: "65" },
    port: { type: "string", default: "18931" },
    runtime: { type: "string", default: "bun" },
    "no-reload": { type: "boolean", default: false },
  },
});

const root = fileURLToPath(new URL("..", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "paceline-fleet-"));
const { instances, port, runtime } = options;
const config = {
  ...{ name: "large", app: path.join(root, "examples/hello/app.ts"), instances: Number(instances), runtime },
  ...{ listen: [`127.0.0.1:${port}`], balancer: { runtime } },
};
writeFileSync(path.join(folder, "paceline.config.json"), JSON.stringify(config));
const env = { ...process.env, PACELINE_RUN_DIR: path.join(folder, "run"), PACELINE_RUNTIME: runtime };
const paceline = path.join(root, "packages/supervisor/bin/paceline");

/** Runs a command until it exits, and returns its duration in seconds. */
async function timed(...args) {
  const startedAt = performance.now();
  const child = spawn(paceline, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (text) => (output = (output + text).slice(-2000)));
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) throw new Error(`paceline ${args.join(" ")} ended with ${code}: ${output}`);
  return { seconds: (performance.now() - startedAt) / 1000, output };
}

/** Sends a request on a new connection; resolves with the status or the error code. */
function ask() {
  return new Promise((resolve) => {
    const request = http.get({ port, host: "127.0.0.1", agent: false, timeout: 30_000 }, (response) => {
      response
        .resume()
        .on("end", () => resolve(response.statusCode))
        .on("error", () => resolve("reset"));
    });
    request
      .on("timeout", () => request.destroy(new Error("timeout")))
      .on("error", ({ code, message }) => resolve(code ?? message));
  });
}

const results = [];
const state = (what, value, limit) => {
  const isGood = limit === undefined || value < limit;
  results.push(isGood);
  console.log(
    `${what.padEnd(52)} ${String(Number(value.toFixed(2))).padStart(9)}${limit === undefined ? "" : `  < ${limit}  ${isGood ? "ok" : "TOO MUCH"}`}`,
  );
};

try {
  console.log(`${instances} instances on ${runtime}, ${availableParallelism()} cores`);
  const started = await timed("start", "--detach");
  state("start until all are ready, s", started.seconds, 20);
  const supervisor = Number(/\(pid (\d+)\)/.exec(started.output)[1]);

  await sleep(Number(options.settle) * 1000);
  const [before, ofAll] = [cpuSnapshot([supervisor]), cpuSnapshot(tree(supervisor))];
  const since = performance.now();
  await sleep(Number(options.seconds) * 1000);
  const second = (performance.now() - since) / 1000;
  const percent = (from, pids) => cpuBetween(from, cpuSnapshot(pids)).microseconds / 10_000 / second;
  state("supervisor at rest, % of a core", percent(before, [supervisor]), 1);
  state("all processes at rest, % of a core", percent(ofAll, tree(supervisor)));
  state("supervisor, PSS MB", memory([supervisor]).pssMB);
  state("all processes, PSS MB", memory(tree(supervisor)).pssMB);

  if (!options["no-reload"]) {
    let isOver = false;
    const seen = new Map();
    const asking = (async () => {
      while (!isOver) {
        const status = await ask();
        seen.set(status, (seen.get(status) ?? 0) + 1);
        await sleep(10);
      }
    })();
    const reloaded = await timed("reload");
    isOver = true;
    await asking;
    state("reload of all, s", reloaded.seconds, 60);
    const failed = [...seen].filter(([status]) => status !== 200);
    state(
      `requests meanwhile that failed, of ${[...seen.values()].reduce((sum, each) => sum + each, 0)}`,
      failed.length,
      1,
    );
    if (failed.length > 0) console.log(failed);
  }
} finally {
  await timed("stop").then(
    ({ seconds }) => state("stop, s", seconds),
    (error) => console.log(error.message),
  );
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = results.includes(false) ? 1 : 0;
