/** The proportional memory (PSS) of each process, in which shared pages count in part. Read only while a client asks for it. */
import { readFile } from "node:fs/promises";

/** One reading makes the kernel scan all pages of a process, so readings are rare. */
const SAMPLE_MS = 15_000;
/** How long readings continue after the last request. */
const SEEN_FOR_MS = 60_000;

export class PssSampler {
  private samples = new Map<number, number>();
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private askedAt = 0;
  private stopped = false;

  /** @param groups the processes that are counted as one, by their leader's pid; without /proc there is no PSS */
  constructor(private readonly groups: () => ReadonlyMap<number, readonly number[]>) {}

  /** Returns bytes; null while unknown. The first call starts the readings. */
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
    // Reads one after another: a status can wait for them, but requests cannot wait for the kernel's locks.
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

/** Reads `/proc/PID/smaps_rollup`. Returns null if the process is gone or not ours, or there is no such file. */
export async function readPss(pid: number): Promise<number | null> {
  try {
    return parsePss(await readFile(`/proc/${pid}/smaps_rollup`, "utf8"));
  } catch {
    return null;
  }
}

/** Parses the line `Pss: 9472 kB`; returns bytes. */
export function parsePss(rollup: string): number | null {
  const [, kilobytes] = /^Pss:\s+(\d+) kB$/m.exec(rollup) ?? [];
  return kilobytes === undefined ? null : Number(kilobytes) * 1024;
}
