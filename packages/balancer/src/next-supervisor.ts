/**
 * Starts the next supervisor of a fleet when a start asks for it, or after the supervisor was killed. The new supervisor inherits the
 * listening sockets.
 */
import type { SpawnOptions } from "node:child_process";
import { dirname } from "node:path";
import { CHANNEL_ENVIRONMENT, fs, LISTEN_FDS, type RestartCommand, type SupervisorProgram } from "@paceline/wire";

const OTHERS = 0o077;
/** The only program that is started. It may belong to this version of the package, or to another one. */
const ENTRY = "/programs/cli/main.js";
/** The variables that identify this process. */
const OF_THIS_PROCESS = new Set<string>([
  ...Object.values(CHANNEL_ENVIRONMENT),
  ...["PACELINE_POOL", "PACELINE_INSTANCE", "PACELINE_INDEX", "PACELINE_GENERATION"],
]);

/**
 * Starts a supervisor in a session of its own and returns its pid. The supervisor inherits the listening sockets, which only a process that
 * holds them can pass on.
 * @param listening the descriptors of the listening sockets
 * @param folder the run directory's folder of sockets; a file with an environment is read only from there
 */
export async function spawnSupervisor(
  program: SupervisorProgram,
  listening: readonly number[],
  folder: string,
): Promise<number> {
  // Part of the runtime, so it can be imported even if the package was replaced meanwhile.
  const { spawn } = await import("node:child_process");
  if (!program.args.some((arg) => arg.endsWith(ENTRY))) throw new Error(`${program.args[0]} is not a supervisor`);
  const { environmentFile } = program;
  const env = environmentFile === undefined ? ownEnvironment() : takeEnvironment(environmentFile, folder);
  const place = program.args.indexOf(LISTEN_FDS);
  const args = program.args.map((arg, at) => (at === place ? String(listening.length) : arg));
  const output = openOutput(program.output);
  const options: SpawnOptions = {
    ...{ cwd: program.cwd, argv0: program.title, env, detached: true },
    stdio: ["ignore", output, output, ...listening],
  };
  try {
    const child = spawn(program.command, args, options);
    return await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.unref();
      if (child.pid !== undefined) resolve(child.pid);
    });
  } finally {
    fs().closeSync(output);
  }
}

/** Opens the file for appending. */
export function openOutput(path: string): number {
  const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = fs().constants;
  return fs().openSync(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
}

/** Returns the environment without the variables that identify this process. */
function ownEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !OF_THIS_PROCESS.has(name)));
}

/**
 * Reads the file and removes it.
 * @throws Error if others could have written or read it
 */
function takeEnvironment(path: string, folder: string): NodeJS.ProcessEnv {
  if (dirname(path) !== folder) throw new Error(`${path} is not in the run directory`);
  const { closeSync, constants, fstatSync, openSync, readFileSync, unlinkSync } = fs();
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { mode, uid } = fstatSync(fd);
    if ((mode & OTHERS) !== 0 || uid !== process.geteuid?.()) throw new Error(`${path} is open to others`);
    return JSON.parse(readFileSync(fd, "utf8")) as NodeJS.ProcessEnv;
  } finally {
    closeSync(fd);
    unlinkSync(path);
  }
}

/**
 * The minimum time until the first attempt, in milliseconds. A random time of at most the same length is added, so that several balancers
 * rarely start a supervisor at the same moment.
 */
const FIRST_AFTER_MS = 500;
/** Each further attempt waits twice as long. */
const MAX_ATTEMPTS = 6;

/** Restarts the supervisor of a detached fleet after it was killed, by the command that an operator would type. */
export class Revival {
  private timer: NodeJS.Timeout | undefined;
  private attempts = 0;
  /** The last supervisor's pid; 0 if it is not known. */
  private supervisor = 0;
  /** When that supervisor was started. By now, its pid may belong to another process. */
  private startTime: string | undefined;

  constructor(
    private readonly command: RestartCommand | undefined,
    private readonly options: {
      /** Whether this balancer keeps running and has no supervisor. */
      isNeeded(): boolean;
      log(message: string): void;
    },
  ) {}

  /** Called when this process starts. Its supervisor may exit before it accepts this balancer. */
  begin(supervisor: number | undefined): void {
    if (supervisor === undefined) return;
    this.found(supervisor);
    this.lost();
  }

  /** Called when a supervisor with this pid has accepted this balancer. */
  found(pid: number | undefined): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.attempts = 0;
    this.supervisor = pid ?? 0;
    this.startTime = startTimeOf(this.supervisor);
  }

  /** Called when the connection to the supervisor is lost. */
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
    // A supervisor that still runs may be handing over to another one, or stopped by a signal.
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

/** Returns undefined if the process has exited, even if it is a zombie: in some containers its parent never reaps it. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = fs().readFileSync(`/proc/${pid}/stat`, "latin1");
    // The fields follow the name, which may contain any characters.
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
    // The working directory may have been removed with its release.
    const place = fs().existsSync(cwd) ? cwd : dirname(output);
    const env = { ...ownEnvironment(), ...environment, PWD: place };
    const child = spawn(command, args, { cwd: place, env, detached: true, stdio: ["ignore", fd, fd] });
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", reject);
    });
    child.unref();
  } finally {
    fs().closeSync(fd);
  }
}
