/**
 * Hostile peers that try to make a process hold ever more: clients, upstreams, a broken instance, an app that does not wait.
 * Beside each, the memory of all processes stays flat, an ordinary client is as fast as without it, and descriptors are closed.
 *
 * Each row starts with a short round of the same peers that is not judged, because a runtime keeps some memory for code that gets
 * hot. Memory is the maximum that a process holds for a second in the next round, minus that beside an ordinary client alone; the
 * peak is printed.
 *
 * The p99 of the ordinary client may be twice its own plus 5 ms; its own is the larger one of those before and after the peers.
 * It is reliable only on a quiet machine: each row prints the share of the processors that others use.
 *
 * wrk corrects its latencies for the requests that it could not send meanwhile, so a wait of all its connections for 1 % of a row
 * decides the p99. An instance that breaks in a `lane:` row holds its requests for `stallAfterMs` until they go elsewhere: with
 * less than 10 s a row that is more than 1 %.
 *
 * On two processors, two processes that only loop raise the p99 of this fleet from 2 to 15 ms. A process of ours that never
 * sleeps because of its peers does the same, however short its turns are. Therefore instances and balancers rest between turns.
 *
 *   npm run soak:bounds -- --only chunks --seconds 20 --runtime node
 *
 * `--only A,B`: rows whose names contain A or B, or the row of that name. `--rounds N`: N rounds in the same processes, each
 * compared with the start of the first. `--list`: only the names. Exit status 1 if a row is red.
 */
import { parseArgs } from "node:util";
import { APPS } from "./bounds/apps.mjs";
import { CLIENTS } from "./bounds/clients.mjs";
import { startSurroundings } from "./bounds/fleet.mjs";
import { LANES } from "./bounds/lanes.mjs";
import { lineOf, lineOfFailure, tableOf, textOf } from "./bounds/report.mjs";
import { ALONE_SECONDS, AROUND_SECONDS, runRow, WARM_UP_SECONDS } from "./bounds/row.mjs";
import { UPSTREAMS } from "./bounds/upstreams.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    seconds: { type: "string", default: "20" },
    runtime: { type: "string", default: "bun" },
    rounds: { type: "string", default: "1" },
    list: { type: "boolean", default: false },
  },
});
const { runtime } = values;
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

const all = { ...CLIENTS, ...UPSTREAMS, ...LANES, ...APPS };
// Names may contain commas.
const parts = values.only in all ? [values.only] : values.only.split(",");
const rows = Object.entries(all).filter(
  ([name, { runtimes }]) => parts.some((part) => name.includes(part)) && runtimes?.includes(runtime) !== false,
);
const rowSeconds = AROUND_SECONDS + WARM_UP_SECONDS + rounds * (seconds + 2 * ALONE_SECONDS);
const minutes = (rows.length * rowSeconds) / 60;
process.stdout.write(
  `${rows.length} rows of ${rounds === 1 ? "" : `${rounds} times `}${seconds} s on ${runtime}: about ${minutes.toFixed(0)} minutes; ` +
    `a row whose p99 others disturb takes up to ${(seconds + 2 * ALONE_SECONDS) * rounds} s more\n`,
);

if (values.list) process.stdout.write(rows.map(([name]) => `${name}\n`).join(""));
else await runAll();

async function runAll() {
  const surroundings = await startSurroundings();
  const lines = [];
  try {
    for (const [name, scenario] of rows) {
      const log = (text) => process.stdout.write(`    ${name}: ${text}\n`);
      for (const line of await linesOf(name, scenario, { seconds, rounds, runtime, surroundings, log })) {
        process.stdout.write(textOf(line));
        lines.push(line);
      }
    }
  } finally {
    surroundings.end();
  }
  const red = lines.filter(({ isRed }) => isRed).length;
  process.stdout.write(
    `\n${tableOf(lines)}\n${red === 0 ? "no row is red" : `${red} of ${lines.length} rows are red`}\n`,
  );
  if (red > 0) process.exitCode = 1;
}

async function linesOf(name, scenario, options) {
  try {
    const found = await runRow(scenario, options);
    const nameOf = (round) => (rounds === 1 ? name : `${name} (${round + 1})`);
    return found.map((result, round) => lineOf(nameOf(round), result, scenario.known?.[runtime]));
  } catch (error) {
    return [lineOfFailure(name, error)];
  }
}
