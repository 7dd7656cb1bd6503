/**
 * Thirty requests per kind of pool crash their process, while other requests continue. At most two processes may die because of a GET and
 * one because of a POST, the event must name the request, and all instances must be ready again within 20 s after the last crash.
 *
 * npm run soak:poison -- --runtime bun --kinds fetch,http1,node,wsgi,command
 *
 * `--kinds asgi`: needs uvicorn or hypercorn for the `python3` of the PATH.
 *
 * --short is for the tests: the same with short delays between the starts of a process.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    runtime: { type: "string", default: "bun" },
    kinds: { type: "string", default: "fetch,http1,node,wsgi,command" },
    short: { type: "boolean", default: false },
    instances: { type: "string", default: "4" },
    crashes: { type: "string", default: "30" },
    balancers: { type: "string", default: "1" },
  },
});
const { runtime } = values;
const KINDS = values.kinds.split(",");
const INSTANCES = Number(values.instances);
const CRASHES = Number(values.crashes);
/** While no instance is available, a crashing request is sent again, up to a limit. */
const AGAIN_AFTER_MS = 50;
const RUN_WITHIN_MS = 30_000;
const OTHERS = 2;
const OTHERS_PAUSE_MS = values.short ? 50 : 10;
/** The tests run on a busy machine. */
const READY_WITHIN_MS = values.short ? 60_000 : 20_000;
const RESPONSE_TIMEOUT_MS = 30_000;

const app = (name) => new URL(`poison-apps/${name}`, import.meta.url).pathname;
const directory = mkdtempSync(path.join(tmpdir(), "paceline-poison-"));
const ledgerOf = (kind) => path.join(directory, kind);

const RUNS = {
  fetch: { app: app("fetch.mjs") },
  http1: { app: app("fetch.mjs"), protocol: "http1" },
  node: { app: app("node.mjs"), style: "node" },
  wsgi: { wsgi: "poison", cwd: app("") },
  asgi: { asgi: "poison_async:app", cwd: app("") },
  command: { command: [process.execPath, app("command.mjs"), "{socket}"] },
};

/** Resolves with the status; 0 without a complete response. */
function send(port, method, target) {
  return new Promise((resolve) => {
    const request = http.request({ port, host: "127.0.0.1", method, path: target, agent: false });
    request.on("error", () => resolve(0));
    request.setTimeout(RESPONSE_TIMEOUT_MS, () => request.destroy());
    request.on("response", (response) => {
      response.on("error", () => resolve(0));
      response.on("end", () => resolve(response.complete ? response.statusCode : 0));
      response.resume();
    });
    request.end();
  });
}

const tally = (statuses) => {
  const counts = new Map();
  for (const status of statuses) counts.set(status, (counts.get(status) ?? 0) + 1);
  return [...counts].map(([status, count]) => `${count} × ${status}`).join(", ");
};

const pools = {};
for (const kind of KINDS) {
  writeFileSync(ledgerOf(kind), "");
  const env = { POISON_LEDGER: ledgerOf(kind) };
  pools[kind] = { ...RUNS[kind], instances: INSTANCES, routes: [`/${kind}/`], env };
}
const fleet = await startFleet(INSTANCES, {
  app: undefined,
  instances: undefined,
  pools,
  runtime,
  balancer: { runtime, processes: Number(values.balancers) },
  ...(values.short && { backoff: { initialMs: 10, maxMs: 200 } }),
});

const methodOf = (n) => (n % 3 === 2 ? "POST" : "GET");

/** Sends the request until an instance runs it; resolves with the status. */
async function run(method, target) {
  const deadline = Date.now() + RUN_WITHIN_MS;
  for (;;) {
    const status = await send(fleet.port, method, target);
    if (status !== 503 || Date.now() > deadline) return status;
    await wait(AGAIN_AFTER_MS);
  }
}

