/** The tasks of every shim: talks to the supervisor for its program, stops it, cleans up after it, and reports how it ended. */
import {
  ChannelClient,
  ChannelError,
  type ChildIdentity,
  type ChildPhase,
  type CommandSpec,
  SPAWN_TAG,
} from "@paceline/wire";
import { MAX_TIMER_MS } from "@paceline/wire/limits";
import type { Spawn } from "@paceline/wire/proc";
import { type CommandEnd, sendSignal, signalNumber, startCommand } from "./program.js";

/** The maximum time for the final report at exit, in milliseconds. */
const FINAL_REPORT_MS = 2000;
/** How often to check whether the supervisor has received the hello of a command that ended early, in milliseconds. */
const LOOK_EVERY_MS = 10;
/** The base of a shell's exit status after a signal. */
const SIGNALLED = 128;

export abstract class Shim {
  protected phase: ChildPhase = "starting";
  protected pid: number | undefined;
  /** Whether the command is ready, even if the supervisor does not know it yet. */
  protected isReady = false;
  /** Whether the command was told to exit for good, so that its exit is expected. */
  protected isStopping = false;
  protected isExiting = false;
  protected stopTimer: NodeJS.Timeout | undefined;
  protected readonly spec: CommandSpec;
  protected readonly spawn: Spawn;
  protected readonly program: string;
  protected readonly channel: ChannelClient;

  /** @throws ChannelError `bad-environment` */
  constructor(private readonly identity: ChildIdentity) {
    const { command, drainTimeoutMs } = identity.spec;
    const tag = process.env[SPAWN_TAG];
    if (command === undefined || tag === undefined) {
      throw new ChannelError("bad-environment", "a shim needs a command and a spawn tag from its supervisor");
    }
    this.spec = command;
    this.spawn = { leader: process.pid, tag };
    this.program = (command.args[0] as string).replace(/.*\//, "");
    this.channel = new ChannelClient({
      identity,
      role: "instance",
      helloState: () => ({ phase: this.phase }),
      onWelcome: () => this.report(),
      onDrain: (deadlineMs) => this.leave(deadlineMs, true),
      onReleased: () => this.stop(),
      onRefused: (reason) => this.leaveBecause(`the supervisor refused this process: ${reason}`),
      onOrphaned: () => this.leaveBecause("no supervisor came back"),
      onProblem: say,
    });
    process.on("SIGINT", () => {});
    process.on("SIGTERM", () => this.leave(drainTimeoutMs, false));
    process.on("uncaughtException", (error) => {
      // A write error of stderr also arrives here, and would repeat forever.
      if (this.isExiting) return;
      console.error(error);
      void this.exit(1, `the shim failed: ${error.message}`);
    });
  }

  abstract start(): void;

  /** @param untilReleased waits for the supervisor's release, because balancers may still send requests */
  protected abstract leave(deadlineMs: number, untilReleased: boolean): void;

  /** Changes the phase only after the report, so that a hello never replaces it. Also called when a supervisor is found. */
  protected report(): void {
    if (!this.isReady || this.phase !== "starting") return;
    if (this.send({ type: "ready" })) this.phase = "ready";
  }

  protected send(message: Parameters<ChannelClient["send"]>[0]): boolean {
    return this.channel.send(message);
  }

  /** Starts the program. There is no pid if that failed. */
  protected startProgram(on: Pick<Parameters<typeof startCommand>[0], "onEnd" | "onFailed" | "onMessage">): void {
    const { args, cwd, env } = this.spec;
    // In the single-file executable, this variable makes the process run as Bun. The command may be another executable built with Bun.
    delete process.env.BUN_BE_BUN;
    this.pid = startCommand({ args, cwd, env: { ...process.env, ...env }, ...on });
  }

  /** Stops the command for good, and kills it if it takes longer than `limitMs`. */
  protected stop(limitMs = this.spec.termTimeoutMs): void {
    if (this.isStopping || this.isExiting) return;
    this.isStopping = true;
    if (this.pid === undefined) return void this.exit(0);
    this.interrupt(this.pid, limitMs);
  }

  /** Asks the program to end, and kills it if it takes longer than `limitMs`. */
  protected interrupt(pid: number, limitMs: number): void {
    clearTimeout(this.stopTimer);
    const { stopSignal } = this.spec;
    sendSignal(pid, stopSignal);
    this.stopTimer = setTimeout(
      () => {
        say(`${this.program} did not exit within ${Math.round(limitMs)} ms of ${stopSignal}: SIGKILL`);
        void aftermath().then(({ endLeftoverProcesses }) => endLeftoverProcesses(this.spawn));
      },
      Math.min(limitMs, MAX_TIMER_MS),
    );
  }

  protected async exit(code: number, fault?: string, exit?: CommandEnd): Promise<void> {
    if (this.isExiting) return;
    this.isExiting = true;
    if (fault !== undefined) this.send({ type: "fault", message: fault, ...(exit === undefined ? {} : { exit }) });
    const { endLeftoverProcesses, removeSocket } = await aftermath();
    if ((await endLeftoverProcesses(this.spawn)) > 0 && fault === undefined) {
      say(`${this.program} left processes behind; they were ended`);
    }
    if (this.spec.address !== undefined) removeSocket(this.spec.address);
    await this.flushReports(FINAL_REPORT_MS);
    // Without a supervisor, the output is the only record.
    if (fault !== undefined && !this.channel.welcomed) say(fault);
    process.exit(code);
  }

  private leaveBecause(reason: string): void {
    say(`${reason}; stopping ${this.program}`);
    this.leave(this.identity.spec.drainTimeoutMs, false);
  }

  /**
   * Waits until the supervisor has accepted the channel and all messages are written, at most `timeoutMs`. A draining shim does not wait
   * for the acceptance.
   */
  private async flushReports(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    while (this.phase !== "draining" && !this.channel.welcomed && performance.now() < deadlineMs) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
    await this.channel.flush(Math.max(0, deadlineMs - performance.now()));
  }
}

/** Returns the exit status for a program's end, as a shell does. */
export function statusOf({ code, signal }: CommandEnd): number {
  return code ?? SIGNALLED + signalNumber(signal);
}

/** Loads the code for the cleanup. If its file is gone, as after an in-place upgrade, ends this process and its group. */
export async function aftermath(): Promise<typeof import("./aftermath.js")> {
  try {
    return await import("./aftermath.js");
  } catch (error) {
    say(`the shim has lost its files: ${(error as Error).message}`);
    process.kill(0, "SIGKILL");
    throw error;
  }
}

/** Writes to the command's own stderr. */
export function say(message: string): void {
  console.error(`paceline: ${message}`);
}
