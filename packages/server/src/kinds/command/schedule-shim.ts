/** The shim of a worker with a schedule. It keeps running, runs the program at the times of a cron pattern, and reports each run. */
import type { ChildIdentity, ScheduledRun, ScheduleReport, ScheduleSpec } from "@paceline/wire";
import { type CronTimes, readCron } from "@paceline/wire/cron";
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import type { CommandEnd } from "./program.js";
import { aftermath, Shim, say } from "./shim.js";

/** A run that has not ended. */
interface Running {
  due: number;
  /** The start, in milliseconds: as Unix time, and by the monotonic clock. */
  started: number;
  startedAtMs: number;
  /** The number of due times that were skipped meanwhile. */
  skipped: number;
  /** Why the run was stopped by the shim. */
  verdict: string | undefined;
  /** The position of its output in the file of all runs. */
  outputFrom: number;
  timer: NodeJS.Timeout | undefined;
}

export class ScheduleShim extends Shim {
  private timer: NodeJS.Timeout | undefined;
  private state: ScheduleState = { due: null, seenAt: 0 };
  private times: CronTimes = { next: () => null, previous: () => null };
  private running: Running | undefined;
  private last: ScheduledRun | null = null;
  private readonly counts = { runs: 0, failures: 0, skipped: 0 };
  private tools: typeof import("./aftermath.js") | undefined;

  /** @throws ChannelError `bad-environment` */
  constructor(
    identity: ChildIdentity,
    private readonly schedule: ScheduleSpec,
  ) {
    super(identity);
  }

  start(): void {
    this.channel.start();
    const times = readCron(this.schedule.cron, this.schedule.timezone);
    if ("problem" in times) return void this.exit(1, `${times.key}: ${times.problem}`);
    this.times = times;
    this.state = startSchedule(times, Date.now());
    void aftermath().then((tools) => {
      this.tools = tools;
      this.isReady = true;
      this.report();
      this.look();
    });
  }

  protected override report(): void {
    super.report();
    this.sendSchedule();
  }

  /** Starts no further run. The current one may finish until the deadline. */
  protected leave(deadlineMs: number): void {
    this.phase = "draining";
    clearTimeout(this.timer);
    this.state = { ...this.state, due: null };
    // The schedule has not started yet, or nothing is running.
    if (this.running === undefined) return this.stop();
    this.sendSchedule();
    if (!this.isStopping) this.stopTimer ??= setTimeout(() => this.stop(), Math.min(deadlineMs, MAX_TIMER_MS));
  }

  private look(): void {
    clearTimeout(this.timer);
    const seen = look(this.state, this.times, Date.now(), this.running !== undefined);
    this.state = seen.state;
    if (seen.waitMs !== null) this.timer = setTimeout(() => this.look(), seen.waitMs);
    if (seen.action === null) return;
    const { type: kind, at } = seen.action;
    switch (kind) {
      case "run":
        this.begin(at);
        return;
      case "skip":
        this.skip(at);
        return;
      case "miss":
        this.note("warn", `missed the run of ${this.text(at)}: the machine slept, or its clock was set${this.next()}`);
        this.sendSchedule();
        return;
      default: {
        kind satisfies never;
      }
    }
  }

  private skip(at: number): void {
    const { running } = this;
    if (running === undefined) return;
    this.counts.skipped++;
    running.skipped++;
    // Only the first skipped time is logged here. When the run has ended, the number of further ones is logged.
    if (running.skipped === 1)
      this.note("warn", `skips the run of ${this.text(at)}: the run of ${this.text(running.due)} has not ended`);
    this.sendSchedule();
  }

  private begin(due: number): void {
    const running: Running = {
      ...{ due, started: Date.now(), startedAtMs: performance.now(), skipped: 0 },
      ...{ verdict: undefined, outputFrom: this.tools?.outputSize() ?? 0, timer: undefined },
    };
    this.running = running;
    this.sendSchedule();
    this.startProgram({
      onEnd: (end) => void this.ended(running, end, undefined),
      onFailed: (reason) => void this.ended(running, { code: null, signal: null }, `could not be started: ${reason}`),
    });
    const { runTimeoutMs } = this.schedule;
    if (runTimeoutMs > 0)
      running.timer = setTimeout(() => this.endOverdue(running), Math.min(runTimeoutMs, MAX_TIMER_MS));
  }

  private endOverdue(running: Running): void {
    running.verdict = `took longer than ${seconds(this.schedule.runTimeoutMs)} (runTimeoutMs)`;
    if (this.pid !== undefined && !this.isStopping) this.interrupt(this.pid, this.spec.termTimeoutMs);
  }

