/**
 * The kernel's memory limits, by a real kernel: `npm run soak:memory-limits`. Needs root, and a machine whose memory controller belongs to
 * cgroup v2. A fleet runs in a control group as a systemd unit gives it, then in one that is the root of its namespace, as in a container.
 * First one instance grows faster than it can be recycled, then many programs of one instance do.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { PACELINE, startFleet, verdict, wait } from "./support.mjs";

const LIMIT_MB = 100;
/** The limits of its group, in megabytes: where the kernel slows the process down, and where it kills it. */
const HIGH_MB = 132;
const MAX_MB = 164;
const WITHIN_MS = 120_000;
const MOUNT = "/sys/fs/cgroup";
const SUPERVISOR = "paceline-supervisor";
/** The script runs itself inside the group, with the folder of that group. */
const [, own, folder] = process.argv;

if (folder !== undefined) await limits(folder);
else await everyKind();

async function everyKind() {
  if (!wordsIn(path.join(MOUNT, "cgroup.controllers")).includes("memory")) {
    process.stderr.write(`cgroup v2 has no memory controller in ${MOUNT}\n`);
    process.exit(2);
  }
  if (!wordsIn(path.join(MOUNT, "cgroup.subtree_control")).includes("memory"))
    writeFileSync(path.join(MOUNT, "cgroup.subtree_control"), "+memory");
  const kinds = { "a systemd unit": SUPERVISOR, "a container": "" };
  for (const [kind, leaf] of Object.entries(kinds)) {
    process.stdout.write(`in ${kind}\n`);
    const base = path.join(MOUNT, `paceline-soak-${process.pid}`);
    mkdirSync(path.join(base, leaf), { recursive: true });
    const enter = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"';
    const asRoot = [
      "unshare",
      "--cgroup",
      "--mount",
      "sh",
      "-c",
      `umount ${MOUNT} && mount -t cgroup2 none ${MOUNT} && exec "$@"`,
      "sh",
    ];
    const inside = leaf === "" ? [...asRoot, process.execPath, own, MOUNT] : [process.execPath, own, base];
    const code = await new Promise((resolve) => {
      const child = spawn("sh", ["-c", enter, "sh", path.join(base, leaf), ...inside], { stdio: "inherit" });
      child.on("exit", resolve);
    });
    if (code !== 0) process.exitCode = 1;
    const groups = readdirSync(base).filter((each) => each.startsWith("paceline-"));
    for (const each of [...groups.map((name) => path.join(base, name)), base]) await removeGroup(each);
  }
}

/** Killed processes may still be in the group for a moment. */
async function removeGroup(group) {
  for (const until = Date.now() + 10_000; ; await wait(100))
    try {
      return rmdirSync(group);
    } catch (error) {
      if (Date.now() > until) throw error;
    }
}

async function limits(base) {
  const fleet = await startFleet(2, {
    app: fileURLToPath(new URL("memory-limits-app.mjs", import.meta.url)),
    maxMemoryMb: LIMIT_MB,
    hangAfterMs: 15_000,
    drainTimeoutMs: 20_000,
    termTimeoutMs: 1000,
  });
  try {
    const { pools } = await fleet.control();
    const groups = pools[0].instances.map(({ pid }) => wordsIn(`/proc/${pid}/cgroup`)[0].slice("0::".length));
    const folders = groups.map((group) => path.join(base, path.basename(group)));
    const most = folders.map((each) => Number(wordsIn(path.join(each, "memory.max"))[0]) / 1e6);
    const high = folders.map((each) => Number(wordsIn(path.join(each, "memory.high"))[0]) / 1e6);
    verdict(
      most.every((each) => Math.abs(each - MAX_MB) < 0.1),
      `each instance has a group: ${groups.join(" ")}, memory.high ${high.map(Math.round).join(" ")}, memory.max ${most.map(Math.round).join(" ")} MB`,
    );
    for (const target of ["/alone", "/blocked", "/together"]) await grow(fleet, base, target);
  } finally {
    await fleet.stop();
  }
  const left = () => readdirSync(base).filter((name) => /^paceline-.*#/.test(name));
  for (const until = Date.now() + 10_000; left().length > 0 && Date.now() < until; ) await wait(100);
  verdict(left().length === 0, `no group is left after the stop ${left().join(" ")}`);
}

async function grow(fleet, base, target) {
  const before = deathsOf(fleet).length;
  const pids = await readyPids(fleet);
  await ask(fleet.port, target);
  let mostMB = 0;
  let failed = 0;
  let asked = 0;
  const startedAt = Date.now();
  let report;
  for (; report === undefined && Date.now() - startedAt < WITHIN_MS; await wait(50)) {
    for (const name of readdirSync(base))
      if (name.includes("#"))
        mostMB = Math.max(mostMB, Number(wordsIn(path.join(base, name, "memory.current"))[0] ?? 0) / 1e6);
    asked++;
    if (!(await ask(fleet.port, "/"))) failed++;
    if (pids.every((pid) => existsSync(`/proc/${pid}`))) continue;
    const deaths = deathsOf(fleet);
    report = deaths.length > before ? deaths[0] : { kind: "no death", reason: "it was recycled" };
  }
  const seconds = ((Date.now() - startedAt) / 1000).toFixed(1);
  process.stdout.write(`  ${target} ended after ${seconds} s: ${report?.kind}, ${report?.reason}\n`);
  verdict(report !== undefined, `${target}: it is ended`);
  verdict(mostMB <= MAX_MB + 1, `${target}: its group has at most ${mostMB.toFixed(0)} MB, of ${MAX_MB}`);
  verdict(failed === 0, `${target}: ${failed} of ${asked} requests fail meanwhile`);
  // On a slow machine it may be detected as hung before it reaches its memory limit.
  if (target === "/blocked" && report?.kind === "hung" && mostMB > 0.98 * HIGH_MB)
    verdict(report.reason.includes("the kernel slows it down"), `${target}: the report says why it was hung`);
  if (target === "/together")
    verdict(
      report?.kind === "outOfMemory" && report.reason.includes(`hard limit of ${MAX_MB} MB`),
      `${target}: the report says so`,
    );
  for (const until = Date.now() + 30_000; Date.now() < until; await wait(100))
    if ((await readyPids(fleet)).length === 2) return;
  verdict(false, `${target}: the fleet is whole again`);
}

async function readyPids(fleet) {
  const [{ instances }] = (await fleet.control()).pools;
  return instances.filter(({ state, other }) => state === "ready" && !other).map(({ pid }) => pid);
}

/** Newest first. */
function deathsOf({ runDirArgs }) {
  return JSON.parse(execFileSync("sh", [PACELINE, "deaths", "--json", ...runDirArgs], { encoding: "utf8" })).deaths;
}

async function ask(port, target) {
  try {
    return (await fetch(`http://127.0.0.1:${port}${target}`, { signal: AbortSignal.timeout(20_000) })).ok;
  } catch {
    return false;
  }
}

function wordsIn(file) {
  try {
    return readFileSync(file, "utf8").trim().split(/\s+/);
  } catch {
    return []; // The process or its group is gone.
  }
}
