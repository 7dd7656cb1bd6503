/** Runs one reload of a pool at a time. Requests that arrive meanwhile share one further run, which loads the newest code. */
import type { OperationResult, ProgressListener } from "../control/api.js";

type Environment = Record<string, string>;

interface Run {
  /** Undefined: all pools. */
  pool: string | undefined;
  environment: Environment | undefined;
  readonly listeners: Set<ProgressListener>;
  readonly result: Promise<OperationResult>;
  begin(): void;
}

/** Performs one reload. */
type Reloader = (
  pool: string | undefined,
  environment: Environment | undefined,
  onProgress: ProgressListener,
) => Promise<OperationResult>;

export class ReloadQueue {
  private readonly running = new Set<Run>();
  /** Overlapping requests share a run, so there are at most as many runs as pools. */
  private readonly waiting = new Set<Run>();

  constructor(private readonly reload: Reloader) {}

  get isBusy(): boolean {
    return this.running.size > 0 || this.waiting.size > 0;
  }

  /** Whether a reload of that pool is running or pending. */
  isRunning(pool: string): boolean {
    return [...this.running].some((run) => overlap(run.pool, pool));
  }

  /** Resolves with the result of a run that starts after this call, possibly shared with other callers. */
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
    const started = new Promise<void>((resolve) => {
      begin = resolve;
    });
    const notifyAll = (message: string) => {
      for (const listener of listeners) listener(message);
    };
    const result = started
      .then(() => this.reload(run.pool, run.environment, notifyAll))
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
