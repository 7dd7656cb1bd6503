/**
 * Measures what remains of the throughput when more requests come than can be run: `npm run bench:overload`. Requests of 20 ms of CPU time
 * arrive at random (Poisson), at rates from half to three times what the fleet can run. The goodput counts requests that get a 200 within a
 * second. `--chart FILE` draws it as SVG.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { startFleet, verdict } from "./soak/support.mjs";
import { barChart } from "./support/chart.mjs";
import { medians } from "./support/medians.mjs";
import { closedLoop, openLoop } from "./support/open-loop.mjs";
import { textTable } from "./support/tables.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "8" },
    instances: { type: "string", default: "2" },
    shares: { type: "string", default: "0.5,0.9,1.2,2,3" },
    queue: { type: "string", default: "200" },
    busy: { type: "string", default: "20" },
    connections: { type: "string", default: "1024" },
    runtime: { type: "string", default: "bun" },
    only: { type: "string", default: "" },
    chart: { type: "string" },
  },
});
const instances = Number(values.instances);
const shares = values.shares.split(",").map(Number);
const seconds = Number(values.seconds);
const app = fileURLToPath(new URL("apps/busy.mjs", import.meta.url));
/** How long a client waits for a response, in milliseconds. */
const PATIENCE_MS = 1000;

const VARIANTS = {
  paceline: {},
  [`paceline, queueTimeoutMs ${values.queue}`]: { queueTimeoutMs: Number(values.queue) },
};

const samples = new Map();
let peak = 0;
const chosen = Object.entries(VARIANTS).filter(([name]) => name.includes(values.only));
for (let round = 1; round <= Number(values.rounds); round++)
  for (const [name, config] of chosen) await measure(name, config);

const rows = [];
for (const [name, byShare] of samples) {
  const figures = shares.map((share) => medians(byShare.get(share), ["goodput", "p50Ms", "p99Ms"]));
  rows.push([
    name,
    ...figures.map(
      ({ goodput, p50Ms = 0, p99Ms = 0 }) => `${goodput.toFixed(0)}/s, ${p50Ms.toFixed(0)} / ${p99Ms.toFixed(0)}`,
    ),
  ]);
  const most = Math.max(...figures.map(({ goodput }) => goodput));
  const [unloaded, overloaded] = [figures[0], figures.at(-1)];
  if (name === "paceline") continue;
  verdict(
    overloaded.goodput >= 0.95 * most,
    `${name}: goodput at ${shares.at(-1)} times the load is ${((100 * overloaded.goodput) / most).toFixed(0)} % of the peak`,
  );
  verdict(
    overloaded.p99Ms <= 2 * unloaded.p99Ms,
    `${name}: p99 of served requests ${overloaded.p99Ms.toFixed(0)} ms, ${unloaded.p99Ms.toFixed(0)} ms at ${shares[0]} of the load`,
  );
}
const caption = `${instances} instances on ${values.runtime}, ${values.busy} ms a request, peak ${peak.toFixed(0)}/s: goodput, p50 / p99 of served requests in ms`;
process.stdout.write(`${textTable({ caption, header: ["", ...shares.map((share) => `${share} ×`)], rows })}\n`);
if (values.chart !== undefined) {
  const bars = (share) =>
    [...samples].map(([name, byShare]) => ({ name, value: medians(byShare.get(share), ["goodput"]).goodput }));
  const groups = shares.map((share) => ({ label: `${share} × the load`, bars: bars(share) }));
  const title = `Responses within a second, per second, by load; requests of ${values.busy} ms, ${instances} instances`;
  writeFileSync(values.chart, barChart({ title, panels: [{ title: "", groups }] }));
}

async function measure(name, config) {
  if (!samples.has(name)) samples.set(name, new Map(shares.map((share) => [share, []])));
  const fleet = await startFleet(instances, { app, runtime: values.runtime, env: { BUSY_MS: values.busy }, ...config });
  try {
    // A closed loop with a few requests in flight cannot overload it.
    const { requestsPerSecond } = await closedLoop(fleet.port, { connections: 2 * instances, seconds: 4 });
    peak = Math.max(peak, requestsPerSecond);
    for (const share of shares) {
      const rate = Math.round(share * requestsPerSecond);
      const load = { rate, connections: Number(values.connections), seconds, isPoisson: true, withinMs: PATIENCE_MS };
      const { inTime, p50Ms, p99Ms } = await openLoop(fleet.port, load);
      samples
        .get(name)
        .get(share)
        .push({ goodput: inTime / seconds, p50Ms, p99Ms });
    }
    process.stderr.write(`${name}: ${requestsPerSecond.toFixed(0)}/s in a closed loop\n`);
  } finally {
    await fleet.stop();
  }
}
