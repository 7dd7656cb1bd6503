/**
 * Two boxes, each a network namespace with a fleet, behind HAProxy with the configuration of `paceline export haproxy`, under load: one box
 * is reloaded, restarted and stopped (no request is lost), killed, and cut off from the network (what that costs).
 *
 * npm run soak:two-boxes -- --seconds 10 --clients 16 --runtime bun --front haproxy|nginx --only "cut off"
 *
 * Needs root, network namespaces and haproxy; without them it prints that and does nothing. --short is for the tests.
 */
import { execFile, execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs, promisify } from "node:util";
import { controlStatus, endsWithProgram, PACELINE, verdict, wait } from "./support.mjs";

const { values } = parseArgs({
  options: {
    runtime: { type: "string", default: "bun" },
    seconds: { type: "string", default: "10" },
    clients: { type: "string", default: "16" },
    short: { type: "boolean", default: false },
    front: { type: "string", default: "haproxy" },
    only: { type: "string" },
  },
});
const { runtime, short: isShort } = values;
const isNginx = values.front === "nginx";
const SECONDS = isShort ? 1 : Number(values.seconds);
const CLIENTS = isShort ? 6 : Number(values.clients);
const PAUSE_MS = isShort ? 60 : 5;
const FRONT_PORT = 8080;
const BOX_PORT = 8080;
const AGENT_PORT = 9999;
const PRE_DRAIN_MS = 3000;
const READY_WITHIN_MS = 60_000;
const BOXES = [1, 2];

const execute = promisify(execFile);
const folder = mkdtempSync(path.join(tmpdir(), "paceline-boxes-"));
const tag = `pl${process.pid}`;
const FRONT = `${tag}f`;
const nameOf = (box) => `${tag}b${box}`;
const addressOf = (box) => `10.77.${box}.2`;
const frontAddressOf = (box) => `10.77.${box}.1`;
/** The front's end of the cable to a machine. */
const cableOf = (box) => `${tag}c${box}`;

const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
const within = (name, command) => ["ip", ["netns", "exec", name, ...command]];

/** Returns why this cannot run here; undefined if it can. */
function obstacle() {
  if (process.getuid?.() !== 0) return "it needs root";
  for (const program of ["ip", values.front]) {
    try {
      execFileSync(program, ["-V"], {
        stdio: "ignore",
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
      });
    } catch (error) {
      if (error.code === "ENOENT") return `${program} is not installed`;
    }
  }
  try {
    ip("netns", "add", FRONT);
  } catch (error) {
    return `network namespaces cannot be made here: ${String(error.stderr ?? error).trim()}`;
  }
  return undefined;
}

function makeNetwork() {
  ip("-n", FRONT, "link", "set", "lo", "up");
  for (const box of BOXES) {
    const [name, cable] = [nameOf(box), cableOf(box)];
    ip("netns", "add", name);
    ip("-n", FRONT, "link", "add", cable, "type", "veth", "peer", "name", "up0", "netns", name);
    ip("-n", FRONT, "address", "add", `${frontAddressOf(box)}/30`, "dev", cable);
    ip("-n", name, "address", "add", `${addressOf(box)}/30`, "dev", "up0");
    for (const [of, device] of [
      [FRONT, cable],
      [name, "up0"],
      [name, "lo"],
    ])
      ip("-n", of, "link", "set", device, "up");
  }
}

/** Returns the processes in a namespace, which are all ours. */
function processesIn(name) {
  try {
    return execFileSync("ip", ["netns", "pids", name], { encoding: "utf8" }).split("\n").filter(Boolean).map(Number);
  } catch {
    return []; // The namespace was never created.
  }
}

function killAllIn(name) {
  for (const pid of processesIn(name)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has exited in the meantime.
    }
  }
}

