/**
 * The shim of a command or a worker: the parent of a program that does not know Paceline. The shim of a worker with a schedule is in
 * schedule-shim.ts.
 */
import { ChannelError, type ChildIdentity, showTitle, survivesFullDisk, takeChildEnvironment } from "@paceline/wire";
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import { createReadiness, Health } from "./checks.js";
import type { CommandEnd } from "./program.js";
import { aftermath, Shim, statusOf } from "./shim.js";

/** The parent of one process, which exits with it. */
class CommandShim extends Shim {
  /** The reason for stopping the command if nobody requested it. */
  private sickness: string | undefined;
  private readonly startedAtMs = performance.now();
  private readonly readiness: ReturnType<typeof createReadiness>;
  private readonly health: Health;

  /** @throws ChannelError `bad-environment` */
  constructor(identity: ChildIdentity) {
    super(identity);
    const { spec } = this;
    this.readiness = createReadiness(spec, {
      onReady: () => {
        this.isReady = true;
        this.report();
        this.health.start();
      },
      onLate: (problem) => this.send({ type: "fault", message: `${this.program} runs, but ${problem}` }),
    });
    this.health = new Health(spec, {
      onChecked: (problem) => this.send({ type: "probed", id: 0, ...(problem !== undefined && { problem }) }),
      onSick: (problem) => {
        const message = `${this.program} is unhealthy: ${problem}`;
        this.sickness = message;
        // Sent at once, because the command may take its time to exit, and no longer listens.
        this.send({ type: "fault", message });
        this.stop();
      },
    });
  }

  start(): void {
    this.channel.start();
    this.startProgram({
      onEnd: (end) => this.ended(end),
      onMessage: this.readiness.message,
      onFailed: (reason) => void this.exit(1, `${this.program} could not be started: ${reason}`),
    });
    if (this.pid !== undefined) this.readiness.start();
  }

  protected leave(deadlineMs: number, untilReleased: boolean): void {
    this.phase = "draining";
    this.readiness.stop();
    this.health.stop();
    // A worker has no requests to finish. The time of its drain is for the work that the signal interrupts.
    if (this.spec.worker !== undefined) this.stop(deadlineMs);
    else if (!untilReleased) this.stop();
    else if (!this.isStopping) this.stopTimer ??= setTimeout(() => this.stop(), Math.min(deadlineMs, MAX_TIMER_MS));
  }

  private ended(end: CommandEnd): void {
    this.pid = undefined;
    this.readiness.stop();
    this.health.stop();
    clearTimeout(this.stopTimer);
    if (this.sickness !== undefined) return void this.exit(1, this.sickness);
    if (this.isStopping) return void this.exit(0);
    const seconds = Math.round((performance.now() - this.startedAtMs) / 100) / 10;
    const before = this.spec.worker === undefined ? "it served" : "it was ready";
    const when = this.isReady ? `after ${seconds} s` : `before ${before}, ${seconds} s after its start`;
    const story = { program: this.program, when, wasReady: this.isReady };
    void aftermath().then(({ storyOf }) => this.exit(statusOf(end), storyOf(story, end.code, this.spawn), end));
  }
}

async function startShim(): Promise<void> {
  const identity = takeChildEnvironment();
  if (identity === undefined) throw new ChannelError("bad-environment", "a shim can only be started by a supervisor");
  const { worker } = identity.spec.command ?? {};
  // A schedule parses cron patterns, whose code other shims need not load.
  const shim =
    worker?.schedule === undefined
      ? new CommandShim(identity)
      : new (await import("./schedule-shim.js")).ScheduleShim(identity, worker.schedule);
  shim.start();
}

survivesFullDisk();
showTitle();
startShim().catch((error: Error) => {
  console.error(`paceline: ${error.message}`);
  process.exit(2);
});
