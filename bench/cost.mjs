/**
 * What serving costs, beside nginx and HAProxy: `npm run bench:cost`. All contestants are started once and loaded in
 * turns (A B C, A B C, …), so that a slow minute of the machine hits all of them; medians are printed.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { CONTESTANTS, neededProgram, start, stop, versionOf } from "./support/contestants.mjs";
import { closeLoad, keepAliveLoad } from "./support/load.mjs";
import { cpuMicroseconds, median, memory, tree } from "./support/processes.mjs";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "50000" },
    seconds: { type: "string", default: "5" },
    only: { type: "string", multiple: true },
    json: { type: "boolean", default: false },
  },
});

const LOADS = {
  close: (port) => closeLoad(port, Number(options.requests), 1000),
  "keep-alive": (port) => keepAliveLoad(port, Number(options.seconds), 64),
};

const say = (line) => options.json || process.stdout.write(`${line}\n`);

for (const [program, argument] of Object.entries({ nginx: "-v", haproxy: "-v", ab: "-V", wrk: "-v" })) {
  say(`${program}: ${versionOf(program, [argument]) ?? "missing"}`);
}
if (versionOf("ab", ["-V"]) === undefined || versionOf("wrk", ["-v"]) === undefined) {
  process.stderr.write("bench:cost needs ab (apache2-utils) and wrk on the PATH\n");
  process.exit(2);
}

const names = Object.keys(CONTESTANTS).filter((name) => {
  if (options.only !== undefined && !options.only.some((part) => name.includes(part))) return false;
  const program = neededProgram(name);
  if (program === undefined || versionOf(program, ["-v"]) !== undefined) return true;
  say(`left out: ${name} (${program} is not on this machine)`);
  return false;
});

const scratch = mkdtempSync(path.join(tmpdir(), "paceline-bench-"));
const running = new Map();
const samples = new Map(names.map((name) => [name, { close: [], "keep-alive": [] }]));

async function measure(name, load) {
  const { port, children } = running.get(name);
  const pids = children.flatMap((child) => tree(child.pid));
  const before = cpuMicroseconds(pids);
  const result = await LOADS[load](port);
  const cpuUs = (cpuMicroseconds(pids) - before) / result.requests;
  return { ...result, cpuUs, ...memory(pids) };
}

try {
  for (const name of names) running.set(name, await start(name, scratch));
  for (const name of names) await closeLoad(running.get(name).port, 10_000, 100);
  for (let round = 1; round <= Number(options.rounds); round++) {
    for (const load of Object.keys(LOADS)) {
      for (const name of names) {
        const sample = await measure(name, load);
        samples.get(name)[load].push(sample);
        if (sample.failed > 0) say(`${name}, ${load}: ${sample.failed} of ${sample.requests} failed`);
      }
    }
    say(`round ${round} of ${options.rounds}`);
  }
} finally {
  for (const contestant of running.values()) await stop(contestant);
  rmSync(scratch, { recursive: true, force: true });
}

const rows = names.map((name) => {
  const row = { name };
  for (const load of Object.keys(LOADS)) {
    const of = (key) => median(samples.get(name)[load].map((sample) => sample[key]));
    row[load] = {
      requestsPerSecond: of("requestsPerSecond"),
      p99Ms: of("p99Ms"),
      cpuUs: of("cpuUs"),
      rssMB: of("rssMB"),
      pssMB: of("pssMB"),
    };
  }
  return row;
});

if (options.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else {
  for (const load of Object.keys(LOADS)) {
    say(
      `\n${load === "close" ? `close: ab -n${options.requests} -c1000` : `keep-alive: wrk -t1 -c64 -d${options.seconds}s`}`,
    );
    say(
      `${"".padEnd(24)}${["req/s", "p99 ms", "CPU µs/req", "RSS MB", "PSS MB"].map((head) => head.padStart(11)).join("")}`,
    );
    for (const row of rows) {
      const { requestsPerSecond, p99Ms, cpuUs, rssMB, pssMB } = row[load];
      const cells = [
        requestsPerSecond.toFixed(0),
        p99Ms.toFixed(1),
        cpuUs.toFixed(1),
        rssMB.toFixed(0),
        pssMB.toFixed(0),
      ];
      say(`${row.name.padEnd(24)}${cells.map((cell) => cell.padStart(11)).join("")}`);
    }
  }
}
