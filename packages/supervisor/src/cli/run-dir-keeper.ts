/**
 * Maintains a fleet's run directory: keeps its record up to date, and creates the directory again if it is removed while the fleet runs.
 */
import { statSync } from "node:fs";
import { PacelineError } from "../errors.js";
import type { RunDir } from "../run-dir/run-dir.js";
import type { Supervisor } from "../supervisor-options.js";

const RETRY_EVERY_MS = 1_000;

export class RecordKeeper {
  /** Why the record is out of date; null if it is current. */
  problem: string | null = null;
  private timer: NodeJS.Timeout | undefined;

  /** @param onProblem called each time writing starts to fail */
  constructor(
    private readonly write: () => void,
    private readonly onProblem: (problem: string) => void,
  ) {}

  update(): void {
    clearTimeout(this.timer);
    const before = this.problem;
    try {
      this.write();
      this.problem = null;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : String(error);
      this.timer = setTimeout(() => this.update(), RETRY_EVERY_MS);
      this.timer.unref();
      if (before === null) this.onProblem(this.problem);
    }
  }

  close(): void {
    clearTimeout(this.timer);
  }
}

const LOOK_EVERY_MS = 2_000;

interface KeeperOptions {
  runDir: RunDir;
  supervisor: Pick<Supervisor, "warn" | "replaceSockets">;
  /** Creates the control socket again. */
  serve(): Promise<void>;
  /** Reopens the files in the directory. */
  reopen(): void;
}

/** Creates the directory and its sockets again: otherwise no command and no new process could reach the supervisor. */
export class RunDirKeeper {
  /** Why the directory is no longer this fleet's; null if it is. */
  problem: string | null = null;
  private inode: number | undefined;
  private readonly timer: NodeJS.Timeout;

  constructor(private readonly options: KeeperOptions) {
    this.inode = this.look();
    this.timer = setInterval(() => void this.check(), LOOK_EVERY_MS);
    this.timer.unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): number | undefined {
    return statSync(this.options.runDir.paths.path, { throwIfNoEntry: false })?.ino;
  }

  private async check(): Promise<void> {
    const { runDir, supervisor, serve, reopen } = this.options;
    const { path } = runDir.paths;
    const found = this.look();
    if (found !== undefined && found === this.inode) return;
    try {
      runDir.remake();
      this.inode = this.look();
      this.problem = null;
      reopen();
      await serve();
      const what = "all processes are restarted one by one, because their sockets were in it";
      supervisor.warn(`${path} was removed while the fleet runs: it was created again, and ${what}`);
      await supervisor.replaceSockets();
    } catch (error) {
      const reason = error instanceof PacelineError ? error.message : `${error}`;
      const remedy = `kill ${process.pid} ends the fleet`;
      const problem = `${path} was removed while the fleet runs, and cannot be created again: ${reason}; ${remedy}`;
      if (this.problem === null) supervisor.warn(problem);
      this.problem = problem;
    }
  }
}
