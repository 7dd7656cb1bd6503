/**
 * The chaos test of the data path: GETs, POSTs, uploads, slow readers, WebSockets and clients that abort use a fetch app and a Node
 * handler, while instances are killed, stopped, blocked, reloaded, scaled, weighted, ejected and drained, and balancers are killed, stopped
 * and replaced. Every request must have one outcome, the same in the client's records and in the access log. Every error must be explained
 * by a rule in docs/operations.md. No POST may run twice. Afterwards nothing may be in flight, and descriptors and memory must be as
 * before.
 *
 * npm run test:chaos -- --seconds 20 --seed 7 --runtime node
 *
 * A seed repeats the requests of each client and the actions; their timing is not repeated.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { randomOf } from "../support/random.mjs";
import { descriptors, rssMB, startFleet, verdict, wait } from "./support.mjs";
import { Actions, planActions } from "./traffic/actions.mjs";
import { Books, rulesWithoutDocs } from "./traffic/books.mjs";
import { startClients } from "./traffic/clients.mjs";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "600" },
    seed: { type: "string", default: String(Date.now() % 1e6) },
    runtime: { type: "string", default: "bun" },
    verbose: { type: "boolean", default: false },
  },
});
const { runtime } = values;
const seconds = Number(values.seconds);
const seed = Number(values.seed);

const SIZES = { web: 3, node: 2 };
const BALANCERS = 2;
const CONVERGES_WITHIN_MS = 60_000;
/** Idle connections to Node handlers are kept for 30 s. */
const IDLE_WITHIN_MS = 45_000;
/** How many more descriptors a process may keep: for connections to peers that were started later, and for the runtime itself. */
const MORE_DESCRIPTORS = 8;
/** The maximum for a process that has served for a while, in megabytes. */
const MOST_MB = { bun: { balancer: 110, instance: 110 }, node: { balancer: 150, instance: 150 } }[runtime];

const folder = mkdtempSync(path.join(tmpdir(), "paceline-traffic-"));
const files = Object.fromEntries(["entered", "done", "access"].map((name) => [name, path.join(folder, name)]));
for (const file of Object.values(files)) writeFileSync(file, "");
const app = new URL("traffic/app.mjs", import.meta.url).pathname;
const poolOf = (instances, routes, style) => ({
  ...{ app, instances, routes, runtime, minReadyMs: 50, backoff: { initialMs: 20, maxMs: 200 } },
  env: { TRAFFIC_STYLE: style, TRAFFIC_ENTERED: files.entered, TRAFFIC_DONE: files.done },
});
const fleet = await startFleet(undefined, {
  app: undefined,
  runtime,
  pools: { web: poolOf(SIZES.web, ["/"], "fetch"), node: poolOf(SIZES.node, ["/node/"], "node") },
  balancer: {
    processes: BALANCERS,
    runtime,
    backoff: { initialMs: 20, maxMs: 200 },
    limits: { drainClosesPerSecond: 20 },
    accessLog: { format: "{requestId} {status} {outcome} {phase} {pool} {instance} {retries}", file: files.access },
  },
});

/** Returns the ready processes of both kinds. */
async function processes() {
  const { pools, balancers } = await fleet.control();
  return {
    balancer: balancers.filter(({ pid }) => pid !== null),
    instance: pools.flatMap(({ instances }) => instances.filter(({ pid }) => pid !== null)),
  };
}

/** Calls `look` until it returns an empty text, or until `withinMs`. Returns its last text. */
async function until(look, withinMs) {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const said = await look();
    if (said === "" || Date.now() > deadline) return said;
    await wait(100);
  }
}

async function unready() {
  const { pools, balancers } = await fleet.control();
  const small = pools.filter(({ name, instances }) => instances.length !== SIZES[name]).map(({ name }) => name);
  const slots = [...balancers, ...pools.flatMap(({ instances }) => instances)];
  const late = slots.filter(({ state, other }) => state !== "ready" || other !== null).map(({ name }) => name);
  return [...small, ...late].join(", ");
}

const most = { balancer: 0, instance: 0 };
let isOver = false;

async function watchMemory() {
  while (!isOver) {
    const present = await processes().catch(() => undefined);
    for (const [kind, list] of Object.entries(present ?? {}))
      for (const { pid } of list)
        try {
          most[kind] = Math.max(most[kind], rssMB(pid));
        } catch {
          // It has exited in the meantime.
        }
    await wait(1000);
  }
}

