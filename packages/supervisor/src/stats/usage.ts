/** The memory and CPU usage of each process, sampled at an interval; the proportional memory (PSS) only while a client asks for it. */

import { readFile } from "node:fs/promises";
import pidusage from "pidusage";

const SAMPLE_MS = 2000;
/** The interval while no client asks for the figures. */
const UNSEEN_SAMPLE_MS = 10_000;
const SEEN_FOR_MS = 15_000;
/** How soon a new process is sampled, so that clients need not wait for the next interval. */
const SOON_MS = 300;

interface Usage {
  /** When the sample was begun, by performance.now(). */
  at: number;
  rssBytes: number;
  /** Percentage of one core since the previous sample; null for the first. */
  cpuPercent: number | null;
}

export class UsageSampler {
  private samples = new Map<number, Usage>();
  private readPids = new Set<number>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  /**
   * @param groups the processes that are counted as one, by their leader's pid
   * @param hooks `onSample` is called after each sample; while `isPressing`, samples are as frequent as for a client
   */
  constructor(
    private readonly groups: () => ReadonlyMap<number, readonly number[]>,
    private readonly problem: (error: unknown) => void,
    private readonly hooks: { onSample?(): void; isPressing?(): boolean } = {},
  ) {}

  start(): void {
    // Without getconf it uses defaults, and would say so on stderr.
    process.env.PIDUSAGE_SILENT ??= "1";
    this.arm(SAMPLE_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    // pidusage keeps the last reading of each pid, and a timer.
    pidusage.clear();
  }

  /** Takes the next sample soon. */
  soon(): void {
    if (this.timer !== undefined && !this.busy) this.arm(SOON_MS);
  }

  of(pid: number): Usage | undefined {
    const wasSeen = this.isSeen();
    this.askedAt = performance.now();
    // The last sample may be old, or the first.
    if (!wasSeen) this.soon();
    return this.samples.get(pid);
  }

  /** Returns the last sample without asking for more. */
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
      const pids = [...groups.values()].flat();
      // pidusage throws for an empty list; a pid that is gone is null, contrary to its type.
      const readings = pids.length === 0 ? {} : ((await pidusage(pids)) as Record<string, Reading | null>);
      this.take(at, groups, readings);
    } catch (error) {
      // All of them have just ended.
      if ((error as Error).message !== "No matching pid found") this.problem(error);
    } finally {
      this.busy = false;
      this.hooks.onSample?.();
      this.arm(this.isSeen() || this.hooks.isPressing?.() ? SAMPLE_MS : UNSEEN_SAMPLE_MS);
    }
  }

  private take(
    at: number,
    groups: ReadonlyMap<number, readonly number[]>,
    readings: Record<string, Reading | null>,
  ): void {
    const samples = new Map<number, Usage>();
    for (const [leader, pids] of groups) {
      if (!pids.some((pid) => readings[pid] != null)) continue;
      let rssBytes = 0;
      let cpuPercent = 0;
      for (const pid of pids) {
        rssBytes += readings[pid]?.memory ?? 0;
        // The first reading of a process has no previous one to compare with.
        if (this.readPids.has(pid)) cpuPercent += readings[pid]?.cpu ?? 0;
      }
      samples.set(leader, { at, rssBytes, cpuPercent: this.samples.has(leader) ? cpuPercent : null });
    }
    this.samples = samples;
    this.readPids = new Set(Object.keys(readings).map(Number));
  }
}

interface Reading {
  cpu: number;
  memory: number;
}

/** One reading makes the kernel scan all pages of a process, so readings are rare. */
const PSS_SAMPLE_MS = 15_000;
/** How long readings continue after the last request. */
const PSS_SEEN_FOR_MS = 60_000;

/** The proportional memory (PSS) of each process, in which shared pages count in part. Read only while somebody asks for it. */
export class PssSampler {
  private samples = new Map<number, PssSample>();
  /** The leaders that are asked for one by one, and when they were last. */
  private readonly followed = new Map<number, number>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = Number.NEGATIVE_INFINITY;
  private stopped = false;

  /** @param groups the processes that are counted as one, by their leader's pid; without /proc there is no PSS */
  constructor(private readonly groups: () => ReadonlyMap<number, readonly number[]>) {}

  /** Returns bytes; null while unknown. The first call starts the readings. */
  of(pid: number): number | null {
    this.askedAt = performance.now();
    this.begin();
    return this.samples.get(pid)?.bytes ?? null;
  }

  /** Returns the RSS at the moment of the last reading. */
  rssThen(pid: number): number | null {
    return this.samples.get(pid)?.rssBytes ?? null;
  }

  /** Like `of`, but reads no other process. `at` is the time of the reading, by performance.now(). */
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
    // Reads one after another: a status can wait for them, but requests cannot wait for the kernel's locks.
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

/** Reads `/proc/PID/smaps_rollup`. Returns null if the process is gone or not ours, or there is no such file. */
export async function readRollup(pid: number): Promise<{ pss: number; rss: number | null } | null> {
  try {
    const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
    const pss = parseRollup(text, "Pss");
    return pss === null ? null : { pss, rss: parseRollup(text, "Rss") };
  } catch {
    return null;
  }
}

/** Parses the line `Pss: 9472 kB`; returns bytes. */
export function parseRollup(rollup: string, key: "Pss" | "Rss"): number | null {
  const [, kilobytes] = new RegExp(`^${key}:\\s+(\\d+) kB$`, "m").exec(rollup) ?? [];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
