/**
 * `npm run field`: installs public frameworks and programs into a cache outside of this repository. Runs each alone and behind three
 * instances: the same responses, a reload under load, a crash under load. Prints a table; exits 1 on any difference.
 *
 * --only TEXT,TEXT: those whose names contain one of them. --runtime bun|node: for those that run on both. Default: Bun. --instances N:
 * instead of 3. --no-memory: does not measure memory, which takes a second for each app. --pause N: the milliseconds between two requests
 * of a client; default 3, which does not saturate the machine. --if-cached: installs and builds nothing; exits 3 if something is missing.
 */
import { parseArgs } from "node:util";
import { wait } from "../soak/support.mjs";
import { memory } from "../support/processes.mjs";
import { APPS } from "./apps.mjs";
import { BUILT_APPS } from "./built-apps.mjs";
import { CLIENTS, loadWhile, outcomes, SocketIoClients } from "./clients.mjs";
import { PROGRAMS } from "./programs.mjs";
import { CACHE, isCached, prepare } from "./project.mjs";
import { alone, Fleet } from "./runs.mjs";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    runtime: { type: "string", default: "bun" },
    instances: { type: "string", default: "3" },
    "no-memory": { type: "boolean", default: false },
    pause: { type: "string", default: "3" },
    "if-cached": { type: "boolean", default: false },
  },
});
const instances = Number(values.instances);
const isMeasured = !values["no-memory"];
const pauseMs = Number(values.pause);
/** How many responses a load waits for after an instance was killed. */
const AFTER_CRASH = 100;
const LOAD_MS = 60_000;
/** The number of requests for each instance. */
const TURNS = 20;
const TRIES = 3;

/** Returns the problems of an app behind Paceline; empty if there are none. */
async function tryApp(app, row) {
  const { page = "/", headers = {} } = app;
  const { version, ...prepared } = prepare(app);
  const project = { ...prepared, args: app.args, env: app.env };
  const runtime = app.runtime ?? values.runtime;
  Object.assign(row, { version, runtime });
  const expected = await alone(project, runtime, page, async (port, pid) => {
    const seen = await outcomes(port, app);
    if (isMeasured) row.aloneBytes = memory([pid]).pssMB * 1e6;
    return seen;
  });
  if (isMeasured && runtime === "bun" && !app.needsBun) {
    row.nodeBytes = await alone(project, "node", page, async (port, pid) => {
      await outcomes(port, app);
      return memory([pid]).pssMB * 1e6;
    });
  } else if (runtime === "node") row.nodeBytes = row.aloneBytes;
  const fleet = new Fleet(project, { runtime, instances, config: app.config });
  let clients;
  try {
    await fleet.start();
    const problems = differences(expected, await outcomes(fleet.port, app));
    if (app.config?.sticky === undefined) problems.push(...(await turns(fleet, app)));
    if (isMeasured) row.instanceBytes = await instancePss(fleet);
    if (app.socketIo !== undefined) {
      clients = new SocketIoClients(fleet.port, project.folder, app.socketIo);
      problems.push(...(await clients.problems("at first")));
    }
    problems.push(...(await reload(fleet, page, headers, row)));
    if (clients !== undefined) problems.push(...(await clients.problems("after a reload")));
    problems.push(...(await crash(fleet, page, headers)));
    if (clients !== undefined) problems.push(...(await clients.problems("after a crash")));
    return problems;
  } finally {
    clients?.close();
    await fleet.stop();
  }
}

function differences(expected, seen) {
  return Object.entries(expected)
    .filter(([name, outcome]) => seen[name] !== outcome)
    .map(([name, outcome]) => `${name}: alone ${outcome}, behind ${seen[name]}`);
}

/** One client's requests go to the instances in exact turn, unless an instance is skipped while it is stalled. */
async function turns(fleet, { page = "/", headers }) {
  const counts = async () => (await fleet.pool()).instances.map(({ requestsTotal }) => requestsTotal);
  let shares = [];
  for (let tries = 0; tries < TRIES; tries++) {
    // Reports about earlier requests may still be on their way.
    const before = await fleet.steady(counts);
    for (let sent = 0; sent < TURNS * instances; sent++) {
      await fetch(`http://127.0.0.1:${fleet.port}${page}`, { headers }).then((response) => response.arrayBuffer());
    }
    const after = await fleet.steady(counts);
    shares = after.map((count, at) => count - before[at]);
    if (shares.every((share) => share === TURNS)) return [];
  }
  return [`${TURNS * instances} requests in turn: ${shares.join(", ")}`];
}

