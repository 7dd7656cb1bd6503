/**
 * Measures latencies of a fleet that is not saturated: `npm run bench:latency`. p50 and p99 at shares of each variant's maximum,
 * under constant rates; the variants take turns. `--peers --rates 10000,20000`: nginx and HAProxy too, all at the same rates.
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { startFleet } from "./support/contestants/paceline.mjs";
import { haproxyFleet, nginxFleet } from "./support/contestants/proxies.mjs";
import { median, medians } from "./support/medians.mjs";
import { closedLoop, openLoop } from "./support/open-loop.mjs";
import { textTable } from "./support/tables.mjs";
import { withStarted } from "./support/turns.mjs";

/** The variants: a name, and additions to the fleet's config. */
const VARIANTS = [
  { name: "paceline", config: {} },
  { name: "paceline over HTTP/1.1", config: { protocol: "http1" } },
];
const SHARES = [0.1, 0.5, 0.9];
const METRICS = ["rate", "requests", "failed", "p50Ms", "p99Ms", "maxMs", "lateP99Ms"];

const USAGE = `npm run bench:latency -- [options]
  --rounds N       turns of each variant, of which the median counts (3)
  --seconds N      of each load (5)
  --instances N    of the fleet (2)
  --connections N  kept by the clients (64)
  --rates N,N      requests per second for all variants, instead of shares of each one's maximum
  --peers          nginx and HAProxy in front of Bun instances, too
  --only TEXT      variants whose name contains it; can be repeated
  --json FILE      write all figures there
`;

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    instances: { type: "string", default: "2" },
    connections: { type: "string", default: "64" },
    rates: { type: "string" },
    peers: { type: "boolean", default: false },
    only: { type: "string", multiple: true },
    json: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
const [rounds, seconds, instances, connections] = ["rounds", "seconds", "instances", "connections"].map((name) => {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`--${name} takes a whole number from 1\n`);
  return process.exit(2);
});
const rates = options.rates?.split(",").map(Number);
if (rates?.some((rate) => !(rate >= 1))) {
  process.stderr.write("--rates takes numbers from 1, separated by commas\n");
  process.exit(2);
}
/** The loads: rates, or shares of the variant's maximum. */
const LOADS = rates ?? SHARES;
const say = (line) => process.stdout.write(`${line}\n`);

/** Runs one turn: the fleet's maximum, then each share of it. */
async function turn({ port }, samples) {
  await closedLoop(port, { connections, seconds: 2 });
  const saturation = (await closedLoop(port, { connections, seconds })).requestsPerSecond;
  samples.saturation.push(saturation);
  for (const load of LOADS) {
    const rate = rates === undefined ? Math.max(1, Math.round(saturation * load)) : load;
    samples.loads.get(load).push({ rate, ...(await openLoop(port, { rate, connections, seconds })) });
  }
}

async function measure(variants) {
  const samples = new Map(
    variants.map(({ name }) => [name, { saturation: [], loads: new Map(LOADS.map((load) => [load, []])) }]),
  );
  for (let round = 1; round <= rounds; round++) {
    for (const variant of variants) {
      await withStarted(variant, instances, (running) => turn(running, samples.get(variant.name)));
      say(`round ${round} of ${rounds}: ${variant.name}`);
    }
  }
  return variants.map(({ name, config }) => ({
    name,
    config,
    saturation: median(samples.get(name).saturation),
    loads: LOADS.map((load) => ({ load, ...medians(samples.get(name).loads.get(load), METRICS) })),
  }));
}

function tableOf(results) {
  const ms = (value) => value?.toFixed(2) ?? "–";
  return {
    caption: `\n${instances} instances, ${connections} kept connections, ${seconds} s each; latency from when a request was due`,
    header: ["", "load", "req/s", "p50 ms", "p99 ms", "max ms", "generator late p99 ms", "failed"],
    rows: results.flatMap(({ name, saturation, loads }) => [
      [name, "saturation", saturation.toFixed(0), "–", "–", "–", "–", "–"],
      ...loads.map(({ load, rate, p50Ms, p99Ms, maxMs, lateP99Ms, failed }) => [
        name,
        rates === undefined ? `${load * 100} %` : "rate",
        rate.toFixed(0),
        ms(p50Ms),
        ms(p99Ms),
        ms(maxMs),
        ms(lateP99Ms),
        failed.toFixed(0),
      ]),
    ]),
  };
}

if (options.help) process.stdout.write(USAGE);
else {
  const peers = options.peers ? [nginxFleet(instances, 1), haproxyFleet(instances, 1)] : [];
  const ours = VARIANTS.map((variant) => ({
    ...variant,
    start: (directory) => startFleet(directory, instances, variant),
  }));
  const variants = [...ours, ...peers].filter(
    ({ name }) => options.only === undefined || options.only.some((part) => name.includes(part)),
  );
  const results = await measure(variants);
  say(textTable(tableOf(results)));
  const settings = { rounds, seconds, instances, connections };
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ settings, results }, null, 2)}\n`);
}
