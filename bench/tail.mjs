/**
 * Measures who waits behind a busy instance: `npm run bench:tail`. Requests of 2 ms (90 %) and 32 ms (10 %) of processor time arrive
 * at random (Poisson) at constant rates; p99 beside nginx and HAProxy in front of the same app. The contestants take turns.
 * `--slow 20`: the first instance takes twenty times as long. `--only` takes names or their beginnings; `--chart FILE` draws the p99 as SVG.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { freePort, serveAlone, startFleet } from "./soak/support.mjs";
import { barChart } from "./support/chart.mjs";
import { ofChildren, run } from "./support/launch.mjs";
import { medians } from "./support/medians.mjs";
import { openLoop } from "./support/open-loop.mjs";
import { randomOf } from "./support/random.mjs";
import { textTable } from "./support/tables.mjs";

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
    chart: { type: "string" },
  },
});
const instances = Number(values.instances);
const rates = values.rates.split(",").map(Number);
const app = fileURLToPath(new URL("apps/tail.mjs", import.meta.url));
const LONG_SHARE = 0.1;
const folder = mkdtempSync(path.join(tmpdir(), "paceline-tail-"));

const environmentOf = (kind) => ({ TAIL_KIND: kind, TAIL_STYLE: values.style, TAIL_SLOW: values.slow });

const ours = (config) => async (kind) => {
  const balancer = { processes: Number(values.balancers) };
  return startFleet(instances, { app, runtime: values.runtime, env: environmentOf(kind), balancer, ...config });
};

/** Starts that proxy in front of instances that serve alone. */
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

// A comma before a space belongs to a name.
const wanted = values.only.split(/,(?! )/);
const isWanted = (name) => wanted.some((each) => (each in CONTESTANTS ? name === each : name.startsWith(each)));
const chosen = Object.entries(CONTESTANTS).filter(([name]) => isWanted(name));
const samples = new Map();
try {
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const kind of values.kinds.split(","))
      for (const [name, start] of chosen) await measure(round, kind, name, start);
  }
  const cell = ({ p50Ms, p99Ms, failed }) =>
    `${p50Ms.toFixed(1)} / ${p99Ms.toFixed(0)}${failed > 0 ? ` (${failed} failed)` : ""}`;
  const figuresOf = (name, rate) => medians(samples.get(name).get(rate), ["p50Ms", "p99Ms", "failed"]);
  const rows = [...samples.keys()].map((name) => [name, ...rates.map((rate) => cell(figuresOf(name, rate)))]);
  const caption = `${instances} instances (${values.style}) on ${values.runtime}, ${values.balancers} balancers: p50 / p99 in ms, medians of ${values.rounds} rounds of ${values.seconds} s`;
  process.stdout.write(`${textTable({ caption, header: ["", ...rates.map((rate) => `${rate}/s`)], rows })}\n`);
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

async function measure(round, kind, name, start) {
  const key = `${kind}: ${name}`;
  if (!samples.has(key)) samples.set(key, new Map(rates.map((rate) => [rate, []])));
  const running = await start(kind);
  try {
    for (const rate of rates) {
      // Contestants of a round get the same requests at the same times; other rounds get others.
      const random = randomOf(1000 * round + rate);
      const targetOf = (number) => (number < LONG_SHARE ? "/long" : "/");
      const options = { rate, connections: 256, seconds: Number(values.seconds), isPoisson: true, random, targetOf };
      samples
        .get(key)
        .get(rate)
        .push(await openLoop(running.port, options));
    }
    process.stderr.write(`${key}\n`);
  } finally {
    await running.stop();
  }
}
