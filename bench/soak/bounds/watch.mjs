/** Watches what processes take while a row runs, and how much of the machine others use meanwhile. */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { descriptors, rssMB, wait } from "../support.mjs";

const TICKS_A_SECOND = 100;

const SAMPLE_MS = 100;
/** What a process takes for a second is held; what a collector frees sooner is not. */
const HELD_SAMPLES = 10;

/** Takes samples of the processes from now on, until `stop` returns them. */
export function watch(pids) {
  const series = [measure(pids)];
  const timer = setInterval(() => series.push(measure(pids)), SAMPLE_MS);
  return {
    stop() {
      clearInterval(timer);
      series.push(measure(pids));
      return series;
    },
  };
}

/** The most that a process held for a second, in MB. */
export function mostHeldMB(series, process) {
  const mbs = series.map((sample) => sample[process].mb);
  let most = 0;
  for (let at = HELD_SAMPLES; at <= mbs.length; at++) {
    most = Math.max(most, Math.min(...mbs.slice(at - HELD_SAMPLES, at)));
  }
  // One that has just died.
  return mbs.at(-1) === Number.POSITIVE_INFINITY ? Number.POSITIVE_INFINITY : most;
}

export function measure(pids) {
  return Object.fromEntries(
    Object.entries(pids).map(([name, pid]) => {
      try {
        return [name, { mb: rssMB(pid), files: descriptors(pid) }];
      } catch {
        return [name, { mb: Number.POSITIVE_INFINITY, files: 0 }];
      }
    }),
  );
}

/** A process's memory at five instants of the row, in MB: what is held stays, what is garbage goes up and down. */
export function courseOf(series, process) {
  const at = [0, 0.25, 0.5, 0.75, 1].map((part) => series[Math.round(part * (series.length - 1))][process].mb);
  const peak = Math.max(...series.map((sample) => sample[process].mb));
  return `${at.map((mb) => mb.toFixed(0)).join(" ")}, peak ${peak.toFixed(0)}`;
}

/** The processes that have more than `more` descriptors beyond `before` when that time is over. */
export async function unclosed(pids, before, more, withinMs) {
  for (const deadline = Date.now() + withinMs; ; await wait(100)) {
    const now = measure(pids);
    const open = Object.keys(pids).filter((name) => now[name].files > before[name].files + more);
    if (open.length === 0 || Date.now() > deadline)
      return open.map((name) => `${name} has ${now[name].files - before[name].files} more`);
  }
}

/** Returns a function that returns the part of the machine's processors that others than this soak have used since. */
export function watchOthers() {
  const before = { at: performance.now(), others: busyTicks() - ownTicks() };
  return () => {
    const seconds = (performance.now() - before.at) / 1000;
    const ticks = busyTicks() - ownTicks() - before.others;
    return Math.max(0, ticks / TICKS_A_SECOND / seconds / availableParallelism());
  };
}

/** Of all processors since the machine started: user, nice and system. What interrupts take is mostly ours. */
function busyTicks() {
  const [, user, nice, system] = readFileSync("/proc/stat", "utf8").split("\n")[0].split(/\s+/).map(Number);
  return user + nice + system;
}

/** Of this process, its children that were waited for, and all that live and descend from it. */
function ownTicks() {
  const processes = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      processes.set(Number(pid), { parent: Number(fields[1]), fields });
    } catch {
      // It has ended meanwhile.
    }
  }
  const isOurs = (pid) => pid === process.pid || (processes.has(pid) && isOurs(processes.get(pid).parent));
  let ticks = 0;
  for (const [pid, { fields }] of processes) {
    if (!isOurs(pid)) continue;
    ticks += Number(fields[11]) + Number(fields[12]);
    if (pid === process.pid) ticks += Number(fields[13]) + Number(fields[14]);
  }
  return ticks;
}
