/** Writes a report of each unexpected death, with what the process did in its last minutes and which requests were lost with it. */
import type { LostRequests } from "@paceline/wire";
import { type DeathReport, howItDied, kindOfDeath } from "../core/deaths.js";
import type { EventLog } from "../logs/event-log.js";
import type { DeathFiles } from "../run-dir/report-files.js";
import type { OomKills } from "../stats/oom-kills.js";
import type { UsageSampler } from "../stats/usage.js";
import { DeathNotes, SAMPLE_EVERY_MS, TOGETHER_MS } from "./death-notes.js";
import type { Ending, LiveProcess, Template } from "./live-process.js";

interface DeathReporterOptions {
  files: DeathFiles;
  log: EventLog;
  usage: UsageSampler;
  oomKills: OomKills;
  /** Iterates over the processes and templates that have not exited. */
  alive(): Iterable<LiveProcess | Template>;
  releaseOf(pool: string, generation: number): string;
  onDeath?(report: DeathReport): void;
}

/** An exited process; one that could not be started has fewer fields. */
type Ended = Pick<LiveProcess, "id" | "name" | "pool" | "attempt" | "generation"> &
  Partial<Pick<LiveProcess, "pid" | "runtime" | "spawnedAt" | "running" | "overdue" | "stats" | "death">>;

interface OpenReport {
  report: DeathReport;
  notes: DeathNotes;
  /** Milliseconds of the monotonic clock. */
  endedAt: number;
  timer: NodeJS.Timeout;
}

/** The maximum number of reports that may still be completed. A storm of deaths would keep thousands in memory. */
const MAX_OPEN = 256;

export class DeathReporter {
  private timer: NodeJS.Timeout | undefined;
  /** Reports that may still be completed. */
  private readonly open = new Set<OpenReport>();
  private newest: DeathReport | null = null;
  private hasFailed = false;
  private isClosed = false;

  constructor(private readonly options: DeathReporterOptions) {}

  /** Starts sampling. */
  start(): void {
    this.timer ??= setInterval(() => {
      this.options.oomKills.look();
      for (const each of this.options.alive()) this.sample(each);
    }, SAMPLE_EVERY_MS);
  }

  /** Completes the remaining reports, and stops. */
  close(): void {
    this.isClosed = true;
    clearInterval(this.timer);
    for (const each of [...this.open]) this.complete(each);
  }

  /** The last death since this supervisor started. */
  get last(): DeathReport | null {
    return this.newest;
  }

  /** Records requests that a balancer has lost at a process, which may have exited. */
  lost(process: LiveProcess | undefined, lost: LostRequests): void {
    const entry = [...this.open].find(({ report }) => report.process === lost.upstream);
    const notes = process?.death ?? entry?.notes;
    notes?.lose(lost, performance.now());
    if (entry !== undefined) this.update(entry);
  }

  private sample({ death, pid, stats }: Pick<Ended, "death" | "pid" | "stats">): void {
    death?.history.add(
      {
        rssBytes: pid == null ? undefined : this.options.usage.peek(pid)?.rssBytes,
        requestsTotal: stats?.last?.requestsTotal,
      },
      performance.now(),
    );
  }

  /** Writes the report of a process that exited in this state. */
  ended(
    process: Ended,
    { status, at, foundAt, reason, lastLines, isSpawnFailure = false }: Ending,
    state: string,
  ): void {
    if (this.isClosed) return;
    const { options } = this;
    const { pid = null, death: notes = new DeathNotes(), stats, spawnedAt } = process;
    const now = performance.now();
    this.sample(process);
    const kind = kindOfDeath({
      ...{ status, isSpawnFailure, killedAs: notes.killedAs },
      wasOutOfMemory: () => {
        const counted = options.oomKills.explain(pid);
        return notes.kernelKill === undefined ? counted : notes.kernelKill !== null;
      },
    });
    this.write(
      now,
      {
        ...{ version: 1, at, process: process.id, name: process.name, pool: process.pool, kind },
        ...(foundAt !== undefined && { foundAt }),
        ...{ attempt: process.attempt, generation: process.generation, pid, runtime: process.runtime ?? "" },
        release: options.releaseOf(process.pool, process.generation),
        // It may have ended while no supervisor was running.
        uptimeMs: spawnedAt === undefined ? 0 : Math.max(0, Math.round(now - spawnedAt - Math.max(0, Date.now() - at))),
        ...{ state, ...status, reason },
        running: process.running ?? process.overdue?.request ?? null,
        inFlight: stats?.last?.inFlight ?? 0,
        requestsTotal: stats?.last?.requestsTotal ?? 0,
        ...notes.lostAtEnd(now),
        stack: notes.stack,
        history: notes.history.read(),
        lastLines,
      },
      notes,
    );
    if (notes.report === null) return;
    // The event of its exit mentions the report, unless an earlier event has already stated why we killed the process.
    const how = notes.killedAs === null ? reason : `has ended: ${howItDied({ kind, ...status })}`;
    setImmediate(() => {
      const text = notes.takeReportText();
      if (text !== "") options.log.event("warn", process.name, `${how}${text}`, "death");
    });
  }

  private write(endedAt: number, unnumbered: Omit<DeathReport, "id">, notes: DeathNotes): void {
    this.trying(() => {
      const report = this.options.files.add(unnumbered);
      this.newest = report;
      this.options.onDeath?.(report);
      notes.report = report.id;
      const entry: OpenReport = { report, notes, endedAt, timer: setTimeout(() => this.complete(entry), TOGETHER_MS) };
      this.open.add(entry);
      const [oldest] = this.open;
      if (this.open.size > MAX_OPEN && oldest !== undefined) this.complete(oldest);
    });
  }

  private complete(entry: OpenReport): void {
    clearTimeout(entry.timer);
    this.open.delete(entry);
  }

  /** Adds the requests that balancers have reported since the death. */
  private update(entry: OpenReport): void {
    const { report, notes, endedAt } = entry;
    const lost = notes.lostAtEnd(endedAt);
    if (lost.requests.length + lost.requestsOmitted === report.requests.length + report.requestsOmitted) return;
    entry.report = { ...report, ...lost };
    this.trying(() => this.options.files.update(entry.report));
  }

  /** If the disk is full, only the report is lost. */
  private trying(write: () => void): void {
    try {
      write();
      this.hasFailed = false;
    } catch (error) {
      if (!this.hasFailed)
        this.options.log.event("warn", "paceline", `no report of a death: ${(error as Error).message}`);
      this.hasFailed = true;
    }
  }
}
