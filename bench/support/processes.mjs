/** Reads the cost of processes from /proc: CPU time, RSS and PSS; and restricts them to processors. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks per second of /proc/PID/stat; 100 on every common Linux. */
const TICKS_PER_SECOND = 100;

/** Returns a process and all its descendants. */
export function tree(pid) {
  const children = new Map();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = statOf(entry);
    if (stat === undefined) continue;
    const parent = Number(stat[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const found = [];
  for (const queue = [pid]; queue.length > 0; ) {
    const next = queue.pop();
    found.push(next);
    queue.push(...(children.get(next) ?? []));
  }
  return found;
}

/**
 * Returns the fields of /proc/PID/stat after the command's name: [0] state, [1] parent, [11] utime, [12] stime, [13] cutime, [14]
 * cstime, [19] start time (proc(5)).
 */
function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // It has exited in the meantime.
    return undefined;
  }
}

/** Returns each process's CPU time so far, including its waited-for children: `pid start` → ticks. */
export function cpuSnapshot(pids) {
  const ticks = new Map();
  for (const pid of pids) {
    const stat = statOf(pid);
    if (stat === undefined) continue;
    // The time of an exited process is added to its parent's cutime and cstime, so the sum over a tree loses nothing.
    ticks.set(
      `${pid} ${stat[19]}`,
      [11, 12, 13, 14].reduce((sum, i) => sum + Number(stat[i]), 0),
    );
  }
  return ticks;
}

/**
 * Returns user and system time between two snapshots, in microseconds. A process that started in between counts fully, as does one that
 * exited and was waited for. Others are missing from the sum, so `changed` counts processes that started or exited, and such samples are
 * marked.
 */
export function cpuBetween(before, after) {
  let ticks = 0;
  let changed = 0;
  for (const value of after.values()) ticks += value;
  for (const value of before.values()) ticks -= value;
  for (const key of after.keys()) if (!before.has(key)) changed++;
  for (const key of before.keys()) if (!after.has(key)) changed++;
  return { microseconds: (ticks * 1e6) / TICKS_PER_SECOND, changed };
}

/** Restricts a process with all its threads to these processors, for example `1-3`. */
export function pin(pid, cpus) {
  execFileSync("taskset", ["-acp", cpus, String(pid)], { stdio: "ignore" });
}

/** Returns the sum of RSS and of PSS of these processes, in megabytes. */
export function memory(pids) {
  let rss = 0;
  let pss = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
      pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    } catch {
      // It has exited in the meantime.
    }
  }
  return { rssMB: rss / 1024, pssMB: pss / 1024 };
}
