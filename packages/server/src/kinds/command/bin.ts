/** A shim: the parent of a command that does not know Paceline. */
import {
  ChannelClient,
  ChannelError,
  type ChildIdentity,
  type ChildPhase,
  type CommandSpec,
  SPAWN_MARK,
  survivesFullDisk,
  takeChildEnvironment,
} from "@paceline/wire";
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import type { Spawn } from "@paceline/wire/proc";
import { createReadiness, Health } from "./checks.js";
import { type CommandEnd, sendSignal, signalNumber, startCommand } from "./program.js";

/** The maximum time for the final report at exit, in milliseconds. */
const FINAL_REPORT_MS = 2000;
/** The interval at which it checks whether the supervisor received the hello of a command that ended early. */
const LOOK_EVERY_MS = 10;
/** The base of a shell's exit status after a signal. */
const SIGNALLED = 128;

/** The parent of a command: talks to the supervisor for it, watches it, and cleans up after it. */
class Shim {
  private phase: ChildPhase = "starting";
  private pid: number | undefined;
  /** It serves, whether the supervisor knows that or not. */
  private serves = false;
  /** We told the command to end, so its exit is expected. */
  private isStopping = false;
  private isExiting = false;
  /** The reason for ending the command without a request from outside. */
  private sickness: string | undefined;
  private stopTimer: NodeJS.Timeout | undefined;
  private readonly startedAtMs = performance.now();
  private readonly spec: CommandSpec;
  private readonly spawn: Spawn;
  private readonly program: string;
  private readonly channel: ChannelClient;
  private readonly readiness: ReturnType<typeof createReadiness>;
  private readonly health: Health;

  /** @throws ChannelError `bad-environment` */
  constructor(private readonly identity: ChildIdentity) {
    const { command, drainTimeoutMs } = identity.spec;
    const mark = process.env[SPAWN_MARK];
    if (command === undefined || mark === undefined) {
      throw new ChannelError("bad-environment", "a shim needs a command and a mark from its supervisor");
    }
    this.spec = command;
    this.spawn = { leader: process.pid, mark };
    this.program = (command.args[0] as string).replace(/.*\//, "");
    this.channel = new ChannelClient({
      identity,
      role: "instance",
      helloState: () => ({ phase: this.phase }),
      onWelcome: () => this.sayReady(),
      onDrain: (deadlineMs) => this.leave(deadlineMs, true),
      onReleased: () => this.stop(),
      onRefused: (reason) => this.leaveBecause(`the supervisor refused this process: ${reason}`),
      onOrphaned: () => this.leaveBecause("no supervisor came back"),
      onProblem: say,
    });
    this.readiness = createReadiness(command, {
      onReady: () => {
        this.serves = true;
        this.sayReady();
        this.health.start();
      },
      onLate: (problem) => this.channel.send({ type: "fault", message: `${this.program} runs, but ${problem}` }),
    });
    this.health = new Health(command, (problem) => {
      this.sickness = `${this.program} is unhealthy: ${problem}`;
      this.stop();
    });
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => this.leave(drainTimeoutMs, false));
    process.on("uncaughtException", (error) => {
      // A write error of stderr arrives here as well and would repeat forever.
      if (this.isExiting) return;
      console.error(error);
      void this.exit(1, `the shim failed: ${error.message}`);
    });
  }

  start(): void {
    this.channel.start();
    this.pid = startCommand({
      args: this.spec.args,
      cwd: this.spec.cwd,
      env: { ...process.env, ...this.spec.env },
      onEnd: (end) => this.ended(end),
      onMessage: this.readiness.message,
      onFailed: (reason) => void this.exit(1, `${this.program} could not be started: ${reason}`),
    });
    if (this.pid !== undefined) this.readiness.start();
  }

  /** Changes the phase only after the report, so that a hello never replaces it. */
  private sayReady(): void {
    if (!this.serves || this.phase !== "starting") return;
    if (this.channel.send({ type: "ready" })) this.phase = "ready";
  }

