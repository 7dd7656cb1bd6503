/**
 * Measures idle instances: `npm run bench:idle`. Starts a fleet of the hello app and prints its PSS and CPU time by kind of
 * process.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { cpuBetween, cpuSnapshot, memory, tree } from "./support/processes.mjs";

const { values: options } = parseArgs({
  options: {
    instances: { type: "string", default: "30" },
    seconds: { type: "string", default: "10,40" },
    port: { type: "string", default: "18930" },
    runtime: { type: "string", default: "bun" },
  },
});

const root = fileURLToPath(new URL("..", import.meta.url));
const runDir = mkdtempSync(path.join(tmpdir(), "paceline-idle-"));
const { instances, port, runtime } = options;
const command = ["packages/supervisor/bin/paceline", "start", "examples/hello/app.ts", "--log-format", "none"];
const settings = ["--instances", instances, "--listen", `127.0.0.1:${port}`, "--run-dir", runDir, "--runtime", runtime];
const fleet = spawn("sh", [...command, ...settings], { cwd: root, stdio: "inherit" });
const ended = new Promise((resolve) => fleet.on("exit", resolve));

/** Returns the kind of a process by its title, such as `paceline web.1 (hello)`. */
function kindOf(pid) {
  if (pid === fleet.pid) return "supervisor";
  const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
  if (line.startsWith("paceline balancer.")) return "balancer";
  return /^paceline \S+\.\d+ /.test(line) ? "instance" : "other";
}

/** Returns the private memory of these processes, in megabytes. */
function ownMB(pids) {
  const kilobytes = (text, name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0);
  const own = pids.map((pid) => {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return kilobytes(text, "Private_Clean") + kilobytes(text, "Private_Dirty");
  });
  return own.reduce((sum, each) => sum + each, 0) / 1024;
}

/** The CPU time by kind of process at the last measurement, and its time in seconds. */
let last;

/** Returns the CPU time of these processes since the last measurement, in milliseconds per second, without that of their start. */
function cpu(kind, pids, second) {
  const before = last?.kinds.get(kind);
  if (before === undefined) return "–";
  return (cpuBetween(before, cpuSnapshot(pids)).microseconds / 1000 / (second - last.second)).toFixed(2);
}

function measure(second) {
  const pids = tree(fleet.pid);
  const kinds = new Map();
  for (const pid of pids) kinds.set(kindOf(pid), [...(kinds.get(kindOf(pid)) ?? []), pid]);
  console.log(
    `\n${`after ${second} s`.padEnd(14)}${["count", "PSS MB", "own MB each", "CPU ms/s"].map((head) => head.padStart(13)).join("")}`,
  );
  for (const [kind, of] of kinds) {
    const cells = [of.length, memory(of).pssMB.toFixed(1), (ownMB(of) / of.length).toFixed(2), cpu(kind, of, second)];
    console.log(`${kind.padEnd(14)}${cells.map((cell) => String(cell).padStart(13)).join("")}`);
  }
  const all = [pids.length, memory(pids).pssMB.toFixed(1), "", cpu("all", pids, second)];
  console.log(`${"all".padEnd(14)}${all.map((cell) => String(cell).padStart(13)).join("")}`);
  const others = othersOf(pids.at(-1), pids);
  if (others > 0) console.log(`${others} other processes share pages of the runtime: PSS is lower than it is alone`);
  last = { second, kinds: new Map([...kinds, ["all", pids]].map(([kind, of]) => [kind, cpuSnapshot(of)])) };
}

/** Returns how many other processes run the same program: they share its pages, which makes the PSS smaller. */
function othersOf(pid, own) {
  const programOf = (each) => {
    try {
      const { dev, ino } = statSync(`/proc/${each}/exe`);
      return `${dev} ${ino}`;
    } catch {
      return undefined; // It has exited, or belongs to another user.
    }
  };
  const program = programOf(pid);
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && !own.includes(Number(name)));
  return pids.filter((each) => programOf(each) === program).length;
}

const startedAt = performance.now();
try {
  for (const second of options.seconds.split(",").map(Number)) {
    await Promise.race([sleep(second * 1000 - (performance.now() - startedAt)), ended]);
    if (fleet.exitCode !== null) throw new Error(`the fleet ended with exit status ${fleet.exitCode}`);
    measure(second);
  }
} finally {
  fleet.kill("SIGTERM");
  await ended;
  rmSync(runDir, { recursive: true, force: true });
}
