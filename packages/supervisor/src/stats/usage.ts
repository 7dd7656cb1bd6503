/** The memory and CPU usage of each process, sampled at an interval; the proportional memory (PSS) only while a client asks for it. */

import { readFile } from "node:fs/promises";
import { readStat } from "@paceline/wire/proc";

const SAMPLE_MS = 2000;
/** The interval while no client asks for the figures. */
const UNSEEN_SAMPLE_MS = 10_000;
const SEEN_FOR_MS = 15_000;
/** How soon a new process is sampled, so that clients need not wait for the next interval. */
const SOON_MS = 300;

interface Usage {
  /** When the sample was started, a value of performance.now(). */
  at: number;
  rssBytes: number;
  /** Percentage of one core since the previous sample; null for the first sample. */
  cpuPercent: number | null;
}

export class UsageSampler {
  private samples = new Map<number, Usage>();
  private readonly readings = process.platform === "linux" ? new ProcReadings() : new PidusageReadings();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  /**
   * @param groups the processes that count as one, by the pid of their leader
   * @param hooks `onSample` is called after each sample; while `isPressing`, samples are as frequent as for a client
   */
  constructor(
    private readonly groups: () => ReadonlyMap<number, readonly number[]>,
    private readonly problem: (error: unknown) => void,
    private readonly hooks: { onSample?(): void; isPressing?(): boolean } = {},
  ) {}

  start(): void {
    this.arm(SAMPLE_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    this.readings.stop();
  }

  /** Takes the next sample soon. */
  soon(): void {
    if (this.timer !== undefined && !this.busy) this.arm(SOON_MS);
  }

  of(pid: number): Usage | undefined {
    const wasSeen = this.isSeen();
    this.askedAt = performance.now();
    // The last sample may be old, or may not exist yet.
    if (!wasSeen) this.soon();
    return this.samples.get(pid);
  }

  /** Returns the last sample without requesting more samples. */
  peek(pid: number): Usage | undefined {
    return this.samples.get(pid);
  }

  private isSeen(): boolean {
    return performance.now() - this.askedAt < SEEN_FOR_MS;
  }

  private arm(delayMs: number): void {
    clearTimeout(this.timer);
    if (!this.stopped) this.timer = setTimeout(() => void this.sample(), delayMs);
  }

  private async sample(): Promise<void> {
    this.busy = true;
    try {
      const groups = this.groups();
      const at = performance.now();
      this.take(at, groups, await this.readings.of([...groups.values()].flat()));
    } catch (error) {
      this.problem(error);
    } finally {
      this.busy = false;
      this.hooks.onSample?.();
      this.arm(this.isSeen() || this.hooks.isPressing?.() ? SAMPLE_MS : UNSEEN_SAMPLE_MS);
    }
  }

  private take(
    at: number,
    groups: ReadonlyMap<number, readonly number[]>,
    readings: ReadonlyMap<number, Reading>,
  ): void {
    const samples = new Map<number, Usage>();
    for (const [leader, pids] of groups) {
      const found = pids.flatMap((pid) => readings.get(pid) ?? []);
      if (found.length === 0) continue;
      const rssBytes = found.reduce((sum, reading) => sum + reading.rssBytes, 0);
      const cpuPercent = found.reduce((sum, reading) => sum + reading.cpuPercent, 0);
      samples.set(leader, { at, rssBytes, cpuPercent: this.samples.has(leader) ? cpuPercent : null });
    }
    this.samples = samples;
  }
}

interface Reading {
  rssBytes: number;
  /** Since the previous reading of the process; 0 for the first reading. */
  cpuPercent: number;
}

/** Reads /proc directly: pidusage keeps a descriptor open for each process, and starts two programs to get constants. */
class ProcReadings {
  private last = new Map<number, { at: number; startTime: string; cpuMs: number }>();

  of(pids: readonly number[]): ReadonlyMap<number, Reading> {
    const readings = new Map<number, Reading>();
    const last: typeof this.last = new Map();
    for (const pid of pids) {
      const at = performance.now();
      const stat = readStat(pid);
      if (stat === undefined) continue;
      const { startTime, cpuMs, rssBytes } = stat;
      const before = this.last.get(pid);
      const isSame = before?.startTime === startTime && at > before.at;
      readings.set(pid, { rssBytes, cpuPercent: isSame ? (100 * (cpuMs - before.cpuMs)) / (at - before.at) : 0 });
      last.set(pid, { at, startTime, cpuMs });
    }
    this.last = last;
    return readings;
  }

