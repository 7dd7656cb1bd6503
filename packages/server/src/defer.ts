/** Puts work off until the server is idle: one job at a time, first in, first out. */
import type { DeferredStats } from "@paceline/link";
import { type BackgroundWork, backgroundWork, type DeferredWork } from "./background-work.js";
import { type DeferredJob, DeferredQueue, type JobFunction } from "./deferred-queue.js";
import { ServerError } from "./errors.js";
import { DEFAULT_LIMITS } from "./limits.js";
import { countNames, nameOf } from "./work-names.js";

export interface DeferOptions {
  /** Drop this job when one is queued with the same function and a deeply equal argument. Default false. */
  combined?: boolean;
}

/**
 * Queues `fn(argument)` to run when the server is idle. A promise that it returns is awaited before the next job; an error is
 * logged. The argument is not copied.
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

type State =
  /** Nothing is queued. */
  | "resting"
  /** The next turn of the event loop is awaited. */
  | "waiting"
  /** A job is under way. */
  | "running";

/**
 * The server is idle when a whole turn of the event loop went by in which no request began and no answer was finished: all
 * that had come was read, and each handler waits for something. Looking costs a turn that does not sleep, and only while a
 * job waits.
 */
export class DeferredJobs implements DeferredWork {
  private state: State = "resting";
  private current: DeferredJob | undefined;
  private readonly queue = new DeferredQueue();
  private changes = 0;
  /** As it was in the last turn; NaN is like no other, so that the first turn is not taken for an idle one. */
  private lastRequestActivity = Number.NaN;

  constructor(private readonly work: BackgroundWork) {}

  get activity(): number {
    return this.changes;
  }

  get unfinished(): number {
    return this.queue.length + (this.current === undefined ? 0 : 1);
  }

  add(fn: JobFunction, argument: unknown, isCombined: boolean): void {
    const { maxDeferredJobs } = this.limits;
    const outcome = this.queue.add({ fn, argument, queuedAtMs: performance.now() }, isCombined, maxDeferredJobs);
    if (outcome === "full") {
      throw new ServerError("defer-queue-full", `${maxDeferredJobs} deferred jobs wait already (maxDeferredJobs)`);
    }
    if (outcome === "dropped") return;
    this.changes++;
    this.work.onNextJob?.();
    if (this.state !== "resting") return;
    this.lastRequestActivity = Number.NaN;
    this.awaitTurn();
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

  private awaitTurn(): void {
    this.state = "waiting";
    setImmediate(this.turn);
  }

  private readonly turn = (): void => {
    const requestActivity = this.work.requestActivity?.() ?? 0;
    const isIdle = requestActivity === this.lastRequestActivity;
    this.lastRequestActivity = requestActivity;
    if (isIdle || this.stats().oldestMs >= this.limits.maxDeferDelayMs) this.runNext();
    else this.awaitTurn();
  };

  private runNext(): void {
    const job = this.queue.take();
    if (job === undefined) return;
    this.state = "running";
    this.current = job;
    let result: unknown;
    try {
      result = job.fn(job.argument);
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
    if (this.queue.length > 0) this.awaitTurn();
    else this.state = "resting";
  };
}
