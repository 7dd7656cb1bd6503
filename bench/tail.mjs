/**
 * Measures who waits behind a busy instance: `npm run bench:tail`. Requests of 2 ms (90 %) and 32 ms (10 %) of processor time arrive at
 * random (Poisson) at constant rates; the p99 is compared with nginx and HAProxy in front of the same app. The contestants take turns, with
 * the same requests. A second table compares each with an ideal queue and another contestant, round by round, and has the share of requests
 * that waited behind a busy instance in vain. `--slow 20`: the first instance takes twenty times as long. `--only` takes names or their
 * beginnings; `--seed 7` gives other requests; `--chart FILE` draws the p99 as SVG.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { freePort, serveAlone, startFleet } from "./soak/support.mjs";
import { barChart } from "./support/chart.mjs";
import { ofChildren, run } from "./support/launch.mjs";
import { median, medians } from "./support/medians.mjs";
import { openLoop, percentilesOf, scheduleOf, WARM_UP_MS } from "./support/open-loop.mjs";
import { randomOf } from "./support/random.mjs";
import { textTable } from "./support/tables.mjs";
import { idealLatencies, waitedInVain } from "./support/waits.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "15" },
    instances: { type: "string", default: "2" },
    rates: { type: "string", default: "120,220" },
    kinds: { type: "string", default: "sync,async,late" },
    style: { type: "string", default: "fetch" },
    slow: { type: "string", default: "1" },
    balancers: { type: "string", default: "1" },
    runtime: { type: "string", default: "bun" },
    only: { type: "string", default: "" },
    seed: { type: "string", default: "0" },
    chart: { type: "string" },
  },
});
const instances = Number(values.instances);
const rates = values.rates.split(",").map(Number);
const app = fileURLToPath(new URL("apps/tail.mjs", import.meta.url));
const LONG_SHARE = 0.1;
/** How long a request computes, by its target, and how long it waits before or after that, by kind. */
const BURN_MS = { "/": 2, "/long": 32 };
const WAIT_MS = { sync: 0, async: 2, late: 2 };
/** A request that waited for less does not count, because sending it takes about as long. */
const IN_VAIN_MS = 2;
const IDEAL = "ideal queue";
const folder = mkdtempSync(path.join(tmpdir(), "paceline-tail-"));

const environmentOf = (kind) => ({ TAIL_KIND: kind, TAIL_STYLE: values.style, TAIL_SLOW: values.slow });

const ours = (config) => async (kind) => {
  const balancer = { processes: Number(values.balancers) };
  return startFleet(instances, { app, runtime: values.runtime, env: environmentOf(kind), balancer, ...config });
};

/** Starts the given proxy in front of instances that serve without Paceline. */
const proxy = (program, configurationOf) => async (kind) => {
  const environment = environmentOf(kind);
  const alone = await Promise.all(
    Array.from({ length: instances }, (_, at) =>
      serveAlone([app], values.runtime, { ...environment, TAIL_INDEX: String(at + 1) }),
    ),
  );
  const port = await freePort();
  const file = path.join(folder, `${program}-${port}.conf`);
  const ports = alone.map((each) => each.port);
  writeFileSync(file, configurationOf(port, ports));
  const args = program === "nginx" ? ["-c", file] : ["-f", file];
  const running = await ofChildren(port, [run(program, args, folder)]);
  return {
    port,
    async stop() {
      await running.stop();
      await Promise.all(alone.map((each) => each.stop()));
    },
  };
};

const nginx = (method) =>
  proxy("nginx", (port, ports) => {
    const servers = ports.map((each) => `server 127.0.0.1:${each};`).join(" ");
    return `daemon off; user root; worker_processes 1; pid ${folder}/pid-${port}; error_log /dev/null; events {}
http { access_log off; keepalive_requests 1000000; upstream app { ${method} ${servers} keepalive 64; }
  server { listen 127.0.0.1:${port}; location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; } } }
`;
  });

const haproxy = (method, limit) =>
  proxy("haproxy", (port, ports) => {
    const servers = ports.map((each, at) => `  server s${at} 127.0.0.1:${each} ${limit}`).join("\n");
    return `global
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
listen app
  bind 127.0.0.1:${port}
  balance ${method}
${servers}
`;
  });

const CONTESTANTS = {
  paceline: ours({}),
  "paceline, exact": ours({ policy: "exact" }),
  "nginx round robin": nginx(""),
  "nginx least_conn": nginx("least_conn;"),
  "HAProxy leastconn": haproxy("leastconn", ""),
  "HAProxy, one at a time": haproxy("leastconn", "maxconn 1"),
};

/** What the handlers of each kind do. */
const LABELS = { sync: "compute, respond", async: "compute, wait 2 ms, respond", late: "wait 2 ms, compute, respond" };

/** The contestant with which each kind is compared. */
const REFERENCES = { sync: "HAProxy, one at a time", async: "HAProxy, one at a time", late: "nginx least_conn" };

