/** The command behind `npm run bench` and `npm run bench:cost`: parses options, measures sections, prints and writes. */
import { readFileSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { select } from "./contestants/sections.mjs";
import { writeDocs } from "./docs.mjs";
import { findPrograms } from "./programs.mjs";
import { printHead, printReport, printSection } from "./terminal.mjs";
import { measureSection } from "./turns.mjs";

const OPTIONS = `
  --rounds N       turns of each contestant, of which the median counts (3)
  --requests N     of ab, at 1,000 connections (50000)
  --seconds N      of wrk, at 64 connections (5)
  --balancers N    processes or threads that balance: ours, nginx's, HAProxy's (1)
  --sections LIST  which sections, with commas between (all)
  --only TEXT      contestants whose name contains it; can be repeated
  --peers DIR      where \`npm install pm2@7 http-proxy@1.18\` was run (or PACELINE_BENCH_PEERS)
  --json FILE      write all figures there
  --from FILE      take the figures of such a file and measure nothing
  --write          write the tables into docs/benchmarks.md and the chart beside it
`;

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      requests: { type: "string", default: "50000" },
      seconds: { type: "string", default: "5" },
      balancers: { type: "string", default: "1" },
      sections: { type: "string" },
      only: { type: "string", multiple: true },
      peers: { type: "string", default: process.env.PACELINE_BENCH_PEERS },
      json: { type: "string" },
      from: { type: "string" },
      write: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  return values;
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}

const say = (line = "") => process.stdout.write(`${line}\n`);

function positive(options, name) {
  const value = Number(options[name]);
  if (!Number.isInteger(value) || value < 1) fail(`--${name} takes a whole number from 1`);
  return value;
}

async function measureAll(options, makeSections) {
  const settings = {
    rounds: positive(options, "rounds"),
    requests: positive(options, "requests"),
    seconds: positive(options, "seconds"),
    balancers: positive(options, "balancers"),
  };
  const programs = findPrograms(options.peers === undefined ? undefined : path.resolve(options.peers));
  for (const tool of ["ab", "wrk"]) {
    if (programs.versions[tool] === undefined) fail(`${tool} is missing (Debian: apache2-utils, wrk)`);
  }
  const all = makeSections(programs, settings.balancers);
  const wanted = options.sections?.split(",") ?? all.map(({ id }) => id);
  const unknown = wanted.find((id) => !all.some((section) => section.id === id));
  if (unknown !== undefined) fail(`there is no section "${unknown}"; there are ${all.map(({ id }) => id).join(", ")}`);
  const chosen = all.filter(({ id }) => wanted.includes(id));
  const { sections, missing } = select(chosen, programs, options.only);
  if (sections.length === 0) {
    const lacks = Object.entries(missing).map(([name, program]) => `${name} needs ${program}`);
    fail(["no contestant is left", ...lacks].join("; "));
  }

  const report = {
    date: new Date().toISOString().slice(0, 10),
    machine: {
      cpu: os.cpus()[0]?.model ?? "unknown",
      cpus: os.availableParallelism(),
      memoryGB: Math.round(os.totalmem() / 2 ** 30),
      system: `${os.type()} ${os.release()}`,
    },
    versions: programs.versions,
    missing,
    settings,
    sections: [],
  };
  printHead(report, say);
  for (const section of sections) {
    const measured = await measureSection(section, settings, say);
    report.sections.push(measured);
    printSection(measured, settings, say);
    // After each section, so that a later failure does not lose it.
    if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  }
  return report;
}

/**
 * Runs the command; `makeSections(programs, balancers)` returns what to measure.
 * @param {string} name its name in `npm run NAME`
 */
export async function benchmark(name, makeSections) {
  const options = readOptions();
  if (options.help) {
    say(`npm run ${name} -- [options]\n${OPTIONS}`);
    return;
  }
  let report;
  if (options.from === undefined) report = await measureAll(options, makeSections);
  else {
    report = JSON.parse(readFileSync(options.from, "utf8"));
    printHead(report, say);
    for (const section of report.sections) printSection(section, report.settings, say);
  }
  printReport(report, say);
  if (options.write) for (const file of writeDocs(report)) say(`written: ${file}`);
}
