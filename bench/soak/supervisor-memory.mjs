/**
 * Measures whether a supervisor's memory grows: `npm run soak:supervisor-memory`. Simulated instances, which the real supervisor starts in
 * place of Python's interpreter, make it age quickly: they exit immediately (restarts), report as many seconds as it accepts (statistics),
 * and write as many lines as it reads. Each part runs until its goal, for at most its time; the RSS of the last two thirds must stay within
 * ±5 MB.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { controlStatus, endsWithProgram, freePort, PACELINE, rssMB, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    runtime: { type: "string", default: "bun" },
    seconds: { type: "string" },
    only: { type: "string", default: "restarts,stats,lines" },
  },
});
const ALLOWED_MB = 5;
const REST_MS = 5_000;
/** Deaths, seconds of statistics, and lines; and how long each may take on a busy machine. */
const GOALS = { restarts: 100_000, stats: 7 * 86_400, lines: 100_000_000 };
const SECONDS = { restarts: 600, stats: 900, lines: 2400 };
const SAMPLE_SECONDS = { restarts: 50, stats: 10, lines: 30 };
const LEAST_SAMPLES = 12;
const READINGS = 20;
const READING_EVERY_MS = 50;
const NEVER = {
  hangAfterMs: 0,
  backoff: { initialMs: 1, maxMs: 1, jitter: 0 },
  restartBudget: { maxFailures: 1000, periodMs: 1 },
};
const child = fileURLToPath(new URL("supervisor-memory-child.mjs", import.meta.url));

/** Replaces the interpreter: it has a version, and exits or speaks the control channel. */
const PROGRAM = `#!/bin/sh
[ "$1" = -c ] && echo 3.11 && exit
# A fleet of which nothing serves yet would give up.
[ "$FAKE" = restarts ] && { while [ ! -e go ]; do sleep 0.1; done; echo "a last line"; exit 3; }
exec "${process.execPath}" "${child}"
`;

async function soak(what) {
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-soak-"));
  const port = await freePort();
  writeFileSync(path.join(folder, "python"), PROGRAM, { mode: 0o755 });
  const python = { wsgi: "app:app", python: "./python" };
  const pools = {
    web: { ...python, instances: 4, env: { FAKE: what === "restarts" ? "nothing" : what } },
    ...(what === "restarts" && { dies: { ...python, routes: "/dies", instances: 32, env: { FAKE: what } } }),
  };
  const config = { ...NEVER, pools, listen: `127.0.0.1:${port}` };
  writeFileSync(path.join(folder, "paceline.config.json"), JSON.stringify(config));
  const runDir = path.join(folder, "run");
  const go = path.join(folder, "go");
  const supervisor = endsWithProgram(
    spawn("sh", [PACELINE, "start", "--log-format", "none", "--run-dir", runDir], {
      cwd: folder,
      env: { ...process.env, PACELINE_RUNTIME: values.runtime },
      stdio: ["ignore", "ignore", "inherit"],
    }),
  );
  const ended = new Promise((resolve) => supervisor.on("exit", resolve));
  const socket = path.join(runDir, "control.sock");
  /** How much is done so far; undefined while the supervisor does not respond. */
  const done = async () => {
    const status = await controlStatus(socket).catch(() => undefined);
    const all = status?.pools.at(-1)?.instances ?? [];
    if (what === "restarts") return all.reduce((sum, { restarts }) => sum + restarts, 0);
    // A hundred requests per second of simulated time.
    if (what === "stats") return Math.max(0, ...all.map(({ requestsTotal }) => (requestsTotal ?? 0) / 100));
    return all.reduce((sum, { linesTotal = 0, linesLost = 0 }) => sum + linesTotal - linesLost, 0);
  };
  /** The lowest of a few readings: between two collections, the amount of garbage varies within milliseconds. */
  const rss = async () => {
    let lowest = Number.POSITIVE_INFINITY;
    for (let reading = 0; reading < READINGS; reading++) {
      lowest = Math.min(lowest, rssMB(supervisor.pid));
      await wait(READING_EVERY_MS);
    }
    return lowest;
  };
  const isServing = async () => ((await controlStatus(socket).catch(() => undefined))?.pools[0]?.ready ?? 0) > 0;
  try {
    while (supervisor.exitCode === null && !(await isServing())) await wait(100);
    writeFileSync(go, "");
    const startedAt = performance.now();
    const limitMs = Number(values.seconds ?? SECONDS[what]) * 1000;
    const sampleMs = Math.min(limitMs / LEAST_SAMPLES, SAMPLE_SECONDS[what] * 1000);
    const samples = [];
    let count = 0;
    while ((count < GOALS[what] || samples.length < LEAST_SAMPLES) && performance.now() - startedAt < limitMs) {
      await Promise.race([wait(sampleMs), ended]);
      if (supervisor.exitCode !== null) throw new Error(`the supervisor ended with ${supervisor.exitCode}`);
      // Hundreds of deaths per second leave garbage for a moment; only the memory that stays counts.
      rmSync(go, { force: true });
      if (what === "restarts") await wait(REST_MS);
      count = (await done()) ?? count;
      samples.push({ at: (performance.now() - startedAt) / 1000, count, mb: await rss() });
      writeFileSync(go, "");
    }
    return samples;
  } finally {
    supervisor.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true, force: true });
  }
}

let isFlat = true;
for (const what of values.only.split(",")) {
  const samples = await soak(what);
  console.log(`\n${what} on ${values.runtime}, goal ${GOALS[what]}`);
  for (const { at, count, mb } of samples)
    console.log(
      `${at.toFixed(0).padStart(6)} s ${String(Math.round(count)).padStart(11)} ${mb.toFixed(1).padStart(8)} MB`,
    );
  const late = samples.slice(Math.floor(samples.length / 3)).map(({ mb }) => mb);
  const spread = (Math.max(...late) - Math.min(...late)) / 2;
  const isGood = spread <= ALLOWED_MB;
  isFlat &&= isGood;
  const { count = 0, at = 0 } = samples.at(-1) ?? {};
  const how = `${Math.round(count)} ${what} in ${at.toFixed(0)} s${count < GOALS[what] ? `, of ${GOALS[what]}` : ""}`;
  console.log(`${isGood ? "flat" : "NOT FLAT"}: ±${spread.toFixed(1)} MB after the first third, ${how}`);
}
process.exitCode = isFlat ? 0 : 1;
