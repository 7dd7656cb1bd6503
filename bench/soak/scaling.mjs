/**
 * Runs an autoscaled fleet under real load and prints each change: a step of ten times the load, an app that only uses CPU time, and one
 * whose requests wait for a database with few places. `--only step,cpu,database`, `--seconds 60`, `--runtime node`.
 */
import http from "node:http";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "step,cpu,database" },
    seconds: { type: "string", default: "60" },
    runtime: { type: "string", default: "bun" },
  },
});
const seconds = Number(values.seconds);
const APP = fileURLToPath(new URL("scaling-app.mjs", import.meta.url));

/** Sends requests from `count` clients, each after its last response, until stopped. */
function clientsOf(port, target) {
  const agent = new http.Agent({ keepAlive: true });
  const counts = { ok: 0, failed: 0 };
  let isOver = false;
  const send = () => {
    if (isOver) return;
    const request = http.get({ port, path: target, agent }, (response) => {
      response.resume();
      response.on("end", () => {
        if (response.statusCode === 200) counts.ok++;
        else counts.failed++;
        send();
      });
      response.on("error", () => counts.failed++);
    });
    request.on("error", () => {
      if (!isOver) counts.failed++;
    });
  };
  return {
    counts,
    add(count) {
      for (let n = 0; n < count; n++) send();
    },
    async stop() {
      isOver = true;
      await wait(500);
      agent.destroy();
    },
  };
}

/** Follows the size of the pool until `until` returns true or the time is over; prints each change. */
async function follow(fleet, limitMs, until = () => false) {
  const startedAt = performance.now();
  let seen = "";
  for (;;) {
    const [pool] = (await fleet.control()).pools;
    const elapsed = (performance.now() - startedAt) / 1000;
    const change =
      pool.scaling.last === null
        ? ""
        : `${pool.scaling.last.from} → ${pool.scaling.last.to}: ${pool.scaling.last.reason}`;
    const now = `${pool.ready}/${pool.wanted} ${change}`;
    if (now !== seen) console.log(`  ${elapsed.toFixed(1)} s  ${now}`);
    seen = now;
    if (until(pool)) return elapsed;
    if (elapsed * 1000 > limitMs) return undefined;
    await wait(100);
  }
}

const base = { app: APP, runtime: values.runtime };
const RUNS = {
  async step() {
    console.log("a step of ten times the load: requests of 50 ms, 4 in flight per instance");
    const fleet = await startFleet(undefined, { ...base, instances: { max: 16, target: { inFlight: 4 } } });
    const clients = clientsOf(fleet.port, "/wait?ms=50");
    clients.add(4);
    await follow(fleet, 5000);
    clients.add(36);
    const took = await follow(fleet, 20_000, ({ ready }) => ready >= 9);
    verdict(
      took !== undefined && took <= 5,
      `as many instances as ten times the load needs after ${took?.toFixed(1)} s`,
    );
    await follow(fleet, (seconds * 1000) / 4);
    const { pools } = await fleet.control();
    verdict(
      pools[0].wanted >= 9 && pools[0].wanted <= 11,
      `the size stays at ${pools[0].wanted}; 10 are the best number`,
    );
    await clients.stop();
    verdict(clients.counts.failed === 0, `${clients.counts.failed} of ${clients.counts.ok} requests failed`);
    await fleet.stop();
  },
  async cpu() {
    console.log("an app that burns 10 ms of CPU, 24 clients, the CPUs of this machine shared with them");
    const fleet = await startFleet(undefined, { ...base, instances: { max: 8, target: { queueMs: 30 } } });
    const clients = clientsOf(fleet.port, "/burn?ms=10");
    clients.add(24);
    await follow(fleet, seconds * 1000);
    const { pools } = await fleet.control();
    verdict(pools[0].wanted <= 3, `the size is ${pools[0].wanted}, not 8`);
    await clients.stop();
    verdict(clients.counts.failed === 0, `${clients.counts.failed} of ${clients.counts.ok} requests failed`);
    await fleet.stop();
  },
  async database() {
    console.log("requests of 30 ms in a database of 4 places, one request at a time in each instance, 40 clients");
    const database = placesOf(4);
    const port = await new Promise((resolve) =>
      database.listen(0, "127.0.0.1", () => resolve(database.address().port)),
    );
    const fleet = await startFleet(undefined, {
      app: undefined,
      ...{ command: [process.execPath, path.join(path.dirname(APP), "scaling-program.mjs")], maxInFlight: 1 },
      env: { DATABASE: `http://127.0.0.1:${port}/` },
      ...{ runtime: values.runtime, instances: { max: 16, target: { queueMs: 50 } } },
    });
    const clients = clientsOf(fleet.port, "/database?ms=30");
    clients.add(2);
    await follow(fleet, 5000);
    clients.add(38);
    await follow(fleet, seconds * 1000);
    const { pools } = await fleet.control();
    verdict(pools[0].wanted >= 3 && pools[0].wanted <= 6, `the size is ${pools[0].wanted}; 4 to 5 are the best number`);
    await clients.stop();
    verdict(clients.counts.failed === 0, `${clients.counts.failed} of ${clients.counts.ok} requests failed`);
    await fleet.stop();
    database.close();
  },
};

/** A server that handles a limited number of requests at once; the others wait. */
function placesOf(places) {
  const waiting = [];
  let taken = 0;
  const next = () => {
    if (taken >= places || waiting.length === 0) return;
    taken++;
    const { ms, response } = waiting.shift();
    setTimeout(() => {
      taken--;
      response.end("x");
      next();
    }, ms);
  };
  return http.createServer((request, response) => {
    waiting.push({ ms: Number(new URL(request.url, "http://x").searchParams.get("ms")), response });
    next();
  });
}

for (const name of values.only.split(",")) await RUNS[name]();
process.exit();