const pools = Object.keys(SIZES);
const books = new Books();
const plan = planActions(randomOf(seed * 100_003), seconds, pools);
let actions;
try {
  process.stdout.write(`seed ${seed}: ${plan.length} actions in ${seconds} s on ${runtime}\n`);
  const nameless = rulesWithoutDocs();
  verdict(nameless.length === 0, `docs/operations.md names every rule${nameless.map((rule) => ` but ${rule}`).join()}`);
  const descriptorsOf = (list) => Math.max(...list.map(({ pid }) => descriptors(pid)));
  const before = await processes();
  const usual = { balancer: descriptorsOf(before.balancer), instance: descriptorsOf(before.instance) };
  const clients = startClients({
    ...{ port: fleet.port, pools, books },
    randomOf: (number) => randomOf(seed * 100_003 + number),
  });
  void watchMemory();
  actions = new Actions(fleet, clients, SIZES);
  await actions.perform(plan);
  await actions.restore();
  const late = await until(unready, CONVERGES_WITHIN_MS);
  verdict(late === "", `the fleet is as before${late && `, but for ${late}`}`);
  await clients.end();
  isOver = true;

  const counts = [...books.counts].sort(([, a], [, b]) => b - a).map(([outcome, count]) => `${count} ${outcome}`);
  process.stdout.write(`      ${books.requests} requests: ${counts.join(", ")}\n`);
  verdict(
    books.open.size === 0,
    `every request has ended once${books.open.size > 0 ? `, but for ${books.open.size}` : ""}`,
  );
  const unexplained = books.explain({ marks: actions.marks, sizeOf: (pool) => actions.least[pool] });
  const byRule = new Map();
  for (const { rule = "no rule" } of books.lost) byRule.set(rule, (byRule.get(rule) ?? 0) + 1);
  process.stdout.write(
    `      errors by rule: ${[...byRule].map(([rule, count]) => `${count} ${rule}`).join(", ") || "none"}\n`,
  );
  verdict(
    unexplained.length === 0,
    `a rule explains each of ${books.lost.length} errors${unexplained.length > 0 ? `, but for ${unexplained.length}` : ""}`,
  );
  const ledger = books.checkLedgers(files.entered, files.done);
  verdict(
    ledger.length === 0,
    `no POST ran twice, and each with a response ran: ${ledger.join("; ") || "none is missing"}`,
  );

  const flying = await until(async () => {
    const { balancer, instance } = await processes();
    return [...balancer, ...instance]
      .flatMap(({ name, inFlight }) => (inFlight > 0 ? [`${name}: ${inFlight}`] : []))
      .join(", ");
  }, 10_000);
  verdict(flying === "", `nothing is in flight${flying && `, but for ${flying}`}`);
  const open = await until(async () => {
    const now = await processes();
    return Object.entries(now)
      .flatMap(([kind, list]) => list.map(({ pid, name }) => [name, descriptors(pid), usual[kind]]))
      .flatMap(([name, count, usually]) =>
        count > usually + MORE_DESCRIPTORS ? [`${name} ${count} (${usually})`] : [],
      )
      .join(", ");
  }, IDLE_WITHIN_MS);
  verdict(
    open === "",
    `descriptors are as before (${usual.balancer} of a balancer, ${usual.instance} of an instance)${open && `, but for ${open}`}`,
  );
  for (const kind of ["balancer", "instance"])
    verdict(
      most[kind] <= MOST_MB[kind],
      `RSS of the largest ${kind}: ${most[kind].toFixed(0)} MB, at most ${MOST_MB[kind]}`,
    );
  const logged = await books.checkAccessLog(files.access, actions.marks);
  verdict(
    logged.problems.length === 0,
    `the access log has each request once, as its client saw it: ${logged.lines} lines, ${logged.missing} not written by killed balancers`,
  );
  for (const request of unexplained.slice(0, 10)) process.stdout.write(`      ${describe(request)}\n`);
  for (const problem of logged.problems) process.stdout.write(`      ${problem}\n`);
  const log = readFileSync(path.join(fleet.runDirArgs[1], "log/paceline.log"), "utf8");
  const broken = log.split("\n").filter((line) => /lane .*closed|uncaught|TypeError/.test(line));
  verdict(
    broken.length === 0,
    `no lane was broken and no code failed${broken
      .slice(0, 3)
      .map((line) => `\n      ${line}`)
      .join("")}`,
  );
  if (values.verbose || process.exitCode === 1)
    process.stdout.write(`${actions.lines.map((line) => `      ${line}`).join("\n")}\n`);
} finally {
  isOver = true;
  actions?.clear();
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}
process.exit();

function describe(request) {
  const { id, outcome, kind, pool, method, what, isReused, connectedAt, startedAt, respondedAt, endedAt } = request;
  const at = (time) => (time === undefined ? "–" : `${((time - actions.startedAt) / 1000).toFixed(2)} s`);
  const times = `connected ${at(connectedAt)}, sent ${at(startedAt)}, responded ${at(respondedAt)}, ended ${at(endedAt)}`;
  return `${id} ${outcome}: ${method} ${what} of ${pool} (${kind}${isReused ? ", kept connection" : ""}), ${times}; logged: ${request.logged ?? "–"}`;
}
