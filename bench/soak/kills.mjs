/**
 * Kills instances with SIGKILL during POST requests: from requests that have just started, and from outside at any moment. No POST may run
 * twice, no completed POST may be lost, and only a started POST may get 502.
 *
 * npm run soak:kills -- --kills 1000 --runtime bun
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "1000" },
    runtime: { type: "string", default: "bun" },
    // Between two requests of a client, in milliseconds; the tests set a pause that leaves CPU time for others.
    pause: { type: "string", default: "0" },
  },
});
const KILLS = Number(values.kills);
const { runtime } = values;
const PAUSE_MS = Number(values.pause);
const INSTANCES = 4;
const CLIENTS = 32;
/** Between two kills, long enough that usually some instance can respond. */
const MEAN_PAUSE_MS = runtime === "node" ? 300 : 120;
/** For the whole run: when this has passed, the run hangs. */
const DEADLINE = Date.now() + 90_000 + KILLS * 10 * MEAN_PAUSE_MS;
const RESPONSE_TIMEOUT_MS = 60_000;

const directory = mkdtempSync(path.join(tmpdir(), "paceline-kills-"));
const ledger = { KILLS_ENTERED: path.join(directory, "entered"), KILLS_DONE: path.join(directory, "done") };
for (const file of Object.values(ledger)) writeFileSync(file, "");

/** Returns how often each id is in a file. */
function counts(file) {
  const all = new Map();
  for (const id of readFileSync(file, "latin1").split("\n")) if (id !== "") all.set(id, (all.get(id) ?? 0) + 1);
  return all;
}

const agent = new http.Agent({ keepAlive: true, maxSockets: CLIENTS });

/** Resolves with the status; 0 without a response, and -status for a response that broke off after its head. */
function send(port, method, headers, body) {
  return new Promise((resolve) => {
    const request = http.request({ port, host: "127.0.0.1", method, headers, agent });
    request.on("error", () => resolve(0));
    request.setTimeout(RESPONSE_TIMEOUT_MS, () => request.destroy());
    request.on("response", (response) => {
      response.on("error", () => resolve(-response.statusCode));
      response.on("end", () => resolve(response.complete ? response.statusCode : -response.statusCode));
      response.resume();
    });
    request.end(body);
  });
}

const fleet = await startFleet(INSTANCES, {
  app: new URL("kills-app.mjs", import.meta.url).pathname,
  runtime,
  env: ledger,
  // Several requests wait when an instance is killed, so that some can be reassigned.
  balancer: { runtime, limits: { notStartedUnsafeMax: 4 } },
  backoff: { initialMs: 10, maxMs: 50 },
  restartBudget: { maxFailures: 1000, periodMs: 1000 },
});

/** The result of each POST request: its status, and how it was sent. */
const posts = new Map();
const others = new Map();
const kills = { fromInside: 0, fromOutside: 0 };
let lastKillAt = Date.now();
let isOver = false;
let isInside = true;
/** POST requests in progress that were sent while handlers killed their instances. */
let pendingInside = 0;

/** Returns whether the next kill is due. */
function takesKill() {
  if (!isInside || Date.now() - lastKillAt < Math.random() * 2 * MEAN_PAUSE_MS) return false;
  lastKillAt = Date.now();
  return true;
}

const MANNERS = ["", "", "slow", "body", "streams"];

async function client(number) {
  for (let n = 0; !isOver; n++) {
    let status;
    if (n % 4 === 3) {
      status = await send(fleet.port, "GET", {});
      others.set(status, (others.get(status) ?? 0) + 1);
    } else {
      const id = `${isInside ? "in" : "out"}-${number}-${n}`;
      // A kill from outside usually hits a running handler, and rarely the moment of its call.
      let how = isInside ? MANNERS[Math.floor(Math.random() * MANNERS.length)] : "slow";
      if (takesKill()) how = Math.random() < 0.5 ? "dies-before" : "dies-after";
      const body = how === "body" ? "b".repeat(Math.random() * 30_000) : "";
      const isOfInside = isInside;
      if (isOfInside) pendingInside++;
      status = await send(fleet.port, "POST", { "x-id": id, "x-how": how }, body);
      if (isOfInside) pendingInside--;
      posts.set(id, { how, status });
      if (how.startsWith("dies") && status === 502) kills.fromInside++;
    }
    // No instance is available: waits before the next request.
    if (status === 503) await wait(20);
    else if (PAUSE_MS > 0) await wait(PAUSE_MS);
  }
}

