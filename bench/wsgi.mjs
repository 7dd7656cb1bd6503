/**
 * Measures WSGI apps: `npm run bench:wsgi`. One Paceline instance beside one sync worker of gunicorn and werkzeug's server, with the same
 * app on the same Python over unix sockets; and Paceline in a fleet of one. Prints CPU time per request and RSS. Then a Django project on
 * several processes, with and without preloading, compared with gunicorn and uWSGI, and FastAPI compared with uvicorn's own workers and
 * gunicorn's: PSS when idle and after load, and CPU time. Finally the Django fleets all at once, in turns.
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { INSTANCE_LIMITS } from "../packages/wire/dist/limits.js";
import { ASGI_FLEETS } from "./support/asgi-fleets.mjs";
import { FLEETS, measureDjango, measureInTurns } from "./support/django-fleets.mjs";
import { endLeftovers, freePort, run, SETTLE_MS, untilServing, WARM_UP_REQUESTS, wait } from "./support/launch.mjs";
import { keepAliveLoad } from "./support/load.mjs";
import { medians } from "./support/medians.mjs";
import { cpuBetween, cpuSnapshot, memory, tree } from "./support/processes.mjs";
import { APPS, findPrograms, PACELINE, ROOT } from "./support/programs.mjs";
import { textTable } from "./support/tables.mjs";

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    requests: { type: "string", default: "20000" },
    clients: { type: "string", default: "4" },
    // For the Django project and FastAPI.
    processes: { type: "string", default: "8" },
    // Only this part: `hello`, `django`, `turns` or `asgi`.
    only: { type: "string" },
    // The Django fleets in turns: the number of turns, and the number of requests per turn.
    turns: { type: "string", default: "28" },
    "turn-requests": { type: "string", default: "400" },
  },
});
const [rounds, requests, clients] = ["rounds", "requests", "clients"].map((name) => Number(options[name]));
const { versions } = findPrograms(undefined);
const python = gunicornPython();
const werkzeugVersion = ask(
  "import importlib.metadata as m, sys; print(m.version('werkzeug'), 'on Python', sys.version.split()[0])",
);
if (werkzeugVersion === undefined) {
  process.stderr.write("gunicorn or werkzeug is missing (Debian: gunicorn, python3-werkzeug)\n");
  process.exit(2);
}

/** All three run on gunicorn's interpreter, which the first line of gunicorn names. */
function gunicornPython() {
  const where = (process.env.PATH ?? "").split(":").map((folder) => path.join(folder, "gunicorn"));
  const file = where.find((each) => existsSync(each));
  return file === undefined ? "" : (/^#!(\S+)/.exec(readFileSync(file, "utf8"))?.[1] ?? "");
}

/** Returns the output of this program, or undefined if it fails. */
function ask(program) {
  const { status, stdout } = spawnSync(python, ["-c", program], { encoding: "utf8", timeout: 10_000 });
  return status === 0 ? stdout.trim() : undefined;
}

const ENTRY = path.join(ROOT, "packages/server/python/start.py");
const LIMITS = { ...INSTANCE_LIMITS, maxBodyBytes: 1 << 20, maxConnections: 1000, maxDeferredJobs: 1000 };

/** Starts a Paceline instance without a balancer, with a minimal supervisor. */
async function instance(directory) {
  const channel = path.join(directory, "channel.sock");
  const socket = path.join(directory, "app.sock");
  const supervisor = net.createServer((connection) => {
    connection.on("error", () => connection.destroy());
    connection.on("data", (bytes) => bytes.includes('"hello"') && connection.write('{"type":"welcome"}\n'));
  });
  await once(supervisor.listen(channel), "listening");
  const spec = { wsgi: "hello_wsgi:application", orphanGraceMs: 60_000, drainTimeoutMs: 1000, limits: LIMITS };
  const child = run(python, [ENTRY], APPS, {
    PACELINE_CHANNEL: channel,
    PACELINE_TOKEN: "bench",
    PACELINE_ATTEMPT: "1",
    PACELINE_SPEC: JSON.stringify(spec),
    PACELINE_POOL: "web",
    PACELINE_INSTANCE: "web.1",
    PACELINE_INDEX: "1",
    PACELINE_GENERATION: "1",
    PACELINE_SOCKET: socket,
  });
  child.on("exit", () => supervisor.close().unref());
  return { child, socket };
}

async function gunicorn(directory) {
  const socket = path.join(directory, "app.sock");
  const args = ["--workers", "1", "--backlog", "1024", "--bind", `unix:${socket}`, "--chdir", APPS];
  const child = run("gunicorn", [...args, "--log-level", "critical", "hello_wsgi:application"], directory);
  return { child, socket };
}

async function werkzeug(directory) {
  const socket = path.join(directory, "app.sock");
  const program = `import logging, sys; sys.path.insert(0, ${JSON.stringify(APPS)})
logging.getLogger("werkzeug").setLevel(logging.ERROR)
from hello_wsgi import application
from werkzeug.serving import run_simple
run_simple("unix://${socket}", 0, application)`;
  return { child: run(python, ["-c", program], directory), socket };
}

/** Sends `requests` in turn on a few clients; with `isKept` each keeps its connection, otherwise each request opens one. */
async function load(socket, isKept, count) {
  let left = count;
  const close = isKept ? "" : "Connection: close\r\n";
  const request = `GET / HTTP/1.1\r\nHost: bench\r\n${close}\r\n`;
  const connect = () =>
    new Promise((resolve, reject) => {
      const connection = net.connect(socket);
      connection.once("error", reject);
      connection.once("connect", () => resolve(connection));
    });
  const client = async () => {
    let connection;
    while (left-- > 0) {
      connection ??= await connect();
      connection.write(request);
      let text = "";
      while (!text.endsWith("Hello World!\n")) {
        const [bytes] = await once(connection, "data");
        text += bytes;
      }
      if (isKept) continue;
      connection.destroy();
      connection = undefined;
    }
    connection?.destroy();
  };
  await Promise.all(Array.from({ length: clients }, client));
}

/** Returns these processes' CPU time per request, in microseconds, while `work` sends the requests. */
async function cost(pids, count, work) {
  const before = cpuSnapshot(pids());
  await work();
  return cpuBetween(before, cpuSnapshot(pids())).microseconds / count;
}

const ALONE = [
  { name: "paceline", start: instance, keeps: true },
  { name: "gunicorn, 1 sync worker", start: gunicorn, keeps: false },
  { name: "werkzeug", start: werkzeug, keeps: false },
];

async function measureAlone({ start, keeps }) {
  const directory = mkdtempSync(path.join(tmpdir(), "paceline-wsgi-"));
  try {
    const { child, socket } = await start(directory);
    await untilServing(socket);
    const pids = () => tree(child.pid);
    await wait(SETTLE_MS);
    const idle = memory(pids()).rssMB;
    await load(socket, false, WARM_UP_REQUESTS);
    const sample = { idleMB: idle, closeUs: await cost(pids, requests, () => load(socket, false, requests)) };
    if (keeps) sample.keptUs = await cost(pids, requests, () => load(socket, true, requests));
    // Each further instance adds one gunicorn worker, without another master process.
    const each = Math.min(...pids().map((pid) => memory([pid]).rssMB));
    return { ...sample, afterMB: memory(pids()).rssMB, eachMB: each };
  } finally {
    await endLeftovers();
    rmSync(directory, { recursive: true, force: true });
  }
}

const commandOf = (pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8");

/** Measures one instance and one balancer of a fleet. */
async function measureFleet() {
  const directory = mkdtempSync(path.join(tmpdir(), "paceline-wsgi-"));
  try {
    const port = await freePort();
    const pool = { wsgi: "hello_wsgi:application", python, instances: 1, cwd: APPS };
    writeFileSync(
      path.join(directory, "paceline.config.json"),
      JSON.stringify({ listen: `127.0.0.1:${port}`, ...pool }),
    );
    const fleet = run("sh", [PACELINE, "start", directory, "--log-format", "none"], directory);
    await untilServing(port);
    await wait(SETTLE_MS);
    const pids = tree(fleet.pid);
    const python3 = pids.filter((pid) => commandOf(pid).startsWith("paceline web."));
    const balancer = pids.filter((pid) => commandOf(pid).startsWith("paceline balancer."));
    await keepAliveLoad(port, 1, 16);
    const before = [cpuSnapshot(python3), cpuSnapshot(balancer)];
    const { requests: count, failed } = await keepAliveLoad(port, 5, 16);
    const [ours, theirs] = [python3, balancer].map(
      (of, n) => cpuBetween(before[n], cpuSnapshot(of)).microseconds / count,
    );
    await wait(100);
    return { instanceUs: ours, balancerUs: theirs, instanceMB: memory(python3).rssMB, failed };
  } finally {
    await endLeftovers();
    rmSync(directory, { recursive: true, force: true });
  }
}

const shown = (value) => (value === undefined ? "–" : value.toFixed(1));
const say = (line = "") => process.stdout.write(`${line}\n`);
const WARMED = `Each is measured ${SETTLE_MS / 1000} s after it answers and ${WARM_UP_REQUESTS} requests later.`;

async function compareHello() {
  say(
    `werkzeug ${werkzeugVersion}, gunicorn ${versions.gunicorn}; medians of ${rounds} rounds of ${requests} requests. ${WARMED}`,
  );
  const samples = new Map(ALONE.map(({ name }) => [name, []]));
  const fleets = [];
  for (let round = 0; round < rounds; round++) {
    for (const contestant of ALONE) samples.get(contestant.name).push(await measureAlone(contestant));
    fleets.push(await measureFleet());
  }
  const alone = [...samples].map(([name, of]) => {
    const m = medians(of, ["closeUs", "keptUs", "idleMB", "afterMB", "eachMB"]);
    return [name, ...[m.closeUs, m.keptUs, m.idleMB, m.afterMB, m.eachMB].map(shown)];
  });
  say();
  const header = ["", "close, CPU µs", "kept, CPU µs", "RSS MB idle", "RSS MB after", "RSS MB of one process"];
  say(textTable({ caption: "over its unix socket", header, rows: alone }));
  const m = medians(fleets, ["instanceUs", "balancerUs", "instanceMB", "failed"]);
  say();
  say(
    `Behind one balancer, kept clients: instance ${shown(m.instanceUs)} µs a request and ${shown(m.instanceMB)} MB RSS, balancer ${shown(m.balancerUs)} µs; failed: ${m.failed}`,
  );
}

const djangoVersion = () => ask("import django, sys; print(django.get_version(), 'on Python', sys.version.split()[0])");

async function compareDjango() {
  const version = djangoVersion();
  if (version === undefined) return say("Django is missing (Debian: python3-django)");
  await compareFleets(`Django ${version}`, FLEETS);
}

const YARDSTICK = "gunicorn, sync";

async function compareInTurns() {
  const version = djangoVersion();
  if (version === undefined) return say("Django is missing (Debian: python3-django)");
  const [count, turns, each] = ["processes", "turns", "turn-requests"].map((name) => Number(options[name]));
  const fleets = FLEETS.filter(({ needs }) => needs === undefined || versions[needs] !== undefined);
  const rows = await measureInTurns(fleets, { python, count, requests: each, turns, yardstick: YARDSTICK });
  say();
  say(
    `Django ${version}, ${count} processes a fleet, all up at once; medians of ${turns} turns of ${each} requests, each on a new connection.`,
  );
  const header = ["", "Python, CPU µs a request", "balancer and supervisor", `beside ${YARDSTICK}`, "failed"];
  const shownRows = rows.map((row) => [
    row.name,
    shown(row.servingUs),
    shown(row.othersUs),
    row.ratio.toFixed(3),
    `${row.failed}`,
  ]);
  say(textTable({ caption: "in turns", header, rows: shownRows }));
}

async function compareAsgi() {
  const version = ask(
    "import fastapi, uvicorn, sys; print(fastapi.__version__, 'with uvicorn', uvicorn.__version__, 'on Python', sys.version.split()[0])",
  );
  if (version === undefined) return say("FastAPI or uvicorn is missing (Debian: python3-fastapi, python3-uvicorn)");
  await compareFleets(`FastAPI ${version}`, ASGI_FLEETS);
}

async function compareFleets(name, fleets) {
  const count = Number(options.processes);
  const rows = [];
  for (const fleet of fleets) {
    if (fleet.needs !== undefined && versions[fleet.needs] === undefined) continue;
    const samples = [];
    for (let round = 0; round < rounds; round++)
      samples.push(await measureDjango(fleet, { python, count, requests: Math.ceil(requests / 4) }));
    const keys = ["processes", "idleMB", "afterMB", "idleAllMB", "afterAllMB", "servingUs", "othersUs", "failed"];
    const m = medians(samples, keys);
    rows.push([fleet.name, `${m.processes}`, ...keys.slice(1, 7).map((key) => shown(m[key])), `${m.failed}`]);
  }
  say();
  say(
    `${name}, ${count} processes, one connection per request each; medians of ${rounds} rounds of ${Math.ceil(requests / 4)} requests. ${WARMED}`,
  );
  const of = ["idle", "after load", "with supervisor and balancer: idle", "after load"];
  const header = [
    "",
    "processes",
    ...of.map((when) => `PSS MB ${when}`),
    "CPU µs a request",
    "of supervisor and balancer",
    "failed",
  ];
  say(textTable({ caption: "masters and templates included", header, rows }));
}

const has = (part) => options.only === undefined || options.only === part;
if (has("hello")) await compareHello();
if (has("django")) await compareDjango();
if (has("turns")) await compareInTurns();
if (has("asgi")) await compareAsgi();