/** Memory is measured at intervals. */
async function instancePss(fleet) {
  const pool = await fleet.poolWhere("a measured instance", ({ instances: [first] }) => first.pssBytes !== null);
  return pool.instances[0].pssBytes;
}

async function reload(fleet, page, headers, row) {
  const { counts, result } = await loadWhile(fleet.port, page, { headers, pauseMs }, () => fleet.cli("reload"));
  row.requests = counts.ok;
  return [
    ...(counts.failed.length > 0 ? [`${counts.failed.length} failed in a reload: ${counts.failed[0]}`] : []),
    ...(result.code === 0 ? [] : [`reload: ${result.output.split("\n").at(-1)}`]),
  ];
}

/** Kills an instance under load: a GET that it was running is sent to another one. */
async function crash(fleet, page, headers) {
  const { pid, name } = (await fleet.pool()).instances[0];
  const { counts } = await loadWhile(fleet.port, page, { headers, pauseMs }, async (counts) => {
    await responses(counts, AFTER_CRASH);
    process.kill(pid, "SIGKILL");
    await responses(counts, AFTER_CRASH);
    await fleet.poolWhere(`${name} to come back`, ({ instances: list }) => {
      const again = list.find((each) => each.name === name);
      return again?.state === "ready" && again.pid !== pid;
    });
  });
  // A response that had begun cannot be sent by another instance: its connection is reset.
  const others = counts.failed.filter((problem) => !/ECONNRESET|aborted|socket hang up/.test(problem));
  const isBounded = counts.failed.length <= CLIENTS && others.length === 0;
  return isBounded
    ? []
    : [`${counts.failed.length} failed in a crash: ${(others.length > 0 ? others : counts.failed)[0]}`];
}

/** Resolves after this many more responses. */
async function responses(counts, more) {
  const wanted = counts.ok + more;
  for (const endAt = Date.now() + LOAD_MS; counts.ok < wanted; await wait(10)) {
    if (Date.now() > endAt) throw new Error("the load stands still");
  }
}

const megabytes = (bytes) => (bytes === undefined || bytes === null ? "–" : (bytes / 1e6).toFixed(0));
const parts = values.only.toLowerCase().split(",");
const rows = [];
let isGood = true;
const apps = [...APPS, ...PROGRAMS, ...BUILT_APPS].filter(({ name }) =>
  parts.some((part) => name.toLowerCase().includes(part)),
);
const missing = values["if-cached"] ? apps.filter((app) => !isCached(app)) : [];
if (missing.length > 0) {
  process.stdout.write(`not in ${CACHE}: ${missing.map(({ name }) => name).join(", ")}\n`);
  process.exit(3);
}
for (const app of apps) {
  const words = app.args === undefined ? "" : ` -- ${app.args.join(" ")}`;
  const start = `${app.program ?? `server.${app.extension ?? "cjs"}`}${words}`;
  const row = { name: app.name, setting: app.setting ?? "", start };
  const problems = await tryApp(app, row).catch((error) => [error.message]);
  rows.push({ ...row, problems });
  if (problems.length > 0) isGood = false;
  process.stdout.write(
    `${problems.length === 0 ? "holds" : "FAILS"}  ${app.name}${problems.map((each) => `\n       ${each}`).join("")}\n`,
  );
}
process.stdout.write(
  "\n| app | version | `paceline start` | to set | runtime | responses in a reload, failed | MB of an instance | alone | alone on Node |\n|---|---|---|---|---|--:|--:|--:|--:|\n",
);
for (const row of rows) {
  const inReload = row.problems.length === 0 ? `${row.requests}, 0` : "see above";
  const bytes = [row.instanceBytes, row.aloneBytes, row.nodeBytes].map(megabytes).join(" | ");
  const what = `${row.name} | ${row.version ?? ""} | \`${row.start}\` | ${row.setting}`;
  process.stdout.write(`| ${what} | ${row.runtime === "node" ? "Node" : "Bun"} | ${inReload} | ${bytes} |\n`);
}
process.exit(isGood ? 0 : 1);
