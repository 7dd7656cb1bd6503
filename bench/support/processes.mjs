/** Reads what processes cost from /proc: CPU time, RSS and PSS. */
import { readdirSync, readFileSync } from "node:fs";

/** Clock ticks a second of /proc/PID/stat; 100 on every Linux that matters. */
const TICKS_PER_SECOND = 100;

/** A process and all its descendants. */
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

/** The fields of /proc/PID/stat after the command's name: [0] state, [1] parent, [11] utime, [12] stime (proc(5)). */
function statOf(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    // It ended meanwhile.
    return undefined;
  }
}

/** User and system time of these processes so far, in microseconds. */
export function cpuMicroseconds(pids) {
  let ticks = 0;
  for (const pid of pids) {
    const stat = statOf(pid);
    if (stat !== undefined) ticks += Number(stat[11]) + Number(stat[12]);
  }
  return (ticks * 1e6) / TICKS_PER_SECOND;
}

/** RSS and PSS of these processes together, in megabytes. */
export function memory(pids) {
  let rss = 0;
  let pss = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
      rss += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
      pss += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    } catch {
      // It ended meanwhile.
    }
  }
  return { rssMB: rss / 1024, pssMB: pss / 1024 };
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
