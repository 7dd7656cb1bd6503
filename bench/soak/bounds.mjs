/**
 * Hostile peers that try to make a process hold ever more: clients, upstreams, a broken instance, an app that does not wait. Beside each,
 * the memory of all processes stays flat, a normal client is as fast as without it, and descriptors are closed.
 *
 * The rows "price:" hold many connections or requests that do nothing. Their bound is what each of them may cost, from the start of the
 * fleet: docs/security.md has it, since the limits of connections and requests allow as many as the operator wants.
 *
 * Each row starts with a short round of the same peers that is not judged, because a runtime keeps some memory for code that gets hot.
 * Memory is the maximum that a process holds for a second in the next round, minus that beside a normal client alone; the peak is printed.
 *
 * The p99 of the normal client may be twice its own plus 5 ms. What belongs to the machine is kept out of it:
 * - The peers of the real world have processors of their own. Here they share two with the fleet, and two processes that only loop
 *
 * raise the p99 of this fleet from 2 to 15 ms. So the peers run in the kernel's idle class (`chrt -i 0`): they get all
 *
 * processor time that nothing else wants, which is enough to keep a process of ours busy, and take none from others. A row
 *
 * prints the share of a processor that the peers and each process of ours used.
 * - The normal client sends 1,000 requests a second over 16 connections, whatever the peers do, and a latency counts from the
 *
 * moment a request was due. A client that sends as fast as it can would leave no processor time to the peers.
 * - Its own p99 is taken before the peers; if that makes a row red, also after them, and the larger one counts.
 * - If a row is red, the same peers attack nginx in front of the same app and program. Its p99, alone and beside them, is printed
 *
 * and decides nothing.
 *
 * The app of an `app:` row is itself an instance that serves the normal client, and runs as always. The p99 is only reliable on a quiet
 * machine: a row prints the share of the processors that others use.
 *
 * npm run soak:bounds -- --rows chunks --seconds 20 --runtime node
 *
 * `--rows A,B`: rows whose names contain A or B. `--part 1/2`: the first half of them. `--runtime both`: each row on Bun and on Node.
 * `--nginx all` or `none`: for all rows or none of them. `--rounds N`: N rounds in the same processes, each compared with the start of the
 * first. `--list`: only the names. Exit status 1 if a row is red.
 */
import { parseArgs } from "node:util";
import { startSurroundings } from "./bounds/fleet.mjs";
import { lineOf, lineOfFailure, tableOf, textOf } from "./bounds/report.mjs";
import { AROUND_SECONDS, runRow, runYardstick, YARDSTICK_AROUND_SECONDS } from "./bounds/row.mjs";
import { ROWS } from "./bounds/rows.mjs";
import { hasNginx } from "./bounds/yardstick.mjs";

const { values } = parseArgs({
  options: {
    rows: { type: "string", default: "" },
    part: { type: "string", default: "1/1" },
    seconds: { type: "string", default: "20" },
    runtime: { type: "string", default: "bun" },
    rounds: { type: "string", default: "1" },
    nginx: { type: "string", default: "red" },
    list: { type: "boolean", default: false },
  },
});
const seconds = Number(values.seconds);
const rounds = Number(values.rounds);

const runs = chosen();
const onNginx = values.nginx === "all" ? runs.filter(([, , { hasYardstick }]) => hasYardstick) : [];
const rowSeconds = AROUND_SECONDS + rounds * seconds;
const minutes = (runs.length * rowSeconds + onNginx.length * YARDSTICK_AROUND_SECONDS) / 60;
process.stdout.write(
  `${runs.length} rows of ${rounds === 1 ? "" : `${rounds} times `}${seconds} s on ${values.runtime}: about ${minutes.toFixed(0)} minutes; ` +
    `a row whose p99 others disturb takes up to ${(seconds + 6) * rounds} s more, a red one ${YARDSTICK_AROUND_SECONDS} s\n`,
);

if (values.list) process.stdout.write(runs.map(([name, runtime]) => `${runtime} ${name}\n`).join(""));
else await runAll();

/** Returns the rows to run, each with its runtime. */
function chosen() {
  // Names contain commas with a space after them, which do not separate.
  const parts = values.rows.split(/,(?! )/);
  const named = Object.entries(ROWS).filter(([name]) => parts.some((part) => name.includes(part)));
  const runtimes = values.runtime === "both" ? ["bun", "node"] : [values.runtime];
  const all = named.flatMap(([name, row]) =>
    runtimes.filter((runtime) => row.runtimes?.includes(runtime) !== false).map((runtime) => [name, runtime, row]),
  );
  const [part, of] = values.part.split("/").map(Number);
  return all.slice(Math.ceil(((part - 1) * all.length) / of), Math.ceil((part * all.length) / of));
}

async function runAll() {
  const surroundings = await startSurroundings();
  const lines = [];
  const startedAt = Date.now();
  try {
    for (const run of runs) {
      for (const line of await linesOf(...run, surroundings)) {
        process.stdout.write(textOf(line));
        lines.push(line);
      }
    }
  } finally {
    surroundings.end();
  }
  const red = lines.filter(({ isRed }) => isRed);
  const took = `${((Date.now() - startedAt) / 60_000).toFixed(1)} minutes`;
  process.stdout.write(`\n${tableOf(lines)}\n${red.length} of ${lines.length} rows are red, in ${took}\n`);
  process.stdout.write(red.map(({ name }) => `  ${name}\n`).join(""));
  if (red.length > 0) process.exitCode = 1;
}

function isOnNginx(found) {
  if (!hasNginx || values.nginx === "none") return false;
  return values.nginx === "all" || found.some(({ isQuick }) => !isQuick);
}

async function linesOf(name, runtime, row, surroundings) {
  const title = values.runtime === "both" ? `${runtime}: ${name}` : name;
  const log = (text) => process.stdout.write(`    ${title}: ${text}\n`);
  const options = { seconds, rounds, runtime, surroundings, log };
  try {
    const found = await runRow(name, row, options);
    if (row.hasYardstick && isOnNginx(found)) found[0].yardstick = await runYardstick(name, options);
    const nameOf = (round) => (rounds === 1 ? title : `${title} (${round + 1})`);
    const price = row.price && { count: row.price.count, kilobytes: row.price.kilobytes[runtime] };
    return found.map((result, round) => lineOf(nameOf(round), result, row.known?.[runtime], price));
  } catch (error) {
    return [lineOfFailure(title, error)];
  }
}
