/** Runs each check in turn for the given time: `npm run fuzz -- --seconds 60 --seed 1`. */
import { parseArgs } from "node:util";
import type { Check, FoundCase } from "./checks/check.js";
import { met, requestParser, responseParser } from "./checks/parsers.js";
import { runCheck } from "./run-check.js";
import { Bench } from "./two-hop/bench.js";
import { twoHop } from "./two-hop/check.js";
import { ResponseBench } from "./two-hop/response-bench.js";
import { twoHopResponses } from "./two-hop/response-check.js";

const USAGE = `Usage: npm run fuzz -- [--seconds N] [--seed N]

  --seconds N   how long (default 60)
  --seed N      where the cases begin (default: the time); the same seed gives the same cases in the same order
`;

/** The number of cases before the next check's turn. */
const PARSER_ROUND = 500;
const TWO_HOP_ROUND = 100;
const REPORT_EVERY_MS = 60_000;
/** One fault shows in many cases: after this many finds more are useless. */
const MAX_FINDS = 50;

interface Turn {
  check: Check<unknown>;
  cases: number;
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) {
    process.stderr.write(`fuzz: --${name} takes a whole number, not ${text}\n\n${USAGE}`);
    process.exit(2);
  }
  return Number(text);
}

async function run(seconds: number, seed: number): Promise<boolean> {
  const beganAt = Date.now();
  const endsAt = beganAt + seconds * 1000;
  const benches = [await Bench.start("bun"), await Bench.start("node")] as const;
  const responseBenches = [await ResponseBench.start("bun"), await ResponseBench.start("node")] as const;
  const turns = [
    { check: requestParser, cases: PARSER_ROUND },
    { check: responseParser, cases: PARSER_ROUND },
    { check: twoHop("two hops, the balancer on Bun", benches[0]), cases: TWO_HOP_ROUND },
    { check: twoHop("two hops, the balancer on Node", benches[1]), cases: TWO_HOP_ROUND },
    { check: twoHopResponses("answers, the balancer on Bun", responseBenches[0]), cases: TWO_HOP_ROUND },
    { check: twoHopResponses("answers, the balancer on Node", responseBenches[1]), cases: TWO_HOP_ROUND },
  ] as Turn[];
  const counts = new Map<string, number>();
  const finds: FoundCase[] = [];
  const report = () => {
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const minutes = ((Date.now() - beganAt) / 60_000).toFixed(1);
    const rssMb = Math.round(process.memoryUsage().rss / 1e6);
    process.stdout.write(`${minutes} min: ${total} cases, ${finds.length} finds, ${rssMb} MB\n`);
  };
  process.stdout.write(`seed ${seed}, ${seconds} s\n`);
  let nextReportAt = beganAt + REPORT_EVERY_MS;
  for (let round = 0; Date.now() < endsAt && finds.length < MAX_FINDS; round++) {
    const { check, cases } = turns[round % turns.length] as Turn;
    const result = await runCheck(check, (seed + round) | 0, cases);
    counts.set(check.name, (counts.get(check.name) ?? 0) + result.cases);
    if (result.find !== undefined) {
      finds.push(result.find);
      process.stdout.write(`FOUND, for fuzz/corpus (round ${round}):\n${JSON.stringify(result.find, null, 2)}\n`);
    }
    if (Date.now() >= nextReportAt) {
      report();
      nextReportAt += REPORT_EVERY_MS;
    }
  }
  for (const bench of [...benches, ...responseBenches]) await bench.stop();
  report();
  for (const [name, count] of counts) process.stdout.write(`  ${count} cases: ${name}\n`);
  process.stdout.write("differences from Node met, each explained in its list:\n");
  for (const [{ name, kind }, count] of [...met].sort((a, b) => b[1] - a[1])) {
    process.stdout.write(`  ${count} ${kind}: ${name}\n`);
  }
  process.stdout.write(`seed ${seed}: ${finds.length === 0 ? "nothing found" : `${finds.length} found`}\n`);
  return finds.length === 0;
}

const { values } = parseArgs({
  options: { seconds: { type: "string" }, seed: { type: "string" }, help: { type: "boolean" } },
});
if (values.help) {
  process.stdout.write(USAGE);
} else {
  const seconds = wholeNumber("seconds", values.seconds ?? "60");
  const seed = wholeNumber("seed", values.seed ?? String(Date.now() % 1_000_000_000));
  process.exit((await run(seconds, seed)) ? 0 : 1);
}