  stop(): void {}
}

/** Reads through pidusage, where there is no /proc. */
class PidusageReadings {
  private readPids = new Set<number>();
  private pidusage: typeof import("pidusage") | undefined;

  async of(pids: readonly number[]): Promise<ReadonlyMap<number, Reading>> {
    const readings = new Map<number, Reading>();
    // pidusage throws for an empty list.
    if (pids.length === 0) return readings;
    this.pidusage ??= (await import("pidusage")).default;
    const found = await this.pidusage([...pids]).catch((error: Error) => {
      // All of them have just exited.
      if (error.message !== "No matching pid found") throw error;
    });
    for (const pid of pids) {
      // A pid that is gone is null, contrary to its type.
      const { memory, cpu } = found?.[pid] ?? {};
      if (memory === undefined || cpu === undefined) continue;
      // The first reading of a process has no previous one to compare with.
      readings.set(pid, { rssBytes: memory, cpuPercent: this.readPids.has(pid) ? cpu : 0 });
    }
    this.readPids = new Set(readings.keys());
    return readings;
  }

  /** pidusage keeps the last reading of each pid, and a timer. */
  stop(): void {
    this.pidusage?.clear();
  }
}

/** For one reading, the kernel scans all pages of a process, so readings are rare. */
const PSS_SAMPLE_MS = 15_000;
/** How long readings continue after the last request. */
const PSS_SEEN_FOR_MS = 60_000;

/** The proportional memory (PSS) of each process, which divides shared pages among the processes that share them. It is only read while a client asks for it. */
export class PssSampler {
  private samples = new Map<number, PssSample>();
  /** The leaders whose figures are requested one at a time, and when each was last requested. */
  private readonly followed = new Map<number, number>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  /** @param groups the processes that count as one, by the pid of their leader; without /proc there is no PSS */
  constructor(private readonly groups: () => ReadonlyMap<number, readonly number[]>) {}

  /** Returns bytes; null while unknown. The first call starts the readings. */
  of(pid: number): number | null {
    this.askedAt = performance.now();
    this.begin();
    return this.samples.get(pid)?.bytes ?? null;
  }

  /** Returns the RSS in bytes at the time of the last reading. */
  rssThen(pid: number): number | null {
    return this.samples.get(pid)?.rssBytes ?? null;
  }

  /** Like `of`, but reads no other process. `at` is the time of the reading, a value of performance.now(). */
  follow(pid: number): { at: number; bytes: number } | null {
    this.followed.set(pid, performance.now());
    this.begin();
    return this.samples.get(pid) ?? null;
  }

  private begin(): void {
    if (this.timer === undefined && !this.busy && !this.stopped) void this.sample();
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async sample(): Promise<void> {
    this.busy = true;
    this.timer = undefined;
    const samples = new Map<number, PssSample>();
    const isAsked = performance.now() - this.askedAt <= PSS_SEEN_FOR_MS;
    // Reads one process after another: a status can wait for that, but requests cannot wait for the kernel's locks.
    for (const [leader, pids] of this.groups()) {
      if (!isAsked && !this.followed.has(leader)) continue;
      const at = performance.now();
      for (const pid of pids) {
        const read = await readRollup(pid);
        if (read === null) continue;
        const { bytes = 0, rssBytes = 0 } = samples.get(leader) ?? {};
        samples.set(leader, { at, bytes: bytes + read.pss, rssBytes: rssBytes + (read.rss ?? 0) });
      }
    }
    this.samples = samples;
    this.busy = false;
    const since = performance.now() - PSS_SEEN_FOR_MS;
    for (const [leader, at] of this.followed) if (at < since) this.followed.delete(leader);
    if (this.stopped || (this.askedAt < since && this.followed.size === 0)) return;
    this.timer = setTimeout(() => void this.sample(), PSS_SAMPLE_MS);
    this.timer.unref();
  }
}

interface PssSample {
  at: number;
  bytes: number;
  rssBytes: number;
}

/** Reads `/proc/PID/smaps_rollup` (proc(5)). Returns null if the process is gone or not ours, or there is no such file. */
export async function readRollup(pid: number): Promise<{ pss: number; rss: number | null } | null> {
  try {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
    const pss = parseRollup(text, "Pss");
    return pss === null ? null : { pss, rss: parseRollup(text, "Rss") };
  } catch {
    return null;
  }
}

/** Parses a line such as `Pss: 9472 kB`; returns bytes. */
export function parseRollup(rollup: string, key: "Pss" | "Rss"): number | null {
  const [, kilobytes] = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(rollup) ?? [];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
