/**
 * What it costs to look at a fleet: `npm run soak:observers`. `cost`: CPU time a request without observers, and with a dashboard, the page,
 * a scrape every 5 s and the access log, all at once or each alone (`--variants again,terminal,page,scrape,file,json,output,all`), and of
 * nginx and HAProxy with their access logs (`nginx,nginx-log,nginx-buffered,haproxy,haproxy-log`); of a request that computes for a
 * millisecond with `--target /block?ms=1`. Each figure is the mean over `--fleets 12` newly started fleets, with its standard error.
 * `series`: a million hostile requests add no series of metrics. `scrape`: the CPU time of a scrape of 64 instances.
 */
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { haproxyFleet, nginxFleet } from "../support/contestants/proxies.mjs";
import { untilServing } from "../support/launch.mjs";
import { cpuSeconds, endsWithProgram, freePort, PACELINE, p99OfOthers, startFleet, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "cost,series,scrape" },
    runtime: { type: "string", default: "bun" },
    connections: { type: "string", default: "64" },
    fleets: { type: "string", default: "12" },
    rounds: { type: "string", default: "12" },
    seconds: { type: "string", default: "1" },
    requests: { type: "string", default: "1000000" },
    instances: { type: "string", default: "64" },
    variants: { type: "string", default: "all" },
    target: { type: "string", default: "/" },
  },
});
const only = new Set(values.only.split(","));
const { runtime } = values;
const MOST_PERCENT = 3;
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

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Returns the CPU time of each thread of these processes, in nanoseconds: the clock ticks of `stat` are too coarse for short rounds. */
function threadTimes(pids) {
  const times = new Map();
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      try {
        const [time] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
        times.set(thread, Number(time));
      } catch {
        // The thread has just exited.
      }
    }
  }
  return times;
}

/** Returns the microseconds between two snapshots; the last work of an exited thread is not counted. */
function microsecondsBetween(before, after) {
  return [...after].reduce((sum, [thread, time]) => sum + time - (before.get(thread) ?? 0), 0) / 1000;
}

async function pidsOf(fleet) {
  const { pid, pools, balancers } = await fleet.control();
  return {
    supervisor: [pid],
    balancers: balancers.map((each) => each.pid),
    instances: pools.flatMap(({ instances }) => instances.map((each) => each.pid)),
  };
}

const mapKinds = (pids, change) =>
  Object.fromEntries(Object.entries(pids).map(([kind, some]) => [kind, change(some, kind)]));

/** Returns the CPU time per request of a fleet under load, in microseconds, by kind of process. */
async function costOf(fleet, seconds, target) {
  const pids = await (fleet.kinds ?? pidsOf)(fleet);
  const before = mapKinds(pids, threadTimes);
  const load = [
    "-t1",
    `-c${values.connections}`,
    `-d${seconds}s`,
    "--timeout=5s",
    `http://127.0.0.1:${fleet.port}${target}`,
  ];
  const { stdout } = await promisify(execFile)("wrk", load);
  // What is written and counted a moment later also counts.
  await wait(300);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const cost = mapKinds(pids, (some, kind) => microsecondsBetween(before[kind], threadTimes(some)) / requests);
  return { ...cost, all: cost.supervisor + cost.balancers + cost.instances };
}

/** The observers of a fleet; each returns a function that stops it. */
const OBSERVERS = {
  terminal(fleet) {
    const command = `stty cols 120 rows 40; exec sh ${PACELINE} top ${fleet.runDirArgs.join(" ")}`;
    const top = endsWithProgram(
      spawn("script", ["-qfec", command, "/dev/null"], { stdio: ["pipe", "ignore", "ignore"] }),
    );
    return () => top.kill("SIGTERM");
  },
  // The streams that the page reads.
  page(fleet) {
    const socketPath = `${fleet.runDirArgs[1]}/control.sock`;
    const page = http.get({ socketPath, path: "/v1/stream", agent: false }, (response) => response.resume());
    page.on("error", () => {});
    return () => page.destroy();
  },
  scrape(_, adminPort) {
    const scraping = setInterval(() => void read(adminPort).catch(() => {}), 5_000);
    return () => clearInterval(scraping);
  },
};

/** The measured variants: the configuration of the fleet, and its observers. */
const VARIANTS = {
  plain: {},
  // The same once more, to show how large random differences are.
  again: {},
  terminal: { observers: ["terminal"] },
  page: { observers: ["page"] },
  scrape: { observers: ["scrape"] },
  file: { log: { file: "/dev/null" } },
  json: { log: { format: "json", file: "/dev/null" } },
  output: { log: true },
  all: { observers: ["terminal", "page", "scrape"], log: { file: "/dev/null" } },
  nginx: { peer: () => nginxFleet(2, 1) },
  "nginx-log": { peer: (file) => nginxFleet(2, 1, `${file} combined`), beside: "nginx" },
  "nginx-buffered": { peer: (file) => nginxFleet(2, 1, `${file} combined buffer=64k flush=1s`), beside: "nginx" },
  haproxy: { peer: () => haproxyFleet(2, 1) },
  "haproxy-log": { peer: (file) => haproxyFleet(2, 1, file), beside: "haproxy" },
};

