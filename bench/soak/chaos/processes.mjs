/** Finds the processes of a fleet of the chaos soak by their entries in /proc, without asking a supervisor. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";

/** The variable that every process of the fleet's pools has. Its value is the folder of the history. */
export const MARK = "CHAOS_FOLDER";

/** Returns the fleet's processes: its supervisors, balancers, and what its pools run. */
export function findProcesses({ folder, runDir }) {
  const found = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    const environment = read(`/proc/${entry}/environ`);
    const line = read(`/proc/${entry}/cmdline`);
    const [, state, parent] = /^\d+ \(.*\) (\S) (\d+)/s.exec(read(`/proc/${entry}/stat`)) ?? [];
    if (state === undefined || state === "Z" || state === "X") continue;
    const value = (name) => new RegExp(`(?:^|\\0)${name}=([^\\0]*)`).exec(environment)?.[1];
    const pool = value("PACELINE_POOL");
    const isOfPool = environment.includes(`${runDir}/channel.sock`) || value(MARK) === folder;
    const common = { pid: Number(entry), parent: Number(parent), isStopped: state === "T" };
    if (isOfPool && pool !== undefined) {
      const role = pool === "balancer" ? "balancer" : "instance";
      found.push({ ...common, role, pool, name: value("PACELINE_INSTANCE") ?? pool });
    } else if (line.startsWith("paceline supervisor") && (line.includes(runDir) || environment.includes(runDir)))
      found.push({ ...common, role: "supervisor", name: "supervisor" });
  }
  return found;
}

export function read(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // The process has exited, or belongs to another user.
  }
}

/** Returns what a process waits for, for a report: its command line and its files. */
export function surroundingsOf(pid) {
  const [, state = "", parent = ""] = /^\d+ \(.*\) (\S) (\d+)/s.exec(read(`/proc/${pid}/stat`)) ?? [];
  let files = [];
  try {
    files = readdirSync(`/proc/${pid}/fd`).map((fd) => `${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`);
  } catch {
    // It has exited.
  }
  const line = read(`/proc/${pid}/cmdline`).replaceAll("\0", " ");
  return `${line}, state ${state}, parent ${parent}, in ${read(`/proc/${pid}/wchan`)}, files ${files.join(", ")}`;
}

/** Returns the last lines of the fleet's log, for a report. */
export function lastLines(runDir) {
  return read(path.join(runDir, "log/paceline.log"))
    .trimEnd()
    .split("\n")
    .slice(-60)
    .map((line) => `log: ${line}`);
}