/** Runs the crashes of one pool while other requests continue. */
async function storm(kind) {
  const crashes = [];
  const others = [];
  let isOver = false;
  const other = async () => {
    while (!isOver) {
      others.push({ at: Date.now(), status: await send(fleet.port, "GET", `/${kind}/fine`) });
      await wait(OTHERS_PAUSE_MS);
    }
  };
  const clients = Array.from({ length: OTHERS }, other);
  for (let n = 0; n < CRASHES; n++) {
    const how = n % 2 === 0 ? "now" : "later";
    crashes.push(await run(methodOf(n), `/${kind}/crash?id=${n}&how=${how}`));
  }
  const lastAt = Date.now();
  // The status shows a dead process as ready until the supervisor detects its exit; a response proves which process serves.
  const isBack = async () => {
    const pool = (await fleet.control()).pools.find(({ name }) => name === kind);
    if (!pool.instances.every(({ state }) => state === "ready")) return false;
    return (await send(fleet.port, "GET", `/${kind}/fine`)) === 200;
  };
  while (!(await isBack()) && Date.now() - lastAt < 2 * READY_WITHIN_MS) await wait(50);
  const backMs = Date.now() - lastAt;
  isOver = true;
  await Promise.all(clients);
  return { kind, crashes, others, backMs };
}

try {
  const results = await Promise.all(KINDS.map(storm));
  // The event comes when it is certain that the processes have exited.
  const names = (events, kind) => events.includes(`lost processes to GET /${kind}/crash: `);
  let events = await fleet.events();
  for (let n = 0; n < 600 && !KINDS.every((kind) => names(events, kind)); n++) {
    await wait(100);
    events = await fleet.events();
  }
  for (const { kind, crashes, others, backMs } of results) {
    const runs = new Map();
    for (const id of readFileSync(ledgerOf(kind), "latin1").split("\n")) {
      if (id !== "") runs.set(Number(id), (runs.get(Number(id)) ?? 0) + 1);
    }
    const deaths = [...runs.values()].reduce((sum, count) => sum + count, 0);
    process.stdout.write(
      `${runtime} ${kind}: ${deaths} processes died; crashes: ${tally(crashes)}; others: ${tally(others.map(({ status }) => status))}\n`,
    );
    const worst = (method) =>
      Math.max(0, ...[...runs].filter(([n]) => methodOf(n) === method).map(([, count]) => count));
    verdict(worst("GET") <= 2, `${kind}: at most ${worst("GET")} processes died of one GET`);
    verdict(worst("POST") <= 1, `${kind}: at most ${worst("POST")} process died of one POST`);
    const twice = [...runs].filter(([, count]) => count > 1).length;
    verdict(twice <= 2 * Number(values.balancers), `${kind}: ${twice} GETs ran twice: those before it was known`);
    // Over HTTP/1.1, a request to a crashing process may be lost: once sent, it is not sent again.
    verdict(
      deaths > INSTANCES,
      `${kind}: ${runs.size} of ${CRASHES} requests that crash were run, by ${deaths} processes`,
    );
    verdict(
      !crashes.includes(0) && !others.some(({ status }) => status === 0),
      `${kind}: every request has a whole response`,
    );
    const longest = Math.max(...gaps(others));
    verdict(
      longest < READY_WITHIN_MS,
      `${kind}: others were answered 200 again after ${(longest / 1000).toFixed(1)} s at the most`,
    );
    verdict(
      backMs < READY_WITHIN_MS,
      `${kind}: all ${INSTANCES} are ready ${(backMs / 1000).toFixed(1)} s after the last crash`,
    );
    verdict(names(events, kind), `${kind}: an event names the request`);
  }
} finally {
  await fleet.stop();
  rmSync(directory, { recursive: true, force: true });
}

/** Returns for how long other clients got no 200, in milliseconds. */
function gaps(others) {
  const good = others.filter(({ status }) => status === 200).map(({ at }) => at);
  const ends = [others[0]?.at ?? 0, ...good, others.at(-1)?.at ?? 0];
  return ends.slice(1).map((at, index) => at - ends[index]);
}