/** Kills any instance at any moment. */
async function killFromOutside() {
  while (kills.fromOutside < KILLS / 2 && Date.now() < DEADLINE) {
    await wait(Math.random() * 2 * MEAN_PAUSE_MS);
    const { pools } = await fleet.control();
    const present = pools[0].instances.filter(({ state }) => state === "ready");
    const one = present[Math.floor(Math.random() * present.length)];
    if (one === undefined) continue;
    try {
      process.kill(one.pid, "SIGKILL");
      kills.fromOutside++;
      lastKillAt = Date.now();
    } catch {
      // It was already killed.
    }
  }
}

try {
  const startedAt = Date.now();
  const clients = Array.from({ length: CLIENTS }, (_, number) => client(number));
  while (kills.fromInside < KILLS / 2 && Date.now() < DEADLINE) await wait(20);
  isInside = false;
  // They may wait in the request queue for new instances, and must not coincide with a kill from outside.
  while (pendingInside > 0) await wait(20);
  await killFromOutside();
  // Waits until pending requests and the effects of the last kill have ended.
  await wait(500);
  isOver = true;
  await Promise.all(clients);
  const seconds = (Date.now() - startedAt) / 1000;

  const entered = counts(ledger.KILLS_ENTERED);
  const done = counts(ledger.KILLS_DONE);
  const failed = (fits) =>
    [...posts].filter(([id, post]) => fits(post, id)).map(([id, post]) => `${id} ${post.how} ${post.status}`);
  const report = (bad, text) =>
    verdict(
      bad.length === 0,
      `${text}${bad.length > 0 ? `: ${bad.length}, such as ${bad.slice(0, 5).join(", ")}` : ""}`,
    );
  const isOk = (status) => Math.abs(status) === 200;

  const tally = new Map();
  for (const { status } of posts.values()) tally.set(status, (tally.get(status) ?? 0) + 1);
  const show = (map) =>
    [...map]
      .sort(([a], [b]) => b - a)
      .map(([status, count]) => `${count} × ${status}`)
      .join(", ");
  process.stdout.write(
    `${runtime}: ${kills.fromInside} kills by a request, ${kills.fromOutside} from outside, in ${seconds.toFixed(0)} s; ` +
      `POST: ${show(tally)}; GET: ${show(others)} (0: no answer; below 0: broken off after its head)\n`,
  );
  verdict(kills.fromInside + kills.fromOutside >= KILLS, `${kills.fromInside + kills.fromOutside} kills of ${KILLS}`);
  report(
    [...entered, ...done].filter(([, count]) => count > 1).map(([id, count]) => `${id} ${count} times`),
    `no id is twice in the files, which have ${entered.size} and ${done.size}`,
  );
  report(
    failed(({ status }, id) => isOk(status) && done.get(id) !== 1),
    "every POST answered 200 is in the file once",
  );
  report(
    failed(({ how, status }) => how.startsWith("dies") && status !== 502 && status !== 503),
    "no POST that killed its instance was answered otherwise than 502",
  );
  report(
    // If a response breaks off immediately, the client may not even get its head.
    failed(({ how, status }) => status <= 0 && how !== "streams"),
    "every POST has a whole answer, but for those that were under way block by block",
  );
  const began = (id) => entered.has(id);
  report(
    failed(({ status }, id) => status === 502 && !began(id) && id.startsWith("in-")),
    "no POST was answered 502 that had not begun, where instances ended in a handler",
  );
  // A kill from outside can hit the time between the STARTED of the lane and the first statement of the handler. That affects one POST: the
  // next STARTED is sent after the previous handler has returned.
  const between = failed(({ status }, id) => status === 502 && !began(id) && id.startsWith("out-"));
  verdict(
    between.length <= kills.fromOutside,
    `${kills.fromOutside} kills from outside hit ${between.length} POSTs between STARTED and the handler's first statement`,
  );
  report(
    failed(({ status }, id) => began(id) && status !== 502 && status !== 0 && !isOk(status)),
    "no POST that had begun was answered otherwise than 200 or 502",
  );
  const { pools } = await fleet.control();
  report(
    pools[0].instances.filter(({ state }) => state === "failed").map(({ name }) => name),
    "no slot was given up",
  );
} finally {
  agent.destroy();
  await fleet.stop();
  rmSync(directory, { recursive: true, force: true });
}
