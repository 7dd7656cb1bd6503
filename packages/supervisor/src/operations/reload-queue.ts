/** Lets one reload at a time work on a pool: those that come meanwhile share one further run, with the newest code. */
import type { OperationResult, ProgressListener } from "../control/api.js";

type Environment = Record<string, string>;

interface Run {
  /** All pools when undefined. */
  pool: string | undefined;
  environment: Environment | undefined;
  readonly listeners: Set<ProgressListener>;
  readonly result: Promise<OperationResult>;
  begin(): void;
}

/** Carries out one reload. */
export type Reloader = (
  pool: string | undefined,
  environment: Environment | undefined,
  onProgress: ProgressListener,
) => Promise<OperationResult>;

export class ReloadQueue {
  private readonly running = new Set<Run>();
  /** Of those that overlap there is one at the most, so there are no more than pools. */
  private readonly waiting = new Set<Run>();

  constructor(private readonly reload: Reloader) {}

  /** Whether a reload works on that pool, or is about to. */
  isRunning(pool: string): boolean {
    return [...this.running].some((run) => overlap(run.pool, pool));
  }

  /** The result of the run that loads what is there now: the one that begins with it, or a further one that several share. */
  run(pool: string | undefined, environment: Environment | undefined, onProgress: ProgressListener) {
    return this.place(pool, environment, onProgress).result;
  }

  private place(pool: string | undefined, environment: Environment | undefined, onProgress: ProgressListener): Run {
    const waiting = this.waitingFor(pool);
    if (waiting !== undefined) {
      if (waiting.pool !== pool) waiting.pool = undefined;
      waiting.environment = environment ?? waiting.environment;
      waiting.listeners.add(onProgress);
      onProgress("joins the queued reload");
      return waiting;
    }
    const run = this.make(pool, environment);
    run.listeners.add(onProgress);
    this.waiting.add(run);
    this.beginThoseThatMay();
    if (this.waiting.has(run)) onProgress("waits for the current reload");
    return run;
  }

  private make(pool: string | undefined, environment: Environment | undefined): Run {
    let begin = () => {};
    const listeners = new Set<ProgressListener>();
    const begun = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const tell = (message: string) => {
      for (const listener of listeners) listener(message);
    };
    const result = begun
      .then(() => this.reload(run.pool, run.environment, tell))
      .finally(() => {
        this.running.delete(run);
        this.beginThoseThatMay();
      });
    const run: Run = { pool, environment, listeners, result, begin };
    return run;
  }

  private waitingFor(pool: string | undefined): Run | undefined {
    return [...this.waiting].find((run) => overlap(run.pool, pool));
  }

  private beginThoseThatMay(): void {
    for (const run of this.waiting) {
      if ([...this.running].some((other) => overlap(other.pool, run.pool))) continue;
      this.waiting.delete(run);
      this.running.add(run);
      run.begin();
    }
  }
}

function overlap(a: string | undefined, b: string | undefined): boolean {
  return a === undefined || b === undefined || a === b;
}
