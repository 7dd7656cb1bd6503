/**
 * What it costs to look at a fleet: `npm run soak:observers`. `cost`: CPU time a request without observers, and with a dashboard, the page,
 * a scrape every 5 s and the access log. `series`: a million hostile requests add no series of metrics. `scrape`: the CPU time of a
 * scrape of 64 instances.
 */
import { spawn } from "node:child_process";
import http from "node:http";
import net from "node:net";
import { parseArgs } from "node:util";
import { cpuSeconds, endsWithProgram, freePort, PACELINE, p99OfOthers, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "cost,series,scrape" },
    runtime: { type: "string", default: "bun" },
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "6" },
    requests: { type: "string", default: "1000000" },
    instances: { type: "string", default: "64" },
  },
});
const only = new Set(values.only.split(","));
const { runtime } = values;
const MOST_PERCENT = 3;
const MOST_SCRAPE_MS = 20;
const SCRAPES = 50;

function read(port, path = "/metrics") {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
  });
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function pidsOf(fleet) {
  const { pid, pools, balancers } = await fleet.control();
  return [
    pid,
    ...pools.flatMap(({ instances }) => instances.map((each) => each.pid)),
    ...balancers.map((each) => each.pid),
  ];
}

/** Returns the CPU µs a request of all processes of a fleet under load. */
async function costOf(fleet, seconds) {
  const pids = await pidsOf(fleet);
  const before = pids.map(cpuSeconds).reduce((sum, each) => sum + each, 0);
  const { requestsTotal } = await fleet.control();
  await p99OfOthers(fleet.port, seconds, "/", { connections: 64 });
  await wait(1500);
  const after = pids.map(cpuSeconds).reduce((sum, each) => sum + each, 0);
  const requests = (await fleet.control()).requestsTotal - requestsTotal;
  return { micros: (1e6 * (after - before)) / requests, requests };
}

/** Opens everything that looks at a fleet. */
function observe(fleet, adminPort) {
  const command = `stty cols 120 rows 40; exec sh ${PACELINE} top ${fleet.runDirArgs.join(" ")}`;
  const top = endsWithProgram(
    spawn("script", ["-qfec", command, "/dev/null"], { stdio: ["pipe", "ignore", "ignore"] }),
  );
  // What the page follows.
  const socketPath = `${fleet.runDirArgs[1]}/control.sock`;
  const page = http.get({ socketPath, path: "/v1/stream", agent: false }, (response) => response.resume());
  page.on("error", () => {});
  const scraping = setInterval(() => void read(adminPort).catch(() => {}), 5_000);
  return () => {
    clearInterval(scraping);
    page.destroy();
    top.kill("SIGTERM");
  };
}

if (only.has("cost")) {
  const admin = `127.0.0.1:${await freePort()}`;
  const plain = await startFleet(2, { runtime });
  const watched = await startFleet(2, { runtime, admin: { listen: admin }, balancer: { accessLog: true } });
  const stop = observe(watched, Number(admin.split(":")[1]));
  try {
    await wait(3_000);
    const found = { plain: [], watched: [] };
    for (let round = 0; round <= Number(values.rounds); round++) {
      const order = round % 2 === 0 ? ["plain", "watched"] : ["watched", "plain"];
      for (const name of order) {
        const { micros } = await costOf(name === "plain" ? plain : watched, Number(values.seconds));
        // The first round warms up.
        if (round > 0) found[name].push(micros);
      }
    }
    const [without, with_] = [median(found.plain), median(found.watched)];
    const more = (100 * (with_ - without)) / without;
    const text = `${with_.toFixed(2)} µs a request with all observers, ${without.toFixed(2)} µs without: ${more.toFixed(1)} % more`;
    verdict(more <= MOST_PERCENT, text);
  } finally {
    stop();
    await plain.stop();
    await watched.stop();
  }
}

if (only.has("series")) {
  const port = await freePort();
  const fleet = await startFleet(2, { runtime, admin: { listen: `127.0.0.1:${port}` } });
  try {
    const seriesIn = (text) => text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).length;
    await read(fleet.port, "/");
    await wait(2_500);
    const before = seriesIn(await read(port));
    const requests = Number(values.requests);
    await sendHostile(fleet.port, requests);
    await wait(2_500);
    const after = await read(port);
    const counted = after
      .split("\n")
      .filter((line) => line.startsWith("paceline_route_responses_total{"))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
    verdict(
      seriesIn(after) === before,
      `${seriesIn(after)} series after ${counted} hostile requests, ${before} before`,
    );
    verdict(counted >= requests, `${counted} of ${requests} requests are counted by route`);
  } finally {
    await fleet.stop();
  }
}

if (only.has("scrape")) {
  const port = await freePort();
  const fleet = await startFleet(Number(values.instances), { runtime, admin: { listen: `127.0.0.1:${port}` } });
  try {
    const { pid } = await fleet.control();
    await p99OfOthers(fleet.port, 3, "/", { connections: 64 });
    for (let n = 0; n < 5; n++) await read(port);
    const idle = await cpuOver(pid, async () => wait(3_000));
    const cpu = await cpuOver(pid, async () => {
      for (let n = 0; n < SCRAPES; n++) await read(port);
    });
    const ms = (1000 * cpu.seconds - 1000 * (idle.seconds / idle.took) * cpu.took) / SCRAPES;
    verdict(ms < MOST_SCRAPE_MS, `a scrape of ${values.instances} instances takes ${ms.toFixed(1)} ms of CPU time`);
  } finally {
    await fleet.stop();
  }
}

async function cpuOver(pid, run) {
  const [cpu, at] = [cpuSeconds(pid), performance.now()];
  await run();
  return { seconds: cpuSeconds(pid) - cpu, took: (performance.now() - at) / 1000 };
}

/** Sends requests with ever new Hosts, methods, paths and fields, many on each connection. */
async function sendHostile(port, count) {
  const methods = ["GET", "POST", "PROPFIND", "X-Q", "DELETE", "HEAD"];
  const each = 200;
  let from = 0;
  const client = async () => {
    while (from < count) {
      const first = from;
      from += each;
      const requests = Array.from({ length: each }, (_, at) => {
        const n = first + at;
        const method = n % 7 === 0 ? `M${n}` : methods[n % methods.length];
        const last = at === each - 1 ? "Connection: close\r\n" : "";
        return `${method} /${n}/%22%7d%0a?${n} HTTP/1.1\r\nHost: h${n}.example\r\nX-${n}: "}\r\n${last}\r\n`;
      });
      await new Promise((resolve) => {
        const socket = net.connect(port, "127.0.0.1", () => socket.write(requests.join("")));
        socket.resume();
        socket.on("error", () => {});
        socket.on("close", resolve);
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, client));
}
