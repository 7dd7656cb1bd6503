/** Defers work until the server is idle: one job at a time, in order. Equal jobs can be combined; the queue is limited. */
import type { AsyncResource } from "node:async_hooks";
import { isDeepStrictEqual } from "node:util";
import type { DeferredStats } from "@paceline/wire";
import { Fifo } from "@paceline/wire/fifo";
import { type BackgroundWork, backgroundWork, countNames, type DeferredWork, nameOf } from "../shared/bridge.js";
import { ServerError } from "../shared/errors.js";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { QueuedArguments } from "./queued-arguments.js";

export interface DeferOptions {
  /** Drops this job if a later job has the same function and a deeply equal argument. Default: false. */
  combined?: boolean;
}

/**
 * Queues `fn(argument)` to run when the server is idle. A returned promise is awaited before the next job; an error is logged.
 * The argument is not copied. The job keeps its caller's AsyncLocalStorage.
 *
 * @throws ServerError `bad-argument` if `fn` is not a function, `defer-queue-full` at `maxDeferredJobs`.
 */
export function defer(fn: () => unknown, argument?: undefined, options?: DeferOptions): void;
export function defer<A>(fn: (argument: A) => unknown, argument: A, options?: DeferOptions): void;
export function defer(fn: JobFunction, argument?: unknown, options: DeferOptions = {}): void {
  if (typeof fn !== "function") throw new ServerError("bad-argument", `only a function can be deferred, not ${fn}`);
  const work = backgroundWork();
  work.deferred ??= new DeferredJobs(work);
  work.deferred.add(fn, argument, options.combined === true);
}

interface JobInContext extends DeferredJob {
  /** The caller's async context. AsyncLocalStorage.snapshot() would need ten times the memory. */
  readonly context: AsyncResource;
}

type State =
  /** The queue is empty. */
  | "resting"
  /** A check is scheduled. */
  | "waiting"
  /** A job is running. */
  | "running";

/** Runs deferred jobs. It checks the server only while a job waits, by the existing request counts. */
export class DeferredJobs implements DeferredWork {
  private state: State = "resting";
  private current: JobInContext | undefined;
  private readonly queue = new DeferredQueue<JobInContext>();
  private changes = 0;
  /** The count at the last check. */
  private requestActivity = 0;
  private quietSinceMs = 0;
  // Not imported, so that an app without jobs does not load it.
  private readonly Context = process.getBuiltinModule("node:async_hooks").AsyncResource;

  constructor(private readonly work: BackgroundWork) {}

  get activity(): number {
    return this.changes;
  }

  get unfinished(): number {
    return this.queue.length + (this.current === undefined ? 0 : 1);
  }

  add(fn: JobFunction, argument: unknown, isCombined: boolean): void {
    const { maxDeferredJobs } = this.limits;
    const job = { fn, argument, queuedAtMs: performance.now(), context: new this.Context("deferred") };
    const outcome = this.queue.add(job, isCombined, maxDeferredJobs);
    if (outcome === "full") {
      throw new ServerError("defer-queue-full", `${maxDeferredJobs} deferred jobs wait already (maxDeferredJobs)`);
    }
    if (outcome === "dropped") return;
    this.changes++;
    this.work.onNextJob?.();
    if (this.state === "resting") this.wait();
  }

  stats(): DeferredStats {
    const oldest = this.current ?? this.queue.oldest;
    const oldestMs = oldest === undefined ? 0 : Math.round(performance.now() - oldest.queuedAtMs);
    return { jobs: this.unfinished, oldestMs };
  }

  describe(): string {
    const underWay = this.current === undefined ? "" : `; under way: ${nameOf(this.current.fn)}`;
    const names = countNames([...this.queue].map(({ fn }) => nameOf(fn)));
    return `deferred jobs are lost: ${this.queue.length} queued${names === "" ? "" : ` (${names})`}${underWay}`;
  }

  private get limits() {
    return this.work.limits ?? DEFAULT_LIMITS;
  }

  private wait(): void {
    this.state = "waiting";
    // Earlier changes count as a change now, so that the job waits for at least one whole turn.
    this.requestActivity = Number.NaN;
    this.lookNextTurn();
  }

  private lookNextTurn(): void {
    setImmediate(this.look);
  }

  private readonly look = (): void => {
    const { requestActivity } = this.work;
    const step = requestActivity === undefined ? "run" : this.stepAt(requestActivity());
    if (step === "run") this.runNext();
    else if (step === "look-next-turn") this.lookNextTurn();
    // A timer may fire late and before pending reads, so this checks at the end of the next turn.
    else setTimeout(() => this.lookNextTurn(), QUIET_MS);
  };

  private stepAt(requestActivity: number): Step {
    const now = performance.now();
    const hasChanged = requestActivity !== this.requestActivity;
    this.requestActivity = requestActivity;
    if (hasChanged) this.quietSinceMs = now;
    const look: Look = { ageMs: this.stats().oldestMs, hasChanged, quietMs: now - this.quietSinceMs };
    return nextStep(look, this.limits.maxDeferDelayMs);
  }