  private async ended(running: Running, end: CommandEnd, notStarted: string | undefined): Promise<void> {
    this.pid = undefined;
    clearTimeout(running.timer);
    clearTimeout(this.stopTimer);
    const durationMs = Math.round(performance.now() - running.startedAtMs);
    const { endLeftoverProcesses, errorLineOfOutput } = await aftermath();
    // The next run must find no processes of the run that has ended.
    await endLeftoverProcesses(this.spawn);
    const hasFailed = end.code !== 0;
    const line = hasFailed && running.verdict === undefined ? errorLineOfOutput(running.outputFrom) : "";
    const stopped = this.isStopping ? "was stopped" : undefined;
    const failure =
      notStarted ?? running.verdict ?? (hasFailed ? `${stopped ?? endText(end)}${line && `: ${line}`}` : null);
    const { code, signal } = end;
    this.last = { due: running.due, started: running.started, durationMs, code, signal, failure };
    this.counts.runs++;
    if (failure !== null) this.counts.failures++;
    this.running = undefined;
    const skipped = running.skipped === 0 ? "" : `; skipped ${running.skipped} meanwhile`;
    const how = failure === null ? "succeeded" : `failed after ${seconds(durationMs)}: ${failure}`;
    const took = failure === null ? ` in ${seconds(durationMs)}` : "";
    this.note(
      failure === null ? "info" : "error",
      `run of ${this.text(running.due)} ${how}${took}${skipped}${this.next()}`,
    );
    this.sendSchedule();
    if (this.phase === "draining") void this.exit(0);
  }

  private sendSchedule(): void {
    const report: ScheduleReport = {
      type: "schedule",
      next: this.state.due,
      running: this.running?.started ?? null,
      last: this.last,
      ...this.counts,
    };
    this.send(report);
  }

  private note(level: "info" | "warn" | "error", message: string): void {
    if (!this.send({ type: "notice", level, message })) say(message);
  }

  private text(at: number): string {
    return textOfTime(at, this.schedule.timezone);
  }

  private next(): string {
    const { due } = this.state;
    if (this.phase === "draining") return "";
    return due === null ? "; no further run is due" : `; next at ${this.text(due)}`;
  }
}

/** Returns `2026-11-27 03:00:00`, with the zone if it is not the local one. */
function textOfTime(at: number, timezone: string | undefined): string {
  if (timezone !== undefined) {
    const clock = new Intl.DateTimeFormat("sv-SE", { timeZone: timezone, dateStyle: "short", timeStyle: "medium" });
    return `${clock.format(at)} ${timezone}`;
  }
  // Intl would cost each such process megabytes.
  const time = new Date(at);
  const two = (number: number) => `${number}`.padStart(2, "0");
  const date = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${date} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}

function endText({ code, signal }: CommandEnd): string {
  return signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
}

function seconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}

/** A run that starts later than this after its time counts as missed: the machine slept, or its clock was set. In milliseconds. */
const LATEST_START_MS = 60_000;
/** The clock is checked at least this often, because a timer does not advance while the machine sleeps. In milliseconds. */
export const LONGEST_WAIT_MS = 30_000;

interface ScheduleState {
  /** When the next run is due, as Unix time in milliseconds; null if no run ever is. */
  readonly due: number | null;
  /** The time of the last check. */
  readonly seenAt: number;
}

interface Look {
  readonly state: ScheduleState;
  /** The due time at `at` or since then: its run starts, or is skipped because the last one has not ended, or was missed. */
  readonly action: { readonly type: "run" | "skip" | "miss"; readonly at: number } | null;
  /** When to check again, in milliseconds; null: never. */
  readonly waitMs: number | null;
}

/**
 * The behaviour of a schedule, decided by pure functions: `look` checks the clock and returns whether to run, skip, report a missed time,
 * or wait.
 */
export function startSchedule(times: CronTimes, now: number): ScheduleState {
  return { due: times.next(now), seenAt: now };
}

/** Checks the clock. If several times have passed since the last check, only the first one counts. */
export function look(state: ScheduleState, times: CronTimes, now: number, isRunning: boolean): Look {
  const { due } = state;
  if (due === null) return { state, action: null, waitMs: null };
  if (now < due) {
    // After a clock was set back, other times come first.
    const isSetBack = now < state.seenAt - LATEST_START_MS;
    const next = isSetBack ? times.next(now) : due;
    return { state: { due: next, seenAt: now }, action: null, waitMs: waitFor(next, now) };
  }
  const next = times.next(now);
  const type = now - due > LATEST_START_MS ? "miss" : isRunning ? "skip" : "run";
  return { state: { due: next, seenAt: now }, action: { type, at: due }, waitMs: waitFor(next, now) };
}

function waitFor(due: number | null, now: number): number | null {
  return due === null ? null : Math.min(Math.max(0, due - now), LONGEST_WAIT_MS);
}