// A comma before a space belongs to a name.
const wanted = values.only.split(/,(?! )/);
const isWanted = (name) => wanted.some((each) => (each in CONTESTANTS ? name === each : name.startsWith(each)));
const chosen = Object.entries(CONTESTANTS).filter(([name]) => isWanted(name));
const samples = new Map();
try {
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const kind of values.kinds.split(",")) {
      if (values.slow === "1")
        for (const rate of rates) samplesOf(kind, IDEAL, rate).push(idealFigures(round, kind, rate));
      for (const [name, start] of chosen) await measure(round, kind, name, start);
    }
  }
  const cell = ({ p50Ms, p99Ms, failed }) =>
    `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(0)}${failed > 0 ? ` (${failed} failed)` : ""}`;
  const figuresOf = (name, rate) => medians(samples.get(name).get(rate), ["p50Ms", "p99Ms", "failed", "inVainPercent"]);
  const rows = [...samples.keys()].map((name) => [name, ...rates.map((rate) => cell(figuresOf(name, rate)))]);
  const caption = `${instances} instances (${values.style}) on ${values.runtime}, ${values.balancers} balancers: p50 / p99 in ms, medians of ${values.rounds} rounds of ${values.seconds} s`;
  process.stdout.write(`${textTable({ caption, header: ["", ...rates.map((rate) => `${rate}/s`)], rows })}\n\n`);
  const ratio = (kind, name, rate, reference) => {
    const others = samples.get(`${kind}: ${reference}`)?.get(rate);
    const own = samples.get(`${kind}: ${name}`).get(rate);
    return others === undefined ? "–" : median(own.map(({ p99Ms }, at) => p99Ms / others[at].p99Ms)).toFixed(2);
  };
  const compared = values.kinds.split(",").flatMap((kind) =>
    chosen.map(([name]) => {
      const cells = rates.map((rate) => {
        const { inVainPercent } = figuresOf(`${kind}: ${name}`, rate);
        return `${ratio(kind, name, rate, IDEAL)}, ${ratio(kind, name, rate, REFERENCES[kind])}, ${inVainPercent.toFixed(1)} %`;
      });
      return [`${kind}: ${name}`, ...cells];
    }),
  );
  const comparison = `p99 as a multiple of an ideal queue's, and of that of ${[...new Set(Object.values(REFERENCES))].join(" or, late, ")} in the same round (medians); requests that waited ${IN_VAIN_MS} ms behind a busy instance while another one had no request`;
  process.stdout.write(
    `${textTable({ caption: comparison, header: ["", ...rates.map((rate) => `${rate}/s`)], rows: compared })}\n`,
  );
  if (values.chart !== undefined) {
    const bars = (kind, rate) => chosen.map(([name]) => ({ name, value: figuresOf(`${kind}: ${name}`, rate).p99Ms }));
    const groups = (rate) => values.kinds.split(",").map((kind) => ({ label: LABELS[kind], bars: bars(kind, rate) }));
    const panels = rates.map((rate) => ({ title: `${rate} requests a second`, groups: groups(rate) }));
    const title = `p99 in ms, requests of 2 ms (90 %) and 32 ms (10 %) of processor time, ${instances} instances`;
    writeFileSync(values.chart, barChart({ title, panels }));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

function samplesOf(kind, name, rate) {
  const key = `${kind}: ${name}`;
  if (!samples.has(key)) samples.set(key, new Map(rates.map((each) => [each, []])));
  return samples.get(key).get(rate);
}

/** All contestants of a round get the same requests at the same times; other rounds get others. */
function loadOf(round, rate) {
  const random = randomOf(1_000_000 * Number(values.seed) + 1000 * round + rate);
  const targetOf = (number) => (number < LONG_SHARE ? "/long" : "/");
  return { rate, seconds: Number(values.seconds), isPoisson: true, random, targetOf };
}

/** The latencies of the requests of a round if nothing but the instances took time. */
function idealFigures(round, kind, rate) {
  const { dueTimes, targets } = scheduleOf(loadOf(round, rate));
  const serviceTimes = targets.map((target) => BURN_MS[target] + WAIT_MS[kind]);
  const latencies = idealLatencies(dueTimes, serviceTimes, instances);
  const percentile = percentilesOf(latencies.filter((_, at) => dueTimes[at] >= WARM_UP_MS));
  return { p50Ms: percentile(0.5), p99Ms: percentile(0.99), failed: 0 };
}

async function measure(round, kind, name, start) {
  const running = await start(kind);
  try {
    for (const rate of rates) {
      const requests = [];
      const onBody = (body, dueAt, isCounted) => requests.push({ ...timesOf(kind, body, dueAt), isCounted });
      const figures = await openLoop(running.port, { ...loadOf(round, rate), connections: 256, onBody });
      const inVain = waitedInVain(requests, instances, IN_VAIN_MS).filter(({ isCounted }) => isCounted);
      samplesOf(kind, name, rate).push({ ...figures, inVainPercent: (100 * inVain.length) / figures.requests });
    }
    process.stderr.write(`${kind}: ${name}\n`);
  } finally {
    await running.stop();
  }
}

/** Returns what a response reports about its request, for `waitedInVain`. */
function timesOf(kind, body, dueAt) {
  const [instance, calledAt, burntFrom, burntUntil, respondedAt] = body.split(" ").map(Number);
  const arrived = [performance.timeOrigin + dueAt, calledAt];
  const after = [burntUntil + WAIT_MS.async, respondedAt];
  const between = [calledAt + WAIT_MS.late, burntFrom];
  const ready = kind === "sync" ? [arrived] : [arrived, kind === "async" ? after : between];
  const there = [calledAt, respondedAt];
  return { instance, there, computed: [burntFrom, burntUntil], ready: ready.filter(([from, to]) => from < to) };
}
