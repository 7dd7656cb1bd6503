/**
 * What it costs to look at a fleet: `npm run soak:observers`. `cost`: the CPU time per request of one fleet with and without a dashboard, the
 * page, a scrape every 5 s and the access log, all at once or each alone (`--states again,log,terminal,page,scrape,all`), with another log
 * (`--log json`, `--log output`), or of a request that computes for a millisecond (`--target /block?ms=1`); observers-cost.mjs describes the
 * method, also of `--pinned`. `peers`: the same for the access logs of nginx and HAProxy (`--peers nginx-log,nginx-buffered,haproxy-log`). `series`: a million
 * hostile requests add no series of metrics. `scrape`: the CPU time of a scrape of 64 instances.
 */
import http from "node:http";
import net from "node:net";
import { parseArgs } from "node:util";
import { costOfObservers, costOfPeerLogs } from "./observers-cost.mjs";
import { cpuSeconds, freePort, p99OfOthers, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "cost,series,scrape" },
    runtime: { type: "string", default: "bun" },
    connections: { type: "string", default: "64" },
    rounds: { type: "string" },
    seconds: { type: "string", default: "2" },
    pinned: { type: "boolean", default: false },
    states: { type: "string", default: "again,all" },
    log: { type: "string", default: "combined" },
    target: { type: "string", default: "/" },
    peers: { type: "string", default: "nginx-log,nginx-buffered,haproxy-log" },
    fleets: { type: "string", default: "4" },
    requests: { type: "string", default: "1000000" },
    instances: { type: "string", default: "64" },
  },
});
const only = new Set(values.only.split(","));
const { runtime } = values;
const MOST_SCRAPE_MS = 20;
const SCRAPES = 50;

function read(port, target = "/metrics") {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: "127.0.0.1", port, path: target, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece) => {
        text += piece;
      });
      response.on("end", () => resolve(text));
    });
    request.on("error", reject);
  });
}

/** @param rounds the default number of rounds */
const turns = (rounds) => ({
  rounds: Number(values.rounds ?? rounds),
  seconds: Number(values.seconds),
  connections: Number(values.connections),
  target: values.target,
});

if (only.has("cost")) {
  const { log, states, pinned } = values;
  await costOfObservers({ runtime, log, states: states.split(","), pinned, ...turns(54) });
}

if (only.has("peers"))
  await costOfPeerLogs({ fleets: Number(values.fleets), peers: values.peers.split(","), ...turns(5) });

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

/** Sends requests with always new Hosts, methods, paths and fields, many on each connection. */
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
