/**
 * Deploys releases under a constant load: one as good as the one in service, one with 10 % 5xx, and some with three times the p99. Prints
 * how long each deploy took, which share of all requests got the new release from the start of the command to its end, and how many
 * requests failed without a fault of the release. Ends with a rollback.
 *
 * npm run soak:deploy -- --rate 500 --instances 9 --runtime bun --only errors
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { freePort, PACELINE, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "500" },
    instances: { type: "string", default: "9" },
    runtime: { type: "string", default: "bun" },
    judge: { type: "string", default: "60" },
    only: { type: "string" },
  },
});
const RATE = Number(values.rate);
const LONGEST_TAKE_BACK_S = 30;
const MOST_SEEN = 0.01;
const LONGEST_ROLLBACK_S = 1;
/** The time of load before a deploy, in milliseconds. */
const BEFORE_MS = 3_000;

/**
 * Responses take 10 ms on average, with a p90 of 23 ms and a p99 of 46 ms. `all` is the factor for all durations, `slow` the factor for the
 * slowest tenth and so for the p99, and `tail` the factor for the part above the p90.
 */
const app = (release, { all = 1, slow = 1, tail = 1, failing = 0 } = {}) => `
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
export default { async fetch() {
  const ms = -10 * Math.log(1 - Math.random());
  await sleep(${all} * (ms > 23 ? ${slow} * (23 + ${tail} * (ms - 23)) : ms));
  return new Response("${release}", { status: Math.random() < ${failing} ? 500 : 200 });
} };
`;
const RELEASES = {
  good: app("good"),
  errors: app("errors", { failing: 0.1 }),
  slower: app("slower", { all: 3 }),
  slow: app("slow", { slow: 3 }),
  tail: app("tail", { tail: 5 }),
};
/** Releases for which only the p99 rises are seen by more requests, and take longer. */
const IS_MEASURED_ONLY = new Set(["tail"]);

const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-deploy-"));
const port = await freePort();
const config = {
  app: "./app.mjs",
  instances: Number(values.instances),
  listen: `127.0.0.1:${port}`,
  runtime: values.runtime,
  deploy: { judgeMs: 1000 * Number(values.judge) },
};
function release(name, text) {
  const place = path.join(folder, name);
  mkdirSync(place, { recursive: true });
  writeFileSync(path.join(place, "app.mjs"), text);
  writeFileSync(path.join(place, "paceline.config.json"), JSON.stringify(config));
  return place;
}
const env = { ...process.env, PACELINE_RUN_DIR: path.join(folder, ".paceline"), PACELINE_RUNTIME: values.runtime };
/** Runs a command; returns its exit status, its output and its duration in seconds. */
async function paceline(...args) {
  const at = performance.now();
  const { code = 0, stdout } = await execute(PACELINE, args, { cwd: folder, env, timeout: 600_000 }).catch(
    (error) => error,
  );
  return { code, output: stdout.trim(), seconds: (performance.now() - at) / 1000 };
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 256 });
let counts;
const reset = () => {
  counts = { all: 0, byRelease: {}, status500: 0, failed: {} };
};
reset();

function ask() {
  counts.all++;
  const fail = (reason) => {
    counts.failed[reason] = (counts.failed[reason] ?? 0) + 1;
  };
  const request = http.get({ port, host: "127.0.0.1", agent, path: "/" }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (piece) => {
      text += piece;
    });
    response.on("error", (error) => fail(error.code));
    response.on("end", () => {
      counts.byRelease[text] = (counts.byRelease[text] ?? 0) + 1;
      if (response.statusCode === 500 && text === "errors") counts.status500++;
      else if (response.statusCode !== 200) fail(response.statusCode);
    });
  });
  request.setTimeout(30_000, () => request.destroy(new Error("late")));
  request.on("error", (error) => fail(error.code ?? error.message));
}

const startedAt = performance.now();
let sent = 0;
const load = setInterval(() => {
  for (const due = ((performance.now() - startedAt) * RATE) / 1000; sent < due; sent++) ask();
}, 2);

const percent = (share) => `${(100 * share).toFixed(2)} %`;
const failedText = () =>
  Object.entries(counts.failed)
    .map(([reason, count]) => `${count} × ${reason}`)
    .join(", ");

try {
  release(".", app("first"));
  const started = await paceline("start", "--detach");
  verdict(started.code === 0, `started: ${started.output}`);
  for (const [name, text] of Object.entries(RELEASES)) {
    if (values.only !== undefined && values.only !== name) continue;
    await wait(BEFORE_MS);
    const place = release(`releases/${name}`, text);
    reset();
    const done = await paceline("deploy", place);
    const during = counts.all;
    const seen = counts.byRelease[name] ?? 0;
    const of = `${name}: exit status ${done.code} after ${done.seconds.toFixed(1)} s, seen by ${seen} of ${during} requests (${percent(seen / during)}), ${failedText() || "none"} failed`;
    const isClean = failedText() === "";
    if (name === "good") verdict(done.code === 0 && isClean, of);
    else
      verdict(
        isClean &&
          done.code === 7 &&
          (IS_MEASURED_ONLY.has(name) || (done.seconds < LONGEST_TAKE_BACK_S && seen / during <= MOST_SEEN)),
        `${of}\n      ${done.output.split("\n").find((line) => line.includes(": failed: ")) ?? done.output.split("\n").at(-1)}`,
      );
    if (name !== "good" || done.code !== 0) continue;
    reset();
    const back = await paceline("rollback");
    await wait(1000);
    const time = /in ([\d.]+) s/.exec(back.output)?.[1];
    verdict(
      back.code === 0 && Number(time) < LONGEST_ROLLBACK_S && failedText() === "",
      `rollback: ${time} s, ${back.seconds.toFixed(2)} s with its command, ${counts.all} requests, ${failedText() || "none"} failed`,
    );
  }
} finally {
  clearInterval(load);
  await wait(500);
  agent.destroy();
  await paceline("stop");
  rmSync(folder, { recursive: true, force: true });
}
