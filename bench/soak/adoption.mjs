/**
 * Kills the supervisor under load again and again, with a start each time: no request fails, no process is restarted, the counts continue,
 * and each new supervisor has adopted all processes within a second.
 *
 * npm run soak:adoption -- --kills 50 --instances 4 --runtime bun
 *
 * npm run soak:adoption -- --kills 3 --instances 200 --kind static
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { controlStatus, freePort, PACELINE, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "50" },
    instances: { type: "string", default: "4" },
    runtime: { type: "string", default: "bun" },
    kind: { type: "string", default: "app" },
    clients: { type: "string", default: "8" },
  },
});
const KILLS = Number(values.kills);
const INSTANCES = Number(values.instances);
const PAUSE_MS = 5;
const ADOPTED_WITHIN_MS = 1000;
const EVENT_WITHIN_MS = 60_000;
const LONGEST_START_MS = 300_000;

const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-adoption-"));
const runDir = path.join(folder, ".paceline");
const control = path.join(runDir, "control.sock");
const port = await freePort();
writeFileSync(path.join(folder, "index.html"), "hello");
writeFileSync(path.join(folder, "app.mjs"), 'export default () => new Response("hello");\n');
const workload = values.kind === "static" ? { static: "." } : { app: "./app.mjs" };
writeFileSync(
  path.join(folder, "paceline.config.json"),
  JSON.stringify({
    ...workload,
    instances: INSTANCES,
    listen: `127.0.0.1:${port}`,
    runtime: values.runtime,
    restartSupervisor: false,
  }),
);
const env = { ...process.env, PACELINE_RUN_DIR: runDir, PACELINE_RUNTIME: values.runtime };
const paceline = (...args) => execute(PACELINE, args, { cwd: folder, env, timeout: LONGEST_START_MS });

const counts = { good: 0, bad: new Map() };
let isOver = false;
const keeping = new http.Agent({ keepAlive: true, maxSockets: 1000 });

function ask(agent) {
  return new Promise((resolve) => {
    const request = http.get({ port, host: "127.0.0.1", agent, path: "/" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("error", (error) => resolve(error.code));
      response.on("end", () => resolve(response.statusCode === 200 && text === "hello" ? "good" : response.statusCode));
    });
    request.setTimeout(60_000, () => request.destroy(new Error("late")));
    request.on("error", (error) => resolve(error.code ?? error.message));
  });
}

/** Half of the clients keep their connection; the others open one for each request. */
async function client(_, index) {
  while (!isOver) {
    const outcome = await ask(index % 2 === 0 ? keeping : false);
    if (outcome === "good") counts.good++;
    else counts.bad.set(outcome, (counts.bad.get(outcome) ?? 0) + 1);
    await wait(PAUSE_MS);
  }
}

const processesOf = ({ pools, balancers }) =>
  [...pools.flatMap(({ instances }) => instances), ...balancers].map(({ name, pid, attempt, restarts }) =>
    [name, pid, attempt, restarts].join(" "),
  );

function eventsOf() {
  return new Promise((resolve, reject) => {
    const request = http.get({ socketPath: control, path: "/v1/events?lines=500" }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("error", reject);
      response.on("end", () =>
        resolve(
          text
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line)),
        ),
      );
    });
    request.on("error", reject);
  });
}

/** Returns how long the supervisor took from its first event to the adoption. */
async function adoption() {
  for (const deadline = Date.now() + EVENT_WITHIN_MS; ; await wait(20)) {
    const events = await eventsOf();
    const adopted = events.find(({ message }) => message.startsWith("adopted "));
    if (adopted !== undefined) return { ms: adopted.at - events[0].at, message: adopted.message };
    if (Date.now() > deadline) throw new Error("nothing was adopted");
  }
}

const wholes = [];
const times = [];
const wrong = [];
try {
  const startedAt = Date.now();
  await paceline("start", "--detach");
  process.stdout.write(`${INSTANCES} instances were started in ${((Date.now() - startedAt) / 1000).toFixed(1)} s\n`);
  const clients = Array.from({ length: Number(values.clients) }, client);
  let before = await controlStatus(control);
  const first = processesOf(before);
  for (let kill = 1; kill <= KILLS; kill++) {
    await wait(100 + Math.random() * 400);
    before = await controlStatus(control);
    process.kill(before.pid, "SIGKILL");
    await wait(Math.random() * 300);
    const at = Date.now();
    await paceline("start", "--detach");
    wholes.push(Date.now() - at);
    const { ms, message } = await adoption();
    times.push(ms);
    const now = await controlStatus(control);
    const expected = `adopted ${INSTANCES} instances and 1 balancer; started 0, ended 0`;
    if (message !== expected) wrong.push(`kill ${kill}: ${message}`);
    const changed = processesOf(now).filter((text, index) => text !== first[index]);
    if (changed.length > 0) wrong.push(`kill ${kill}: other processes: ${changed.slice(0, 3).join(", ")}`);
    for (const key of ["requestsTotal", "uptimeSeconds"])
      if (now[key] < before[key]) wrong.push(`kill ${kill}: ${key} fell from ${before[key]} to ${now[key]}`);
  }
  isOver = true;
  await Promise.all(clients);
  keeping.destroy();
  const last = await controlStatus(control);
  const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${last.pid}/status`, "utf8"))[1]) / 1024;
  const bad = [...counts.bad].map(([outcome, count]) => `${count} × ${outcome}`).join(", ");
  const longest = Math.max(...times);
  const seconds = (ms) => (ms / 1000).toFixed(2);
  verdict(counts.bad.size === 0 && counts.good > 0, `${counts.good} requests, ${bad || "none"} failed`);
  verdict(
    wrong.length === 0,
    `${KILLS} kills: the same processes, restarts and rising counts${wrong.map((text) => `\n      ${text}`).join("")}`,
  );
  verdict(
    longest < ADOPTED_WITHIN_MS,
    `adopted within ${seconds(longest)} s at the most, the start with it ${seconds(Math.max(...wholes))} s`,
  );
  process.stdout.write(`the last supervisor has an RSS of ${rss.toFixed(0)} MB\n`);
} finally {
  isOver = true;
  await paceline("stop").catch((error) => process.stdout.write(`${error.message}\n`));
  rmSync(folder, { recursive: true, force: true });
}