  private leaveBecause(reason: string): void {
    say(`${reason}; stopping ${this.program}`);
    this.leave(this.identity.spec.drainTimeoutMs, false);
  }

  /** @param untilReleased waits for the supervisor's release, because balancers may still send requests. */
  private leave(deadlineMs: number, untilReleased: boolean): void {
    this.phase = "draining";
    this.readiness.stop();
    this.health.stop();
    // A worker has no requests to finish: the time of its drain is for the work that the signal interrupts.
    if (this.spec.worker !== undefined) this.stop(deadlineMs);
    else if (!untilReleased) this.stop();
    else if (!this.isStopping) this.stopTimer ??= setTimeout(() => this.stop(), Math.min(deadlineMs, MAX_TIMER_MS));
  }

  /** Stops the command, and kills it if it takes longer than `limitMs`. */
  private stop(limitMs = this.spec.termTimeoutMs): void {
    if (this.isStopping || this.isExiting) return;
    this.isStopping = true;
    clearTimeout(this.stopTimer);
    const { stopSignal } = this.spec;
    if (this.pid === undefined) return void this.exit(0);
    sendSignal(this.pid, stopSignal);
    this.stopTimer = setTimeout(
      () => {
        say(`${this.program} did not exit within ${Math.round(limitMs)} ms of ${stopSignal}: SIGKILL`);
        void aftermath().then(({ endLeftoverProcesses }) => endLeftoverProcesses(this.spawn));
      },
      Math.min(limitMs, MAX_TIMER_MS),
    );
  }

  private ended(end: CommandEnd): void {
    this.pid = undefined;
    this.readiness.stop();
    this.health.stop();
    clearTimeout(this.stopTimer);
    if (this.sickness !== undefined) return void this.exit(1, this.sickness);
    if (this.isStopping) return void this.exit(0);
    const code = end.code ?? SIGNALLED + signalNumber(end.signal);
    const seconds = Math.round((performance.now() - this.startedAtMs) / 100) / 10;
    const when = this.serves
      ? `after ${seconds} s`
      : `before it ${this.spec.worker === undefined ? "served" : "was ready"}, ${seconds} s after its start`;
    void aftermath().then(({ storyOf }) => this.exit(code, storyOf(this.program, when, end.code, this.spawn), end));
  }

  private async exit(code: number, fault?: string, exit?: CommandEnd): Promise<void> {
    if (this.isExiting) return;
    this.isExiting = true;
    if (fault !== undefined)
      this.channel.send({ type: "fault", message: fault, ...(exit === undefined ? {} : { exit }) });
    const { endLeftoverProcesses, removeSocket } = await aftermath();
    if ((await endLeftoverProcesses(this.spawn)) > 0 && fault === undefined) {
      say(`${this.program} left processes behind; they were ended`);
    }
    if (this.spec.address !== undefined) removeSocket(this.spec.address);
    await this.flushReports(FINAL_REPORT_MS);
    // Without a supervisor the output is the only record.
    if (fault !== undefined && !this.channel.welcomed) say(fault);
    process.exit(code);
  }

  /** Waits until the supervisor has accepted the channel and all messages are written, at most `timeoutMs`. A draining shim does not wait for acceptance. */
  private async flushReports(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (this.phase !== "draining" && !this.channel.welcomed && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    await this.channel.flush(Math.max(0, deadlineMs - performance.now()));
  }
}

/** If its file is gone, as after an in-place upgrade, ends this process and its group. */
async function aftermath(): Promise<typeof import("./aftermath.js")> {
  try {
    return await import("./aftermath.js");
  } catch (error) {
    say(`the shim has lost its files: ${(error as Error).message}`);
    process.kill(0, "SIGKILL");
    throw error;
  }
}

/** Writes to the command's own stderr. */
function say(message: string): void {
  console.error(`paceline: ${message}`);
}

survivesFullDisk();
try {
  const identity = takeChildEnvironment();
  if (identity === undefined) throw new ChannelError("bad-environment", "a shim is started by a supervisor alone");
  new Shim(identity).start();
} catch (error) {
  console.error(`paceline: ${(error as Error).message}`);
  process.exit(2);
}
