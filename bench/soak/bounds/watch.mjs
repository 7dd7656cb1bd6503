/** Measures processes while a row runs, and how much other programs use the machine. */
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { descriptors, rssMB, wait } from "../support.mjs";

const TICKS_A_SECOND = 100;

const SAMPLE_MS = 100;
/** Memory that is kept for a second is held; a garbage collector frees the rest sooner. */
const HELD_SAMPLES = 10;

/** Samples the processes until `stop` returns the samples. */
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

/** Returns the maximum that a process held for a second, in MB. */
export function mostHeldMB(series, process) {
  const mbs = series.map((sample) => sample[process].mb);
  let most = 0;
  for (let at = HELD_SAMPLES; at <= mbs.length; at++) {
    most = Math.max(most, Math.min(...mbs.slice(at - HELD_SAMPLES, at)));
  }
  // The process has just died.
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

/** Returns a process's memory at five moments of the row, in MB: held memory stays, garbage rises and falls. */
export function courseOf(series, process) {
  const at = [0, 0.25, 0.5, 0.75, 1].map((part) => series[Math.round(part * (series.length - 1))][process].mb);
  const peak = Math.max(...series.map((sample) => sample[process].mb));
  return `${at.map((mb) => mb.toFixed(0)).join(" ")}, peak ${peak.toFixed(0)}`;
}

/** Returns the processes that have more than `more` descriptors beyond `before` after that time. */
export async function unclosed(pids, before, more, withinMs) {
  for (const deadline = Date.now() + withinMs; ; await wait(100)) {
    const now = measure(pids);
    const open = Object.keys(pids).filter((name) => now[name].files > before[name].files + more);
    if (open.length === 0 || Date.now() > deadline)
      return open.map((name) => `${name} has ${now[name].files - before[name].files} more`);
  }
}

/** Returns a function that returns the share of the machine's CPUs that others have used since this call. */
export function watchOthers() {
  const before = { at: performance.now(), others: busyTicks() - ownTicks() };
  return () => {
    const seconds = (performance.now() - before.at) / 1000;
    const ticks = busyTicks() - ownTicks() - before.others;
    return Math.max(0, ticks / TICKS_A_SECOND / seconds / availableParallelism());
  };
}

/** For all CPUs since the machine booted: user, nice and system. Interrupts are mostly caused by us. */
function busyTicks() {
  const [, user, nice, system] = readFileSync("/proc/stat", "utf8").split("\n")[0].split(/\s+/).map(Number);
  return user + nice + system;
}

/** For this process, its waited-for children, and all live descendants. */
function ownTicks() {
  const processes = new Map();
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      processes.set(Number(pid), { parent: Number(fields[1]), fields });
    } catch {
      // It has exited in the meantime.
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
