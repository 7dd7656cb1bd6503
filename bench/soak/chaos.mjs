/**
 * Random histories of a fleet under load: any process, the supervisor included, is killed or stopped at any moment, the disk fills up, and
 * operators reload and scale meanwhile. After each history the fleet must be what was wanted: each slot has one ready process, no other
 * process is left, and each lost request has a reason of chaos/reasons.mjs.
 *
 * npm run soak:chaos -- --histories 200 --seed 1 --runtime bun
 *
 * Before that it rehearses the examples, in which nothing may be found: `--rehearse 20` gives each 20 seconds, 0 leaves them out.
 *
 * The history with number N of a run with seed S is repeated by `--seed S --first N --histories 1`; its timing is not repeated.
 */
import { parseArgs } from "node:util";
import { randomOf } from "../support/random.mjs";
import { runHistory } from "./chaos/history.mjs";
import { rehearseExamples } from "./chaos/rehearsals.mjs";
import { verdict } from "./support.mjs";

const { values } = parseArgs({
  options: {
    histories: { type: "string", default: "200" },
    first: { type: "string", default: "0" },
    seed: { type: "string", default: String(Date.now() % 1e6) },
    runtime: { type: "string", default: "bun" },
    steps: { type: "string", default: "6" },
    rehearse: { type: "string", default: "20" },
  },
});
const first = Number(values.first);
const histories = Number(values.histories);
const { runtime } = values;

const totals = { actions: 0, requests: 0, lost: 0 };
const lostBy = new Map();
const withoutSupervisorMs = [];
const slowestMs = { convergence: 0 };
let failed = 0;
const rehearseSeconds = Number(values.rehearse);
const found = rehearseSeconds > 0 ? await rehearseExamples(runtime, rehearseSeconds) : [];
for (const problem of found) process.stdout.write(`PROBLEM ${problem}\n`);
process.stdout.write(`seed ${values.seed}, ${histories} histories on ${runtime}\n`);
for (let number = first; number < first + histories; number++) {
  const random = randomOf(Number(values.seed) * 100_003 + number);
  const result = await runHistory({ number, random, runtime, steps: Number(values.steps) });
  totals.actions += result.deeds;
  totals.requests += result.requests;
  totals.lost += result.lost.length;
  withoutSupervisorMs.push(...result.withoutSupervisorMs);
  slowestMs.convergence = Math.max(slowestMs.convergence, result.convergedAfterMs ?? 0);
  for (const { reason } of result.lost) lostBy.set(reason, (lostBy.get(reason) ?? 0) + 1);
  if (result.problems.length === 0) continue;
  failed++;
  process.stdout.write(`history ${number}:\n  ${result.actions.join("\n  ")}\n`);
  for (const problem of result.problems) process.stdout.write(`  PROBLEM ${problem}\n`);
}
process.stdout.write(
  `${totals.actions} actions, ${totals.requests} requests, ${totals.lost} lost: ${[...lostBy].map(([reason, count]) => `${count} ${reason}`).join(", ") || "none"}\n`,
);
withoutSupervisorMs.sort((a, b) => a - b);
const [median, longest] = [Math.floor(withoutSupervisorMs.length / 2), -1].map((at) => withoutSupervisorMs.at(at));
if (withoutSupervisorMs.length > 0)
  process.stdout.write(
    `where balancers start the supervisor, it was back after ${median} ms (median of ${withoutSupervisorMs.length}), at most ${longest} ms\n`,
  );
verdict(
  failed === 0 && found.length === 0,
  `${found.length === 0 ? "" : `${found.length} examples have findings; `}${histories - failed} of ${histories} histories converged, the slowest after ${(slowestMs.convergence / 1000).toFixed(1)} s`,
);
process.exit();
