/** What a rehearsal observes of its fleet apart from the responses: log lines, repeated requests, the memory of processes, and deaths. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { processesOf, readProcessTable } from "@paceline/wire/proc";
import type { LogLine, Status } from "../control/api.js";
import type { FleetClient } from "../fleet/fleet.js";
import { readReports } from "../run-dir/report-files.js";
import type { DeathFacts, LoggedLine, MemoryFacts } from "./evidence.js";
import type { PhaseName } from "./phases.js";

const MAX_LINES = 2_000;
const MAX_TEXT = 500;
const MEMORY_EVERY_MS = 200;
const MAX_SAMPLES = 2_000;
const ENOUGH_SAMPLES = 16;
const STATUS_MS = 10_000;

/** When each phase began, by the system clock. */
export class PhaseClock {
  private readonly begins: { name: PhaseName; at: number }[] = [];

  begin(name: PhaseName): void {
    this.begins.push({ name, at: Date.now() });
  }

  at(time: number): PhaseName {
    return (this.begins.findLast(({ at }) => at <= time) ?? this.begins[0])?.name ?? "steady";
  }
}

/** Log lines of the instances and the supervisor; only the last ones, if there are many. */
export class LineWatch {
  private readonly lines: LoggedLine[] = [];
  private readonly ending = new AbortController();

  constructor(
    fleet: FleetClient,
    private readonly clock: PhaseClock,
  ) {
    const { signal } = this.ending;
    // The subscription ends with the fleet.
    fleet.read<LogLine>("logs", { lines: 0, signal }, (lines) => this.take(lines)).catch(() => {});
  }

  private take(lines: readonly LogLine[]): void {
    for (const { at, name, subject = name, text } of lines)
      this.lines.push({ phase: this.clock.at(at), subject, text: text.slice(0, MAX_TEXT) });
    if (this.lines.length > MAX_LINES) this.lines.splice(0, this.lines.length - MAX_LINES);
  }

  end(): LoggedLine[] {
    this.ending.abort();
    return this.lines;
  }
}

/** Counts how often the balancers have sent a request to another instance, including balancers that were replaced. */
export class RepeatWatch {
  private readonly seen = new Map<string, number>();
  private total = 0;

  take({ balancers }: Pick<Status, "balancers">): void {
    for (const { name, attempt, retriesTotal } of balancers) {
      const id = `${name}#${attempt}`;
      this.total += Math.max(0, retriesTotal - (this.seen.get(id) ?? 0));
      this.seen.set(id, retriesTotal);
    }
  }

  /** Returns how many were counted since the last call. */
  since(): number {
    const { total } = this;
    this.total = 0;
    return total;
  }
}

interface Watched extends MemoryFacts {
  pids: readonly number[];
  samples: { ageMs: number; bytes: number }[];
}

/** Reads the memory of each instance from /proc, several times per second. */
export class MemoryWatch {
  private readonly startedAt = performance.now();
  private readonly watched: Watched[];
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly before: Status) {
    const rows = readProcessTable();
    this.watched = before.pools.flatMap(({ name: pool, instances }) =>
      instances.flatMap(({ name: instance, pid }) =>
        pid === null ? [] : [{ pool, instance, pids: [pid, ...processesOf(pid, rows)], samples: [], requests: 0 }],
      ),
    );
    this.timer = setInterval(() => this.look(), MEMORY_EVERY_MS).unref();
  }

  private look(): void {
    const ageMs = performance.now() - this.startedAt;
    for (const { pids, samples } of this.watched) {
      const bytes = pids.reduce((sum, pid) => sum + rssOf(pid), 0);
      if (bytes > 0 && samples.length < MAX_SAMPLES) samples.push({ ageMs, bytes });
    }
  }

  /** Whether there are enough samples to tell growth from noise. */
  get isEnough(): boolean {
    return this.watched.every(({ samples }) => samples.length === 0 || samples.length >= ENOUGH_SAMPLES);
  }

  /** Stops reading: without requests nothing leaks. */
  stop(): void {
    clearInterval(this.timer);
  }

  /** @param after undefined if the supervisor does not respond */
  facts(after: Status | undefined): MemoryFacts[] {
    const totalOf = (status: Status | undefined, pool: string) =>
      status?.pools.find(({ name }) => name === pool)?.requestsTotal ?? 0;
    return this.watched.map(({ pool, instance, samples }) => {
      const size = this.watched.filter((each) => each.pool === pool).length;
      const requests = (totalOf(after, pool) - totalOf(this.before, pool)) / size;
      return { pool, instance, samples, requests };
    });
  }
}

/** Returns 0 if the process is gone, or without /proc. */
function rssOf(pid: number): number {
  try {
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** A signal that the rehearsal has sent to an instance. */
export interface SentSignal {
  pid: number;
  signal: "SIGTERM" | "SIGKILL";
}

/** Reads the reports of deaths. */
export function deathsIn(runDir: string, clock: PhaseClock, sent: readonly SentSignal[]): DeathFacts[] {
  return readReports(join(runDir, "deaths")).map((report) => {
    const { process, pool, kind, code, signal, reason, state, requests, lastLines } = report;
    const ours = sent.find(({ pid }) => pid === report.pid)?.signal ?? null;
    return {
      process,
      pool,
      kind,
      code,
      signal,
      reason,
      state,
      requests,
      lastLines,
      phase: clock.at(report.at),
      sent: ours,
    };
  });
}

/** @throws PacelineError if the supervisor does not respond */
export function statusOf(fleet: FleetClient): Promise<Status> {
  return fleet.status({ timeoutMs: STATUS_MS });
}