function cleanUp() {
  for (const name of [FRONT, ...BOXES.map(nameOf)]) {
    // More than once: a supervisor that is not killed yet replaces killed processes.
    for (let tries = 0; tries < 50 && processesIn(name).length > 0; tries++) killAllIn(name);
    try {
      ip("netns", "delete", name);
    } catch {
      // The namespace was never created.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

const boxFolder = (box) => path.join(folder, `box${box}`);
const runDirOf = (box) => path.join(boxFolder(box), ".paceline");
const ledgerOf = (box) => path.join(folder, `ledger${box}`);

function writeBox(box) {
  mkdirSync(boxFolder(box));
  writeFileSync(ledgerOf(box), "");
  writeFileSync(
    path.join(boxFolder(box), "paceline.config.json"),
    JSON.stringify({
      name: "shop",
      runtime,
      app: new URL("two-boxes-app.mjs", import.meta.url).pathname,
      instances: 2,
      env: { BOX: `box${box}`, LEDGER: ledgerOf(box) },
      listen: `${addressOf(box)}:${BOX_PORT}`,
      agentCheck: `${addressOf(box)}:${AGENT_PORT}`,
      minReadyMs: 200,
      restartSupervisor: false,
      balancer: { probes: true, preDrainMs: PRE_DRAIN_MS, trustedProxies: [frontAddressOf(box)] },
    }),
  );
}

const environment = (box) => ({ ...process.env, PACELINE_RUNTIME: runtime, PACELINE_RUN_DIR: runDirOf(box) });

const paceline = (box, ...args) =>
  execute(PACELINE, args, { cwd: boxFolder(box), env: environment(box), timeout: READY_WITHIN_MS });

function startBox(box) {
  const [program, args] = within(nameOf(box), [PACELINE, "start", "--detach"]);
  return execute(program, args, { cwd: boxFolder(box), env: environment(box), timeout: READY_WITHIN_MS });
}

/** How HAProxy sees the machines, for example `box1 UP 100`. */
async function boxesSeen() {
  const csv = await new Promise((resolve, reject) => {
    const [program, args] = within(FRONT, [process.execPath, "-e", ASK_STATS, path.join(folder, "stats.sock")]);
    execFile(program, args, { timeout: 10_000 }, (error, stdout) => (error ? reject(error) : resolve(stdout)));
  });
  const [head = "", ...rows] = csv.split("\n");
  const names = head.replace(/^# /, "").split(",");
  const at = (row, name) => row.split(",")[names.indexOf(name)];
  const servers = rows.filter((row) => at(row, "type") === "2");
  return Object.fromEntries(servers.map((row) => [at(row, "svname"), `${at(row, "status")} ${at(row, "weight")}`]));
}

const ASK_STATS =
  'require("node:net").connect(process.argv[1]).on("connect", function () { this.end("show stat\\n"); }).pipe(process.stdout)';

async function until(what, holds) {
  for (const deadline = performance.now() + READY_WITHIN_MS; ; await wait(100)) {
    if (await holds()) return;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${READY_WITHIN_MS / 1000} s`);
  }
}

/** nginx shows no states, and treats a failed server as down for 2 s. */
const NGINX_FORGETS_MS = 3000;

const seenAs = (box, state) => (isNginx ? wait(NGINX_FORGETS_MS) : haproxySees(box, state));

const haproxySees = (box, state) =>
  until(`box${box} ${state}`, async () => new RegExp(state).test((await boxesSeen())[`box${box}`]));

async function startNginx() {
  const boxes = BOXES.flatMap((box) => ["--box", `box${box}=${addressOf(box)}`]);
  const { stdout } = await paceline(1, "export", "nginx", ...boxes, "--bind", `127.0.0.1:${FRONT_PORT}`);
  writeFileSync(path.join(folder, "fleet.conf"), stdout);
  const main = "daemon off; pid nginx.pid; error_log stderr; events {} http { access_log off; include fleet.conf; }\n";
  writeFileSync(path.join(folder, "nginx.conf"), main);
  const [program, args] = within(FRONT, ["nginx", "-p", folder, "-c", path.join(folder, "nginx.conf")]);
  const log = openSync(path.join(folder, "nginx.log"), "a");
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  endsWithProgram(spawn(program, args, { stdio: ["ignore", log, log], env }));
  await until("the front", isServing);
}

/** Whether the front forwards a request. */
async function isServing() {
  const [program, args] = within(FRONT, ["curl", "-fs", "-m", "5", `http://127.0.0.1:${FRONT_PORT}/`]);
  return execute(program, args).then(
    () => true,
    () => false,
  );
}

async function startFront() {
  if (isNginx) return startNginx();
  const boxes = BOXES.flatMap((box) => ["--box", `box${box}=${addressOf(box)}`]);
  const { stdout } = await paceline(1, "export", "haproxy", ...boxes, "--bind", `127.0.0.1:${FRONT_PORT}`);
  const file = path.join(folder, "haproxy.cfg");
  // Only needed for what this program prints.
  const shown = stdout.replace(/^global$/m, `global\n    stats socket ${path.join(folder, "stats.sock")}`);
  // The machine of the tests is busy, which must not make a server count as down.
  writeFileSync(file, isShort ? shown.replace(/timeout (check|connect) \d+s/g, "timeout $1 20s") : shown);
  const log = openSync(path.join(folder, "haproxy.log"), "a");
  const [program, args] = within(FRONT, ["haproxy", "-db", "-f", file]);
  const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
  endsWithProgram(spawn(program, args, { stdio: ["ignore", log, log], env }));
  for (const box of BOXES)
    await until("the front", async () => /^UP/.test((await boxesSeen().catch(() => ({})))[`box${box}`]));
}

function startLoad() {
  const script = new URL("two-boxes-load.mjs", import.meta.url).pathname;
  const [program, args] = within(FRONT, [process.execPath, script, FRONT_PORT, CLIENTS, PAUSE_MS].map(String));
  const child = endsWithProgram(spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] }));
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (piece) => {
    output += piece;
  });
  const lines = () =>
    output
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  return {
    begin: (phase) => child.stdin.write(`${phase}\n`),
    async end() {
      const exited = new Promise((resolve) => child.once("exit", resolve));
      child.stdin.end();
      await exited;
      return { phases: lines().filter(({ phase }) => phase), done: lines().flatMap(({ done }) => done ?? []) };
    },
  };
}

/** What is done to the first machine in each phase; the second one continues. */
const PHASES = [
  { name: "calm", isRolled: true, isLong: true, act: () => wait(1000 * SECONDS) },
  { name: "reload", isRolled: true, act: () => paceline(1, "reload") },
  { name: "restart", isRolled: true, isLong: true, act: () => paceline(1, "restart") },
  {
    name: "stop and start",
    isRolled: true,
    async act() {
      await paceline(1, "stop");
      await seenAs(1, "^(DOWN|MAINT|DRAIN)");
      if (!isShort) await wait(1000 * SECONDS);
      await startBox(1);
      await seenAs(1, "^UP");
    },
  },
  {
    name: "killed",
    isRolled: false,
    async act() {
      killAllIn(nameOf(1));
      killAllIn(nameOf(1));
      await seenAs(1, "^DOWN");
      if (isShort) return;
      await wait(1000 * SECONDS);
      await startBox(1);
      await seenAs(1, "^UP");
    },
  },
  {
    name: "cut off",
    isRolled: false,
    isLong: true,
    async act() {
      // The machine receives from the front but cannot send anything, not even that it is gone.
      ip("-n", nameOf(1), "route", "add", "blackhole", `${frontAddressOf(1)}/32`);
      await seenAs(1, "^DOWN");
      await wait(1000 * Math.max(SECONDS, 10));
      ip("-n", nameOf(1), "route", "delete", "blackhole", `${frontAddressOf(1)}/32`);
      await seenAs(1, "^UP");
    },
  },
];

const reason = obstacle();
if (reason === undefined) await main();
else process.stdout.write(`skipped: ${reason}\n`);

async function main() {
  process.once("exit", cleanUp);
  makeNetwork();
  for (const box of BOXES) writeBox(box);
  for (const box of BOXES) await startBox(box);
  await startFront();
  const load = startLoad();
  const isWanted = ({ name, isLong = false }) => ["calm", values.only ?? name].includes(name) && !(isShort && isLong);
  const phases = PHASES.filter(isWanted);
  for (const { name, act } of phases) {
    load.begin(name);
    await act();
    if (isShort && name === "killed") continue;
    await until("everything to be ready", async () => {
      const status = await controlStatus(path.join(runDirOf(1), "control.sock")).catch(() => undefined);
      return status?.state === "running" && status.pools.every(({ ready, wanted }) => ready === wanted);
    });
  }
  const { phases: counted, done } = await load.end();
  report(phases, counted);
  checkLedgers(done);
  // The front still runs, and keeps this program running.
  process.exit();
}

function report(phases, counted) {
  for (const { name, isRolled } of phases) {
    const { get, post, boxes, notes } = counted.find(({ phase }) => phase === name);
    const shares = BOXES.map((box) => `box${box} ${boxes[`box${box}`] ?? 0}`).join(", ");
    const figures = `${get.ok + post.ok} requests (${shares}), longest ${Math.max(get.longestMs, post.longestMs)} ms`;
    const lost = `lost: GET ${get.lost}, POST ${post.lost}${notes.length === 0 ? "" : ` (${[...new Set(notes)].join(", ")})`}`;
    // A POST that the lost machine may have begun is not sent to the other one.
    verdict(get.lost === 0 && (!isRolled || post.lost === 0) && get.ok > 0, `${name}: ${figures}; ${lost}`);
  }
}

function checkLedgers(done) {
  const times = new Map();
  for (const box of BOXES)
    for (const id of readFileSync(ledgerOf(box), "utf8").split("\n").filter(Boolean))
      times.set(id, (times.get(id) ?? 0) + 1);
  const missing = done.filter((id) => !times.has(id)).length;
  const twice = [...times.values()].filter((count) => count > 1).length;
  verdict(
    missing === 0 && twice === 0,
    `${done.length} POSTs with a 200: ${missing} were not run, ${twice} POSTs ran twice`,
  );
}