/** Starts another balancer with plain Bun instances. */
async function startPeer(peer, folder, name) {
  const own = path.join(folder, name);
  mkdirSync(own);
  const started = await peer(path.join(folder, `${name}.log`)).start(own);
  await untilServing(started.port);
  const pids = started.pids();
  const isInstance = (pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("bun-server.mjs");
  const kinds = {
    supervisor: [],
    balancers: pids.filter((pid) => !isInstance(pid)),
    instances: pids.filter(isInstance),
  };
  return { fleet: { ...started, kinds: () => kinds }, port: started.port, observers: [] };
}

/** Starts a fleet of each variant. */
async function startVariants(names, folder) {
  const fleets = {};
  for (const name of names) {
    const { log, observers, peer } = VARIANTS[name];
    if (peer !== undefined) {
      fleets[name] = await startPeer(peer, folder, name);
      continue;
    }
    const port = await freePort();
    const accessLog = log?.file === undefined ? log : { ...log, file: path.join(folder, `${name}.log`) };
    const config = {
      ...(observers && { admin: { listen: `127.0.0.1:${port}` } }),
      ...(log && { balancer: { accessLog } }),
    };
    fleets[name] = { fleet: await startFleet(2, { runtime, ...config }), port, observers: observers ?? [] };
  }
  return fleets;
}

/** Returns what each variant costs per request, in rounds in which the variants take turns. */
async function costsOfFleets(names) {
  const folder = mkdtempSync(path.join(tmpdir(), "paceline-observers-"));
  const fleets = await startVariants(names, folder);
  const ends = Object.values(fleets).flatMap(({ fleet, port, observers }) =>
    observers.map((each) => OBSERVERS[each](fleet, port)),
  );
  try {
    const found = Object.fromEntries(names.map((name) => [name, []]));
    for (let round = 0; round <= Number(values.rounds); round++) {
      for (const name of round % 2 === 0 ? names : names.toReversed()) {
        const cost = await costOf(fleets[name].fleet, Number(values.seconds), values.target);
        // The first round is the warm-up.
        if (round > 0) found[name].push(cost);
      }
      for (const each of readdirSync(folder)) if (each.endsWith(".log")) truncateSync(path.join(folder, each));
    }
    return found;
  } finally {
    for (const end of ends) end();
    for (const { fleet } of Object.values(fleets)) await fleet.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

if (only.has("cost")) {
  const names = ["plain", ...values.variants.split(",")];
  /**
   * For each variant: what each fleet cost, in microseconds per request by kind of process, and its ratio to the fleet that it is compared
   * with.
   */
  const results = Object.fromEntries(names.map((name) => [name, []]));
  // Two fleets of one variant differ by several percent as long as they run, because the addresses of their code and heaps are random.
  for (let nth = 0; nth < Number(values.fleets); nth++) {
    const found = await costsOfFleets(nth % 2 === 0 ? names : names.toReversed());
    for (const [name, costs] of Object.entries(found)) {
      // Each is compared with the fleet measured at the same time, because a machine is not equally fast in every round.
      const without = found[VARIANTS[name].beside ?? (VARIANTS[name].peer === undefined ? "plain" : name)];
      const ratio = median(costs.map(({ all }, at) => all / without[at].all));
      results[name].push({ ...mapKinds(costs[0], (_, kind) => median(costs.map((cost) => cost[kind]))), ratio });
    }
  }
  for (const [name, fleets] of Object.entries(results)) {
    const ratios = fleets.map(({ ratio }) => 100 * ratio - 100);
    const mean = ratios.reduce((sum, each) => sum + each, 0) / ratios.length;
    const variance = ratios.reduce((sum, each) => sum + (each - mean) ** 2, 0) / Math.max(1, ratios.length - 1);
    const of = (kind) => median(fleets.map((fleet) => fleet[kind])).toFixed(2);
    const parts = ["balancers", "instances", "supervisor"].map((kind) => `${kind} ${of(kind)}`);
    const error = ratios.length < 2 ? "" : ` ± ${Math.sqrt(variance / ratios.length).toFixed(1)}`;
    const text = `${name.padEnd(14)} ${of("all")} µs a request (${parts.join(", ")}): ${mean.toFixed(1)}${error} % more`;
    if (name === "all") verdict(mean <= MOST_PERCENT, text);
    else process.stdout.write(`${text}\n`);
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
