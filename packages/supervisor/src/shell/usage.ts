/** The memory and the share of a core that each process uses, sampled at an interval. */
import pidusage from "pidusage";

const SAMPLE_MS = 2000;
/** While nobody looks, a reading now and then is enough. */
const UNSEEN_SAMPLE_MS = 10_000;
const SEEN_FOR_MS = 15_000;
/** A new process is looked at this long after it came up, so that nobody has to wait for the next sample. */
const SOON_MS = 300;

export interface Usage {
  rssBytes: number;
  /** Of one core, since the sample before; null at the first, which has nothing to compare with. */
  cpuPercent: number | null;
}

export class UsageSampler {
  private readonly samples = new Map<number, Usage>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = 0;
  private stopped = false;

  constructor(
    private readonly pids: () => number[],
    private readonly problem: (error: unknown) => void,
  ) {}

  start(): void {
    this.arm(SAMPLE_MS);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    // pidusage keeps the last reading of each pid and a timer with them.
    pidusage.clear();
  }

  /** Takes the next sample soon. */
  soon(): void {
    if (this.timer !== undefined && !this.busy) this.arm(SOON_MS);
  }

  of(pid: number): Usage | undefined {
    this.askedAt = Date.now();
    return this.samples.get(pid);
  }

  private arm(delayMs: number): void {
    clearTimeout(this.timer);
    if (!this.stopped) this.timer = setTimeout(() => void this.sample(), delayMs);
  }

  private async sample(): Promise<void> {
    this.busy = true;
    try {
      const pids = this.pids();
      for (const pid of this.samples.keys()) if (!pids.includes(pid)) this.samples.delete(pid);
      // An empty list throws; a pid that is gone is null in the answer, whatever its type says.
      if (pids.length > 0) this.take((await pidusage(pids)) as Record<string, Reading | null>);
    } catch (error) {
      this.problem(error);
    } finally {
      this.busy = false;
      this.arm(Date.now() - this.askedAt < SEEN_FOR_MS ? SAMPLE_MS : UNSEEN_SAMPLE_MS);
    }
  }

  private take(readings: Record<string, Reading | null>): void {
    for (const [key, reading] of Object.entries(readings)) {
      const pid = Number(key);
      if (reading === null) {
        this.samples.delete(pid);
        continue;
      }
      const first = !this.samples.has(pid);
      this.samples.set(pid, { rssBytes: reading.memory, cpuPercent: first ? null : reading.cpu });
    }
  }
}

interface Reading {
  cpu: number;
  memory: number;
}
