/** The proportional memory of each process, in which a page that several share counts for its part in each; read only while somebody looks. */
import { readFile } from "node:fs/promises";

/** The kernel goes through all pages of a process for one reading, so they are far apart. */
const SAMPLE_MS = 15_000;
/** Readings go on for this long after they were asked for. */
const SEEN_FOR_MS = 60_000;

export class PssSampler {
  private samples = new Map<number, number>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = 0;
  private stopped = false;

  /** @param groups the processes that are counted as one, by the pid that stands for them; without /proc they have no PSS */
  constructor(private readonly groups: () => ReadonlyMap<number, readonly number[]>) {}

  /** In bytes; null while it is not known. The first question begins the readings. */
  of(pid: number): number | null {
    this.askedAt = performance.now();
    if (this.timer === undefined && !this.busy && !this.stopped) void this.sample();
    return this.samples.get(pid) ?? null;
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async sample(): Promise<void> {
    this.busy = true;
    this.timer = undefined;
    const samples = new Map<number, number>();
    // One after the other: a status can wait for them, requests cannot wait for the kernel's locks.
    for (const [leader, pids] of this.groups()) {
      for (const pid of pids) {
        const bytes = await readPss(pid);
        if (bytes !== null) samples.set(leader, (samples.get(leader) ?? 0) + bytes);
      }
    }
    this.samples = samples;
    this.busy = false;
    if (this.stopped || performance.now() - this.askedAt > SEEN_FOR_MS) return;
    this.timer = setTimeout(() => void this.sample(), SAMPLE_MS);
    this.timer.unref();
  }
}

/** From `/proc/PID/smaps_rollup`; null for a process that is gone or not ours, and where there is no such file. */
export async function readPss(pid: number): Promise<number | null> {
  try {
    return parsePss(await readFile(`/proc/${pid}/smaps_rollup`, "utf8"));
  } catch {
    return null;
  }
}

/** The line `Pss: 9472 kB`, in bytes. */
export function parsePss(rollup: string): number | null {
  const [, kilobytes] = /^Pss:\s+(\d+) kB$/m.exec(rollup) ?? [];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
