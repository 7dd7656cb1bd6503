/** Starts the supervisor of a detached fleet again after it was killed, by the command that an operator would type. */
import { fs, type RestartCommand } from "@paceline/wire";
import { openOutput, ownEnvironment } from "./next-supervisor.js";

/** The time until the first attempt, with as much again at random, so that several balancers rarely start it at once. */
const FIRST_AFTER_MS = 500;
/** Each further attempt waits twice as long. */
const MAX_ATTEMPTS = 6;

export class Revival {
  private timer: NodeJS.Timeout | undefined;
  private attempts = 0;
  /** The last supervisor's pid; 0: not known. */
  private supervisor = 0;
  /** When that was started: its pid may be another's by now. */
  private startTime: string | undefined;

  constructor(
    private readonly command: RestartCommand | undefined,
    private readonly options: {
      /** Whether this balancer goes on and has no supervisor. */
      isNeeded(): boolean;
      log(message: string): void;
    },
  ) {}

  /** This process begins. Its supervisor may end before it accepts this balancer. */
  begin(supervisor: number | undefined): void {
    if (supervisor === undefined) return;
    this.found(supervisor);
    this.lost();
  }

  /** A supervisor, with this pid, has accepted this balancer. */
  found(pid: number | undefined): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.attempts = 0;
    this.supervisor = pid ?? 0;
    this.startTime = startTimeOf(this.supervisor);
  }

  /** The connection to the supervisor is lost. */
  lost(): void {
    if (this.command === undefined || this.supervisor === 0 || this.timer !== undefined) return;
    this.lookIn(FIRST_AFTER_MS * (1 + Math.random()));
  }

  private lookIn(ms: number): void {
    this.timer = setTimeout(() => void this.look(ms), ms);
  }

  private async look(waitedMs: number): Promise<void> {
    this.timer = undefined;
    if (!this.options.isNeeded()) return;
    // One that still runs may be handing over to another, or be stopped by a signal.
    if (startTimeOf(this.supervisor) !== this.startTime || this.startTime === undefined) {
      this.attempts++;
      try {
        await start(this.command as RestartCommand);
        this.options.log(`the supervisor (pid ${this.supervisor}) has ended unexpectedly: starting it again`);
      } catch (error) {
        this.options.log(
          `the supervisor has ended unexpectedly and cannot be started again: ${(error as Error).message}`,
        );
      }
    }
    if (this.attempts < MAX_ATTEMPTS && this.timer === undefined && this.options.isNeeded()) this.lookIn(2 * waitedMs);
  }
}

/** Returns undefined if it has ended, also for a zombie: in some containers its parent does not look. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = fs().readFileSync(`/proc/${pid}/stat`, "latin1");
    // After the name, which may hold anything.
    const [state = "", ...fields] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return /[ZX]/.test(state) ? undefined : fields[18];
  } catch {
    return undefined;
  }
}

async function start({ command, args, cwd, environment, output }: RestartCommand): Promise<void> {
  const { spawn } = await import("node:child_process");
  const fd = openOutput(output);
  try {
    const env = { ...ownEnvironment(), ...environment, PWD: cwd };
    const child = spawn(command, args, { cwd, env, detached: true, stdio: ["ignore", fd, fd] });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    child.unref();
  } finally {
    fs().closeSync(fd);
  }
}
