/** The memory and CPU usage of each process, sampled at an interval. */
import pidusage from "pidusage";

const SAMPLE_MS = 2000;
/** The interval while no client asks for the figures. */
const UNSEEN_SAMPLE_MS = 10_000;
const SEEN_FOR_MS = 15_000;
/** How soon a new process is sampled, so that clients need not wait for the next interval. */
const SOON_MS = 300;

export interface Usage {
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

  /** @param groups the processes that are counted as one, by their leader's pid */
  constructor(
    private readonly groups: () => ReadonlyMap<number, readonly number[]>,
    private readonly problem: (error: unknown) => void,
  ) {}

  start(): void {
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
      const pids = [...groups.values()].flat();
      // pidusage throws for an empty list; a pid that is gone is null, contrary to its type.
      const readings = pids.length === 0 ? {} : ((await pidusage(pids)) as Record<string, Reading | null>);
      this.take(groups, readings);
    } catch (error) {
      this.problem(error);
    } finally {
      this.busy = false;
      this.arm(this.isSeen() ? SAMPLE_MS : UNSEEN_SAMPLE_MS);
    }
  }

  private take(groups: ReadonlyMap<number, readonly number[]>, readings: Record<string, Reading | null>): void {
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
      samples.set(leader, { rssBytes, cpuPercent: this.samples.has(leader) ? cpuPercent : null });
    }
    this.samples = samples;
    this.readPids = new Set(Object.keys(readings).map(Number));
  }
}

interface Reading {
  cpu: number;
  memory: number;
}
