/** Measures the load of autoscaled pools once in each period: CPU time from /proc, the rest from the reports of processes. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { attempt, readStat } from "@paceline/wire/proc";
import { type Pool, processId } from "../core/fleet.js";
import type { PoolLoad } from "../core/scaling-needs.js";
import { slotServes } from "../core/serving.js";
import type { Children } from "../processes/children.js";
import { type LiveProcess, processGroups } from "../processes/live-process.js";
import type { UsageSampler } from "../stats/usage.js";

interface LoadSamplesOptions {
  children: Pick<Children, "get" | "alive">;
  usage: Pick<UsageSampler, "of">;
}

/** The CPU time of each process at one moment. */
interface CpuTimes {
  at: number;
  byPid: Map<number, number>;
}

export class LoadSamples {
  /** By pool. */
  private readonly times = new Map<string, CpuTimes>();
  private box: { busy: number; all: number } | undefined;
  private boxPercent: number | null = null;
  private readonly cores = availableParallelism();

  constructor(private readonly options: LoadSamplesOptions) {}

  /** Starts a period: values that all pools share are measured once. */
  begin(): void {
    const box = boxTimes();
    const { box: before } = this;
    const all = before === undefined ? 0 : box.all - before.all;
    this.boxPercent = before === undefined || all <= 0 ? null : (100 * (box.busy - before.busy)) / all;
    this.box = box;
  }

  /** Forgets pools that are no longer measured. */
  keepOnly(pools: ReadonlySet<string>): void {
    for (const pool of this.times.keys()) if (!pools.has(pool)) this.times.delete(pool);
  }

  /** Returns the load of a pool since its last sample. */
  of(pool: Pool, now: number): PoolLoad {
    const { children } = this.options;
    const processes = pool.slots.flatMap((slot) => {
      const counts = slot.index <= pool.wanted && slotServes(slot);
      const child = counts ? children.get(processId(slot.name, slot.member.process.attempt)) : undefined;
      return child === undefined || child.exit !== null ? [] : [child];
    });
    const sum = (of: (child: LiveProcess) => number) => processes.reduce((all, child) => all + of(child), 0);
    const loads = [...children.alive()].flatMap(({ stats }) => stats.relayedLoad(pool.name, now) ?? []);
    const lag = ({ stats: { last } }: LiveProcess) =>
      last?.role === "instance" && last.inFlight > 0 ? last.eventLoopLagMs : 0;
    return {
      ready: processes.length,
      throughput: this.throughput(loads, () => sum(({ stats }) => stats.requestsPerSecond(now))),
      inFlight: loads.reduce((all, { inFlight }) => all + inFlight, 0),
      waiting: loads.reduce((all, { waiting }) => all + waiting, 0),
      lagMs: processes.length === 0 ? 0 : sum(lag) / processes.length,
      cpuPercent: this.cpuPercent(pool.name, processes, now),
      boxPercent: this.boxPercent,
      cores: this.cores,
      perInstance: processes[0]?.maxInFlight ?? null,
    };
  }

  /** Returns the responses that clients got per second. If the balancers do not report them, uses the instances' counts. */
  private throughput(loads: readonly { perSecond: number | null }[], reported: () => number): number {
    if (loads.length === 0 || loads.some(({ perSecond }) => perSecond === null)) return reported();
    return loads.reduce((all, { perSecond }) => all + (perSecond ?? 0), 0);
  }

  /** Returns the CPU time of the processes since the last call; null if one of them was not measured before. */
  private cpuPercent(pool: string, processes: readonly LiveProcess[], now: number): number | null {
    const before = this.times.get(pool);
    const byPid = new Map<number, number>();
    let percent = 0;
    let isKnown = before !== undefined && now > before.at && processes.length > 0;
    for (const [leader, pids] of processGroups(processes)) {
      // A negative number stands for the shim of a command, whose CPU time does not count.
      if (leader < 0) continue;
      for (const pid of pids) {
        const cpuMs = readStat(pid)?.cpuMs;
        if (cpuMs === undefined) continue;
        byPid.set(pid, cpuMs);
        percent += (100 * Math.max(0, cpuMs - (before?.byPid.get(pid) ?? cpuMs))) / (now - (before?.at ?? 0));
      }
      if (before?.byPid.has(pids[0] ?? leader) !== true) isKnown = false;
    }
    this.times.set(pool, { at: now, byPid });
    if (byPid.size > 0) return isKnown ? percent : null;
    // Without /proc.
    const usages = processes.map(({ pid }) => (pid === null ? null : (this.options.usage.of(pid)?.cpuPercent ?? null)));
    return usages.includes(null) ? null : usages.reduce<number>((all, each) => all + (each ?? 0), 0);
  }
}

/** Returns the CPU time of all CPUs since the machine started, in any unit. */
export function boxTimes(): { busy: number; all: number } {
  const [, ...ticks] =
    (attempt(() => readFileSync("/proc/stat", "latin1")) ?? "").split("\n", 1)[0]?.split(/\s+/) ?? [];
  if (ticks.length >= 8) {
    // The fields are user nice system idle iowait irq softirq steal; guest time is already part of user time.
    const [user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, softirq = 0, steal = 0] = ticks.map(Number);
    const busy = user + nice + system + irq + softirq + steal;
    return { busy, all: busy + idle + iowait };
  }
  const times = cpus().map((cpu) => cpu.times);
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0);
  return { all, busy: all - times.reduce((sum, { idle }) => sum + idle, 0) };
}
