/** Puts work off until the server is idle: one job at a time, first in, first out. A job is dropped for an equal one, and the queue has a bound. */
import type { AsyncResource } from "node:async_hooks";
import { isDeepStrictEqual } from "node:util";
import type { DeferredStats } from "@paceline/wire";
import { Fifo } from "@paceline/wire/fifo";
import { type BackgroundWork, backgroundWork, countNames, type DeferredWork, nameOf } from "../shared/bridge.js";
import { ServerError } from "../shared/errors.js";
import { DEFAULT_LIMITS } from "../shared/limits.js";
import { QueuedArguments } from "./queued-arguments.js";

export interface DeferOptions {
  /** Drop this job when one is queued with the same function and a deeply equal argument. Default false. */
  combined?: boolean;
}

/**
 * Queues `fn(argument)` to run when the server is idle. A promise that it returns is awaited before the next job; an error is
 * logged. The argument is not copied. The job sees the AsyncLocalStorage of its caller.
 *
 * @throws ServerError `bad-argument` when `fn` is no function, `defer-queue-full` with `maxDeferredJobs` in the queue.
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
  /** That in which the job was queued. AsyncLocalStorage.snapshot() would take ten times as much memory. */
  readonly context: AsyncResource;
}

type State =
  /** Nothing is queued. */
  | "resting"
  /** A look at the server is to come. */
  | "waiting"
  /** A job is under way. */
  | "running";

/** Looks at the server while a job waits, and then only; requests are never counted for it, they are anyway. */
export class DeferredJobs implements DeferredWork {
  private state: State = "resting";
  private current: JobInContext | undefined;
  private readonly queue = new DeferredQueue<JobInContext>();
  private changes = 0;
  /** As it was at the last look. */
  private requestActivity = 0;
  private quietSinceMs = 0;
  // Not imported: an app that defers nothing does without it.
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
    // What has changed before counts as a change: the job waits for a whole turn at least.
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
    // A timer may come late and before what waits to be read: the look is at the end of the turn after it.
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

  /** The loop takes requests before the next job, however many wait. */
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

/** Requests of one burst come closer together than this. */
export const QUIET_MS = 10;
/** A job waits for a burst to pass no longer than this: then any turn of the loop without a request will do. */
export const SETTLE_MS = 100;

/** What a look at the end of a turn of the event loop found; a whole turn lies between two looks. */
interface Look {
  /** Since the oldest job was queued. */
  ageMs: number;
  /** A request began or a response was finished since the last look: a handler may have more to do. */
  hasChanged: boolean;
  /** For how long nothing has changed. */
  quietMs: number;
}

/** Run the job, or look again at the end of the next turn, or only when it may have been quiet for long enough. */
export type Step = "run" | "look-next-turn" | "look-when-quiet";

/**
 * While no turn brings anything, no handler is runnable: all that came was read, and each handler waits for something. Between
 * the requests of a burst that is so too, hence the young job waits a little, and those that are combined with it become one.
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
  /** When it was queued, on the clock of `performance.now()`. */
  readonly queuedAtMs: number;
}

/** What became of a job: it waits, or was dropped since an equal one waits already, or there was no room. */
type AddOutcome = "queued" | "dropped" | "full";

/** A job is queued until it is taken: one that runs is none of them. */
export class DeferredQueue<Job extends DeferredJob = DeferredJob> {
  private readonly jobs = new Fifo<Job>();
  /** The only job of a function, or the arguments of all: most functions are made for one job, and their maps would be most of its memory. */
  private readonly byFunction = new Map<JobFunction, Job | QueuedArguments>();

  get length(): number {
    return this.jobs.length;
  }

  /** The job that is next. */
  get oldest(): Job | undefined {
    return this.jobs.first;
  }

  /** With `isCombined`, it is dropped when its function waits with a deeply equal argument, whoever queued that. */
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