  private runNext(): void {
    const job = this.queue.take();
    if (job === undefined) return;
    this.state = "running";
    this.current = job;
    let result: unknown;
    try {
      result = job.context.runInAsyncScope(job.fn, undefined, job.argument);
    } catch (error) {
      this.failed(error);
      return;
    }
    if (typeof (result as PromiseLike<unknown> | undefined)?.then !== "function") this.ended();
    else Promise.resolve(result).then(this.ended, this.failed);
  }

  private readonly failed = (error: unknown): void => {
    console.error(`the deferred job ${nameOf(this.current?.fn)} failed:`, error);
    this.ended();
  };

  /** The event loop handles requests before the next job, however many jobs are waiting. */
  private readonly ended = (): void => {
    this.current = undefined;
    this.changes++;
    if (this.queue.length === 0) {
      this.state = "resting";
      return;
    }
    this.state = "waiting";
    this.lookNextTurn();
  };
}

/** The maximum gap between the requests of a burst, in milliseconds. */
export const QUIET_MS = 10;
/** The maximum time a job waits for a burst to end, in milliseconds. After that, one turn without a request is enough. */
export const SETTLE_MS = 100;

/** The result of a check at the end of a turn of the event loop; checks are at least one whole turn apart. */
interface Look {
  /** The age of the oldest job. */
  ageMs: number;
  /** Whether a request started or a response ended since the last check: its handler may have more to do. */
  hasChanged: boolean;
  /** The time since the last change, in milliseconds. */
  quietMs: number;
}

/** What follows: run the job, check again at the end of the next turn, or check when the server may have been quiet long enough. */
export type Step = "run" | "look-next-turn" | "look-when-quiet";

/**
 * Returns the next step. If nothing changes in a turn, no handler can run: everything was read, and each handler waits for something. The
 * same holds between the requests of a burst. So a new job waits a little, which also combines equal jobs.
 */
export function nextStep({ ageMs, hasChanged, quietMs }: Look, maxDeferDelayMs: number): Step {
  if (ageMs >= maxDeferDelayMs) return "run";
  if (ageMs >= SETTLE_MS) return hasChanged ? "look-next-turn" : "run";
  return !hasChanged && quietMs >= QUIET_MS ? "run" : "look-when-quiet";
}

export type JobFunction = (argument: unknown) => unknown;

export interface DeferredJob {
  readonly fn: JobFunction;
  readonly argument: unknown;
  /** The time it was queued, on the clock of `performance.now()`. */
  readonly queuedAtMs: number;
}

/** The result of an add: queued, dropped because an equal job is queued, or no room. */
type AddOutcome = "queued" | "dropped" | "full";

/** The queued jobs. A running job is not among them. */
export class DeferredQueue<Job extends DeferredJob = DeferredJob> {
  private readonly jobs = new Fifo<Job>();
  /**
   * The only job of a function, or the arguments of all its jobs. Most functions have one job, and a map for each would need the most
   * memory.
   */
  private readonly byFunction = new Map<JobFunction, Job | QueuedArguments>();

  get length(): number {
    return this.jobs.length;
  }

  /** The next job. */
  get oldest(): Job | undefined {
    return this.jobs.first;
  }

  /** With `isCombined`, drops the job if its function is queued with a deeply equal argument, whoever queued it. */
  add(job: Job, isCombined: boolean, maxJobs: number): AddOutcome {
    const queued = this.byFunction.get(job.fn);
    if (isCombined && queued !== undefined && hasEqual(queued, job.argument)) return "dropped";
    if (this.jobs.length >= maxJobs) return "full";
    this.jobs.push(job);
    if (queued === undefined) this.byFunction.set(job.fn, job);
    else if (queued instanceof QueuedArguments) queued.add(job.argument);
    else this.byFunction.set(job.fn, argumentsOf(queued, job));
    return "queued";
  }

  take(): Job | undefined {
    const job = this.jobs.shift();
    if (job === undefined) return undefined;
    const queued = this.byFunction.get(job.fn);
    if (queued instanceof QueuedArguments) queued.removeOldest(job.argument);
    if (!(queued instanceof QueuedArguments) || queued.size === 0) this.byFunction.delete(job.fn);
    return job;
  }

  [Symbol.iterator](): IterableIterator<Job> {
    return this.jobs[Symbol.iterator]();
  }
}

function hasEqual(queued: DeferredJob | QueuedArguments, argument: unknown): boolean {
  if (queued instanceof QueuedArguments) return queued.has(argument);
  return isDeepStrictEqual(queued.argument, argument);
}

function argumentsOf(...jobs: DeferredJob[]): QueuedArguments {
  const queued = new QueuedArguments();
  for (const { argument } of jobs) queued.add(argument);
  return queued;
}
